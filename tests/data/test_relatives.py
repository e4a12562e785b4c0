# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Named maps, on folders as the authors of each set arrange them.

The images are made up, and weights of random parameters look at them: what is
right is counted from their logits, by the names of files alone.
"""

import csv
import dataclasses
import hashlib
import io
import json

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import vit_jax
from tests.support.weights import make_tiny_weights
from vit_jax import evaluate
from vit_jax.config import ConfigError
from vit_jax.convert import save_weights
from vit_jax.data import relatives

FACTS = relatives.load_facts()
WNIDS = FACTS["imagenet"]["wnids"]

# Digests of imagenet_a_indices.txt and imagenet_r_indices.txt of timm 1.0,
# which has read the authors' files on its own.
TIMM = {
  "imagenet_a": (
    "e81223a35add6e78f9afe6f215652c1926ebefe1d8efc26c6e923d7ac9143937"
  ),
  "imagenet_r": (
    "91e09d2ff0a002104bc0d37a892a7e75ffc2cc0db47b2b506047a3493b9116d2"
  ),
}


def digest(lines):
  text = "".join(f"{line}\n" for line in lines)
  return hashlib.sha256(text.encode()).hexdigest()


def test_the_facts_are_those_of_the_published_files():
  assert len(WNIDS) == 1000 and sorted(WNIDS) == WNIDS
  assert digest(WNIDS) == FACTS["imagenet"]["sha256"]
  for name, expected in TIMM.items():
    assert digest(FACTS[name]["indices"]) == expected
    assert len(FACTS[name]["indices"]) == 200
  classes = FACTS["objectnet"]["classes"]
  assert len(classes) == 113  # Barbu et al., 2019, section 3.
  assert classes["chair"] == [423, 559, 765]  # Barber, folding and rocking.
  every = [i for found in classes.values() for i in found]
  assert len(every) == len({*every}) == 125
  for name in relatives.list_relatives():
    assert FACTS[name]["source"].startswith("https://")
    assert len(FACTS[name]["sha256"]) == 64
    assert FACTS[name]["licence"] in ("MIT", "Apache-2.0")


def make_images(count, side=8, frame=0):
  """PNGs of noise of one hue each, within a red frame."""
  rng = np.random.default_rng(0)
  made = []
  for _ in range(count):
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[..., 0] = 255
    inner = side - 2 * frame
    noise = rng.integers(0, 128, (inner, inner, 3)) + rng.integers(0, 128, 3)
    pixels[frame : side - frame, frame : side - frame] = noise
    made.append(pixels)
  return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  """Of ImageNet's classes, without names, as the authors' files are."""
  directory = tmp_path_factory.mktemp("weights")
  made = make_tiny_weights(classes=1000)
  save_weights(made, str(directory / "odd.npz"), form="authors")
  model, preprocess = vit_jax.load(directory / "odd.npz")
  # Else most images are taken for the same few classes.
  mean = np.asarray(model(preprocess(make_images(64)))).mean(axis=0)
  bias = {"head/bias": made.params["head/bias"] - mean}
  made = dataclasses.replace(made, params=made.params | bias)
  save_weights(made, str(directory / "w.npz"), form="authors")
  return directory / "w.npz"


@pytest.fixture(scope="module")
def compute_logits(weights):
  model, preprocess = vit_jax.load(weights)
  return lambda images: np.asarray(jax.device_get(model(preprocess(images))))


@pytest.fixture(scope="module")
def images():
  return make_images(240)


@pytest.fixture(scope="module")
def logits(images, compute_logits):
  return compute_logits(images)


def arrange(root, folders, images):
  """Writes image i to a file of that number in its folder."""
  for i, (folder, pixels) in enumerate(zip(folders, images, strict=True)):
    (root / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / folder / f"{i:04d}.png")
  (root / "README.txt").write_text("What the authors of a set say of it.")


def score(weights, root, label_map, out, **more):
  """Evaluates; returns the figures, and number of an image -> its row."""
  found = evaluate.evaluate(
    str(weights),
    data=f"folder:{root}",
    label_map=label_map,
    out=str(out),
    batch_size=400,
    **more,
  )
  with (out / "predictions.csv").open() as file:
    rows = {int(x["path"][-8:-4]): x for x in csv.DictReader(file)}
  return found, rows


@pytest.mark.parametrize(
  ("name", "among"),
  [("imagenet_a", ""), ("imagenet_a", ":all"), ("imagenet_r", ":own")],
)
def test_200_of_the_classes(weights, images, logits, tmp_path, name, among):
  """Folders by wnid, without splits: all images are scored."""
  own = FACTS[name]["indices"]
  kept = np.arange(1000) if among == ":all" else np.array(own)
  first = kept[logits[:, kept].argmax(1)]
  # One of each class; then, of what 40 others show.
  labels = [*own, *(x if x in own else own[0] for x in first[200:])]
  arrange(tmp_path / "set", [WNIDS[i] for i in labels], images)
  out = tmp_path / "out"
  found, rows = score(weights, tmp_path / "set", f"{name}{among}", out)
  right = first == labels
  assert found["correct"] == right.sum() >= 5 and found["total"] == 240
  assert found["label_map"] == {
    "path": name,
    "sha256": FACTS[name]["sha256"],
    "among": len(kept),
    "source": FACTS[name]["source"],
  }
  notes = " ".join(found["notes"])
  assert f"among {len(kept):,} classes" in notes
  assert f"the published set has {FACTS[name]['images']:,}" in notes
  supported = {x["class"] for x in found["classes"] if x["support"]}
  assert supported == {WNIDS[i] for i in own}
  for i, row in rows.items():
    assert row["label_class"] == WNIDS[labels[i]]
    assert row["prediction_class"] == WNIDS[first[i]]


@pytest.mark.parametrize("name", ["imagenet_v2", "imagenet_sketch"])
def test_all_of_the_classes(weights, compute_logits, tmp_path, name):
  """V2's folders are 0 to 999, and as strings 10 comes before 2."""
  images = make_images(1000)
  first = compute_logits(images).argmax(1)
  # Each class has an image; some of those are what their images show.
  labels = np.arange(1000)
  for i, x in enumerate(first[:100]):
    labels[[i, np.flatnonzero(labels == x)[0]]] = x, labels[i]
  assert {*labels} == {*range(1000)}
  by_wnid = name == "imagenet_sketch"
  folders = [WNIDS[i] if by_wnid else str(i) for i in labels]
  arrange(tmp_path / "set", folders, images)
  found, rows = score(weights, tmp_path / "set", name, tmp_path / "out")
  assert found["correct"] == (first == labels).sum() > 0
  assert found["total"] == len(rows) == 1000
  assert all(int(row["label"]) == labels[i] for i, row in rows.items())
  if not by_wnid:  # Nor are they taken by their order without a map.
    found = evaluate.evaluate(
      str(weights),
      data=f"folder:{tmp_path / 'set'}",
      split="train",
      batch_size=400,
    )
    assert found["correct"] == (first == labels).sum()


@pytest.mark.parametrize("among", ["", ":own"])
def test_objectnet(weights, compute_logits, tmp_path, among):
  """A class is one or several of ImageNet's; the red frame is cut off."""
  classes = FACTS["objectnet"]["classes"]
  own = np.unique([i for found in classes.values() for i in found])
  kept = own if among else np.arange(1000)
  images = make_images(200, side=12, frame=2)
  logits = compute_logits([x[2:-2, 2:-2] for x in images])
  first = kept[logits[:, kept].argmax(1)]
  folder_of = {i: name for name, found in classes.items() for i in found}
  # 113 that ImageNet has, 7 that it has not, and what the others show.
  folders = [*classes, *(f"coaster_{i}" for i in range(7))]
  folders += [folder_of.get(x, "chair") for x in first[120:]]
  arrange(tmp_path / "images", folders, images)
  found, rows = score(
    weights, tmp_path / "images", f"objectnet{among}", tmp_path / "out"
  )
  right = [
    x in classes[name]
    for name, x in zip(folders, first, strict=True)
    if name in classes
  ]
  assert found["total"] == len(rows) == 193 and found["images"] == 193
  assert found["correct"] == sum(right) > 0
  assert "left out: 7 images without one;" in " ".join(found["notes"])
  assert found["label_map"]["among"] == len(kept)


@pytest.fixture
def real(tmp_path, monkeypatch):
  """Labels of 240 images, in place of the published file of 50,000."""
  rng = np.random.default_rng(1)
  labels = [rng.permutation(1000)[: i % 4].tolist() for i in range(240)]
  path = tmp_path / "real.json"
  path.write_text(json.dumps(labels))
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  facts = FACTS | {"real": FACTS["real"] | {"sha256": digest, "images": 180}}
  monkeypatch.setattr(relatives, "load_facts", lambda: facts)
  return path, labels


def test_real(weights, images, logits, tmp_path, real):
  """Any of an image's labels is right; images without one are left out."""
  path, labels = real
  first = logits.argmax(1)
  for i in range(0, 240, 7):
    labels[i][:1] = [int(first[i])] * bool(labels[i])
  path.write_text(json.dumps(labels))
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  relatives.load_facts()["real"]["sha256"] = digest
  root = tmp_path / "val"
  for i, pixels in enumerate(images):
    folder = root / WNIDS[i % 5]
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"ILSVRC2012_val_{i + 1:08d}.png")
  found, _ = score(weights, root, f"real:{path}", tmp_path / "out")
  right = [x in known for x, known in zip(first, labels, strict=True) if known]
  assert found["total"] == len(right) == 180
  assert found["correct"] == sum(right) >= 20
  assert "classes" not in found
  assert not any("published set" in note for note in found["notes"])


def prepare(dataset, split, labels, images, data_dir):
  """Writes a set as TFDS's builder does, of these images."""
  builder = tfds.builder(dataset, data_dir=data_dir, file_format="array_record")

  def generate():
    for i, (label, pixels) in enumerate(zip(labels, images, strict=True)):
      file = io.BytesIO()
      Image.fromarray(pixels).save(file, "PNG")
      file.seek(0)
      name = f"ILSVRC2012_val_{i + 1:08d}.JPEG"
      yield name, {"image": file, "label": label, "file_name": name}

  builder._split_generators = lambda _: {split: generate()}
  tfds.disable_progress_bar()
  builder.download_and_prepare()


def test_sets_of_tfds(weights, images, logits, tmp_path, real):
  """Their classes are wnids, of ImageNet's validation images with names."""
  own = np.array(FACTS["imagenet_a"]["indices"])
  labels = [WNIDS[i] for i in own[np.arange(240) % 200]]
  prepare("imagenet_a", "test", labels, images, tmp_path)
  common = dict(data_dir=str(tmp_path), batch_size=240)
  found = evaluate.evaluate(
    str(weights), data="tfds:imagenet_a", label_map="imagenet_a", **common
  )
  first = logits[:, own].argmax(1)
  assert found["correct"] == (first == np.arange(240) % 200).sum()
  assert found["total"] == 240 and found["label_map"]["among"] == 200

  path, known = real
  prepare("imagenet2012", "validation", labels, images, tmp_path)
  found = evaluate.evaluate(
    str(weights), data="tfds:imagenet2012", label_map=f"real:{path}", **common
  )
  first = logits.argmax(1)
  right = [x in found for x, found in zip(first, known, strict=True) if found]
  assert found["correct"] == sum(right) and found["total"] == 180


def test_another_file_than_was_published_is_refused(tmp_path, real):
  path, labels = real
  digest = FACTS["real"]["sha256"]
  path.write_text(json.dumps(labels[::-1]))
  with pytest.raises(ConfigError) as caught:
    relatives.open_label_map(f"real:{path}")
  assert "real.json" in str(caught.value) and "+ sha256" in str(caught.value)
  assert digest == (  # As TFDS has it, too.
    "d83e9bff374c631aae8439eb064c7019acc56e1b3bc3f56b8380c2a710b0220b"
  )


@pytest.mark.parametrize(
  ("label_map", "more", "words"),
  [
    ("real", {}, ["real:FILE", "reassessed-imagenet"]),
    ("imagenet_b", {}, ["imagenet_b", "imagenet_a"]),
    ("imagenet_a:200", {}, ["imagenet_a:own", "imagenet_a:all"]),
    ("imagenet_a", {"label_map_sha256": "0" * 64}, ["label_map_sha256"]),
    ("imagenet_a", {}, ["200 of its 200", "n01498041"]),  # Of other classes.
  ],
)
def test_what_is_refused(weights, images, tmp_path, label_map, more, words):
  arrange(tmp_path / "set", [str(i % 2) for i in range(4)], images[:4])
  with pytest.raises(ConfigError) as caught:
    score(weights, tmp_path / "set", label_map, tmp_path / "out", **more)
  for word in words:
    assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("named", [False, True])
def test_weights_of_other_classes(images, tmp_path, named):
  """They need wnids, by which those of the map are found in any order."""
  names = tuple(reversed([*WNIDS, "n99999999"])) if named else ()
  made = make_tiny_weights(classes=1001, names=names)
  path = tmp_path / "w.npz"
  save_weights(made, str(path), form="authors")
  own = FACTS["imagenet_a"]["indices"]
  arrange(tmp_path / "set", [WNIDS[i] for i in own], images[:200])
  if not named:
    with pytest.raises(ConfigError, match="1,001, of which none"):
      score(path, tmp_path / "set", "imagenet_a", tmp_path / "out")
    return
  model, preprocess = vit_jax.load(path)
  kept = [names.index(WNIDS[i]) for i in own]
  logits = np.asarray(model(preprocess(images[:200])))[:, kept]
  found, rows = score(path, tmp_path / "set", "imagenet_a", tmp_path / "out")
  first = logits.argmax(1)
  assert found["correct"] == (first == np.arange(200)).sum()
  for i, row in rows.items():
    assert row["prediction_class"] == WNIDS[own[first[i]]]
