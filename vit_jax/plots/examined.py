# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The sections of a page that show WORKDIR/evaluation, and its pictures."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Float, UInt8

from vit_jax.config import ConfigError
from vit_jax.config.errors import counted
from vit_jax.metrics.classification import compute_wilson
from vit_jax.plots import segmentation
from vit_jax.plots.evaluation import (
  draw_confusion,
  draw_recalls,
  draw_reliability,
)
from vit_jax.plots.page import Figure, Section, Table
from vit_jax.plots.pictures import (
  draw_grid,
  draw_overlay,
  draw_picture,
  read_png,
)
from vit_jax.storage.files import replacing
from vit_jax.storage.untrusted import load_json, read_file

FOLDER, MISTAKES = "evaluation", "mistakes.npz"
RECONSTRUCTION = "reconstruction_{}.png"  # Of a step.
MATRIX = 200  # Classes of a confusion matrix that is drawn, at most.
OPEN = 20  # Classes of a table that is not folded, at most.
CONFUSIONS = 10
MAX_BYTES = 1 << 28  # Of a file.


class Pictures(NamedTuple):
  """Images to look at.

  Attributes:
    images: uint8 [H W 3] each.
    captions: a line each.
    maps: float32 [h w] each, to be drawn over the images; or none at all.
  """

  images: Sequence[UInt8[np.ndarray, "H W 3"]]
  captions: Sequence[str]
  maps: Sequence[Float[np.ndarray, "h w"]]


def save_mistakes(directory: epath.Path, found: Pictures) -> None:
  """Writes them, without pickles; no images leave no file."""
  path = directory / MISTAKES
  if not found.images:
    path.unlink(missing_ok=True)  # Of an earlier end.
    return
  arrays = {"images": np.stack(found.images)}
  if found.maps:
    arrays["maps"] = np.stack(found.maps)
  text = json.dumps(list(found.captions)).encode()
  arrays["captions"] = np.frombuffer(text, np.uint8)
  file = io.BytesIO()
  np.savez_compressed(file, allow_pickle=False, **arrays)
  with replacing(path) as target:
    target.write_bytes(file.getvalue())


def load_mistakes(directory: epath.Path) -> Pictures | None:
  """Reads what `save_mistakes` wrote; None if that is nothing."""
  path = directory / MISTAKES
  if not path.exists():
    return None
  with np.load(io.BytesIO(read_file(path, MAX_BYTES))) as arrays:
    captions = json.loads(arrays["captions"].tobytes())
    maps = list(arrays["maps"]) if "maps" in arrays else []
    return Pictures(list(arrays["images"]), captions, maps)


def save_reconstructions(
  directory: epath.Path,
  step: int,
  rows: Sequence[Sequence[UInt8[np.ndarray, "H W 3"]]],
) -> None:
  """Keeps rows of images and what was made of each; removes older ones."""
  for path in directory.glob(RECONSTRUCTION.format("*")):
    path.unlink()
  columns = len(rows[0])
  # Two of them in a row of the picture.
  flat = [image for row in rows for image in row]
  with replacing(directory / RECONSTRUCTION.format(step)) as target:
    target.write_bytes(draw_grid(flat, 2 * columns))


def _show_reconstructions(directory: epath.Path, step: int) -> list[Section]:
  """The picture that `save_reconstructions` wrote, if it is of this step."""
  path = directory / RECONSTRUCTION.format(step)
  if not path.exists():
    return []
  png = read_file(path, MAX_BYTES)
  text = (
    "Images that were not trained on, what the encoder saw of each, and what "
    "the decoder filled in. Where patches are normalised, they have the mean "
    "and the deviation of the true ones here."
  )
  figures = [Figure([(png, "original, visible, filled in")], kind="photo")]
  return [
    Section(title="Reconstructions", text=text, figures=figures, layout="wide")
  ]


def make_sections(workdir: epath.Path, step: int) -> list[Section]:
  """Makes the sections of what a run wrote at its end.

  Args:
    workdir: directory of the run.
    step: its last; what an earlier end left is not shown.

  Raises:
    ConfigError: for files that are damaged.
  """
  directory = workdir / FOLDER
  path = directory / "evaluation.json"
  if not path.exists():
    shown = _show_reconstructions(directory, step)
    return shown + segmentation.show_segmentations(directory, step)
  try:
    found = load_json(path)
    if found.get("step") != step:
      return []
    sections = _show_classes(directory, found)
    mistakes = load_mistakes(directory)
    if mistakes is not None:
      sections.append(_show_mistakes(mistakes, found))
  except Exception as error:  # Any, of bytes that are not ours.
    raise ConfigError(
      f"{directory} is damaged ({str(error) or repr(error)}): remove it, and "
      f"the page has no figures by class"
    ) from error
  return sections


def _show_classes(
  directory: epath.Path, found: Mapping[str, Any]
) -> list[Section]:
  """Figures by class, confusions and calibration."""
  low, high = compute_wilson(found["correct"], found["total"])
  interval = f"95 % interval {_percent(low)} to {_percent(high)}"
  right = f"accuracy {_percent(found['accuracy'])} ({interval})"
  if "map" in found:
    labels = found["labels"]
    right = (
      f"mean average precision (mAP) {_percent(found['map'])}; F1 of all "
      f"labels {_percent(labels['f1'])}, predicted from a probability of 50 % "
      f"on; the likeliest class is among an image's labels in "
      f"{_percent(found['accuracy'])} ({interval})"
    )
  text = (
    f"{counted(found['images'], 'image')} of {found['split']} of "
    f"{found['data']}: {right}, calibration error "
    f"{_percent(found['calibration_error'])}. Every prediction stands in "
    f"{FOLDER}/predictions.csv."
  )
  rows = found.get("classes", [])
  tables, figures = [], []
  if (png := _draw_confusion(directory, rows)) is not None:
    figures.append(
      Figure(
        [(png, "confusion matrix")],
        "Confusions.",
        "Rows are the true classes, columns what the model takes them for.",
        kind="map",
      )
    )
  figures.append(
    Figure(
      [(_draw_reliability(found["reliability"]), "reliability diagram")],
      "Calibration.",
      "How often the model is right, by how sure it is. Bars above the "
      "diagonal: it is right more often than it says.",
    )
  )
  if rows:
    shares = {"recall": "recall", "precision": "precision"}
    if "map" in found:
      shares = {"average_precision": "average precision"} | shares
    worst = sorted(
      (row for row in rows if row["support"]),
      key=lambda row: row[next(iter(shares))],
    )
    tables.append(
      Table(
        [
          [
            row["class"],
            *(_percent(row[x]) for x in shares),
            f"{row['support']:,}",
          ]
          for row in worst
        ],
        ["class, worst first", *shares.values(), "images"],
        folded="" if len(worst) <= OPEN else f"All {len(worst)} classes",
      )
    )
  confusions = found.get("confusions", [])[:CONFUSIONS]
  if confusions:
    tables.append(
      Table(
        [
          [
            f"{row['class']} taken for {row['taken_for']}",
            f"{row['count']:,} of {row['support']:,}",
          ]
          for row in confusions
        ],
        ["most frequent confusions", "images"],
      )
    )
  return [Section(title="Classes", text=text, figures=figures, tables=tables)]


def _draw_confusion(
  directory: epath.Path, rows: Sequence[Mapping[str, Any]]
) -> bytes | None:
  """The confusion matrix; None if there are too many classes, or no matrix."""
  matrix = _read_confusion(directory) if 0 < len(rows) <= MATRIX else None
  if matrix is None or len(matrix) != len(rows):
    return None
  return draw_confusion(matrix, [row["class"] for row in rows])


def _draw_reliability(bins: Mapping[str, Any]) -> bytes:
  """The reliability diagram."""
  accuracy, confidence, counts = (
    # Empty bins have no mean, and are null in JSON.
    np.nan_to_num(np.asarray(bins[name], np.float32))
    for name in ("accuracy", "confidence", "total")
  )
  edges = np.linspace(0, 1, len(counts) + 1, dtype=np.float32)
  return draw_reliability(edges, accuracy, confidence, counts)


def draw_figures(
  directory: epath.Path,
) -> tuple[dict[str, bytes], Float[np.ndarray, " n"]]:
  """Draws what a run wrote at its end, for other tools.

  Args:
    directory: WORKDIR/evaluation.

  Returns:
    Name -> PNG; and the recall of every class that has images.
  """
  if not (directory / "evaluation.json").exists():
    pngs = {
      name: path.read_bytes()
      for name, file in (
        ("reconstruction", RECONSTRUCTION),
        ("segmentation", segmentation.FILE),
      )
      for path in directory.glob(file.format("*"))
    }
    return pngs, np.zeros(0, np.float32)
  found = load_json(directory / "evaluation.json")
  rows = found.get("classes", [])
  there = [row for row in rows if row["support"]]
  pngs = {"reliability": _draw_reliability(found["reliability"])}
  if (png := _draw_confusion(directory, rows)) is not None:
    pngs["confusion"] = png
  if there:
    pngs["recall"] = draw_recalls(
      [row["class"] for row in there],
      *(np.array([row[x] for row in there]) for x in ("recall", "support")),
    )
  if (mistakes := load_mistakes(directory)) is not None:
    pngs["mistakes"] = draw_grid(_alternate(mistakes))
  return pngs, np.array([row["recall"] for row in there], np.float32)


def _alternate(found: Pictures, columns: int = 6) -> list[np.ndarray]:
  """A row of images, a row of their maps, and so on."""
  if not found.maps:
    return list(found.images)
  pairs = zip(found.images, found.maps, strict=True)
  maps = [read_png(draw_overlay(image, weights)) for image, weights in pairs]
  images = [read_png(draw_picture(image)) for image in found.images]
  blank = [np.full_like(images[0], 255)] * (-len(images) % columns)
  rows = []
  for start in range(0, len(images), columns):
    for part in (images, maps):
      rows += [*part, *blank][start : start + columns]
  return rows


def _percent(value: float | None) -> str:
  """A share; a dash where there is none."""
  if value is None or np.isnan(value):
    return "–"
  return f"{100 * value:.2f} %"


def _read_confusion(directory: epath.Path) -> np.ndarray | None:
  """Reads confusion.csv; None if there is none."""
  path = directory / "confusion.csv"
  if not path.exists():
    return None
  text = read_file(path, MAX_BYTES).decode("utf-8", "surrogateescape")
  _, *rows = csv.reader(io.StringIO(text))
  return np.array([[int(x) for x in row[1:]] for row in rows])


def _show_mistakes(found: Pictures, facts: Mapping[str, Any]) -> Section:
  """Images that the model is most sure of, and wrong about."""
  wrong = facts["total"] - facts["correct"]
  text = (
    f"Of {wrong:,} mistakes those that the model is most sure of, as it saw "
    f"them"
  )
  figures = []
  for i, (image, caption) in enumerate(
    zip(found.images, found.captions, strict=True)
  ):
    pngs = [(draw_picture(image), caption)]
    if found.maps:
      pngs.append((draw_overlay(image, found.maps[i]), "attention rollout"))
    figures.append(Figure(pngs, caption=caption, kind="photo"))
  more = ", with attention rollout beside." if found.maps else "."
  return Section(
    title="Worst mistakes", text=text + more, figures=figures, layout="small"
  )
