# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Explains a trained model: what it attends to, and what it has learned.

  python -m vit_jax.analyze runs/pets --images=photos --out=seen
  python -m vit_jax.analyze ViT-B_16.npz --images='a/*.jpg' cat.png --out=seen

RUN is the directory of a run, or any weights that vit_jax.load reads. Images
are files, folders and patterns. DIR gets analysis.html, a page of its own to be
opened in a browser; its figures as PNGs; and arrays.npz, what they show.
docs/analysis.md says what each is, its formula and its source.
"""

import dataclasses
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from vit_jax.config import ConfigError, Count, Natural, RunError
from vit_jax.config.command_line import make_parser, positive, reported
from vit_jax.config.weight_options import add_options, read_options
from vit_jax.data.images import decode_batches, find_images, list_images, rank
from vit_jax.devices.detection import start_backend
from vit_jax.metrics.progress import Progress
from vit_jax.prepare.listing import Meter
from vit_jax.runtime.compilation_cache import use_cache
from vit_jax.storage.paths import locate, written

LIMIT = 128  # Images; so many has figure 7 of the paper.
PICTURES = 8
PAGE, ARRAYS = "analysis.html", "arrays.npz"
# Beside them, the figures of `plots.explanation`.
FIGURES = re.compile(
  r"(image_\d+|rollout_\d+|pooling_\d+|heads_\d+|distance|entropy|similarity"
  r"|norms|positions|components)\.png"
)
TOP = 3  # Classes named below a picture.


@dataclasses.dataclass(frozen=True)
class Analysis:
  """What `analyze` finds.

  Attributes:
    arrays: name -> array, see `analysis.explain.explain`.
    files: paths of the n images that they are of, in order.
    bad: (path, why) of images that cannot be read.
    inputs: float32 [m H W c], the first images as the model saw them.
    module: the model.
    manifest: its manifest.
  """

  arrays: dict[str, np.ndarray]
  files: list[str]
  bad: list[tuple[str, str]]
  inputs: np.ndarray
  module: Any
  manifest: Any


def analyze(
  path: str | os.PathLike,
  images: str | os.PathLike | Sequence[str | os.PathLike],
  *,
  limit: Count = LIMIT,
  pictures: Natural = PICTURES,
  progress: Callable[[int], None] = lambda number: None,
  **arguments: Any,
) -> Analysis:
  """Computes what explains a model.

  Args:
    path: the run or weights, see `vit_jax.load`.
    images: paths of images, in whose order the result is; or one path, a folder
      is searched for images. Of more than `limit` that many are taken, evenly.
    limit: number of images at most.
    pictures: number of images whose maps are kept: the first of the result. Of
      a folder they are taken evenly, and `files` begins with them.
    progress: called with the number of images that were just done.
    **arguments: see `vit_jax.load`.

  Raises:
    ConfigError: if the weights cannot be loaded, or no image can be read.
    RunError: if the model's scores are not finite.
  """
  import jax

  import vit_jax
  from vit_jax.analysis.explain import choose_batch_size, explain
  from vit_jax.devices.auto import choose_batch

  found = pick(list_images(images), limit)
  if not found:
    raise ConfigError("images is an empty list: give at least one path")
  if isinstance(images, str | os.PathLike):
    found = spread(found, pictures)
  model, preprocess = vit_jax.load(path, **arguments)
  size = min(
    choose_batch_size(model.module, preprocess.size),
    choose_batch(model.module, jax.devices()[:1], *preprocess.size),
    len(found),
  )
  files: list[str] = []
  bad: list[tuple[str, str]] = []
  inputs: list[np.ndarray] = []

  def read() -> Iterator[tuple[np.ndarray, int]]:
    """Yields the images that can be read, and how many a batch has."""
    for names, errors, batch in decode_batches(found, size, preprocess):
      good = [i for i, error in enumerate(errors) if error is None]
      files.extend(names[i] for i in good)
      bad.extend((names[i], x) for i, x in enumerate(errors) if x is not None)
      inputs.extend(batch[good[: max(0, pictures - len(inputs))]])
      if good:
        batch[: len(good)] = batch[good]
        yield batch, len(good)
      progress(len(names))

  try:
    arrays = explain(model, read(), len(found), pictures)
  except FloatingPointError as error:
    raise RunError(
      f"{path}: {error}: the weights may hold NaN, or be damaged"
    ) from error
  if not files:
    (name, why), *rest = bad
    more = f", nor any of the {len(rest):,} others" if rest else ""
    raise ConfigError(f"{name} {why}{more}")
  return Analysis(
    arrays, files, bad, np.asarray(inputs), model.module, model.manifest
  )


def pick(images: Sequence[Any], limit: int) -> list[Any]:
  """At most `limit` images, evenly from all."""
  if len(images) <= limit:
    return list(images)
  return [images[i * len(images) // limit] for i in range(limit)]


def spread(images: Sequence[str], number: int) -> list[str]:
  """The images, in an order that begins with `number` evenly from all."""
  first = pick(range(len(images)), number)
  rest = sorted({*range(len(images))} - {*first})
  return [images[i] for i in (*first, *rest)]


def describe(found: Analysis, path: str) -> Any:
  """What a page says of the model and the images.

  Returns:
    An `Explained` of `plots.explanation`.
  """
  import jax

  from vit_jax.analysis.norms import OUTLIER, find_outliers
  from vit_jax.plots.explanation import Explained, Shown
  from vit_jax.plots.pictures import restore

  module, manifest = found.module, found.manifest
  scores = (
    jax.nn.sigmoid
    if manifest.get("cross_entropy") == "sigmoid"
    else jax.nn.softmax
  )
  sizes = manifest["preprocess"]
  shown = []
  for i, values in enumerate(found.inputs):
    classes = []
    if module.num_classes:
      row = np.asarray(scores(found.arrays["logits"][i]))
      classes = rank(row, TOP, manifest["class_names"])
    pixels = restore(values, sizes["mean"], sizes["std"])
    shown.append(Shown(found.files[i], pixels, classes))
  layout = outliers = None
  if "rollout" in found.arrays:
    layout = module.make_layout(sizes["height"], sizes["width"])
  prefix = layout.prefix if layout else 0
  if "norms" in found.arrays:
    patches = found.arrays["norms"][:, :, prefix:]
    outliers = find_outliers(patches).mean(axis=(0, 2))
  return Explained(
    name=path,
    kind=manifest["model"]["variant"],
    size=(sizes["height"], sizes["width"]),
    prefix=prefix,
    registers=layout.registers if layout else 0,
    position=getattr(module, "position", None),
    outliers=outliers,
    factor=OUTLIER,
    count=len(found.files),
    shown=shown,
  )


def check_out(name: str, overwrite: bool) -> Any:
  """The directory to write to.

  Raises:
    ConfigError: if it holds what must not be lost, is no directory, or cannot
      be written.
  """
  if not name:
    raise ConfigError("--out is empty: name a directory")
  path = locate(name)
  with written(name):
    if path.exists() and not path.is_dir():
      raise ConfigError(f"--out={name} is a file: name a directory")
    there = list(path.iterdir()) if path.exists() else []
    if there and not overwrite:
      raise ConfigError(
        f"{name} exists: name another --out, or replace it (--overwrite)"
      )
    # Pictures of the user may have the names of figures, but not beside arrays.
    known = ARRAYS in [x.name for x in there]
    if others := sorted(x.name for x in there if not (known and is_own(x))):
      raise ConfigError(
        f"{name} holds something else than an analysis ({others[0]}), which "
        f"is not replaced: name another --out"
      )
    path.mkdir(parents=True, exist_ok=True)
  return path


def is_own(path: Any) -> bool:
  """Whether a file has a name that `save` gives."""
  return path.name in (PAGE, ARRAYS) or bool(FIGURES.fullmatch(path.name))


def save(found: Analysis, out: Any, name: str) -> None:
  """Writes arrays, figures and page; the page last.

  Args:
    found: what `analyze` found.
    out: from `check_out`; what an earlier analysis wrote there is removed.
    name: of the model, for the page.

  Raises:
    ConfigError: if the directory cannot be written.
  """
  from vit_jax.plots.explanation import draw_all, make_page

  described = describe(found, name)
  arrays = found.arrays
  figures = draw_all(arrays, described)
  file = io.BytesIO()
  named: Any = {"files": np.asarray(found.files), **arrays}
  np.savez_compressed(file, **named)
  with written(out):
    for old in filter(is_own, list(out.iterdir())):
      old.unlink()
    (out / ARRAYS).write_bytes(file.getvalue())
    for figure, png in figures.items():
      (out / f"{figure}.png").write_bytes(png)
    page = make_page(arrays, figures, described, found.bad)
    (out / PAGE).write_bytes(page.render().encode())


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("analyze", __doc__)
  parser.add_argument(
    "run", metavar="RUN", help="directory of a run, or weights"
  )
  parser.add_argument(
    "--images",
    metavar="IMAGE",
    nargs="+",
    action="extend",
    required=True,
    help="images, folders of images, and patterns as 'photos/*.jpg'",
  )
  parser.add_argument(
    "--out",
    metavar="DIR",
    required=True,
    help="directory to write to; a new or an empty one",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace an analysis in DIR"
  )
  parser.add_argument(
    "--limit",
    type=positive,
    default=LIMIT,
    metavar="N",
    help=f"images at most, taken evenly from all (default: {LIMIT})",
  )
  parser.add_argument(
    "--pictures",
    type=positive,
    default=PICTURES,
    metavar="N",
    help=f"images that are shown, evenly from those (default: {PICTURES})",
  )
  add_options(parser)
  # Of --images=A B argparse takes A alone.
  arguments, more = parser.parse_known_args(argv)
  if unknown := [x for x in more if x.startswith("-")]:
    parser.error(f"unrecognized arguments: {' '.join(unknown)}")
  progress = Progress()
  bad: list[tuple[str, str]] = []
  with reported():
    images, notes = find_images([*arguments.images, *more])
    for note in notes:
      print(note, file=sys.stderr)
    chosen = read_options(arguments)
    out = check_out(arguments.out, arguments.overwrite)
    use_cache(start_backend(keep=True))
    taken = min(len(images), arguments.limit)
    if taken < len(images):
      progress.say(
        f"{taken:,} of {len(images):,} images, evenly: --limit=N takes more"
      )
    try:
      found = analyze(
        arguments.run,
        spread(pick(images, arguments.limit), arguments.pictures),
        limit=arguments.limit,
        pictures=arguments.pictures,
        progress=Meter(progress, taken, "images").add,
        **chosen,
      )
      progress.say("drawing")
      save(found, out, arguments.run)
    finally:
      progress.end()
    bad = found.bad
    for name, why in bad:
      print(f"{name}: {why}", file=sys.stderr)
    print(out / PAGE)
  if bad:
    sys.exit(1)


if __name__ == "__main__":
  main()
