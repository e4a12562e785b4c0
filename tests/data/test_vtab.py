# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The 19 tasks, each from a small set that TFDS's own builder has written.

The builders are given made-up images in place of their downloads; all else of
the sets, names, versions, features and files, is as TFDS makes it.
"""

import io
import pickle
import shutil

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from vit_jax.config import ConfigError
from vit_jax.data import pipeline, sources, transforms, vtab
from vit_jax.devices.mesh import make_mesh
from vit_jax.study.vtab import find_missing

# What VTAB's code says: the set; where val200 and test are taken from, in the
# words of TFDS; classes; the first of val200 in that split; images of test.
TABLE = {
  "caltech101": ("caltech101", "train[90%:]", "test", 102, 2754, 6084),
  "cifar100": ("cifar100", "train[90%:]", "test", 100, 45_000, 10_000),
  "dtd": ("dtd", "validation", "test", 47, 0, 1880),
  "flowers102": ("oxford_flowers102", "validation", "test", 102, 0, 6149),
  "pets": ("oxford_iiit_pet", "train[80%:]", "test", 37, 2944, 3669),
  "sun397": ("sun397/tfds", "validation", "test", 397, 0, 21_750),
  "svhn": ("svhn_cropped", "train[90%:]", "test", 10, 65_931, 26_032),
  "patch_camelyon": ("patch_camelyon", "validation", "test", 2, 0, 32_768),
  "eurosat": ("eurosat/rgb", "train[60%:]", "train[80%:]", 10, 16_200, 5400),
  "resisc45": ("resisc45", "train[60%:]", "train[80%:]", 45, 18_900, 6300),
  "retinopathy": (
    "diabetic_retinopathy_detection/btgraham-300",
    *("validation", "test", 5, 0, 42_670),
  ),
  "clevr_count": ("clevr", "train[90%:]", "validation", 8, 63_000, 15_000),
  "clevr_dist": ("clevr", "train[90%:]", "validation", 6, 63_000, 15_000),
  "dmlab": ("dmlab", "validation", "test", 6, 0, 22_735),
  "kitti_dist": ("kitti", "validation", "test", 4, 0, 711),
  "dspr_loc": ("dsprites", "train[80%:]", "train[90%:]", 16, 589_824, 73_728),
  "dspr_ori": ("dsprites", "train[80%:]", "train[90%:]", 16, 589_824, 73_728),
  "snorb_azim": ("smallnorb", "test", "test[50%:]", 18, 0, 12_150),
  "snorb_elev": ("smallnorb", "test", "test[50%:]", 9, 0, 12_150),
}

# Sets that TFDS stores as PNG; the others are JPEGs.
LOSSLESS = ("cifar100", "svhn_cropped", "patch_camelyon", "kitti", "clevr")
LOSSLESS += ("dsprites", "smallnorb")

SIZES = {"train": 30, "validation": 4, "test": 8}

# CLEVR: depth of the nearest object -> label.
DEPTHS = {
  **{7.5: 0, 8.0: 0, 8.25: 1, 8.5: 1, 8.75: 2, 9.0: 2, 9.25: 3, 9.5: 3},
  **{9.75: 4, 10.0: 4, 10.25: 5, 30.0: 5},
}

# KITTI: what is on an image, and how many metres away -> label.
STREETS = [
  ([], 3),
  ([("Pedestrian", 3.0), ("Tram", 5.0)], 3),
  ([("Car", 8.0)], 0),
  ([("Car", 50.0), ("Van", -1.0)], 0),
  ([("Van", 8.25)], 1),
  ([("Truck", 20.0), ("Misc", 4.0)], 1),
  ([("Car", 20.25), ("Cyclist", 1.0)], 2),
  ([("Tram", 2.0), ("Car", 80.0), ("Truck", 30.0)], 2),
]


def draw(dataset, shape, number):
  """The image of an example, as it is stored: uint8 [H W c]."""
  height, width, channels = (side or 12 for side in shape)
  if dataset in LOSSLESS:
    stop = 2 if dataset == "dsprites" else 256
    rng = np.random.default_rng(number)
    return rng.integers(0, stop, (height, width, channels), np.uint8)
  # One colour, which a JPEG keeps.
  colour = np.array([6 * number, 255 - 6 * number, 128], np.uint8)
  return np.broadcast_to(colour, (height, width, 3))


def encode(dataset, image):
  """A file of an image."""
  suffix = ".png" if dataset in LOSSLESS else ".jpg"
  return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()


def fill(feature):
  """Some value of a feature that nobody reads."""
  features = tfds.features
  if isinstance(feature, features.Image):
    return io.BytesIO(b"not even an image")
  if isinstance(feature, features.Text):
    return "text"
  if isinstance(feature, features.BBoxFeature):
    return features.BBox(0.0, 0.0, 1.0, 1.0)
  if isinstance(feature, features.Sequence):
    return []
  if isinstance(feature, features.ClassLabel):
    return 0
  return np.zeros(feature.shape, feature.np_dtype)


def describe(dataset, number, features):
  """What the labels of an example are made of."""
  if dataset in ("clevr", "kitti"):
    fields = features["objects"].feature
    other = {key: fill(fields[key]) for key in fields}
    depth = list(DEPTHS)[number % len(DEPTHS)]
    objects = [
      {"pixel_coords": [100.0, 1.0, depth + 2 * i]}
      # The nearest is not the first.
      for i in reversed(range(3 + number % 8))
    ]
    if dataset == "kitti":
      objects = [
        {"type": kind, "location": [-2.0, 1.5, z]}
        for kind, z in STREETS[number % len(STREETS)][0]
      ]
    return {"objects": [other | fields for fields in objects]}
  if dataset == "dsprites":
    return {
      "label_x_position": number % 32,
      "label_orientation": 7 * number % 40,
    }
  if dataset == "smallnorb":
    return {"label_azimuth": 5 * number % 18, "label_elevation": number % 9}
  return {"label": 11 * number % features["label"].num_classes}


def get_label(name, number):
  """The label of an example, computed in another way."""
  depths = list(DEPTHS.values())
  return {
    "clevr_count": number % 8,
    "clevr_dist": depths[number % len(depths)],
    "kitti_dist": STREETS[number % len(STREETS)][1],
    "dspr_loc": int(number % 32 / 2),
    "dspr_ori": int(7 * number % 40 / 2.5),
    "snorb_azim": 5 * number % 18,
    "snorb_elev": number % 9,
  }.get(name, 11 * number % TABLE[name][3])


class Set:
  """A set that was written; `numbers` says whose image a file is."""

  def __init__(self, dataset, splits, data_dir):
    self.dataset, self.data_dir = dataset, str(data_dir)
    self.numbers = {}
    builder = tfds.builder(
      dataset, data_dir=data_dir, file_format="array_record"
    )
    self.shape = builder.info.features["image"].shape
    # Where examples come from is all that is not TFDS's.
    builder._split_generators = lambda _: {
      split: self.generate(builder.info.features, size)
      for split, size in splits.items()
    }
    tfds.disable_progress_bar()
    builder.download_and_prepare()

  def generate(self, features, size):
    for _ in range(size):
      number = len(self.numbers)
      file = encode(self.dataset, draw(self.dataset, self.shape, number))
      self.numbers[file] = number
      yield (
        f"{number}",
        {key: fill(feature) for key, feature in features.items()}
        | describe(self.dataset, number, features)
        | {"image": io.BytesIO(file)},
      )

  def read(self, split):
    """The examples of a split of TFDS's, as TFDS reads them, by number."""
    builder = tfds.builder(self.dataset, data_dir=self.data_dir)
    images = {"image", "image2", "segmentation_mask"}
    images &= builder.info.features.keys()
    decoders = {key: tfds.decode.SkipDecoding() for key in images}
    source = builder.as_data_source(split, decoders=decoders)
    return [self.numbers[example["image"]] for example in source]


@pytest.fixture(scope="module")
def write(tmp_path_factory):
  """A function dataset -> a small set of it, written once."""
  written = {}

  def make(dataset):
    if dataset not in written:
      rows = [row for row in TABLE.values() if row[0] == dataset]
      used = "train" + "".join(rows[0][1:3])
      splits = {s: size for s, size in SIZES.items() if s in used}
      directory = tmp_path_factory.mktemp("vtab")
      written[dataset] = Set(dataset, splits, directory)
    return written[dataset]

  return make


@pytest.fixture
def few(monkeypatch):
  """Tasks take 8 and 2 images, where VTAB takes 800 and 200."""
  monkeypatch.setattr(vtab, "TRAIN", 8)
  monkeypatch.setattr(vtab, "VAL", 2)


@pytest.mark.parametrize("name", TABLE)
def test_images_labels_and_splits(name, write, few):
  dataset, val, test, classes, *_ = TABLE[name]
  written = write(dataset)
  source = f"vtab:{name}"
  expected = {
    "train800": written.read("train")[:8],
    "val200": written.read(val)[:2],
    "test": written.read(test),
  }
  expected["train800val200"] = expected["train800"] + expected["val200"]
  assert len(set(expected["train800val200"] + expected["test"])) == 10 + len(
    expected["test"]
  )
  info = sources.load_info(source, written.data_dir)
  assert info.num_classes == len(set(info.class_names)) == classes
  assert info.channels == 3
  assert info.splits.keys() == expected.keys()
  for split, numbers in expected.items():
    examples = sources.open_source(source, split, written.data_dir)
    assert len(examples) == info.count(split) == len(numbers)
    for i, number in enumerate(numbers):
      example = examples[i]
      assert example.keys() == {"image", "label"}
      assert isinstance(example["image"], bytes)
      assert type(example["label"]) is int
      assert example["label"] == get_label(name, number)
      found = transforms.decode(example["image"], 3)
      image = draw(dataset, written.shape, number).astype(int)
      image *= 255 if dataset == "dsprites" else 1
      error = np.abs(found - np.broadcast_to(image, found.shape)).max()
      # JPEG keeps a single colour to one step of its chroma.
      assert error <= (0 if dataset in LOSSLESS else 2)


@pytest.mark.parametrize("name", ["pets", "dtd"])  # Of one split, and of two.
def test_a_split_has_no_image_twice(name, tmp_path):
  """Also where splits of other names have it: train800val200 has val200."""
  info = sources.load_info(f"vtab:{name}", str(tmp_path))
  for split in ("train800val200", "val200+train800", "train800val200[:90%]"):
    assert info.count(split) >= 900
    assert info.count_shared(split, "val200[:50%]") == 100
    assert info.count_shared(split, "test") == 0
    with pytest.raises(sources.DataError, match="has examples twice"):
      info.count(f"{split}+val200[:1]")
  assert info.count("train800val200[:800]+val200") == 1000


def test_every_bin():
  """Also those that no example above is in."""
  tasks = vtab.TASKS
  for depth, label in DEPTHS.items():
    places = [[9.0, 1.0, depth + 3], [9.0, 9.0, depth], [0.0, 0.0, 99.0]]
    assert tasks["clevr_dist"].label({"pixel_coords": places}) == label
  kinds = ("Car", "Van", "Truck", "Pedestrian", "Cyclist", "Tram", "Misc")
  for street, label in STREETS:
    objects = {
      "type": [kinds.index(kind) for kind, _ in street],
      "location": [[0.0, 0.0, z] for _, z in street],
    }
    assert tasks["kitti_dist"].label(objects) == label
  for i in range(32):
    assert tasks["dspr_loc"].label(i) == int(i / 2)
  for i in range(40):
    assert tasks["dspr_ori"].label(i) == int(i / 2.5)
  for i in range(3, 11):
    assert tasks["clevr_count"].label({"size": [0] * i}) == i - 3


@pytest.mark.parametrize("name", TABLE)
def test_real_sizes_and_classes(name, tmp_path):
  """Of sets that are not on this disk."""
  dataset, val, test, classes, first, tested = TABLE[name]
  info = sources.load_info(f"vtab:{name}", str(tmp_path))
  assert info.directory is None
  assert info.num_classes == classes
  assert {split: info.count(split) for split in info.splits} == {
    "train800": 800,
    "val200": 200,
    "train800val200": 1000,
    "test": tested,
  }
  sizes = vtab.SIZES.get(dataset) or {
    split: record.num_examples
    for split, record in sources.load_info(
      f"tfds:{dataset}", str(tmp_path)
    ).splits.items()
  }
  parts = vtab.compute_parts(name, sizes)
  train, held = parts["train800val200"]
  assert train == ("train", 0, 800)
  assert held == (val.partition("[")[0], first, first + 200)
  split = test.partition("[")[0]
  assert parts["test"] == [(split, sizes[split] - tested, sizes[split])]


def test_tasks_and_classes_are_all_there(tmp_path):
  assert vtab.TASKS.keys() == TABLE.keys() and len(TABLE) == 19
  for name in ("dspr_loc", "dspr_ori", "snorb_azim", "snorb_elev"):
    task = vtab.TASKS[name]
    features = tfds.builder(task.dataset, data_dir=tmp_path).info.features
    last = features[task.feature].num_classes - 1
    assert task.label(last) == TABLE[name][3] - 1


def test_sizes_of_sun397_are_those_of_tfdss_lists():
  lists = {"train": "tr", "validation": "va", "test": "te"}
  for split, short in lists.items():
    path = f"image_classification/sun397_tfds_{short}.txt"
    lines = tfds.core.tfds_path(path).read_text().splitlines()
    assert len(lines) == sources.CATALOGUE["sun397/tfds"].splits[split]


def test_all_thousand(tmp_path):
  """With VTAB's own numbers, and parts of what is read from two splits."""
  written = Set("smallnorb", {"train": 805, "test": 432}, tmp_path)
  source = "vtab:snorb_azim"

  def read(split):
    examples = sources.open_source(source, split, written.data_dir)
    return [written.numbers[examples[i]["image"]] for i in range(len(examples))]

  stored, held = written.read("train"), written.read("test")
  assert read("train800") == stored[:800]
  assert read("val200") == held[:200]
  assert read("train800val200") == stored[:800] + held[:200]
  assert read("train800val200[799:802]") == [stored[799], *held[:2]]
  assert read("train800val200[900:]") == held[100:200]
  assert read("val200[:1]+train800[:1]") == [held[0], stored[0]]
  assert read("test[50%:]") == held[-108:]


def test_examples_can_be_sent_to_other_processes(write, few):
  written = write("dsprites")
  source = sources.open_source("vtab:dspr_ori", "test", written.data_dir)
  sent = pickle.loads(pickle.dumps(source))
  assert [sent[i] for i in range(3)] == [source[i] for i in range(3)]


def test_batches_of_a_task(write, few):
  written = write("dsprites")
  data = pipeline.Data(
    source="vtab:dspr_ori",
    dir=written.data_dir,
    train="train800val200",
    size=64,
    crop="none",
    threads=1,
  )
  mesh = make_mesh()
  kwargs = dict(batch_size=16, seed=0, start_step=0)
  batch = next(pipeline.make_train_batches(data, mesh, 3, **kwargs))
  images = np.asarray(batch["image"])
  assert images.shape == (16, 64, 64, 3)
  assert set(np.unique(images)) == {0, 255}
  # Ten images, so six of the sixteen come again.
  assert len(np.unique(images.reshape(16, -1), axis=0)) == 10
  batches, total = pipeline.make_eval_batches(
    data, mesh, 3, split="test", batch_size=16
  )
  [batch] = batches
  assert total == np.asarray(batch["mask"]).sum() == 3
  labels = [get_label("dspr_ori", n) for n in written.read("train[90%:]")]
  assert list(np.asarray(batch["label"])[:3]) == labels


@pytest.mark.parametrize("split", ["train", "val200[:0]", "validation"])
def test_other_splits_are_refused(split, tmp_path):
  info = sources.load_info("vtab:dtd", str(tmp_path))
  with pytest.raises(sources.DataError, match="vtab:dtd has no"):
    info.count(split)


@pytest.mark.parametrize(
  ("source", "message"),
  [
    ("vtab:kitti_dist", "python -m vit_jax.prepare kitti\n"),
    ("vtab:sun397", "python -m vit_jax.prepare sun397/tfds\n"),
    ("vtab:resisc45", "download .*prepare resisc45 --manual_dir=DIR"),
    ("vtab:retinopathy", "download .*detection/btgraham-300 --manual_dir=DIR"),
    ("vtab:Clevr_Dist", "vtab:Clevr_Dist.* did you mean 'clevr_dist'"),
  ],
)
def test_what_is_missing_comes_with_a_remedy(source, message, tmp_path):
  with pytest.raises(sources.DataError, match=message):
    sources.open_source(source, "test", str(tmp_path))


def test_a_set_that_is_too_small_is_refused(write, tmp_path):
  written = write("dtd")
  with pytest.raises(sources.DataError, match="dtd, which has train 30, val"):
    sources.open_source("vtab:dtd", "test", written.data_dir)
  # And, with all others, before a study of all tasks trains the first.
  version = sources.find_directory("dtd", written.data_dir)
  for name in ("dtd", "clevr"):
    shutil.copytree(version, tmp_path / name / version.name)
  with pytest.raises(ConfigError) as caught:
    find_missing(["pets", "dtd", "clevr_dist"], str(tmp_path))
  for name, line in zip(
    ("dtd", "clevr"), str(caught.value).splitlines(), strict=True
  ):
    assert f"from {name}, which has train 30" in line


def test_another_set_of_that_name_is_refused(write, few, tmp_path):
  written = write("dtd")
  version = sources.find_directory("dtd", written.data_dir)
  shutil.copytree(version, tmp_path / "clevr" / version.name)
  with pytest.raises(sources.DataError, match="is not clevr of TFDS"):
    sources.open_source("vtab:clevr_count", "test", str(tmp_path))
