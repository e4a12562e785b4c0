# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whether classifiers differ, by the same images: a section of a page.

Two accuracies of few images often differ by chance. Where two runs classified
the same images, those that only one of them gets right tell more than their
intervals: McNemar, 1947, "Note on the sampling error of the difference between
correlated proportions or percentages", here with the exact binomial.
"""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from vit_jax.config import ConfigError
from vit_jax.config.errors import counted
from vit_jax.plots.examined import FOLDER, MAX_BYTES
from vit_jax.plots.page import Section, Table
from vit_jax.plots.run_files import RunFiles
from vit_jax.storage.paths import locate
from vit_jax.storage.untrusted import load_json, read_file

MOST = 4  # Runs of which every two are compared; of more, all with the best.


class Judged(NamedTuple):
  """The images that a run classified at its end.

  Attributes:
    data: which, for people.
    images: (path, names of its labels) of each.
    right: whether the likeliest class is among them.
  """

  data: str
  images: tuple[tuple[str, str], ...]
  right: Bool[np.ndarray, "n"]


def compute_mcnemar(first: int, second: int) -> float:
  """Computes the p-value of McNemar's exact test, which is two-sided.

  That is how likely so uneven a division is, or a more uneven one, if either
  classifier is as likely as the other to be the one that is right.

  Args:
    first, second: number of examples that only this classifier gets right.
  """
  from scipy.stats import binomtest  # Late: it takes half a second.

  total = first + second
  return float(binomtest(first, total).pvalue) if total else 1.0


def read_judged(run: RunFiles) -> Judged | None:
  """Reads what a run wrote of its predictions.

  Returns:
    None if there are none of its last step, or they were removed.

  Raises:
    ConfigError: for files that are damaged.
  """
  directory = locate(run.path) / FOLDER
  path, listed = directory / "evaluation.json", directory / "predictions.csv"
  if run.result is None or not (path.exists() and listed.exists()):
    return None
  try:
    found = load_json(path)
    if found.get("step") != run.step:
      return None
    data = f"{found['split']} of {found['data']}"
    # Paths are any bytes.
    text = read_file(listed, MAX_BYTES).decode("utf-8", "surrogateescape")
    images, right = [], []
    for row in csv.DictReader(io.StringIO(text, newline="")):
      images.append((row["path"], row["label_class"]))
      right.append(row["prediction"] in row["label"].split())
    if len(images) != found["images"]:
      raise ValueError(f"{listed.name} has {counted(len(images), 'image')}")
  except Exception as error:  # Any, of bytes that are not ours.
    raise ConfigError(
      f"{directory} is damaged ({str(error) or repr(error)}): remove it, and "
      f"the page does not compare this run's predictions"
    ) from error
  return Judged(data, tuple(images), np.array(right, bool))


def compare(runs: Sequence[RunFiles]) -> list[Section]:
  """Makes the section of runs that classified the same images; [] without."""
  alike: dict[Any, dict[str, Judged]] = {}
  for run in runs:
    judged = read_judged(run)
    if judged is not None:
      alike.setdefault((judged.data, judged.images), {})[run.name] = judged
  tables = [_tabulate(group) for group in alike.values() if len(group) > 1]
  text = (
    "Images that only one of two runs classifies rightly. p is how likely so "
    "uneven a division is, or a more uneven one, if both are equally good "
    "(McNemar's exact test). It is of these trained weights: training again "
    "with another seed changes the accuracy, too."
  )
  title = "Compared on the same images"
  return [Section(title=title, text=text, tables=tables)] if tables else []


def _tabulate(group: Mapping[str, Judged]) -> Table:
  """A row for two runs: every two of few, else each with the most accurate."""
  # Stable: of equals the first.
  names = sorted(group, key=lambda name: -group[name].right.sum())
  pairs = list(itertools.combinations(names, 2))
  if len(names) > MOST:
    pairs = pairs[: len(names) - 1]
  rows = []
  for pair in pairs:
    first, second = (group[name].right for name in pair)
    only = int((first & ~second).sum()), int((second & ~first).sum())
    chance = compute_mcnemar(*only)
    rows.append(
      [
        " and ".join(pair),
        *(f"{x:,}" for x in only),
        f"{chance:.2g}" if chance >= 1e-4 else "< 0.0001",
      ]
    )
  some = group[names[0]]
  what = f"{counted(len(some.right), 'image')} of {some.data}"
  return Table(
    rows, [what, "only the first right", "only the second right", "p"]
  )
