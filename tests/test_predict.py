# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a run and photographs to what is on them."""

import csv
import dataclasses
import io
import json
import re
import subprocess
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

import vit_jax
from tests.support.forked import Forked
from tests.support.weights import make_tiny_weights
from vit_jax import predict
from vit_jax.convert import save_weights
from vit_jax.data import sources
from vit_jax.data.preprocess import Preprocess
from vit_jax.train import train


@pytest.fixture(scope="module")
def digits(data_dir, tmp_path_factory):
  """A run of a few steps, and nine digits as files."""
  root = tmp_path_factory.mktemp("predict")
  config = {
    "model": dict(variant="mu/4", dtype="float32"),
    "data": dict(source="tfds:digits", dir=data_dir, size=8, threads=1),
    "optim": dict(lr=1e-3),
    "train": dict(batch_size=16, steps=2, allow_cpu=True),
    "evals": {"test": dict(split="test[:9]")},
  }
  result = train(config, str(root / "run"))
  examples = sources.open_source("tfds:digits", "test[:9]", data_dir)
  (root / "photos").mkdir()
  for i, example in enumerate(examples):
    (root / "photos" / f"{i}.png").write_bytes(example["image"])
  return root, [example["label"] for example in examples], result


def run(capsys, *arguments, status=0):
  """What the command prints; its exit status is checked."""
  if status:
    with pytest.raises(SystemExit) as caught:
      predict.main(list(map(str, arguments)))
    assert caught.value.code == status
  else:
    predict.main(list(map(str, arguments)))
  return capsys.readouterr()


def test_the_run_alone_predicts_what_it_was_evaluated_on(digits, capsys):
  root, labels, result = digits
  shown = run(
    capsys,
    *(root / "run", root / "photos"),
    *("--format=json", "--top=3", "--batch=4"),
  )
  images = json.loads(shown.out.splitlines()[-1])["images"]
  names = [row["path"].rsplit("/", 1)[1] for row in images]
  assert names == [f"{i}.png" for i in range(9)]
  first = [row["predictions"][0]["index"] for row in images]
  correct = sum(a == b for a, b in zip(first, labels, strict=True))
  assert correct == result["correct"]
  model, preprocess = vit_jax.load(root / "run")
  logits = model(preprocess([row["path"] for row in images]))
  expected = np.asarray(jax.nn.softmax(logits))
  for row, scores in zip(images, expected, strict=True):
    found = row["predictions"]
    assert len(found) == 3
    assert [p["class"] for p in found] == [str(p["index"]) for p in found]
    order = np.sort(scores)[::-1][:3]
    np.testing.assert_allclose(
      [p["probability"] for p in found], order, rtol=1e-5
    )


def test_tables_for_people_and_for_programs(digits, capsys):
  root, _, _ = digits
  photo = root / "photos" / "3.png"
  text = run(capsys, root / "run", photo, "--top=2").out.splitlines()
  assert text[0] == str(photo) and len(text) == 3
  assert text[1].split()[0].endswith("%")
  text = run(capsys, root / "run", photo, "--format=csv", "--top=10").out
  rows = list(csv.DictReader(io.StringIO(text)))
  assert [row["rank"] for row in rows] == [str(i) for i in range(1, 11)]
  assert {row["class"] for row in rows} == set("0123456789")
  total = sum(float(row["probability"]) for row in rows)
  assert abs(total - 1) < 1e-5


def test_images_are_read_a_few_batches_ahead(digits, monkeypatch):
  """Nine of them in batches of two, of which at most four are in memory."""
  root, _, _ = digits
  photos = [str(root / "photos" / f"{i}.png") for i in range(9)]
  decoded, yielded = [], 0
  prepare = Preprocess.__call__

  def count(self, image):
    decoded.append(image)
    return prepare(self, image)

  monkeypatch.setattr(Preprocess, "__call__", count)
  for found in predict.predict(str(root / "run"), photos, batch_size=2):
    assert found.path == photos[yielded] and not found.error
    assert len(decoded) <= 2 * (yielded // 2 + 4)
    yielded += 1
  assert yielded == 9 and sorted(decoded) == photos
  assert not list(predict.predict(str(root / "run"), []))


def test_int8_and_bfloat16_are_asked_for(digits, capsys):
  root, _, _ = digits
  photo, found = root / "photos" / "3.png", []
  for flags in ((), ("--weights=int8",), ("--dtype=bfloat16",)):
    text = run(capsys, root / "run", photo, *flags, "--format=json").out
    [image] = json.loads(text)["images"]
    found.append([p["probability"] for p in image["predictions"]])
  rounding = 0.02  # Weights of 7 bits, activations of 8.
  for other in found[1:]:
    np.testing.assert_allclose(other, found[0], rtol=rounding)
    assert other != found[0]


def test_what_can_not_be_read_is_named_and_the_rest_is_done(digits, capsys):
  root, _, _ = digits
  bad = root / "bad.png"
  bad.write_bytes((root / "photos" / "0.png").read_bytes()[:40])
  arguments = (root / "run", bad, root / "photos" / "1.png", "--top=1")
  shown = run(capsys, *arguments, "--format=json", status=1)
  first, second = json.loads(shown.out)["images"]
  assert "image" in first["error"]
  assert len(second["predictions"]) == 1
  assert f"{bad}: cannot be read" in shown.err
  assert "cannot be read" in run(capsys, *arguments, status=1).out


@pytest.mark.filterwarnings("ignore:.* holds values that are not finite")
@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_scores_that_are_no_numbers_are_said(digits, capsys, tmp_path, form):
  root, *_ = digits
  weights = make_tiny_weights()
  head = np.full_like(weights.params["head/bias"], np.nan)
  weights = dataclasses.replace(
    weights, params={**weights.params, "head/bias": head}
  )
  save_weights(weights, str(tmp_path / "nan"))
  photo = root / "photos/0.png"
  arguments = (tmp_path / "nan", photo, f"--format={form}")
  shown = run(capsys, *arguments, status=1)
  said = shown.out if form == "table" else shown.err
  assert "scores are not finite" in said and "NaN" in said
  assert "cannot be read" not in said
  if form == "csv":
    assert list(csv.DictReader(io.StringIO(shown.out))) == []
  elif form != "table":
    row = json.loads(shown.out)
    (row,) = row.get("images", [row])
    assert row["path"] == str(photo) and "not finite" in row["error"]


def test_a_sigmoid_has_a_probability_a_class(tmp_path):
  weights = make_tiny_weights((8, 8), names=tuple("abcde"))
  probabilities = []
  for loss in ("softmax", "sigmoid"):
    path = tmp_path / f"{loss}.npz"
    changed = dataclasses.replace(weights, cross_entropy=loss)
    save_weights(changed, str(path), "authors")
    (tmp_path / "a.png").write_bytes(PNG)
    (found,) = predict.predict(str(path), [str(tmp_path / "a.png")])
    probabilities.append(sum(p for _, _, p in found.classes))
  assert abs(probabilities[0] - 1) < 1e-5
  assert abs(probabilities[1] - 1) > 1e-3


PNG = bytes.fromhex(
  "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c"
  "4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)


@pytest.mark.parametrize(
  "arguments, message",
  [
    (("nowhere.png",), "no nowhere.png: give the path of an image"),
    (("{root}/photos", "--out=gs://a/b.csv"), "on a disk"),
    (("{root}/photos", "--out={root}/none/b.csv"), "no directory"),
    (("{root}/photos", "--classes={root}/none.txt"), "none.txt"),
    (("{root}/photos", "--crop=2"), "crop=2 must be a share"),
    (("{root}/run/checkpoints",), "contains no images"),
    (("{root}/photos", "--masks={root}/maps"), "does not classify pixels"),
  ],
)
def test_mistakes_end_in_one_line(digits, capsys, arguments, message):
  root, _, _ = digits
  names = [a.format(root=root) for a in arguments]
  shown = run(capsys, root / "run", *names, status=2)
  assert message in shown.err and len(shown.err.splitlines()) == 1
  assert not (root / "maps").exists()


def test_a_run_without_a_checkpoint_is_named(capsys, tmp_path):
  (tmp_path / "a.png").write_bytes(PNG)
  shown = run(capsys, tmp_path / "none", tmp_path / "a.png", status=2)
  assert str(tmp_path / "none") in shown.err


def test_a_stopped_command_goes_on_where_it_was(digits, capsys, tmp_path):
  root, _, _ = digits
  for suffix in ("csv", "jsonl"):
    out = tmp_path / f"out.{suffix}"
    arguments = (root / "run", root / "photos", f"--out={out}", "--batch=2")
    shown = run(capsys, *arguments, "--top=3")
    assert shown.out == "" and f"images written to {out}" in shown.err
    whole = out.read_bytes()
    # As a kill leaves it, in the middle of the fifth image.
    out.write_bytes(whole[: int(0.55 * len(whole))])
    shown = run(capsys, *arguments, "--top=3")
    assert "images already" in shown.err
    assert f"written to {out}" in shown.err
    # In other batches numbers may differ in their last digits.
    before, after = (
      predict.predictions.read_back(str(path), suffix)[0]
      for path in (tmp_path / f"whole.{suffix}", out)
      if path == out or path.write_bytes(whole)
    )
    assert [x.path for x in before] == [x.path for x in after]
    for one, two in zip(before, after, strict=True):
      predict.predictions.check_same(one, two, str(out))
    # Finished, it does nothing; other options or weights are refused.
    again = out.read_bytes()
    run(capsys, *arguments, "--top=3")
    if suffix == "jsonl":
      assert out.read_bytes() == again
    out.write_bytes(whole[: int(0.55 * len(whole))])
    shown = run(capsys, *arguments, "--top=2", status=2)
    assert "holds 3 classes of each image" in shown.err
    assert "--top=3" in shown.err
  other = tmp_path / "notes.csv"
  other.write_text("no predictions")
  arguments = (root / "run", root / "photos", f"--out={other}")
  assert "does not hold predictions" in run(capsys, *arguments, status=2).err
  assert other.read_text() == "no predictions"
  arguments = (root / "run", root / "photos", "--out=x.txt")
  assert ".csv or .jsonl" in run(capsys, *arguments, status=2).err


def test_what_could_not_be_read_is_tried_again(digits, capsys, tmp_path):
  root, _, _ = digits
  (tmp_path / "a.png").write_bytes((root / "photos/0.png").read_bytes())
  (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n of nothing")
  out = tmp_path / "out.jsonl"
  arguments = (root / "run", tmp_path, f"--out={out}")
  for _ in range(2):  # It is named each time.
    assert "b.png" in run(capsys, *arguments, status=1).err
  (tmp_path / "b.png").write_bytes((root / "photos/1.png").read_bytes())
  run(capsys, *arguments)
  rows = [json.loads(line) for line in out.read_text().splitlines()]
  assert [row["path"] for row in rows] == [
    str(tmp_path / f"{name}.png") for name in "ab"
  ]
  assert all(len(row["predictions"]) == 5 for row in rows)


def test_a_reader_that_ends_early_ends_it_quietly(digits):
  root, _, _ = digits
  command = ["-m", "vit_jax.predict", str(root / "run")]
  command += [str(root / "photos"), "--batch=1", "--top=1"]
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  with Forked(command, **pipes) as process:
    first = process.stdout.readline()  # It comes before the others are done.
    process.stdout.close()
    text = process.stderr.read()
  assert first.decode().endswith("0.png\n")
  assert process.returncode in (141, 0) and b"Broken" not in text


def test_folders_are_searched_as_those_of_training_are(digits, capsys):
  root, _, _ = digits
  album = root / "album"
  for name in ("@eaDir", ".thumbnails", "__MACOSX", "trip"):
    (album / name).mkdir(parents=True)
    Image.new("L", (9, 7), 200).save(album / name / "1.png")
  for suffix in ("bmp", "tif", "gif", "jp2", "jfif", "avif"):
    form = "JPEG" if suffix == "jfif" else None
    Image.new("L", (9, 7), 90).save(album / f"{suffix}.{suffix}", form)
  (album / "film.mov").write_bytes(b"film")
  (album / "Thumbs.db").write_bytes(b"db")
  shown = run(capsys, root / "run", album, "--format=csv", "--top=1")
  names = [row["path"] for row in csv.DictReader(io.StringIO(shown.out))]
  assert [name.removeprefix(f"{album}/") for name in names] == [
    *("avif.avif", "bmp.bmp", "gif.gif", "jfif.jfif", "jp2.jp2", "tif.tif"),
    "trip/1.png",
  ]
  assert "1 .mov" in shown.err and ".db" not in shown.err


def test_a_wrong_colour_profile_is_no_warning(digits, capfd):
  root, _, _ = digits
  photo = (root / "photos" / "3.png").read_bytes()
  profile = b"x\0\0" + zlib.compress(b"\0" * 200)
  chunk = b"iCCP" + profile
  bad = photo[:33] + len(profile).to_bytes(4, "big") + chunk
  bad += zlib.crc32(chunk).to_bytes(4, "big") + photo[33:]
  path = root / "profile.png"
  path.write_bytes(bad)
  arguments = ("--format=json", "--top=2")
  one = run(capfd, root / "run", path, *arguments)
  two = run(capfd, root / "run", root / "photos" / "3.png", *arguments)
  # The oldest jaxlib logs of every program that a cache gives it.
  logged = re.compile(r"^[WE]\d{4} .*\.cc:\d+\] .*\n", re.MULTILINE)
  assert logged.sub("", one.err) == "" and logged.sub("", two.err) == ""
  rows = [json.loads(x.out)["images"][0]["predictions"] for x in (one, two)]
  assert rows[0] == rows[1]
