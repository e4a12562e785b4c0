# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The style of every figure: colours, sizes, and PNGs as bytes.

Lines have the colours of Okabe and Ito ("Color Universal Design", 2008), maps
those of viridis and cividis, which people with any kind of colour vision can
tell apart. Figures are made without pyplot, so that nothing of them is global
and no display is needed.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image

# Okabe and Ito's, without their yellow, which is faint on white.
COLOURS = (
  *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
  *("#E69F00", "#56B4E9", "#000000"),
)
DASHES = ("-", "--", "-.", ":")
MAP = "viridis"  # Of what is only above zero.
CORRELATIONS = "cividis"  # Of what lies between two ends.
DPI = 130

RULES: dict[Any, Any] = {
  "axes.axisbelow": True,
  "axes.edgecolor": "#666666",
  "axes.grid": True,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "axes.titlesize": 10,
  "axes.labelsize": 9,
  "figure.facecolor": "white",
  "font.family": ["DejaVu Sans"],  # matplotlib brings it along.
  "font.size": 9,
  "grid.color": "#dddddd",
  "grid.linewidth": 0.6,
  "legend.fontsize": 8,
  "legend.frameon": False,
  "lines.linewidth": 1.4,
  "xtick.labelsize": 8,
  "ytick.labelsize": 8,
}


class Drawing:
  """A figure that is being drawn.

  Attributes:
    figure: matplotlib's figure.
    axes: its axes, an array [rows columns].
    png: the finished PNG, once the drawing is closed.
  """

  figure: Any
  axes: Any
  png: bytes


@contextlib.contextmanager
def drawing(
  width: float,
  height: float,
  rows: int = 1,
  columns: int = 1,
  *,
  palette: str = "",
  **grid: Any,
) -> Iterator[Drawing]:
  """Opens a figure in this style, and makes its PNG when it is left.

  Args:
    width: in inches, of DPI pixels each.
    height: likewise.
    rows: number of axes above one another.
    columns: number of axes side by side.
    palette: name of the only map of colours in it, of which, and of greys, 256
      colours are kept: that makes a third of the bytes.
    **grid: more arguments of `Figure.subplots`.
  """
  import matplotlib
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  drawn = Drawing()
  with matplotlib.rc_context(RULES):
    drawn.figure = Figure(
      figsize=(width, height), layout="constrained", dpi=DPI
    )
    canvas = FigureCanvasAgg(drawn.figure)
    drawn.axes = drawn.figure.subplots(rows, columns, squeeze=False, **grid)
    yield drawn
    file = io.BytesIO()
    with warnings.catch_warnings():
      # Scripts that the font has not: a box each, and the page has the text.
      warnings.filterwarnings("ignore", "Glyph .* missing from")
      # Without matplotlib's version, so that equal figures are equal files.
      canvas.print_png(file, metadata={"Software": None})
  if palette:
    colours = np.linspace(0, 1, 224)
    listed = matplotlib.colormaps[palette](colours)[:, :3]
    greys = np.linspace(0, 1, 32)[:, None].repeat(3, axis=1)
    table = PIL.Image.new("P", (1, 1))
    whole = (255 * np.concatenate([listed, greys])).round().astype(int)
    table.putpalette(whole.ravel().tolist())
    picture = PIL.Image.open(file).convert("RGB")
    picture = picture.quantize(palette=table, dither=PIL.Image.Dither.NONE)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
  drawn.png = file.getvalue()


def get_line(index: int) -> dict[str, Any]:
  """The colour and dashes of line `index`; 28 lines differ."""
  dashes = DASHES[index // len(COLOURS) % len(DASHES)]
  return {"color": COLOURS[index % len(COLOURS)], "linestyle": dashes}


def hide_axes(axes: Any) -> None:
  """Leaves out the axes of what is a picture."""
  axes.set_xticks([])
  axes.set_yticks([])
  axes.grid(False)
  for spine in axes.spines.values():
    spine.set_visible(False)


def shorten(text: str, length: int = 24) -> str:
  """A name that fits beside an axis; all of it is text, and no formula."""
  text = text if len(text) <= length else f"{text[: length - 1]}…"
  # Bytes of no encoding, and what has no glyph.
  text = text.encode("utf-8", "replace").decode("utf-8")
  text = "".join(x if x.isprintable() else "?" for x in text)
  return text.replace("$", r"\$")


def make_mosaic(
  tiles: np.ndarray, gap: int = 1
) -> tuple[np.ndarray, list[float], list[float]]:
  """Joins tiles [rows columns h w ...] to one picture, with gaps of NaN.

  Returns:
    The picture, and the middles of the rows and of the columns.
  """
  rows, columns, height, width = tiles.shape[:4]
  tall, wide = height + gap, width + gap
  shape = (rows * tall - gap, columns * wide - gap, *tiles.shape[4:])
  picture = np.full(shape, np.nan)
  for i, j in np.ndindex(rows, columns):
    y, x = i * tall, j * wide
    picture[y : y + height, x : x + width] = tiles[i, j]
  down = [i * tall + (height - 1) / 2 for i in range(rows)]
  across = [j * wide + (width - 1) / 2 for j in range(columns)]
  return picture, down, across


def spread(layers: np.ndarray) -> np.ndarray:
  """Where lines by layer have their points; of one layer they are dashes."""
  return layers if len(layers) > 1 else layers + np.array([-0.4, 0.4])


def pick_ticks(count: int, most: int = 16) -> list[int]:
  """Which of `count` places have a number beside them."""
  return list(range(0, count, -(-count // most)))
