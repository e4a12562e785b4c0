# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation: a dictionary, a table for people, and files."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float, Int

from vit_jax.config.errors import counted
from vit_jax.metrics.classification import (
  compute_by_class,
  compute_calibration_error,
  compute_confusion,
  compute_interval,
  compute_reliability,
  compute_wilson,
  list_confusions,
)
from vit_jax.metrics.progress import escape
from vit_jax.metrics.ranking import describe_ranking
from vit_jax.metrics.robustness import FOLDER, format_curves
from vit_jax.storage.files import write_csv

FILES = (
  *("evaluation.json", "predictions.csv", "confusion.csv"),
  *("robustness.csv", "robustness.png"),
)

ALL = 12  # So many classes are all shown; of more,
SHOWN = 5  # so many of the worst, of the best and of the confusions.
LISTED = 100  # Confusions in evaluation.json.
WIDTH = 30  # Longest name of a class in the table.
MATRIX = 2000  # Classes of a confusion.csv, at most: it has their square.


def describe_scores(
  label: Int[np.ndarray, "n"] | Int[np.ndarray, "n s"],
  classes: Int[np.ndarray, "n k"],
  probability: Float[np.ndarray, "n k"],
  names: Sequence[str],
  ranking: Float[np.ndarray, "n Y"] | None = None,
) -> dict[str, Any]:
  """Describes predictions as evaluation.json does.

  Args:
    label: class of each example, or several, padded by -1, whose figures by
      class come of the ranking.
    classes: most likely classes, the likeliest first.
    probability: theirs.
    names: names of the classes (Y).
    ranking: logarithms of the probabilities of all classes; None without.

  Returns:
    accuracy_interval, accuracy_wilson, calibration_error, reliability, and by
    class: classes and confusions. Of several labels there are no confusions,
    but what `describe_ranking` returns.
  """
  first = classes[:, 0]
  several = label if label.ndim == 2 else label[:, None]
  correct = (several == first[:, None]).any(axis=1)
  reliability = compute_reliability(probability[:, 0], correct)
  counted = int(correct.sum()), len(correct)
  found: dict[str, Any] = {
    "accuracy_interval": list(compute_interval(*counted)),
    "accuracy_wilson": list(compute_wilson(*counted)),
    "calibration_error": compute_calibration_error(reliability),
    "reliability": {
      name: x.tolist() for name, x in reliability._asdict().items()
    },
  }
  if label.ndim == 2:
    if ranking is not None:
      found |= describe_ranking(ranking, label, names)
    return found
  by_class = compute_by_class(label, first, len(names))
  rows = zip(*(x.tolist() for x in by_class), strict=True)
  found["classes"] = [
    {
      "index": i,
      "class": names[i],
      "precision": p,
      "recall": r,
      "recall_wilson": list(compute_wilson(round(r * n), n)) if n else None,
      "support": n,
    }
    for i, (p, r, n) in enumerate(rows)
  ]
  found["confusions"] = [
    {
      "class": names[i],
      "taken_for": names[j],
      "count": count,
      "support": int(by_class.support[i]),
    }
    for i, j, count in list_confusions(label, first, LISTED)
  ]
  return found


def format_table(found: Mapping[str, Any]) -> str:
  """Formats a result for people."""
  lines = [
    f"{escape(found['weights'])} on {escape(found['data'])}, split "
    f"{found['split']}: {counted(found['images'], 'image')}"
  ]
  lines += [f"  {escape(note)}" for note in found["notes"]]
  lines.append("")
  if "accuracy" in found:
    lines += _format_figures(found)
  if "miou" in found:
    lines += _format_pixels(found)
  for name, value in found.items():
    if name.startswith("accuracy_") and not isinstance(value, list):
      title = name.removeprefix("accuracy_")
      if title != "top5":
        spread = found.get(f"std_{title}")
        more = "" if spread is None else f"   std {spread:.2%} over seeds"
        lines.append(f"{title:18} {value:8.2%}{more}")
  if "classes" in found:
    lines += ["", *_format_classes(found["classes"])]
    lines += _format_confusions(found.get("confusions", ()))
  if "robustness" in found:
    lines += format_curves(found["robustness"])
  return "\n".join(lines) + "\n"


def _format_figures(found: Mapping[str, Any]) -> Iterator[str]:
  low, high = compute_wilson(found["correct"], found["total"])
  share = f"{found['correct']:,} of {found['total']:,}"
  if "map" in found:
    share += " have it among their labels"
    labels = found["labels"]
    there = sum(row["support"] > 0 for row in found["classes"])
    yield (
      f"{'mAP':18} {_format_share(found['map']):>8}   mean average precision "
      f"of {counted(there, 'class')}"
    )
    yield (
      f"{'F1':18} {_format_share(labels['f1']):>8}   precision "
      f"{_format_share(labels['precision'])}, recall "
      f"{_format_share(labels['recall'])} of "
      f"{counted(labels['total'], 'label')}, predicted from a probability of "
      f"50 % on"
    )
  yield (
    f"{'top-1':18} {found['accuracy']:8.2%}   {share}; 95 % interval {low:.2%} "
    f"to {high:.2%}"
  )
  if "accuracy_top5" in found:
    yield f"{'top-5':18} {found['accuracy_top5']:8.2%}"
  yield f"{'loss':18} {found['loss']:8.4f}"
  yield f"{'calibration error':18} {found['calibration_error']:8.2%}"


def _format_pixels(found: Mapping[str, Any]) -> Iterator[str]:
  yield f"{'mean IoU':18} {found['miou']:8.2%}"
  yield f"{'pixel accuracy':18} {found['pixel_accuracy']:8.2%}"
  yield f"{'loss':18} {found['loss']:8.4f}"
  shares = {k: x for k, x in found.items() if k.startswith("iou_")}
  if len(shares) > 1:
    yield ""
  for name, value in sorted(shares.items(), key=lambda pair: pair[1]):
    yield f"{escape('IoU of ' + name.removeprefix('iou_')):18} {value:8.2%}"


def _format_classes(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
  """The worst and the best classes by recall, or by average precision."""
  there = [row for row in rows if row["support"]]
  ranked = "average_precision" in rows[0]
  by = "average_precision" if ranked else "recall"
  worst = sorted(there, key=lambda row: (row[by], -row["support"]))
  shown = {"classes": worst}
  if len(there) > ALL:
    shown = {"worst": worst[:SHOWN], "best": worst[: -SHOWN - 1 : -1]}
  names = [_cut(x["class"]) for part in shown.values() for x in part]
  width = max(map(len, ["classes", *names]))
  for title, part in shown.items():
    first = f"{'AP':>8} " if ranked else ""
    yield f"{title:{width + 2}} {first}  recall  precision  images"
    for row in part:
      first = f"{row['average_precision']:8.2%} " if ranked else ""
      yield (
        f"  {_cut(row['class']):{width}} {first}{row['recall']:8.2%} "
        f"{_format_share(row['precision']):>10} {row['support']:7,}"
      )


def _format_share(share: float) -> str:
  """A share; a dash where there is none."""
  return "-" if np.isnan(share) else f"{share:.2%}"


def _format_confusions(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
  """The most frequent confusions, with their share of the class."""
  if rows:
    yield "most frequent confusions"
  for row in rows[:SHOWN]:
    count, total = row["count"], row["support"]
    names = f"{_cut(row['class'])} taken for {_cut(row['taken_for'])}"
    yield f"  {names}: {count:,} of {total:,}, {count / total:.1%}"


def _cut(name: str) -> str:
  """A name as the table has it."""
  name = escape(name)
  return name if len(name) <= WIDTH else f"{name[: WIDTH - 3]}..."


def write_predictions(
  directory: epath.Path,
  paths: Sequence[str],
  label: Int[np.ndarray, "n"] | Int[np.ndarray, "n s"],
  classes: Int[np.ndarray, "n k"],
  probability: Float[np.ndarray, "n k"],
  names: Sequence[str],
) -> None:
  """Writes predictions.csv: a row an example, with its most likely classes.

  Where images have several labels, these are in one field, separated by spaces,
  and their names are a list of JSON: names may have any character.
  """

  def make_rows() -> Iterator[Sequence[Any]]:
    header = ["path", "label", "label_class"]
    for rank in range(1, classes.shape[1] + 1):
      more = "" if rank == 1 else f"_{rank}"
      header += [
        f"prediction{more}",
        f"prediction{more}_class",
        f"probability{more}",
      ]
    yield header
    for path, truth, likely, values in zip(
      paths, label, classes, probability, strict=True
    ):
      known = [int(i) for i in np.atleast_1d(truth) if i >= 0]
      row: list[Any] = [path, " ".join(map(str, known))]
      there = [names[i] for i in known]
      several = label.ndim == 2
      row.append(
        json.dumps(there, ensure_ascii=False) if several else "".join(there)
      )
      for i, p in zip(likely, values, strict=True):
        row += [int(i), names[i], f"{p:.6f}"]
      yield row

  write_csv(directory / "predictions.csv", make_rows())


def write_confusion(
  directory: epath.Path,
  label: Int[np.ndarray, "n"],
  predictions: Int[np.ndarray, "n"],
  names: Sequence[str],
) -> bool:
  """Writes confusion.csv: rows are classes, columns what they are taken for.

  Returns:
    False if there are too many classes, so that there is none.
  """
  if len(names) > MATRIX:
    return False
  matrix = compute_confusion(label, predictions, len(names))
  rows = (
    [name, *row] for name, row in zip(names, matrix.tolist(), strict=True)
  )
  write_csv(directory / "confusion.csv", [["class", *names], *rows])
  return True


def list_files(directory: epath.Path) -> list[str]:
  """Lists what an evaluation has written."""
  return [os.fspath(directory / x) for x in FILES if (directory / x).exists()]


def remove_files(directory: epath.Path) -> None:
  """Removes what another evaluation has written."""
  for name in FILES:
    (directory / name).unlink(missing_ok=True)
  for path in (directory / FOLDER).glob("*.png"):
    path.unlink()
