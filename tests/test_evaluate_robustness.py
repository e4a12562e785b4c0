# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Curves of robustness by the command: table, files, and a ResNet beside."""

import csv
import json

import numpy as np
import PIL.Image
import pytest

from tests.support.weights import RESNET, make_tiny_weights, make_weights
from vit_jax import evaluate
from vit_jax.config import ConfigError
from vit_jax.convert import save_weights
from vit_jax.evaluators import robustness
from vit_jax.evaluators.robustness import Robustness
from vit_jax.metrics.classification import compute_wilson

NAMES = tuple("0123456789")
SIZE = (8, 8)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
  """Weights of a ViT with patches of 2 pixels, for digits."""
  path = tmp_path_factory.mktemp("weights") / "vit.npz"
  weights = make_tiny_weights(SIZE, NAMES, classes=10, channels=1)
  save_weights(weights, str(path), form="authors")
  return path


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
  """Weights of a ResNet for digits, which are larger for it."""
  path = tmp_path_factory.mktemp("weights") / "resnet.npz"
  weights = make_weights(
    RESNET,
    size=(12, 12),
    channels=1,
    classes=10,
    class_names=NAMES,
  )
  save_weights(weights, str(path), form="bit")
  return path


def test_curves_beside_a_baselines(vit, resnet, data_dir, tmp_path, capsys):
  arguments = ["--data=tfds:digits", f"--data_dir={data_dir}"]
  arguments += ["--examples=40", "--evals=occlusion,shuffle,classification"]
  arguments += [f"--baseline={resnet}", f"--out={tmp_path}", "--json"]
  evaluate.main([str(vit), *arguments])
  shown = capsys.readouterr()
  found = json.loads(shown.out)
  part = found["robustness"]
  assert found["total"] == 360  # Of the other evaluation.
  assert (part["images"], part["of"]) == (40, 360)
  assert part["saliency"] == "gradient"  # As the ResNet has no attention.
  curves = [(x["evaluation"], x["curve"], x["model"]) for x in part["curves"]]
  assert curves == [
    *(("occlusion", x, str(vit)) for x in ("random", "salient", "non_salient")),
    *(
      ("occlusion", x, str(resnet))
      for x in ("random", "salient", "non_salient")
    ),
    *(("shuffle", "tiles", str(x)) for x in (vit, resnet)),
  ]
  with (tmp_path / "robustness.csv").open(encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
  expected = []
  for curve in part["curves"]:
    points = curve["points"]
    xs = [point["x"] for point in points]
    assert xs == sorted(xs) and len(xs) > 2
    assert len({point["total"] for point in points}) == 1
    for point in points:
      assert point["accuracy"] == point["correct"] / 40
      interval = compute_wilson(point["correct"], 40)
      assert point["interval"] == list(interval)
      expected.append((curve["model"], point["x"], point["correct"]))
  # The ResNet's grid is that of the ViT's patches: 16 cells, of 1.6 to 14.4.
  assert {
    tuple(point["x"] for point in x["points"]) for x in part["curves"][:6]
  } == {(0, 12.5, 18.75, 31.25, 37.5, 50, 62.5, 68.75, 81.25, 87.5)}
  assert expected == [
    (row["model"], float(row["x"]), int(row["correct"])) for row in rows
  ]
  assert "40 images of 360, evenly from all" in shown.err
  clean = {(x["model"], x["points"][0]["correct"]) for x in part["curves"]}
  assert len(clean) == 2
  pictures = ["robustness.png"]
  names = "occlusion_random", "occlusion_salient", "shuffle_tiles"
  pictures += [f"robustness/{name}.png" for name in names]
  for name in pictures:
    pixels = np.asarray(PIL.Image.open(tmp_path / name).convert("RGB"))
    assert min(pixels.shape[:2]) > 300
    for colour in ((0, 114, 178), (213, 94, 0)):  # Both lines.
      assert (np.abs(pixels.astype(int) - colour).sum(2) < 30).sum() > 100
  # Of another evaluation nothing is left.
  arguments[1:] = [arguments[1], "--evals=knn", f"--out={tmp_path}"]
  arguments += ["--overwrite"]
  evaluate.main([str(vit), *arguments])
  left = [x.name for x in tmp_path.rglob("*") if x.is_file()]
  assert left == ["evaluation.json"]


@pytest.mark.parametrize("kind", ["pgd", "texture"])
def test_each_alone(vit, data_dir, kind):
  found = evaluate.evaluate(
    str(vit), data="tfds:digits", data_dir=data_dir, evals=[kind], examples=9
  )
  (first, *_) = found["robustness"]["curves"]
  assert first["evaluation"] == kind and "accuracy" not in found
  assert [point["total"] for point in first["points"]] == [9] * len(
    first["points"]
  )
  assert "saliency" not in found["robustness"]


def test_all_of_them_are_named(vit, data_dir, monkeypatch):
  asked = []

  def measure(models, names, examples, make_mark):
    asked.extend(names)
    return {"images": examples, "of": 360, "curves": []}

  monkeypatch.setattr(robustness, "measure_robustness", measure)
  evaluate.evaluate(
    str(vit), data="tfds:digits", data_dir=data_dir, evals=["robustness"]
  )
  assert asked == list(evaluate.ROBUSTNESS)


def test_what_a_model_cannot_take_is_told_first(
  vit, data_dir, tmp_path, monkeypatch
):
  """Here a baseline of fewer pixels than the first model has patches."""
  small = tmp_path / "small.npz"
  weights = make_weights(
    RESNET, size=(3, 3), channels=1, classes=10, class_names=NAMES
  )
  save_weights(weights, str(small), form="bit")
  monkeypatch.setattr(Robustness, "measure", None)
  with pytest.raises(ConfigError, match="3 x 3 pixels .* grid of 4 x 4"):
    evaluate.evaluate(
      str(vit),
      data="tfds:digits",
      data_dir=data_dir,
      evals=["shuffle", "occlusion"],
      baseline=str(small),
    )


def test_mistakes_are_named(vit, resnet, data_dir, capsys):
  where = ["--data=tfds:digits", f"--data_dir={data_dir}"]
  for more, word in (
    ([f"--baseline={resnet}"], "--evals=robustness"),
    ([f"--baseline={vit}", "--evals=pgd"], "what it would be compared with"),
    (["--evals=patchattack"], "'patch_attack'"),
    (["--evals=pgd", "--examples=0"], "--examples"),
    (["--evals=pgd", "--baseline=/none"], "/none"),
  ):
    with pytest.raises(SystemExit) as caught:
      evaluate.main([str(vit), *where, *more])
    assert caught.value.code == 2
    assert word in capsys.readouterr().err
