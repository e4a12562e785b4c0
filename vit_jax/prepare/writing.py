# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a set as TFDS does, in ArrayRecord, and resumes after interruptions.

The order of examples is a function of their names alone: they are sorted by a
hash. So any slice of a split, as train[:1%], is a fair sample of it, and an
interrupted set ends up with the same bytes as one written at once. A shard is
written whole or not at all; the metadata that make shards a set come last.

Memory: 24 bytes an image to sort them, a few images a thread, and what the
source keeps.
"""

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from vit_jax.config.errors import counted
from vit_jax.data import sources
from vit_jax.data.fingerprint import PLAN, load_plan
from vit_jax.data.held_out import write_paths
from vit_jax.data.info import DataError
from vit_jax.metrics.progress import Progress
from vit_jax.prepare import shards
from vit_jax.prepare.listing import THREADS, Meter, Source, Split
from vit_jax.storage.files import replacing, write_json, write_text
from vit_jax.storage.paths import is_local

VERSION = "1.0.0"

# Limits of a file. Its number of images matters because reading one takes time
# in proportion to it: 10 us for 3,000.
SHARD_BYTES = 512 * 2**20
SHARD_IMAGES = 8192

UNREADABLE = "unreadable.txt"

FIRST = 5  # Items of a long list that are shown.

Bad = tuple[str, str]  # (path, reason) of an image that is left out.


def check_on_disk(data_dir: str | None) -> None:
  """Raises DataError for a store, which is not asked: files grow and move."""
  place = data_dir or sources.DATA_DIR
  if not is_local(place):
    raise DataError(
      f"{place} is not on a disk: prepare the set on one (--data_dir), then "
      f"copy its directory"
    )


def write(
  source: Source,
  data_dir: str | None,
  *,
  verify: bool,
  max_unreadable: float,
  progress: Progress,
  shard_bytes: int = SHARD_BYTES,
) -> epath.Path:
  """Writes a set, or completes one that was interrupted.

  Args:
    source: the set to write.
    data_dir: where prepared sets are stored.
    verify: whether to decode every image once.
    max_unreadable: largest share of images that may be left out.
    progress: where progress is shown.
    shard_bytes: approximate size of a file.

  Returns:
    The directory of the set.

  Raises:
    DataError: if data_dir is on no disk, another process is writing the set,
      it was written from another source, too many images are unreadable, or
      the disk is too small.
  """
  check_on_disk(data_dir)
  root = sources.resolve_data_dir(data_dir) / source.name
  _check_names(source)
  orders = {name: sort(split) for name, split in source.splits.items()}
  plan = make_plan(source, verify, shard_bytes)
  try:
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / f".{VERSION}.lock"):
      ready = sources.find_directory(source.name, data_dir)
      if ready is not None:
        _check_same(ready, plan, "is already prepared")
        return ready
      directory = root / f"{VERSION}.incomplete"
      _start(source, directory, plan)
      bad = _fill(
        source, directory, plan, orders, verify, max_unreadable, progress
      )
      (directory / UNREADABLE).unlink(missing_ok=True)  # Of an earlier call.
      if bad:
        _write_unreadable(directory, bad)
        progress.say(_describe(bad, root / VERSION))
      write_paths(directory, source.held_out)
      directory.rename(root / VERSION)
      shutil.rmtree(root / VERSION / "shards")
      return root / VERSION
  except OSError as error:
    raise DataError(
      f"{source.name} cannot be written to {root}: {error}\n"
      f"  complete files are kept: run the same command again to continue, or "
      f"choose another disk with --data_dir=DIR"
    ) from error


def sort(split: Split) -> np.ndarray:
  """Sorts the examples by their keys.

  Returns:
    int64 [n], indices of the examples.

  Raises:
    DataError: if two have the same name.
  """
  order = np.argsort(split.keys, kind="stable")
  keys = split.keys[order]
  twice = np.flatnonzero(keys[1:] == keys[:-1])
  if len(twice):
    first, second = (split.locate(int(i)) for i in order[twice[0] :][:2])
    raise DataError(
      f"{first} and {second} have the same name ({len(twice):,} such pairs): "
      f"give each image its own name, and list it once, with all of its labels"
    )
  return order


def make_plan(source: Source, verify: bool, shard_bytes: int) -> dict[str, Any]:
  """Describes all that determines the bytes of a set, for source.json."""
  classes = "\n".join(source.class_names).encode()
  plan = {
    "classes": len(source.class_names),
    "class names": hashlib.blake2b(classes, digest_size=16).hexdigest(),
    "labels an image": source.slots,
    "verified": verify,
  }
  for name, split in source.splits.items():
    count = len(split.keys)
    plan[f"{name} images"] = count
    plan[f"{name} bytes"] = split.num_bytes
    plan[f"{name} names, sizes and labels"] = split.digest
    wanted = max(-(-split.num_bytes // shard_bytes), -(-count // SHARD_IMAGES))
    plan[f"{name} shards"] = max(1, min(wanted, count))
  return plan


@contextlib.contextmanager
def locked(path: epath.Path) -> Iterator[None]:
  """Holds a lock file; the system releases it if the process dies.

  Raises:
    DataError: if another process holds it.
  """
  with open(path, "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise DataError(
        f"another process is writing to {path.parent}: wait for it or stop it"
      ) from error
    yield


def _check_names(source: Source) -> None:
  """Raises DataError for invalid class names and empty splits."""
  for name in source.class_names:
    if name != name.strip() or not name or "\n" in name:
      raise DataError(
        f"invalid class name {name!r}: remove spaces around it and line breaks"
      )
  for name, split in source.splits.items():
    if not len(split.keys):
      raise DataError(f"{source.name} has no image in the split {name!r}")


def _check_same(directory: epath.Path, plan: dict[str, Any], what: str) -> None:
  """Raises DataError if a directory was prepared by another plan."""
  remedy = (
    f"give the new set another name with --name=NAME, or delete {directory} to "
    f"start again"
  )
  if not (directory / PLAN).exists():
    raise DataError(f"{directory} was not written by this command: {remedy}")
  found = load_plan(directory)
  differ = []
  for key in [*plan, *sorted(found.keys() - plan.keys())]:
    before, now = found.get(key, "nothing"), plan.get(key, "nothing")
    if before != now:
      is_digest = isinstance(now, str) and isinstance(before, str)
      values = " differ" if is_digest else f": was {before}, now {now}"
      differ.append(f"  {key}{values}")
  if differ:
    lines = "\n".join(differ)
    raise DataError(
      f"{directory} {what}, and the source has changed since:\n{lines}\n"
      f"  {remedy}"
    )


def _start(source: Source, directory: epath.Path, plan: dict[str, Any]) -> None:
  """Creates the directory to fill, or checks the existing one.

  Raises:
    DataError: if it was started from another source, or the disk is too small.
  """
  if (directory / PLAN).exists():
    _check_same(directory, plan, "was started")
  (directory / "shards").mkdir(parents=True, exist_ok=True)
  write_json(directory / PLAN, plan)
  needed = sum(split.num_bytes for split in source.splits.values())
  needed -= sum(path.stat().length for path in directory.glob("*-of-*"))
  free = shutil.disk_usage(directory).free
  if free < needed:
    raise DataError(
      f"{directory} needs {needed / 1e9:,.1f} GB more, and the disk has "
      f"{free / 1e9:,.1f} GB: free some, or choose another disk with "
      f"--data_dir=DIR"
    )


def _fill(
  source: Source,
  directory: epath.Path,
  plan: dict[str, Any],
  orders: Mapping[str, np.ndarray],
  verify: bool,
  max_unreadable: float,
  progress: Progress,
) -> list[Bad]:
  """Writes the missing shards and the metadata.

  Returns:
    The images that were left out.
  """
  features = shards.make_features(source)
  files = {
    name: [
      shards.Shard(directory, source.name, name, i, plan[f"{name} shards"])
      for i in range(plan[f"{name} shards"])
    ]
    for name in source.splits
  }
  reports = {name: [x.load_report() for x in files[name]] for name in files}
  done = [x for split in reports.values() for x in split if x]
  # A dict, for a file in two splits counts once.
  bad = dict.fromkeys(source.bad)
  bad |= dict.fromkeys(tuple(pair) for x in done for pair in x["bad"])
  written = sum(x["images"] + len(x["bad"]) for x in done)
  total = sum(map(len, orders.values()))
  if written:
    progress.say(f"continuing after {written:,} of {counted(total, 'image')}")
  whole = total + len(source.bad)
  _check_share(list(bad), whole, max_unreadable, directory)
  meter = Meter(progress, total, "images", written)
  pool = futures.ThreadPoolExecutor(THREADS)
  try:
    for name, split in source.splits.items():
      read = shards.Serializer(split, features, source.slots, verify)
      for i, shard in enumerate(files[name]):
        if reports[name][i]:
          continue
        examples = shards.map_ahead(pool, read, shard.cut(orders[name]))
        # Checked before the shard is kept, so that repaired images are read.
        with replacing(shard.path, durable=True) as path:
          report = shards.write_examples(path, examples, meter)
          bad |= dict.fromkeys(report["bad"])
          _check_share(list(bad), whole, max_unreadable, directory)
        shard.save_report(report)
        reports[name][i] = report
  finally:
    pool.shutdown(cancel_futures=True)
    progress.end()
  _write_metadata(source, directory, features, reports)
  return list(bad)


def _check_share(
  bad: list[Bad], total: int, max_unreadable: float, directory: epath.Path
) -> None:
  """Raises DataError if too many images were left out."""
  if len(bad) > max_unreadable * total:
    _write_unreadable(directory, bad)
    raise DataError(
      f"{_describe(bad, directory)}\n"
      f"  of {total:,} images --max_unreadable={max_unreadable:g} allows "
      f"{int(max_unreadable * total):,}: repair or remove them, or raise the "
      f"share"
    )


def _write_unreadable(directory: epath.Path, bad: list[Bad]) -> None:
  """Writes the list of all images that were left out."""
  lines = "".join(f"{path}\t{why}\n" for path, why in bad)
  # File names may be any bytes.
  text = lines.encode("utf-8", "backslashreplace").decode()
  write_text(directory / UNREADABLE, text)


def _describe(bad: list[Bad], directory: epath.Path) -> str:
  """Describes the first of the images that were left out."""
  lines = [f"left out: {counted(len(bad), 'image')} that cannot be read"]
  lines += [f"  {path}: {why}" for path, why in bad[:FIRST]]
  lines += ["  ..."] if len(bad) > FIRST else []
  return "\n".join([*lines, f"  full list: {directory / UNREADABLE}"])


def _write_metadata(
  source: Source,
  directory: epath.Path,
  features: tfds.features.FeaturesDict,
  reports: Mapping[str, list[dict[str, Any]]],
) -> None:
  """Lets TFDS write features.json, dataset_info.json and the class names.

  Raises:
    DataError: for a split without a readable image.
  """
  infos = [
    tfds.core.SplitInfo(
      name=name,
      shard_lengths=[report["images"] for report in split],
      num_bytes=sum(report["bytes"] for report in split),
    )
    for name, split in reports.items()
  ]
  for info in infos:
    if not info.num_examples:
      raise DataError(
        f"{source.name} has no readable image in the split {info.name!r}"
      )
  tfds.folder_dataset.write_metadata(
    data_dir=directory,
    features=features,
    split_infos=infos,
    version=VERSION,
    description=source.description,
    check_data=False,
  )
