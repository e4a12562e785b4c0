# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Files of predictions that are gone on with, by the same weights alone."""

import pytest

from vit_jax.config.errors import ConfigError
from vit_jax.metrics.predictions import (
  Prediction,
  check_same,
  continue_file,
  read_back,
)

SURE = [(0, "cat", 0.7), (1, "dog", 0.2)]
# Of a thousand classes, of which none is likely.
UNSURE = [(529, "sail", 0.0011), (3, "owl", 0.001)]
FORMS = pytest.mark.parametrize("form", ["csv", "jsonl"])


def make_classify(classes, asked, error):
  """Weights that find the same classes in every image."""

  def classify(paths):
    asked.extend(paths)
    for path in paths:
      yield Prediction(path, classes, error)

  return classify


@pytest.fixture
def go_on(tmp_path, monkeypatch):
  """Classifies images that are there; returns those that were looked at."""
  monkeypatch.chdir(tmp_path)
  for name in "abcd":
    (tmp_path / name).touch()

  def go_on(form, images, classes=SURE, error=None):
    asked = []
    classify = make_classify(classes, asked, error)
    written = list(continue_file(f"out.{form}", form, images, classify))
    return asked, [x.path for x in written]

  return go_on


def read(form):
  return [x.path for x in read_back(f"out.{form}", form)[0]]


@FORMS
def test_other_images_are_added_and_none_is_lost(go_on, form):
  go_on(form, ["a", "b"])
  asked, written = go_on(form, ["c"])
  assert (asked, written) == (["a", "c"], ["c"])  # One is compared.
  assert read(form) == ["a", "b", "c"]
  assert go_on(form, ["c", "a"]) == ([], [])


def cut_rows(path, count):
  lines = path.read_text().splitlines(keepends=True)
  path.write_text("".join(lines[:-count]))


def test_the_last_image_of_a_csv_may_lack_rows(go_on, tmp_path):
  go_on("csv", ["a", "b"])
  whole = (tmp_path / "out.csv").read_text()
  cut_rows(tmp_path / "out.csv", 1)
  assert go_on("csv", ["a", "b"]) == (["a", "b"], ["b"])
  assert (tmp_path / "out.csv").read_text() == whole
  cut_rows(tmp_path / "out.csv", 3)  # Of one alone none may tell.
  assert go_on("csv", ["a", "b"]) == (["a", "b"], ["a", "b"])
  assert (tmp_path / "out.csv").read_text() == whole


def test_the_last_image_of_a_csv_stays_if_it_is_gone(go_on, tmp_path):
  go_on("csv", ["a", "b"])
  cut_rows(tmp_path / "out.csv", 1)
  (tmp_path / "b").unlink()
  assert go_on("csv", ["c"]) == (["a", "c"], ["c"])
  assert read("csv") == ["a", "b", "c"]


@FORMS
@pytest.mark.parametrize("images", [["a"], ["a", "b"]])
def test_other_weights_are_refused_whatever_they_classify(go_on, form, images):
  go_on(form, images)
  before = read(form)
  with pytest.raises(ConfigError, match="holds other predictions for a than"):
    go_on(form, ["c", "d"], UNSURE)
  assert read(form) == before


@FORMS
def test_an_image_that_cannot_be_classified_again_is_named(go_on, form):
  go_on(form, ["a", "b"])
  with pytest.raises(ConfigError, match="for a, of which is now said: broken:"):
    go_on(form, ["c"], (), "broken")
  assert read(form) == ["a", "b"]


def test_weights_that_cannot_be_compared_are_refused(go_on, tmp_path):
  go_on("jsonl", ["a", "b"])
  for name in "ab":
    (tmp_path / name).unlink()
  with pytest.raises(ConfigError, match="none of the images in --out=out.json"):
    go_on("jsonl", ["c"])
  assert read("jsonl") == ["a", "b"]


def test_an_image_that_could_not_be_read_stays_noted(go_on):
  def classify(paths):
    for path in paths:
      bad = path == "b"
      yield Prediction(path, () if bad else SURE, "damaged" if bad else None)

  list(continue_file("out.jsonl", "jsonl", ["a", "b"], classify))
  go_on("jsonl", ["c"])
  assert read("jsonl") == ["a", "b", "c"]
  go_on("jsonl", ["b"])  # Now it can be.
  assert read("jsonl") == ["a", "c", "b"]


@pytest.mark.parametrize(
  ("one", "other", "same"),
  [
    # Nearly as likely, in another order, and another class in the last place.
    ([(0, "a", 0.3), (1, "b", 0.29)], [(1, "b", 0.3), (2, "c", 0.28)], True),
    (UNSURE, [(529, "sail", 0.0012), (3, "owl", 0.0009)], True),
    (SURE, UNSURE, False),
    (UNSURE, SURE, False),
    (UNSURE, [(7, "hen", 0.004), (8, "asp", 0.001)], False),
    (SURE, [(0, "cat", 0.7), (1, "fox", 0.2)], False),
    (SURE, [(0, "cat", 0.69), (1, "dog", 0.21)], True),
    (SURE, [(0, "cat", 0.67), (1, "dog", 0.2)], False),
  ],
)
def test_what_other_batches_and_devices_may_change(one, other, same):
  pair = Prediction("a", one), Prediction("a", other)
  if same:
    check_same(*pair, "out.csv")
    return
  with pytest.raises(ConfigError, match="holds other predictions"):
    check_same(*pair, "out.csv")


def test_a_csv_goes_on_wherever_it_was_cut_off(go_on, tmp_path):
  names = ["a", "\nb", 'c"\n\n"']
  for name in names:
    (tmp_path / name).touch()
  go_on("csv", names)
  out = tmp_path / "out.csv"
  whole = out.read_bytes()
  for size in range(len(whole)):
    out.write_bytes(whole[:size])
    go_on("csv", names)
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
  "old, new",
  [
    (b"\n", b"\r\n"),  # As a spreadsheet saves it.
    (b"y\n", b"y\r\n"),
    (b"a,1", b'"a",1'),
    (b"0.700000", b"0.7"),
    (b"a,1", b"\ra,1"),
    (b"a,1", b"a,2"),
    (b"a,1,", b"a,"),
    (b"a,1,", b'a",1,'),
  ],
)
def test_a_csv_that_was_changed_is_refused_and_stays(go_on, tmp_path, old, new):
  go_on("csv", ["a", "b"])
  out = tmp_path / "out.csv"
  changed = out.read_bytes().replace(old, new)
  out.write_bytes(changed)
  with pytest.raises(ConfigError, match="is damaged: .*; choose another name"):
    go_on("csv", ["a", "b", "c"])
  assert out.read_bytes() == changed
