# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From weights and a data set to figures, a table and files."""

import csv
import dataclasses
import io
import json
import shutil

import jax
import numpy as np
import pytest
import scipy.special
from etils import epath
from PIL import Image
from sklearn import metrics as judge

import vit_jax
from tests.support.weights import make_tiny_weights
from vit_jax import evaluate, features, trained
from vit_jax.config import ConfigError
from vit_jax.convert import save_weights
from vit_jax.data import sources
from vit_jax.data.pipeline import Data
from vit_jax.plots.examined import load_mistakes
from vit_jax.prepare.dataset import prepare_dataset
from vit_jax.train import train

NAMES = ("a, b", "dog", "épée")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """A folder of three classes, of 12, 9 and 21 images; one has odd bytes."""
  root = tmp_path_factory.mktemp("photos")
  rng = np.random.default_rng(0)
  for label, count in zip(NAMES, (12, 9, 21), strict=True):
    (root / label).mkdir()
    for i in range(count):
      pixels = rng.integers(0, 256, (11, 14, 3)).astype(np.uint8)
      name = '"1".png' if i == 1 else f"{i}.png"
      Image.fromarray(pixels).save(root / label / name)
  return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
  """A run of two steps on it, and its result."""
  config = {
    "model": dict(variant="mu/4", dtype="float32"),
    "data": dict(source=f"folder:{photos}", size=8, threads=1),
    "optim": dict(lr=1e-3),
    "train": dict(batch_size=8, steps=2, allow_cpu=True),
    "evals": {"test": dict(split="test", batch_size=8)},
  }
  workdir = tmp_path_factory.mktemp("evaluate") / "run"
  return workdir, train(config, str(workdir))


def save(path, form, names=NAMES, size=(8, 8), **preprocess):
  weights = make_tiny_weights(
    size=size, names=names, classes=len(names), preprocess=preprocess
  )
  save_weights(weights, str(path), form=form, overwrite=True)
  return path


def read(path):
  return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def call(capsys, *arguments, status=0):
  """What the command prints; its exit status is checked."""
  if status:
    with pytest.raises(SystemExit) as caught:
      evaluate.main(list(map(str, arguments)))
    assert caught.value.code == status
  else:
    evaluate.main(list(map(str, arguments)))
  return capsys.readouterr()


def test_a_run_is_evaluated_on_what_it_held_out(run, photos, tmp_path, capsys):
  workdir, result = run
  shown = call(capsys, workdir, f"--out={tmp_path}", "--json")
  found = json.loads(shown.out.splitlines()[-1])
  assert len(shown.out.splitlines()) == 1 and "top-1" in shown.err
  assert found == json.loads((tmp_path / "evaluation.json").read_text())
  for name in ("accuracy", "correct", "total"):
    assert found[name] == result[name]
  # Other batches, so sums in another order.
  assert found["loss"] == pytest.approx(result["loss"], rel=1e-5)
  rows = read(tmp_path / "predictions.csv")
  held_out = (workdir / "held_out.txt").read_text().splitlines()
  assert [row["path"] for row in rows] != sorted(row["path"] for row in rows)
  assert sorted(row["path"] for row in rows) == sorted(
    str(photos / name) for name in held_out
  )
  assert "held these images out" in shown.err


def test_int8_is_what_a_model_of_it_predicts(photos, tmp_path):
  path = save(tmp_path / "run", "vit_jax")
  source = f"folder:{photos}"
  options = dict(data=source, split="train+test", out=tmp_path)
  exact = vit_jax.evaluate(path, **options)
  found = vit_jax.evaluate(path, weights="int8", overwrite=True, **options)
  assert any("int8" in note for note in found["notes"])
  rows = read(tmp_path / "predictions.csv")
  model, preprocess = vit_jax.load(path, weights="int8")
  logits = np.asarray(model(preprocess([row["path"] for row in rows])))
  label = np.array([int(row["label"]) for row in rows])
  assert found["correct"] == (logits.argmax(axis=1) == label).sum()
  losses = -scipy.special.log_softmax(logits, axis=1)[range(42), label]
  assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
  assert exact["loss"] != pytest.approx(losses.mean(), rel=1e-5)
  with pytest.raises(ConfigError, match="weights='int4'.*'int8'"):
    vit_jax.evaluate(path, weights="int4", **options)


def test_every_figure_follows_from_the_predictions(run, tmp_path, capsys):
  """All images; scikit-learn computes the figures from predictions.csv."""
  workdir, _ = run
  shown = call(capsys, workdir, "--split=train+test", f"--out={tmp_path}")
  found = json.loads((tmp_path / "evaluation.json").read_text())
  rows = read(tmp_path / "predictions.csv")
  assert len(rows) == found["total"] == found["images"] == 42
  assert "images that the run was trained on" in shown.out
  label, first = (
    [int(row[name]) for row in rows] for name in ("label", "prediction")
  )
  assert [row["label_class"] for row in rows] == [NAMES[i] for i in label]
  assert np.bincount(label).tolist() == [12, 9, 21]
  assert found["accuracy"] == judge.accuracy_score(label, first)
  precision, recall, _, support = judge.precision_recall_fscore_support(
    label, first, labels=range(3), zero_division=np.nan
  )
  for i, row in enumerate(found["classes"]):
    assert row["class"] == NAMES[i] and row["support"] == support[i]
    assert row["recall"] == pytest.approx(recall[i])
    expected = None if np.isnan(precision[i]) else pytest.approx(precision[i])
    assert row["precision"] == expected
  lines = list(csv.reader((tmp_path / "confusion.csv").open(encoding="utf-8")))
  assert lines[0] == ["class", *NAMES]
  np.testing.assert_array_equal(
    np.array([line[1:] for line in lines[1:]], int),
    judge.confusion_matrix(label, first, labels=range(3)),
  )
  chance = np.zeros((42, 3))
  for row, line in zip(rows, chance, strict=True):
    for more in ("", "_2", "_3"):
      line[int(row[f"prediction{more}"])] = row[f"probability{more}"]
  np.testing.assert_allclose(chance.sum(1), 1, atol=3e-6)  # Six digits.
  loss = judge.log_loss(label, chance, labels=range(3))
  assert found["loss"] == pytest.approx(loss, abs=1e-5)
  gap = 0
  for low in np.arange(15) / 15:
    top = chance.max(1)
    inside = (top > low) & (top <= low + 1 / 15)
    right = np.array(label) == first
    gap += abs(top[inside].sum() - right[inside].sum()) / 42
  assert found["calibration_error"] == pytest.approx(gap, abs=1e-5)
  assert sum(found["reliability"]["total"]) == 42


@pytest.mark.parametrize(
  ("form", "pixels"),
  [
    ("authors", {}),
    ("timm", dict(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), crop=0.8)),
    ("timm", dict(resize="bicubic", rounding="timm", crop=0.7)),
    ("hugging_face", dict(resize="bicubic", squash=True, crop=0.9)),
  ],
)
def test_images_become_pixels_as_recorded(photos, tmp_path, form, pixels):
  """As `vit_jax.load` has it, an image at a time."""
  name = tmp_path / ("w.npz" if form == "authors" else "w")
  path = save(name, form, **pixels)
  found = evaluate.evaluate(
    str(path),
    data=f"folder:{photos}",
    split="train+test",
    out=str(tmp_path / "out"),
    top=3,
  )
  model, preprocess = vit_jax.load(path)
  assert found["preprocess"] == preprocess.to_json()
  rows = read(tmp_path / "out/predictions.csv")
  logits = model(preprocess([row["path"] for row in rows]))
  expected = np.asarray(jax.nn.softmax(logits))
  chance = np.zeros((42, 3))
  for row, line in zip(rows, chance, strict=True):
    for more in ("", "_2", "_3"):
      line[int(row[f"prediction{more}"])] = row[f"probability{more}"]
  # The device divides in another order than the host; six digits are written.
  np.testing.assert_allclose(chance, expected, atol=2e-4)


def test_devices_and_batches_change_nothing(run, tmp_path, eight_devices):
  workdir, _ = run
  found = {}
  for batch in (8, 40, None):
    out = tmp_path / str(batch)
    options = dict(split="train+test", batch_size=batch, out=str(out))
    found[batch] = evaluate.evaluate(str(workdir), **options)
    assert len(found[batch]["devices"]) == 8
    text = (out / "predictions.csv").read_text()
    assert text == (tmp_path / "8/predictions.csv").read_text()
  assert found[8]["correct"] == found[40]["correct"]
  assert found[8]["loss"] == pytest.approx(found[40]["loss"], rel=1e-6)


def test_a_prepared_set_names_its_images(run, photos, tmp_path):
  """In the files of a run, of an evaluation, and beside features."""
  workdir, _ = run
  files = [f"{x}/{i}.png" for x in NAMES for i in (0, 2, 3)]
  lines = [
    json.dumps(dict(image=x, labels=[x.partition("/")[0]], split=split))
    for split in ("train", "test")
    for x in files
  ]
  path, sets = tmp_path / "list.jsonl", str(tmp_path / "sets")
  path.write_text("\n".join(lines))
  prepare_dataset(f"manifest:{path}", sets, root=str(photos))
  source = dict(data="tfds:list", data_dir=sets)
  evaluate.evaluate(workdir, out=tmp_path / "out", **source)
  config = json.loads((workdir / "config.json").read_text())
  config = {key: config[key] for key in ("model", "optim", "train", "evals")}
  config["train"]["report"] = True
  config["data"] = dict(source="tfds:list", dir=sets, size=8)
  train(config, str(tmp_path / "run"))
  for directory in (tmp_path / "out", tmp_path / "run" / "evaluation"):
    rows = read(directory / "predictions.csv")
    assert sorted(row["path"] for row in rows) == sorted(files)
    assert all(row["path"].startswith(row["label_class"]) for row in rows)
  mistakes = load_mistakes(epath.Path(tmp_path / "run" / "evaluation"))
  assert all(x.rpartition("; ")[2] in files for x in mistakes.captions)
  found = vit_jax.features(workdir, **source)
  assert list(found["path"]) == [row["path"] for row in rows]


def test_classes_are_matched_by_name(photos, tmp_path, capsys):
  """In another order, and with one that the data do not have."""
  names = ("zebra", NAMES[2], NAMES[0], NAMES[1])
  path = save(tmp_path / "w.npz", "authors", names)
  shown = call(
    capsys,
    *(path, f"--data=folder:{photos}", "--split=train+test"),
    f"--out={tmp_path / 'out'}",
  )
  assert "not in the data: 1 class of the weights" in shown.out
  model, preprocess = vit_jax.load(path)
  rows = read(tmp_path / "out/predictions.csv")
  logits = model(preprocess([row["path"] for row in rows]))
  for row, i in zip(rows, np.argmax(logits, axis=-1), strict=True):
    assert row["prediction_class"] == names[i]
  right = sum(x["prediction_class"] == x["label_class"] for x in rows)
  found = json.loads((tmp_path / "out/evaluation.json").read_text())
  assert found["correct"] == right


def test_classes_that_differ_are_named(photos, tmp_path, capsys):
  path = save(tmp_path / "w.npz", "authors", ("cat", "dog", "épée"))
  where = f"--data=folder:{photos}"
  text = call(capsys, path, where, status=2).err
  assert "lacks 1 of the 3: 'a, b'" in text and "--classes=data" in text
  shown = call(capsys, path, where, "--classes=data", "--split=train+test")
  assert "matched by their order" in shown.out
  names = tmp_path / "names.txt"
  names.write_text("\n".join(NAMES))
  shown = call(capsys, path, where, f"--classes={names}")
  assert "order" not in shown.out
  two = save(tmp_path / "two.npz", "authors", ("cat", "dog"))
  for more in ((), ("--classes=data",)):
    text = call(capsys, two, where, *more, status=2).err
    assert str(two) in text and len(text.splitlines()) <= 2


def test_what_changed_in_a_folder_is_not_tested(run, photos, tmp_path):
  """New images may move others; none that was trained on is tested."""
  workdir, _ = run
  folder, later = tmp_path / "photos", tmp_path / "run"
  shutil.copytree(photos, folder)
  shutil.copytree(workdir, later)
  config = json.loads((later / "config.json").read_text())
  config["data"]["source"] = f"folder:{folder}"
  (later / "config.json").write_text(json.dumps(config))
  for i in range(40):  # Some of them are before those that were held out.
    shutil.copy(photos / "dog" / "0.png", folder / "dog" / f"new{i}.png")
  listed = set((workdir / "held_out.txt").read_text().splitlines())
  info = sources.load_info(f"folder:{folder}")
  assert not set(info.held_out) <= listed
  found = evaluate.evaluate(str(later), out=str(tmp_path / "out"))
  tested = {
    row["path"].removeprefix(f"{folder}/")
    for row in read(tmp_path / "out/predictions.csv")
  }
  assert tested == listed and found["total"] == len(listed)
  assert "added or removed" in found["notes"][0]
  with pytest.raises(ConfigError, match="not 'test\\[:2\\]'"):
    evaluate.evaluate(str(later), split="test[:2]")


def test_probes_and_features_of_a_command(run, tmp_path, capsys):
  workdir, _ = run
  (tmp_path / "predictions.csv").write_text("of another evaluation")
  arguments = workdir, "--evals=knn,fewshot,linear", f"--out={tmp_path}"
  text = call(capsys, *arguments, status=2).err
  assert "predictions.csv exists" in text and "--overwrite" in text
  shown = call(capsys, *arguments, "--json", "--overwrite")
  found = json.loads(shown.out)
  assert "accuracy" not in found
  assert [x.name for x in tmp_path.iterdir()] == ["evaluation.json"]
  keys = ("accuracy_knn", "accuracy_linear", "accuracy_1shot", "std_25shot")
  assert all(0 <= found[key] <= 1 for key in keys)
  path = tmp_path / "f.npz"
  features.main([str(workdir), f"--out={path}", "--split=train[:19]"])
  before = path.read_bytes()
  command = [str(workdir), f"--out={path}", "--split=train[:19]"]
  with pytest.raises(SystemExit) as caught:
    features.main(command)
  assert caught.value.code == 2 and path.read_bytes() == before
  features.main([*command, "--split=test", "--overwrite"])
  assert len(np.load(path)["label"]) == 4
  features.main([*command, "--overwrite"])
  again = tmp_path / "f.parquet"
  features.main([str(workdir), f"--out={again}", "--split=train[:19]"])
  assert f"{again}: 19 images, 32 numbers each" in capsys.readouterr().out
  arrays = np.load(path)
  model, preprocess = vit_jax.load(workdir, num_classes=0)
  expected = model(preprocess(list(arrays["path"])))
  np.testing.assert_allclose(arrays["features"], expected, atol=2e-5)
  labels = [NAMES.index(x.split("/")[-2]) for x in arrays["path"]]
  np.testing.assert_array_equal(arrays["label"], labels)
  table = features.import_arrow().parquet.read_table(again)
  np.testing.assert_array_equal(
    np.stack(table["features"].to_numpy()), arrays["features"]
  )
  assert table["label"].to_pylist() == labels
  assert table["path"].to_pylist() == list(arrays["path"])


def test_probes_of_images_that_they_were_fitted_with_say_so(run):
  workdir, _ = run
  found = vit_jax.evaluate(
    str(workdir), evals=["knn"], split="train[:9]", train_split="test+train[6:]"
  )
  (note,) = (x for x in found["notes"] if "fitted" in x)
  assert note.startswith("3 images of train[:9] are in test+train[6:]")
  found = vit_jax.evaluate(str(workdir), evals=["knn"], split="test")
  assert not any("fitted" in note for note in found["notes"])


def test_weights_without_a_head_have_features_only(photos, tmp_path, capsys):
  weights = make_tiny_weights(classes=3, names=NAMES)
  params = {k: x for k, x in weights.params.items() if "head" not in k}
  weights = dataclasses.replace(
    weights, params=params, num_classes=0, class_names=()
  )
  path = tmp_path / "w.npz"
  save_weights(weights, str(path), form="authors")
  text = call(capsys, path, f"--data=folder:{photos}", status=2).err
  assert "no head" in text
  shown = call(capsys, path, f"--data=folder:{photos}", "--evals=knn")
  assert "knn" in shown.out


def test_mistakes_are_named_early(run, photos, tmp_path, capsys, eight_devices):
  workdir, _ = run
  path = save(tmp_path / "w.npz", "authors")
  (tmp_path / "full" / ".evaluation.writing").mkdir(parents=True)
  for arguments, word in (
    ((path,), "--data=SOURCE"),
    ((tmp_path / "none",), "does not exist"),
    ((workdir, "--evals=knm"), "'knn'"),
    ((workdir, "--evals=,"), "--evals is empty"),
    ((workdir, "--split=val"), "no split 'val'"),
    ((workdir, f"--data=images:{photos}"), "has no classes to compare with"),
    ((workdir, f"--data=images:{photos}", "--evals=knn"), "which knn reads"),
    ((workdir, "--data=photos"), "--data='photos'"),
    ((workdir, f"--data=folder:{tmp_path / 'none'}"), "there is no folder"),
    ((workdir, f"--out={path}/x"), "cannot be written"),
    ((workdir, f"--out={tmp_path / 'full'}"), "cannot be written"),
    ((workdir, "--batch_size=12"), "--batch_size=12"),
    ((workdir, "--evals=knn", "--train_split=dev"), "no split 'dev'"),
    ((workdir, "--gelu=exact", "--size=9"), "9"),
  ):
    text = call(capsys, *arguments, status=2).err
    assert word in text and len(text.splitlines()) <= 2, text
  for out, word in ((tmp_path / "x.csv", ".npz"), ("/none/x.npz", "/none")):
    with pytest.raises(SystemExit):
      features.main([str(workdir), f"--out={out}"])
    assert word in capsys.readouterr().err
  assert not (tmp_path / "x.csv").exists()


def test_unreadable_images_count(run, photos, tmp_path, capsys):
  """Above the share that is allowed it ends; below, they are black."""
  folder = tmp_path / "photos"
  shutil.copytree(photos, folder)
  for i in (3, 4):  # The header is whole.
    file = folder / "dog" / f"{i}.png"
    file.write_bytes(file.read_bytes()[:90])
  path = save(tmp_path / "w.npz", "authors")
  command = path, f"--data=folder:{folder}", "--split=train+test"
  text = call(capsys, *command, status=2).err
  assert "--max_unreadable=" in text and "--config" not in text
  shown = call(capsys, *command, "--max_unreadable=0.1")
  assert "42 images" in shown.out and "3.png" in shown.err


def test_the_pixels_of_training_are_those_of_its_weights(run):
  """One pipeline, with the same bits for what a run records."""
  workdir, _ = run
  found = trained.open_trained(str(workdir))
  data = Data(source=found.data.source, size=8)
  assert found.data.make_preprocess(3) == data.make_preprocess(3)
  batch = {"image": np.arange(192, dtype=np.uint8).reshape(1, 8, 8, 3)}
  batch = jax.tree.map(jax.numpy.asarray, batch)
  np.testing.assert_array_equal(
    found.data.prepare(batch)["image"], data.prepare(batch)["image"]
  )
