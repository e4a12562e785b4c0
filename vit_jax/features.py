# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the features of images, for other tools.

  python -m vit_jax.features runs/pets --out=test.npz
  python -m vit_jax.features ViT-B_16.npz --data=folder:photos --out=all.parquet

A feature is what the head reads, float32 [R]. A .npz has the arrays features
[n, R], label [n] and path [n]; a .parquet columns of these names. A label is a
class of the data, by its index; a path is the file name that a prepared set has
recorded, or else an index. Rows are in the order of the split, and are written
as they are computed.
"""

import contextlib
import importlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.config.command_line import make_parser, reported
from vit_jax.config.errors import counted
from vit_jax.config.weight_options import (
  add_data_options,
  add_options,
  read_options,
  renaming,
)
from vit_jax.devices.detection import start_backend
from vit_jax.metrics.progress import Progress, shown
from vit_jax.prepare.listing import Meter
from vit_jax.runtime.compilation_cache import use_cache
from vit_jax.storage.files import replacing
from vit_jax.storage.paths import (
  check_directory,
  is_local,
  locate,
  refuse_existing,
  written,
)

FORMATS = (".npz", ".parquet")


class Writer(Protocol):
  """Writes features batch by batch."""

  def add(self, features: np.ndarray, label: np.ndarray) -> None:
    """Adds [B R] and [B], or [B s]."""


class NpzWriter:
  """A .npz whose largest array is never in memory as a whole."""

  def __init__(self, file: Any, paths: Sequence[str]):
    self._file, self._paths = file, paths
    self._labels: list[np.ndarray] = []
    self._out: Any = None

  def add(self, features: np.ndarray, label: np.ndarray) -> None:
    """Adds a batch."""
    if self._out is None:
      self._out = self._file.open("features.npy", "w", force_zip64=True)
      header = {
        "descr": "<f4",
        "fortran_order": False,
        "shape": (len(self._paths), features.shape[1]),
      }
      np.lib.format.write_array_header_2_0(self._out, header)
    self._out.write(features.astype("<f4").tobytes())
    self._labels.append(label)

  def close(self) -> None:
    """Writes the small arrays."""
    self._out.close()
    known = [os.fsencode(x).decode("utf-8", "replace") for x in self._paths]
    arrays = {"label": np.concatenate(self._labels), "path": np.array(known)}
    for name, array in arrays.items():
      with self._file.open(f"{name}.npy", "w", force_zip64=True) as out:
        np.lib.format.write_array(out, array, allow_pickle=False)


class ParquetWriter:
  """A Parquet file, a group of rows for each batch."""

  def __init__(self, arrow: Any, target: str, paths: Sequence[str]):
    self._arrow, self._target = arrow, target
    self._paths, self._done = paths, 0
    self._out: Any = None

  def add(self, features: np.ndarray, label: np.ndarray) -> None:
    """Adds a batch."""
    arrow = self._arrow
    rows, width = features.shape
    values = arrow.array(features.reshape(-1), arrow.float32())
    paths = self._paths[self._done : self._done + rows]
    self._done += rows
    labels = [[int(i) for i in x if i >= 0] for x in label.reshape(rows, -1)]
    table = arrow.table(
      {
        "path": [os.fsencode(x).decode("utf-8", "replace") for x in paths],
        "label": label if label.ndim == 1 else labels,
        "features": arrow.FixedSizeListArray.from_arrays(values, width),
      }
    )
    if self._out is None:
      self._out = arrow.parquet.ParquetWriter(self._target, table.schema)
    self._out.write_table(table)

  def close(self) -> None:
    """Writes the index of the file."""
    self._out.close()


@contextlib.contextmanager
def open_writer(path: epath.Path, paths: Sequence[str]) -> Iterator[Writer]:
  """Opens a file that has its name only once it is whole."""
  with replacing(path) as target:
    if path.suffix == ".parquet":
      parquet = ParquetWriter(import_arrow(), os.fspath(target), paths)
      yield parquet
      parquet.close()
      return
    with target.open("wb") as out, zipfile.ZipFile(out, "w") as file:
      npz = NpzWriter(file, paths)
      yield npz
      npz.close()


def import_arrow() -> Any:
  """Imports pyarrow; raises ConfigError where it is missing."""
  try:
    importlib.import_module("pyarrow.parquet")
    return importlib.import_module("pyarrow")
  except ImportError as error:
    raise ConfigError(
      "a .parquet needs pyarrow: pip install pyarrow, or write a .npz"
    ) from error


def features(
  path: str | os.PathLike, *, progress: Progress | None = None, **options: Any
) -> dict[str, np.ndarray]:
  """Computes the features of a split: what the head reads.

  They are in memory as a whole; `write_features` writes them as they come.

  Args:
    path: a run or weights, see `vit_jax.load`.
    progress: where it is shown; None is nowhere.
    **options: `data`, `data_dir`, `split`, `batch_size` and `max_unreadable`,
      see `trained.open_trained`; others see `vit_jax.load`.

  Returns:
    "features" float32 [n R]; "label" int32 [n], or [n s] padded by -1, a class
    of the data by its index; "path" strings [n], of a prepared set the file
    names that it has recorded, or else indices.

  Raises:
    ConfigError: for bad arguments and missing data.
  """
  names, batches = compute_batches(os.fspath(path), progress, **options)
  rows, labels = zip(*batches, strict=True)
  return {
    "features": np.concatenate(rows),
    "label": np.concatenate(labels),
    "path": np.array(names),
  }


def write_features(
  path: str,
  out: str,
  *,
  overwrite: bool = False,
  progress: Progress | None = None,
  **options: Any,
) -> tuple[int, int]:
  """Writes the features of a split to a file, batch by batch.

  Args:
    path: as of `features`.
    out: FILE.npz or FILE.parquet.
    overwrite: allows to replace it.
    progress: as of `features`.
    **options: as of `features`.

  Returns:
    The number of images, and that of the numbers of each (R).

  Raises:
    ConfigError: for bad arguments, missing data, and a file that cannot be
      written, or is there and may not be replaced.
  """
  location = locate(out)
  check_out(location, out, overwrite)
  names, batches = compute_batches(path, progress, **options)
  count = width = 0
  with written(out), open_writer(location, names) as writer:
    for values, label in batches:
      writer.add(values, label)
      count, width = count + len(values), values.shape[1]
  return count, width


def compute_batches(
  path: str, progress: Progress | None, **options: Any
) -> tuple[list[str], Iterator[tuple[np.ndarray, np.ndarray]]]:
  """Computes features batch by batch, for `features`.

  Returns:
    The paths of all images; and (features [B R], labels) of each batch.

  Raises:
    RuntimeError: unless every image is in one batch, at the end.
  """
  # Late: jax must not start before a message about bad arguments.
  from vit_jax.evaluators.representation import make_step
  from vit_jax.evaluators.split import check_count, iterate_split
  from vit_jax.trained import open_trained

  trained = open_trained(path, classify=False, **options)
  progress = progress or Progress(enabled=False)
  for note in trained.notes:
    progress.say(note)
  results, size = iterate_split(
    make_step(trained.objective.model, trained.data, trained.mesh),
    trained.state.params,
    trained.data,
    trained.mesh,
    trained.weights.preprocess.channels,
    split=trained.split,
    batch_size=trained.batch_size,
    mark=lambda: None,
  )
  meter = Meter(progress, size, f"images of {trained.split}")

  def iterate() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    count = 0
    for values, label, mask in results:
      kept = np.asarray(mask)
      rows = np.asarray(values)[kept]
      yield rows, np.asarray(label)[kept]
      count += len(rows)
      meter.add(len(rows))
    check_count(count, size, trained.split)

  return trained.list_names(trained.split), iterate()


def check_out(location: epath.Path, out: str, overwrite: bool) -> None:
  """Raises ConfigError if a file cannot be written, before there is work."""
  if location.suffix not in FORMATS:
    raise ConfigError(
      f"--out={out} must end in {' or '.join(FORMATS)}, which names its format"
    )
  if not location.parent.is_dir() and is_local(location):
    raise ConfigError(f"--out={out}: there is no directory {location.parent}")
  check_directory(location.parent, f"--out={out}")
  refuse_existing([location], overwrite)
  if location.suffix == ".parquet":
    import_arrow()
    if not is_local(location):
      raise ConfigError(f"--out={out}: a .parquet is written to a disk only")


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("features", __doc__)
  parser.add_argument(
    "run", metavar="RUN", help="directory of a run, or weights"
  )
  parser.add_argument(
    "--out", metavar="FILE", required=True, help="FILE.npz or FILE.parquet"
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace FILE if it exists"
  )
  add_data_options(parser)
  add_options(parser)
  arguments = parser.parse_args(argv)
  with reported(), renaming():
    options = read_options(arguments)
    check_out(locate(arguments.out), arguments.out, arguments.overwrite)
    use_cache(start_backend(keep=True))
    with shown() as progress:
      count, width = write_features(
        arguments.run,
        arguments.out,
        overwrite=arguments.overwrite,
        progress=progress,
        **options,
      )
    print(f"{arguments.out}: {counted(count, 'image')}, {width:,} numbers each")


if __name__ == "__main__":
  main()
