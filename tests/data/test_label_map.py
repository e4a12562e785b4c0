# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Labels of ImageNet's relatives, on a folder whose answers are known."""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import vit_jax
from tests.support.weights import make_tiny_weights
from vit_jax import evaluate
from vit_jax.config import ConfigError
from vit_jax.convert import save_weights

# Two of the weights' have the same name, as of ImageNet's two are cranes.
NAMES = ("crane", "dog", "cat", "crane", "fish", "owl", "fox")
CLASSES = ("bird", "n01", "other")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Five images of each of three classes; file names ascend across them."""
  root = tmp_path_factory.mktemp("relatives")
  rng = np.random.default_rng(0)
  for number in range(15):
    label = CLASSES[number % 3]
    (root / label).mkdir(exist_ok=True)
    pixels = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(root / label / f"val_{number:03d}.png")
  return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "w.npz"
  made = make_tiny_weights(names=NAMES, classes=len(NAMES))
  save_weights(made, str(path), form="authors")
  return path


@pytest.fixture(scope="module")
def logits(weights, folder):
  """Of all images, in the order of their names."""
  model, preprocess = vit_jax.load(weights)
  files = sorted(folder.glob("*/*.png"), key=lambda path: path.name)
  return np.asarray(jax.device_get(model(preprocess(list(files)))))


def score(weights, folder, path, content, **more):
  given = isinstance(content, str) and content.startswith("{")
  path.write_text(content if given else json.dumps(content))
  return evaluate.evaluate(
    str(weights),
    data=f"folder:{folder}",
    split="train+test",
    label_map=str(path),
    out=str(path.parent / "out"),
    overwrite=True,
    **more,
  )


def test_some_classes_under_other_names(weights, folder, logits, tmp_path):
  """As ImageNet-A, -R and V2: predictions are among the classes of the map."""
  content = {"classes": {"n01": "dog", "other": 3, "bird": 5}}
  found = score(weights, folder, tmp_path / "map.json", content)
  kept = np.array([1, 3, 5])  # In the order of the weights.
  label = np.array([5, 1, 3] * 5)
  first = kept[logits[:, kept].argmax(1)]
  assert found["correct"] == (first == label).sum() and found["total"] == 15
  assert [row["class"] for row in found["classes"]] == ["dog", "crane", "owl"]
  expected = [(first[label == i] == i).mean() for i in kept]
  assert [row["recall"] for row in found["classes"]] == expected
  assert "accuracy_top5" not in found


def test_a_class_of_several_and_others_left_out(
  weights, folder, logits, tmp_path
):
  """As ObjectNet: a chair may be a rocking chair; other objects are unknown."""
  content = {"classes": {"bird": [0, 3, "owl"], "n01": ["dog"]}}
  found = score(weights, folder, tmp_path / "map.json", content)
  kept = np.array([0, 1, 3, 5])
  first = kept[logits[:, kept].argmax(1)]
  bird, dog = first[0::3], first[1::3]
  right = np.isin(bird, (0, 3, 5)).sum() + (dog == 1).sum()
  assert found["correct"] == right and found["total"] == found["images"] == 10
  assert "left out: 5 images without one;" in found["notes"][0]
  rows = (tmp_path / "out/predictions.csv").read_text().splitlines()
  assert len(rows) == 11 and not any("/other/" in row for row in rows)


@pytest.mark.parametrize("form", ["list", "names"])
def test_several_labels_of_an_image(weights, folder, logits, tmp_path, form):
  """As ReaL: by the order of the files' names, and some without a label."""
  rng = np.random.default_rng(1)
  labels = [rng.permutation(7)[: i % 4].tolist() for i in range(15)]
  content = labels
  if form == "names":
    names = {f"val_{i:03d}.png": x for i, x in enumerate(labels)}
    content = {"images": names | {"val_999.png": [0]}}
  found = score(weights, folder, tmp_path / "real.json", content)
  first = logits.argmax(1)
  right = [i in x for i, x in zip(first, labels, strict=True) if x]
  assert found["correct"] == sum(right) and found["total"] == 11
  top5 = np.argsort(-logits, axis=1)[:, :5]
  right = [bool({*i} & {*x}) for i, x in zip(top5, labels, strict=True) if x]
  assert found["accuracy_top5"] == pytest.approx(np.mean(right))
  assert "classes" not in found  # An image is of several.


def test_the_digest_is_recorded_and_compared(weights, folder, tmp_path):
  path = tmp_path / "map.json"
  content = {"classes": {"bird": 5}}
  digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
  found = score(weights, folder, path, content, label_map_sha256=digest)
  expected = {"path": str(path), "sha256": digest, "among": 1}
  assert found["label_map"] == expected
  with pytest.raises(ConfigError, match=digest):
    score(weights, folder, path, content, label_map_sha256="0" * 64)


@pytest.mark.parametrize(
  ("content", "word"),
  [
    ({"classes": {"bird": "crane"}}, "'crane'"),  # Which of the two?
    ({"classes": {"bird": 7}}, "7"),
    ({"classes": {"bird": -1}}, "-1"),
    ({"classes": {"birds": 1}}, "'birds'"),
    ({"classes": {"bird": 1.5}}, "1.5"),
    ({"classes": {"bird": []}}, "leaves no image"),
    ({"images": {"val_001.png": [1]}}, "lacks 14 of 15"),
    ([[1]] * 14, "14 images"),
    ([[]] * 15, "leaves no image"),
    ("bird", "must hold"),
    ('{"classes": {"bird": 1, "n01": 2, "bird": 3}}', "'bird' twice"),
    ({"classes": {"bird": 1, "Café": 2, "Cafe\u0301": 3}}, "twice"),
    ({"class": {}}, "must hold"),
  ],
)
def test_maps_that_do_not_fit_are_refused(
  weights, folder, tmp_path, content, word
):
  with pytest.raises(ConfigError) as caught:
    score(weights, folder, tmp_path / "map.json", content)
  assert word in str(caught.value) and "map.json" in str(caught.value)


def test_a_name_of_two_images_is_refused(weights, folder, tmp_path):
  """As of two classes that both have a 1.png: whose are the labels?"""
  root = tmp_path / "photos"
  shutil.copytree(folder, root)
  shutil.copy(root / "bird/val_000.png", root / "n01/val_000.png")
  names = {f"val_{i:03d}.png": [i % 7] for i in range(15)}
  with pytest.raises(ConfigError, match=r"2 images .*'val_000.png'"):
    score(weights, root, tmp_path / "map.json", {"images": names})


@pytest.mark.parametrize("kind", ["classes", "images"])
def test_a_class_given_twice_is_one_label(weights, folder, tmp_path, kind):
  """By its name and its index: it would be an image of several labels."""
  names = (
    CLASSES if kind == "classes" else [f"val_{i:03d}.png" for i in range(15)]
  )
  once = {name: ["dog"] if i % 2 else ["cat"] for i, name in enumerate(names)}
  twice = {k: [*x, 1 if x == ["dog"] else 2] for k, x in once.items()}
  found = [
    score(weights, folder, tmp_path / "map.json", {kind: x})
    for x in (once, twice)
  ]
  for x in found:
    del x["label_map"]
  assert "classes" in found[0]
  assert json.dumps(found[0]) == json.dumps(found[1])  # NaN is not itself.


def test_a_digest_without_a_map_is_refused(weights, folder):
  with pytest.raises(ConfigError, match="is for --label_map"):
    vit_jax.evaluate(
      str(weights), data=f"folder:{folder}", label_map_sha256="0" * 64
    )
