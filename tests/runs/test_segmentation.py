# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run on generated shapes learns them, from other weights, and shows them."""

import pathlib
import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image

import vit_jax
from tests.support import build
from tests.support.masks import make_shapes
from tests.support.weights import make_weights
from vit_jax import sections
from vit_jax.checkpoint import load_params
from vit_jax.config import ConfigError
from vit_jax.convert import save_weights
from vit_jax.convert.__main__ import main as convert
from vit_jax.convert.segmentation import find_names, load_segmentation
from vit_jax.convert.weights import flatten, load_weights
from vit_jax.data.masks import UNLABELLED
from vit_jax.metrics.evaluation import format_table
from vit_jax.models.attention_kernels import KERNELS
from vit_jax.predict import main
from vit_jax.soup import main as average


def test_a_run_learns_shapes_and_paints_them(tmp_path, capsys, monkeypatch):
  make_shapes(tmp_path / "shapes")
  weights = make_weights(dict(variant="mu/4"), size=(16, 16))
  weights.params.update({k: 0.1 * x for k, x in weights.params.items()})
  save_weights(weights, str(tmp_path / "a.npz"), "authors")
  config = vit_jax.get_config(
    "segmentation", dataset=f"{tmp_path}/shapes", steps=40, lr=0.03
  )
  config = config.to_dict() | dict(init=str(tmp_path / "a.npz"))
  config["model"] |= dict(variant="mu/4", dtype="float32", remat="none")
  config["data"] |= dict(size=(32, 40), threads=1)
  config["train"]["accumulate"] = 1
  result = vit_jax.train(config, str(tmp_path / "run"))
  # By chance, at a ground of 84 % of the pixels, less than 0.33.
  assert result["miou"] > 0.8 and result["total"] == 10
  assert result["pixel_accuracy"] > 0.9
  report = (tmp_path / "run/report.html").read_text()
  assert "Segmentations" in report and "image, mask, prediction" in report
  picture = Image.open(tmp_path / "run/evaluation/segmentation_40.png")
  assert picture.width > 900
  # The head is there again, and finds what was evaluated, at any size.
  segment, used = load_segmentation(f"{tmp_path}/run"), []
  for name, kernel in KERNELS.items():
    spy = lambda *x, n=name, k=kernel: used.append(n) or k(*x)  # noqa: E731
    monkeypatch.setitem(KERNELS, name, spy)
  true, found = [], []
  for path in sorted((tmp_path / "shapes/validation/images").iterdir()):
    image = np.asarray(Image.open(path))
    height, width = (side - side % 4 for side in image.shape[:2])
    mask = np.asarray(Image.open(str(path).replace("images", "masks")))
    true.append(mask[:height, :width].ravel())
    found.append(segment(image[None, :height, :width])[0].ravel())
  true, found = np.concatenate(true), np.concatenate(found)
  assert (true == found)[true != UNLABELLED].mean() > 0.9
  assert "heads" in used  # It has the kernel of a CPU.
  with pytest.raises(ConfigError, match="no run of objective.name='segm"):
    load_segmentation(str(tmp_path / "a.npz"))
  # Taken away, its encoder goes alone, and that is said.
  for name, said in (("run", True), ("a.npz", False)):
    capsys.readouterr()
    convert([f"{tmp_path}/{name}", f"{tmp_path}/{said}.npz"])
    assert ("classifies pixels" in capsys.readouterr().out) == said
  encoder = load_weights(f"{tmp_path}/run")
  encoder.params.update({k: 2 * x for k, x in encoder.params.items()})
  save_weights(encoder, f"{tmp_path}/b.npz", "authors")
  average([f"{tmp_path}/run", f"{tmp_path}/b.npz", f"--out={tmp_path}/soup"])
  assert "/run classifies pixels: its encoder" in capsys.readouterr().out
  # The command finds what the run found.
  again = vit_jax.evaluate(tmp_path / "run", out=tmp_path / "out")
  assert again["split"] == "validation" and again["images"] == 10
  for name in ("miou", "pixel_accuracy", "iou_disc"):
    # Pixels on a border, of 128,000, may fall to either side.
    assert again[name] == pytest.approx(result[name], abs=1e-4)
  assert (tmp_path / "out/evaluation.json").exists()
  assert "mean IoU" in format_table(again)
  with pytest.raises(ConfigError, match="have no masks"):
    vit_jax.evaluate(tmp_path / "run", data="synthetic:3")
  with pytest.raises(ConfigError, match="crop=0.5 cuts pixels off that a seg"):
    vit_jax.evaluate(tmp_path / "run", crop=0.5)
  with pytest.raises(ConfigError, match="reads masks: leave the others"):
    vit_jax.evaluate(tmp_path / "run", evals=("segmentation", "knn"))
  with pytest.raises(ConfigError, match="is for runs of objective.name='segm"):
    vit_jax.evaluate(tmp_path / "a.npz", evals=("segmentation",))
  other = shutil.copytree(tmp_path / "shapes", tmp_path / "other")
  names = (other / "classes.txt").read_text().split()
  (other / "classes.txt").write_text("\n".join(names[::-1]))
  with pytest.raises(ConfigError, match="class 'ground' is 2 in .*, and 0 in"):
    vit_jax.evaluate(tmp_path / "run", data=f"segmentation:{other}")
  # predict: shares of classes, and maps of the sizes of the photographs.
  folder = tmp_path / "shapes/validation/images"
  main([f"{tmp_path}/run", str(folder), f"--masks={tmp_path}/maps"])
  assert capsys.readouterr().out.count("%  ground") == 10
  rows = list(vit_jax.predict(tmp_path / "run", str(folder)))
  right = total = 0
  for row in rows:
    name = row.path.rpartition("/")[2]
    classes = Image.open(tmp_path / f"maps/{name}.classes.png")
    mask = np.asarray(Image.open(folder.parent / f"masks/{name}"))
    values = np.asarray(classes)
    assert classes.mode == "P" and values.shape == mask.shape
    right += (values == mask)[mask != UNLABELLED].sum()
    total += (mask != UNLABELLED).sum()
    share = {number: x for number, _, x in row.classes}
    assert share[0] == pytest.approx((values == 0).mean())
  # The maps are what was measured.
  assert right / total == pytest.approx(result["pixel_accuracy"], abs=1e-3)
  with pytest.raises(SystemExit):
    main([f"{tmp_path}/run", str(folder), f"--masks={tmp_path}/a.npz"])
  assert "/a.npz cannot be written" in capsys.readouterr().err
  with pytest.raises(ConfigError, match="does not classify pixels"):
    list(vit_jax.predict(tmp_path / "a.npz", str(folder), masks=print))
  with pytest.raises(ConfigError, match="pixels: leave out --weights=int8$"):
    list(vit_jax.predict(tmp_path / "run", str(folder), weights="int8"))
  with pytest.raises(ConfigError, match="pixels: leave out --weights=int8$"):
    vit_jax.evaluate(tmp_path / "run", weights="int8")
  check_starts(config | dict(init=str(tmp_path / "run")), other)
  # Its encoder is a model like any other.
  model, preprocess = vit_jax.load(tmp_path / "run")
  assert "segmentation" not in model.params
  image = np.asarray(Image.open(tmp_path / "shapes/train/images/000.png"))
  maps = model.features(preprocess(image))
  assert maps.shape == (1, 8, 10, 32)


def refuse(path):
  """As if others may not look into the directory of a path."""
  raise PermissionError(13, "Permission denied", str(path))


def check_starts(config, other):
  """A run that starts from a run takes its head, unless it is another."""
  trained = flatten(load_params(epath.Path(config["init"]) / "checkpoints"))

  def begin(**sections):
    made = {k: config.get(k, {}) | x for k, x in sections.items()}
    exp = build(config | made)
    taken, report = exp.load_init()
    return exp.make_state(dict(taken)).params, taken, report.notes[-1]

  larger = dict(data=dict(size=(48, 40)), transfer=dict(head="keep"))
  params, taken, note = begin(**larger)
  assert note == "all of segmentation/, the head, is kept: 2 arrays"
  for path in ("segmentation/head/kernel", "segmentation/head/bias"):
    np.testing.assert_array_equal(flatten(params)[path], trained[path])
  for why, changes in {
    "as asked": dict(transfer=dict(head="drop")),
    "class 0 is 'ground' there, 'disc' here": dict(
      data=dict(source=f"segmentation:{other}")
    ),
    "another objective.head": dict(objective=dict(head="naive")),
  }.items():
    params, taken, note = begin(**changes)
    assert note.startswith(f"new: all of segmentation/, {why}")
    assert not any(path.startswith("segmentation/") for path in taken)
  with pytest.raises(ConfigError, match="cannot be kept: another objective"):
    begin(objective=dict(head="pup"), transfer=dict(head="keep"))
  more = shutil.copytree(other, other.with_name("more"))
  (more / "classes.txt").write_text("ground\nsquare\ndisc\nsky")
  _, _, note = begin(data=dict(source=f"segmentation:{more}"))
  assert note == "new: all of segmentation/, 3 classes there, 4 here"
  # Classes without names are no others.
  bare = shutil.copytree(other, other.with_name("bare"))
  (bare / "classes.txt").unlink()
  *_, note = begin(
    data=dict(source=f"segmentation:{bare}"), transfer=dict(head="keep")
  )
  assert "is kept: 2 arrays; for want of a classes.txt" in note
  # A source whose data cannot be read any more is still one.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(pathlib.Path, "exists", refuse)
    assert find_names(config["init"], 3) == ()


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"data.source": "tfds:digits"}, "'tfds:digits' has none: set it to segm"),
    ({"objective.name": "mae"}, "has masks, which objective.name='mae' does"),
    ({"data.eval_crop": 0.875}, "eval_crop=0.875 cuts pixels off"),
    ({"data.augment.randaugment": (2, 9.0)}, "randaugment moves pixels"),
    ({"data.augment.mixup": 0.2}, "mixup=0.2 mixes labels"),
    ({"data.views.count": 2}, "data.views.count=2 is for objectives that"),
    ({"evals.validation.kind": "knn"}, "kind='knn' reads a label of each"),
    ({"data.num_classes": 7}, "data.num_classes=7 has no effect"),
  ],
)
def test_what_does_not_go_together(changes, message):
  config = vit_jax.get_config("segmentation", dataset="nowhere", steps=1)
  if "objective.name" in changes:
    del config.objective["head"]
  config = config.to_dict()
  for key, value in changes.items():
    *path, last = key.split(".")
    section = config
    for name in path:
      section = section.setdefault(name, {})
    section[last] = value
  with pytest.raises(ConfigError, match=message):
    sections.resolve(config)


def test_masks_are_no_labels_of_images(tmp_path):
  make_shapes(tmp_path / "shapes", train=2, validation=2)
  weights = make_weights(dict(variant="mu/4"), size=(16, 16))
  save_weights(weights, str(tmp_path / "a.npz"), "authors")
  given = dict(data=f"segmentation:{tmp_path}/shapes")
  for evals, message in (
    (["classification"], "masks, and not the labels that a classification"),
    (["knn"], "have masks: few-shot and linear probes and k-NN need a label"),
  ):
    with pytest.raises(ConfigError, match=message):
      vit_jax.evaluate(f"{tmp_path}/a.npz", evals=evals, **given)
  # Features need none.
  found = vit_jax.features(f"{tmp_path}/a.npz", split="train", **given)
  assert found["features"].shape == (2, 32)
