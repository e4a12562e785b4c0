# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import logging
import pathlib

import cv2
import numpy as np
import pytest

from vit_jax.data import examples, order, pipeline, rows, sources, unreadable
from vit_jax.train import train

GREY = cv2.imencode(".png", np.full((8, 8), 9, np.uint8))[1].tobytes()


def write(path, count=40):
  """Two classes of JPEGs, some of them cut off in the middle of the file."""
  rng = np.random.default_rng(0)
  for label in ("a", "b"):
    (path / label).mkdir(parents=True)
    for i in range(count):
      image = rng.integers(0, 256, (16, 16, 3), np.uint8)
      data = cv2.imencode(".jpg", image)[1].tobytes()
      (path / label / f"{i:02d}.jpg").write_bytes(data)


def cut(path):
  path.write_bytes(path.read_bytes()[:-60])


@pytest.fixture
def photos(tmp_path):
  write(tmp_path / "photos")
  return tmp_path / "photos"


def make(source, **options):
  data = pipeline.Data(source="folder:x", size=8, crop="none", threads=2)
  return pipeline.make_train_dataset(
    data, 3, source, batch_size=20, rows=range(20), seed=0, **options
  )


class InOrder(order.Order):
  """The order of a source itself."""

  def __init__(self):
    super().__init__([1], [1.0], seed=0)

  def find(self, position):
    return position


def in_order(source):
  """The examples of a source for training, one after another."""
  return rows.TrainRows(
    parts=[rows.Pictures(source, 3)],
    order=InOrder(),
    size=(8, 8),
    channels=3,
    crop="none",
    crop_area=(0.05, 1.0),
    resize="area",
  )


def test_the_next_takes_the_place_of_an_unreadable_image(photos):
  source = sources.open_source(f"folder:{photos}", "train")
  before = make(source)
  decoded = in_order(source)
  expected = decoded[11]
  for index in (9, 10, len(source) - 1):
    cut(pathlib.Path(source.items[index][0]))
  for index in (9, 10):
    found = decoded[index]
    assert found["unreadable"] == index
    np.testing.assert_array_equal(found["image"], expected["image"])
    assert found["label"] == expected["label"]
  # After the last comes the first.
  np.testing.assert_array_equal(
    decoded[len(source) - 1]["image"], decoded[0]["image"]
  )
  assert decoded[0]["unreadable"] == -1
  # Nothing else of any batch changes.
  changed, met = 0, set()
  after = make(source)
  for step in range(8):
    a, b = before[step], after[step]
    whole = b["unreadable"] < 0
    np.testing.assert_array_equal(a["image"][whole], b["image"][whole])
    changed += (~whole).sum()
    met |= set(b["unreadable"][~whole].tolist())
  assert met == {9, 10, len(source) - 1} and changed >= 5


def test_each_is_counted_and_logged_once_with_its_path(photos, caplog):
  source = sources.open_source(f"folder:{photos}", "train")
  for index in (3, 5):
    cut(pathlib.Path(source.items[index][0]))
  found = unreadable.Unreadable(source, 0.05)
  with caplog.at_level(logging.WARNING):
    for _ in range(3):
      found.add(np.array([-1, 5, -1, 3, 5]))
  assert found.found == {3, 5}
  lines = [record.getMessage() for record in caplog.records]
  allowed = int(0.05 * len(source))
  assert len(lines) == 2
  for line, index, number in zip(lines, (3, 5), (1, 2), strict=True):
    assert line.startswith(f"unreadable image {number} of {allowed} allowed")
    assert source.items[index][0] in line and "truncated or broken JPEG" in line


def test_one_more_than_the_share_stops(photos):
  source = sources.open_source(f"folder:{photos}", "train")
  for index in range(3):
    cut(pathlib.Path(source.items[index][0]))
  found = unreadable.Unreadable(source, 2 / len(source))
  found.add(np.array([0, 1]))
  with pytest.raises(sources.DataError) as caught:
    found.add(np.array([2]))
  text = str(caught.value)
  assert source.items[2][0] in text
  assert f"3 of {len(source)} images" in text and "allows 2" in text
  with pytest.raises(sources.DataError, match="allows 0"):
    unreadable.Unreadable(source, 0.0).add(np.array([1]))


def test_a_source_of_nothing_readable_ends():
  bad = [dict(image=b"?", label=0, name=f"path/{i}".encode()) for i in range(3)]
  with pytest.raises(sources.DataError, match="3 images in a row.*path/0"):
    in_order(bad)[1]


def test_a_file_that_is_gone_is_unreadable(photos):
  source = sources.open_source(f"folder:{photos}", "train")
  pathlib.Path(source.items[2][0]).unlink()
  assert in_order(source)[2]["unreadable"] == 2
  with pytest.raises(sources.DataError, match="0 bytes"):
    unreadable.Unreadable(source, 0.0).add(np.array([2]))


def test_evaluation_counts_what_it_can_not_read(photos, caplog):
  source = sources.open_source(f"folder:{photos}", "train")
  cut(pathlib.Path(source.items[4][0]))
  pictures = rows.Pictures(source, 3)
  found = rows.EvalRows(
    pictures=pictures, size=(8, 8), channels=3, crop=None, resize="area"
  )
  example = found[4]
  assert not example["image"].any() and example["mask"]
  assert example["label"] == source.items[4][1] and example["unreadable"] == 4
  assert not found[len(source)]["mask"]


def test_runs_go_on_or_stop_as_the_user_chooses(
  config, photos, tmp_path, capsys
):
  config["data"] |= dict(source=f"folder:{photos}", size=8, max_unreadable=1.0)
  config["train"] |= dict(steps=6)
  config["evals"] = {"test": dict(split="test")}
  bad = {
    split: sources.open_source(f"folder:{photos}", split).items[1][0]
    for split in ("train", "test")
  }
  for path in bad.values():
    cut(pathlib.Path(path))
  first = train(config, str(tmp_path / "first"))
  shown = capsys.readouterr().err
  for split, path in bad.items():
    instead = "the next" if split == "train" else "shown as black"
    (line,) = [line for line in shown.splitlines() if path in line]
    assert line.startswith("unreadable image 1 of ") and instead in line
  assert first["total"] == len(sources.open_source(f"folder:{photos}", "test"))
  again = train(config, str(tmp_path / "again"))
  assert again["params_sha256"] == first["params_sha256"]
  config["data"]["max_unreadable"] = 0.0
  with pytest.raises(sources.DataError, match="allows 0"):
    train(config, str(tmp_path / "stopped"))


def test_all_that_would_stay_in_memory_are_met_before_the_first_step(
  config, photos, tmp_path
):
  config["data"] |= dict(source=f"folder:{photos}", size=8)
  config["evals"] = {}
  items = sources.open_source(f"folder:{photos}", "train").items
  bad = [items[index][0] for index in (1, 50)]
  for path in bad:
    cut(pathlib.Path(path))
  with pytest.raises(sources.DataError) as caught:
    train(config, str(tmp_path / "run"))
  text = str(caught.value)
  assert all(f"{path} is unreadable: " in text for path in bad)
  assert f"2 of {len(items)} images are unreadable" in text
  assert "batch of step 1; nothing was done since step 0" in text
  config["data"]["max_unreadable"] = 0.1
  assert train(config, str(tmp_path / "run"))["steps"] == 6


@pytest.mark.parametrize("threads", [1, 3])
def test_images_that_do_not_stay_are_not_met(photos, threads):
  source = sources.open_source(f"folder:{photos}", "train")
  for index in (0, 9, len(source) - 1):
    cut(pathlib.Path(source.items[index][0]))
  whole = rows.Pictures(source, 3, limit=1 << 20)
  assert whole.fill(threads) == [0, 9, len(source) - 1]
  kept = [index for index in range(len(source)) if index in whole._kept]
  assert len(kept) == len(source) - 3
  small = rows.Pictures(source, 3, limit=16 * 16 * 3 * 4)
  assert len(small.fill(threads)) <= 2 and not small._kept


def test_one_is_allowed_by_default_and_more_are_told_a_share(photos):
  source = sources.open_source(f"folder:{photos}", "train")
  for index in range(2):
    cut(pathlib.Path(source.items[index][0]))
  found = unreadable.Unreadable(source, 0.001)
  found.add(np.array([0]))
  # Ten times as many would be more than a tenth of these few.
  share = 0.1
  with pytest.raises(
    sources.DataError, match="allows 1.*max_unreadable=0.1 to go on without"
  ):
    found.add(np.array([1]))
  unreadable.Unreadable(source, share).add(np.array([0, 1]))


@pytest.mark.parametrize(
  ("label", "slots", "expected"),
  [
    (3, None, 3),
    (3, 2, [3, -1]),
    ([3, 1], 2, [3, 1]),
    (np.array([4, -1, 2]), 4, [4, 2, -1, -1]),
    (-1, 2, [-1, -1]),
    ([], 1, [-1]),
  ],
)
def test_labels_are_padded(label, slots, expected):
  found = examples.pad_labels(label, slots)
  assert found.dtype == np.int32
  np.testing.assert_array_equal(found, expected)


def test_more_labels_than_slots_are_an_error():
  with pytest.raises(sources.DataError, match="3 labels.*label_slots=2"):
    examples.pad_labels([1, 2, 3], 2)
