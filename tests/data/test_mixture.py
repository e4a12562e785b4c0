# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import cv2
import numpy as np
import pytest

from tests.support import build
from vit_jax.data import mixture, pipeline, sources
from vit_jax.train import train


def write_folder(path, classes, images):
  """PATH/CLASS/: the colour says which class, the name which image."""
  for label, value in classes.items():
    for i in range(images):
      (path / label).mkdir(parents=True, exist_ok=True)
      image = np.full((8, 8, 3), value, np.uint8)
      assert cv2.imwrite(str(path / label / f"{i:03d}.png"), image)


@pytest.fixture
def two(tmp_path):
  """Two folders that share a class."""
  write_folder(tmp_path / "a", {"cat": 10, "dog": 20}, 30)
  write_folder(tmp_path / "b", {"bird": 30, "cat": 10}, 60)
  return f"3*folder:{tmp_path}/a,1*folder:{tmp_path}/b"


COLOURS = {"cat": 10, "dog": 20, "bird": 30}


def test_classes_of_one_name_are_one_class(two):
  info = sources.load_info(f"mix:{two}")
  assert info.class_names == ("cat", "dog", "bird")
  assert info.num_classes == 3 and info.channels == 3
  source = sources.open_source(f"mix:{two}", "train+test")
  assert len(source) == info.count("train+test") == 180
  for example in source:
    label = example["name"].split("/")[-2]
    assert info.class_names[example["label"]] == label
  half = sources.open_source(f"mix:{two}", "train[:50%]")
  sizes = [len(part) for part in half.parts]
  assert len(half) == sum(sizes) == info.count("train[:50%]")
  assert sizes[1] == pytest.approx(2 * sizes[0], abs=6)


def test_weights_say_how_often_each_is_drawn(two):
  source = sources.open_source(f"mix:{two}", "train")
  data = pipeline.Data(source=f"mix:{two}", size=8, crop="none", threads=2)

  def make(start_step=0, rows=range(40)):
    return pipeline.make_train_dataset(
      data,
      3,
      source,
      batch_size=40,
      rows=rows,
      seed=0,
      start_step=start_step,
    )

  batches = make()
  # Three in four are of the smaller folder, where each is met more often.
  labels = np.concatenate([batches[i]["label"] for i in range(10)])
  colours = np.concatenate([batches[i]["image"][:, 0, 0, 0] for i in range(10)])
  counts = np.bincount(labels, minlength=3)
  assert counts.sum() == 400
  assert counts[2] < 100 < counts[1]
  np.testing.assert_array_equal(
    colours, np.array(list(COLOURS.values()))[labels]
  )
  # A batch is a function of the step, whoever reads which rows of it.
  again = make(start_step=7, rows=range(1, 40, 2))[0]
  for name, expected in batches[7].items():
    np.testing.assert_array_equal(again[name], expected[1::2])


def test_the_share_of_each_source_is_exact():
  image = cv2.imencode(".png", np.zeros((2, 2), np.uint8))[1].tobytes()
  parts = [[dict(image=image, label=i)] * (7 + i) for i in range(3)]
  found = mixture.Mixture(parts, [5.0, 3.0, 2.0])
  data = pipeline.Data(source="mix:x", size=2, threads=1)
  dataset = pipeline.make_train_rows(data, 1, found, seed=0)
  labels = [int(dataset[i]["label"]) for i in range(1000)]
  assert np.bincount(labels).tolist() == [500, 300, 200]


def test_a_mixture_is_its_parts_laid_end_to_end():
  parts = [[dict(image=b"", label=i)] * 10 for i in range(3)]
  found = mixture.Mixture(parts, [5.0, 3.0, 2.0])
  assert [found[i]["label"] for i in (0, 9, 10, 19, 20, 29)] == [
    0,
    0,
    1,
    1,
    2,
    2,
  ]
  with pytest.raises(IndexError):
    found[30]
  assert mixture.parse_mixture("5*tfds:a, 0.3*folder:/b*c") == {
    "tfds:a": 5.0,
    "folder:/b*c": 0.3,
  }


@pytest.mark.parametrize(
  "name", ["tfds:digits", "0*tfds:a", "-1*tfds:a", "1*", "1*a:b,2*a:b", "x*a:b"]
)
def test_a_bad_mixture_is_explained(name):
  with pytest.raises(sources.DataError, match=r"invalid part.*WEIGHT\*SOURCE"):
    sources.load_info(f"mix:{name}")


def test_a_part_that_is_not_prepared_comes_with_a_remedy(tmp_path):
  for source in ("mix:1*tfds:cifar10,1*tfds:cifar100", "mix:1*tfds:cifar10"):
    with pytest.raises(sources.DataError, match="vit_jax.prepare cifar10"):
      sources.open_source(source, "train", str(tmp_path))


@pytest.mark.parametrize(
  ("slots", "expected"),
  [([None, None], None), ([None, 3], 3), ([2, 5], 5), ([0, 3], 0), ([0], 0)],
)
def test_slots_of_a_mixture(slots, expected):
  infos = {
    f"{i}": dataclasses.replace(
      sources.load_info("synthetic:10"), label_slots=slot
    )
    for i, slot in enumerate(slots)
  }
  name = ",".join(f"1*{source}" for source in infos)
  assert mixture.load_info(name, infos.get).label_slots == expected


def test_sources_without_names_must_agree(data_dir):
  same = sources.load_info("mix:1*synthetic:10,1*tfds:digits", data_dir)
  assert same.num_classes == 10 and same.class_names == ()
  with pytest.raises(sources.DataError, match="synthetic:10 10, synthetic:7 7"):
    sources.load_info("mix:1*synthetic:10,1*synthetic:7", data_dir)


def test_a_run_on_a_mixture(config, two, tmp_path, capsys):
  source = f"mix:{two},1*tfds:digits"
  config["data"] |= dict(source=source, size=8)
  config["train"] |= dict(steps=2)
  config["evals"] = {"test": dict(split="test")}
  result = train(config, str(tmp_path / "run"))
  exp = build(config)
  assert exp.num_classes == 13
  assert result["total"] == exp.info.count("test") > 360
  shown = capsys.readouterr().err
  assert shown.count("2 classes, images: train ") == 2
