# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of segmentations: images, their masks and predictions, painted."""

import colorsys
import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
from etils import epath
from jaxtyping import UInt8

from vit_jax.data.masks import UNLABELLED
from vit_jax.plots.page import Figure, Section
from vit_jax.plots.pictures import draw_grid
from vit_jax.storage.files import replacing
from vit_jax.storage.untrusted import read_file

FILE = "segmentation_{}.png"  # Of a step.
MAX_BYTES = 1 << 28
SHARE = 0.6  # Of a class's colour over its pixels.
LINE, SWATCH = 20, 14  # Pixels of a line of the legend, and of a colour.


def make_colours(classes: int) -> UInt8[np.ndarray, "Y 3"]:
  """Colours of classes: hues of the golden ratio, so that neighbours differ."""
  found = [
    colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.75, 0.95 if i % 2 else 0.7)
    for i in range(classes)
  ]
  return (255 * np.array(found)).round().astype(np.uint8)


def paint(
  image: UInt8[np.ndarray, "H W 3"], classes: UInt8[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
  """Paints the class of each pixel over an image; grey where there is none."""
  colours = make_colours(UNLABELLED + 1)[classes].astype(np.float32)
  grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
  painted = (1 - SHARE) * grey + SHARE * colours
  labelled = (classes != UNLABELLED)[..., None]
  return np.where(labelled, painted, grey).round().astype(np.uint8)


def save_segmentations(
  directory: epath.Path,
  step: int,
  rows: Sequence[
    tuple[
      UInt8[np.ndarray, "H W 3"],
      UInt8[np.ndarray, "H W"],
      UInt8[np.ndarray, "H W"],
    ]
  ],
  names: Sequence[str],
) -> None:
  """Keeps images with their masks and predictions; removes older ones.

  Args:
    directory: where the picture is written.
    step: of the run.
    rows: of each the image, the classes of its mask, and those predicted.
    names: of the classes.
  """
  for path in directory.glob(FILE.format("*")):
    path.unlink()
  flat, seen = [], set()
  for image, *classes in rows:
    flat += [image, *(paint(image, x) for x in classes)]
    seen |= {int(y) for x in classes for y in np.unique(x) if y != UNLABELLED}
  png = draw_grid(flat, 6 if len(rows) > 1 else 3)
  with replacing(directory / FILE.format(step)) as target:
    target.write_bytes(_add_legend(png, {i: names[i] for i in sorted(seen)}))


def _add_legend(png: bytes, names: dict[int, str]) -> bytes:
  """Draws the names of classes, each after its colour, below a picture."""
  above = PIL.Image.open(io.BytesIO(png))
  columns = max(1, above.width // 160)
  lines = -(-len(names) // columns)
  size = (above.width, above.height + LINE * (lines + 1))
  page = PIL.Image.new("RGBA", size, "white")
  page.paste(above, (0, 0), above)
  draw, colours = PIL.ImageDraw.Draw(page), make_colours(UNLABELLED + 1)
  for place, (number, name) in enumerate(names.items()):
    y = above.height + LINE // 2 + LINE * (place // columns)
    x = above.width * (place % columns) // columns
    colour = tuple(int(c) for c in colours[number])
    draw.rectangle((x, y, x + SWATCH, y + SWATCH), fill=colour)
    draw.text((x + LINE, y + 1), name, fill="black")
  file = io.BytesIO()
  page.save(file, "PNG", optimize=True)
  return file.getvalue()


def show_segmentations(directory: epath.Path, step: int) -> list[Section]:
  """The picture that `save_segmentations` wrote, if it is of this step."""
  path = directory / FILE.format(step)
  if not path.exists():
    return []
  text = (
    "Images that were not trained on, the classes of their masks, and what the "
    "model takes each pixel for. Pixels without a class are grey."
  )
  png = read_file(path, MAX_BYTES)
  figures = [Figure([(png, "image, mask, prediction")], kind="photo")]
  return [
    Section(title="Segmentations", text=text, figures=figures, layout="wide")
  ]
