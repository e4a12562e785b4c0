# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What studies say of lines and points, by hand."""

from vit_jax.study import optimizer, pooling, self_supervision, shape
from vit_jax.study.paper_study import COMPUTE


def make_row(mean, fields, name="x", stdev=0.01, seeds=3):
  value = dict(mean=mean, stdev=stdev, seeds=seeds)
  return {"name": name, "fields": fields, "values": {"m": value}}


def make_line(name, means, **kwargs):
  """A line over the learning rates 0.1, 0.2, ..."""
  return [
    make_row(mean, {"pooling": name, "learning rate": (i + 1) / 10}, **kwargs)
    for i, mean in enumerate(means)
  ]


def test_which_line_is_ahead_and_where():
  """Means of three with 1 % are apart from 2.267 points on."""
  rows = make_line("a", [0.5, 0.8]) + make_line("b", [0.6, 0.785, 0.81])
  text = pooling.STUDY.compare(rows, "m")
  assert text.startswith(
    "Best of each line: b 81.00 ± 1.00 (learning rate 0.3), a 80.00 ± 1.00 "
    "(learning rate 0.2), not told apart. By learning rate: at 0.1 b is ahead "
    "by 10.00 points, at 0.2 a by 1.50 (not told apart). Best is x with 81.00"
  )


def test_one_seed_says_little_of_lines():
  rows = make_line("a", [0.5], stdev=None, seeds=1) + make_line("b", [0.8])
  assert pooling.STUDY.compare(rows, "m").startswith(
    "Best of each line: b 80.00 ± 1.00 (learning rate 0.1), a 50.00 (learning "
    "rate 0.1), of one seed. By learning rate: at 0.1 b is ahead by 30.00 "
    "points (of one seed). Best is"
  )


def test_equal_values_are_no_lead():
  rows = make_line("a", [0.5, 0.8], stdev=None, seeds=1)
  rows += make_line("b", [0.5, 0.8], stdev=None, seeds=1)
  rows += make_line("c", [0.4], stdev=None, seeds=1)
  text = pooling.STUDY.compare(rows, "m")
  assert "By learning rate: at 0.1 a and b are level, at 0.2 a and b" in text
  assert "Best are x, x with 80.00; with one seed no difference" in text


def test_lines_of_other_places_are_compared_at_their_best():
  rows = [
    make_row(mean, {"optimizer": name, "learning rate": rate})
    for name, rate, mean in (("Adam", 1e-3, 0.9), ("SGD", 0.1, 0.8))
  ]
  assert optimizer.STUDY.compare(rows, "m").startswith(
    "Best of each line: Adam 90.00 ± 1.00 (learning rate 0.001), SGD 80.00 ± "
    "1.00 (learning rate 0.1). Best is"
  )
  assert (
    optimizer.STUDY.compare(rows[:1], "m") == "Best is x with 90.00 ± 1.00."
  )
  assert optimizer.STUDY.compare([], "m") == "nothing is measured."


def test_what_pre_training_brings_over_none():
  values = {"labels-tuned": 0.9, "from_scratch": 0.5, "pixels-tuned": 0.51}
  rows = [make_row(mean, {}, name) for name, mean in values.items()]
  text = self_supervision.STUDY.compare(rows, "m")
  assert text.startswith(
    "Less from_scratch, in points: labels-tuned +40.00, pixels-tuned +1.00 "
    "(not told apart). Best is labels-tuned"
  )
  for few in (rows[:1], rows[1:2]):
    assert self_supervision.STUDY.compare(few, "m").startswith("Best is")


def test_what_each_dimension_brings_alone():
  middle = dict(zip(shape.NAMES.values(), (4, 64, 128, 4), strict=True))
  rows = [
    make_row(mean, {"scaled": scaled, **middle, **own, COMPUTE: flops})
    for scaled, own, flops, mean in (
      (shape.MIDDLE, {}, 10.0, 0.7),
      ("depth", {"depth": 8}, 20.0, 0.6),
      ("width", {"width": 32}, 5.0, 0.5),
      ("width", {"width": 128}, 20.0, 0.9),
    )
  ]
  assert shape.STUDY.compare(rows, "m").startswith(
    "Each alone, from its cheapest to its best: depth 70.00 ± 1.00 at 4, which "
    "is its best, width 50.00 ± 1.00 at 32 to 90.00 ± 1.00 at 128. Best is x"
  )
  assert shape.STUDY.compare(rows[:1], "m") == "Best is x with 70.00 ± 1.00."
