# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a checkpoint: all of it onto a mesh, or parts of it into memory.

No process waits for another while it reads: if one fails, the caller tells the
others, and all of them take another checkpoint. Nothing is written or deleted.
"""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from vit_jax.checkpoint.allocator import align
from vit_jax.checkpoint.checksums import compute_checksum, describe
from vit_jax.checkpoint.directory import (
  METADATA,
  holding_interrupts,
  list_steps,
)
from vit_jax.checkpoint.metadata import (
  DamagedError,
  compare,
  from_tree,
  open_metadata,
  to_tree,
)
from vit_jax.checkpoint.quiet_orbax import get_orbax
from vit_jax.config import ConfigError
from vit_jax.config.errors import shorten
from vit_jax.devices.host_memory import returning_memory
from vit_jax.hosts.coordination import Hosts
from vit_jax.sharding import get_path
from vit_jax.storage.paths import compute_size
from vit_jax.storage.untrusted import (
  MAX_TEXT,
  compute_unpack_limit,
  parse_json,
  read_file,
)
from vit_jax.train_state import TrainState

log = logging.getLogger(__name__)

GROUP = 1 << 30  # Bytes of the arrays that are read back together.
LITTLE = 1 << 26  # The same, where they stay in memory.


@contextlib.contextmanager
def reading() -> Iterator[None]:
  """Wraps a read by Orbax: by this process alone, errors as DamagedError."""
  context, index = get_orbax().Context(), jax.process_index()
  context.multiprocessing.primary_host = index
  context.multiprocessing.active_processes = {index}
  context.multiprocessing.barrier_sync_key_prefix = f"host_{index}"
  try:
    with holding_interrupts(), context:
      yield
  except (DamagedError, ConfigError, MemoryError, jax.errors.JaxRuntimeError):
    raise
  except Exception as error:  # Orbax and TensorStore raise all kinds.
    raise DamagedError(f"it cannot be read: {find_cause(error)}") from error


def find_cause(error: BaseException) -> str:
  """Finds what TensorStore said; what is around it has pages of its options."""
  while error.__cause__ is not None:
    error = error.__cause__
  return shorten(str(error).strip() or type(error).__name__, 300)


def load_metadata(
  path: epath.Path,
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
  """Loads the metadata of a checkpoint and of its arrays.

  Returns:
    The metadata, None before format 1, and the tree of the arrays' metadata.

  Raises:
    DamagedError: if one of them cannot be read, or they do not agree.
    ConfigError: if it is of a later format.
  """
  with reading():
    # Orbax takes malformed JSON for no metadata.
    text = read_file(path / METADATA, MAX_TEXT)
    metadata = open_metadata(parse_json(text).get("custom_metadata"))
    found = get_orbax().checkpointables_metadata(path)
    tree = found.metadata["state"]
    if tree is None:  # Orbax only logs why.
      raise DamagedError("the metadata of its arrays is missing or damaged")
    tree = dict(tree)
    if metadata is not None:
      check_name(path, metadata)
      there = {
        get_path(keys): describe(leaf)
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
      }
      stated = {name: x.split()[0] for name, x in metadata["checksums"].items()}
      compare(stated, there)
      compare(there, stated)
  return metadata, tree


def check_name(path: epath.Path, metadata: Mapping[str, Any]) -> None:
  """Refuses a checkpoint whose directory has the name of another step.

  What was copied or renamed by hand would be trusted as the other step's.

  Raises:
    DamagedError: the step that it holds.
  """
  if path.name != str(metadata["step"]):
    raise DamagedError(
      f"it holds step {metadata['step']}, so its directory was renamed or "
      f"copied"
    )


def describe_renaming(
  directory: epath.Path, steps: Sequence[int]
) -> str | None:
  """Describes how checkpoints under other steps' names get their own back.

  Args:
    directory: directory of the checkpoints.
    steps: names of those in it.

  Returns:
    What to rename; None if none has another's name, or all are copies.
  """
  names: dict[int, int] = {}  # Step that is held -> the directory's name.
  for name in steps:
    with contextlib.suppress(Exception):  # Said where it was to be read.
      text = read_file(directory / str(name) / METADATA, MAX_TEXT)
      metadata = open_metadata(parse_json(text).get("custom_metadata"))
      if metadata is not None and names.get(step := metadata["step"]) != step:
        names[step] = name
  pairs = [f"{name} to {x}" for x, name in sorted(names.items()) if name != x]
  return f"rename {' and '.join(pairs)} in {directory}" if pairs else None


def check_claims(path: epath.Path, leaves: Sequence[Any]) -> None:
  """Refuses arrays that claim to be much larger than their files.

  Args:
    path: directory of the checkpoint.
    leaves: metadata of the arrays to read.

  Raises:
    DamagedError: how much they claim.
  """
  with reading():
    # A chunk is decompressed whole, even if an array needs little of it.
    claimed = sum(
      max(math.prod(x.shape), math.prod(x.storage_metadata.chunk_shape))
      * np.dtype(x.dtype).itemsize
      for x in leaves
    )
    held = compute_size(path)
  most = compute_unpack_limit(held)
  if claimed > most:
    raise DamagedError(
      f"its arrays claim {claimed:,} bytes in files of {held:,} bytes, from "
      f"which at most {most:,} are decompressed"
    )


def load_required_metadata(path: epath.Path) -> dict[str, Any]:
  """Loads the metadata of a checkpoint that is about to be restored.

  Raises:
    DamagedError: if it has none, it is damaged, or the arrays claim more than
      their files can hold.
    ConfigError: if it is of a later format.
  """
  metadata, tree = load_metadata(path)
  check_claims(path, jax.tree.leaves(tree))
  if metadata is None:
    raise DamagedError(
      "it has no metadata, as before format 1; start from its weights with "
      "--config.init=PATH and another --workdir"
    )
  return metadata


def load_state(path: epath.Path, abstract_state: TrainState) -> TrainState:
  """Loads a state onto a mesh; its checksums are not checked.

  Args:
    path: directory of the checkpoint.
    abstract_state: shapes, dtypes and shardings of the state.

  Raises:
    DamagedError: if it cannot be read.
  """
  with reading():
    wanted = {"state": to_tree(abstract_state)}
    found = get_orbax().load_checkpointables(path, wanted)
    return from_tree(found["state"])


def load_arrays(
  path: epath.Path, tree: Mapping[str, Any], names: Sequence[str]
) -> dict[str, np.ndarray]:
  """Loads some arrays of a checkpoint into this host's memory.

  Args:
    path: directory of the checkpoint.
    tree: metadata of its arrays, from `load_metadata`.
    names: paths of the arrays.

  Returns:
    Path -> array.

  Raises:
    DamagedError: if they cannot be read.
  """

  ocp = get_orbax()

  def want(keys, leaf):
    if get_path(keys) not in names:
      return ocp.PLACEHOLDER
    return np.empty(leaf.shape, leaf.dtype)

  with reading():
    wanted = jax.tree_util.tree_map_with_path(want, tree)
    loaded = ocp.load_checkpointables(path, {"state": wanted})["state"]
    found = {
      get_path(keys): leaf
      for keys, leaf in jax.tree_util.tree_leaves_with_path(loaded)
    }
    return {name: np.asarray(found[name]) for name in names}


def align_operations(hosts: Hosts) -> None:
  """Lets all hosts save together after each of them has read by itself.

  Orbax numbers the operations of a process, reads too, and hosts that save
  together must have the same number.
  """
  # These numbers have no public interface.
  from orbax.checkpoint._src.futures.synchronization import (
    OperationIdGenerator as Operations,
  )

  last = max(hosts.gather(int(Operations.get_current_operation_id())))
  while int(Operations.get_current_operation_id()) < last:
    Operations.next_operation_id()


def group_arrays(tree: Mapping[str, Any], size: int = GROUP) -> list[list[str]]:
  """Groups the paths of all arrays by `size` bytes; a larger one is alone."""
  groups, room = [], 0
  for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
    count = math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
    if count > room:
      groups.append([])
      room = size
    groups[-1].append(get_path(keys))
    room -= count
  return groups


def order_groups(tree: Mapping[str, Any]) -> list[list[str]]:
  """Groups paths by LITTLE, the largest arrays first.

  While Orbax reads an array it holds as much beside it, which matters least as
  long as there are few others.
  """
  sizes = {
    get_path(keys): math.prod(leaf.shape)
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  groups = group_arrays(tree, LITTLE)
  return sorted(groups, key=lambda names: -max(sizes[name] for name in names))


def verify(
  path: epath.Path,
  index: int = 0,
  count: int = 1,
  stopped: Callable[[], bool] = lambda: False,
) -> None:
  """Reads a checkpoint back and compares it with its metadata.

  Args:
    path: directory of the checkpoint.
    index: number of this host; each reads a part.
    count: number of hosts.
    stopped: returns True once the result is no longer needed.

  Raises:
    DamagedError: if its metadata is damaged, or an array of this host's part.
  """
  metadata, tree = load_metadata(path)
  if metadata is None:
    raise DamagedError("its metadata is missing")
  groups, errors = group_arrays(tree), []
  for names in groups[index::count]:
    if stopped():
      return
    try:
      arrays = load_arrays(path, tree, names)
      sums = {name: compute_checksum(array) for name, array in arrays.items()}
      compare(sums, metadata["checksums"])
    except DamagedError as error:
      errors.append(error)
  if errors:
    raise errors[0]


def load_params(
  directory: epath.Path, step: str | None = None, *, raw: bool = False
) -> Any:
  """Loads the parameters that a run evaluates: the average if it keeps one.

  Nothing else of the state is read. If the newest checkpoint is damaged, the
  one before it is taken, with a warning; one without checksums comes last.

  Args:
    directory: directory of the checkpoints.
    step: step of the checkpoint; None is the newest sound one.
    raw: load the parameters themselves, even if an average is kept.

  Returns:
    Nested dictionaries of NumPy arrays.

  Raises:
    ConfigError: if there is no checkpoint, or none that can be read.
  """
  try:
    steps = list_steps(directory)
  except OSError as error:
    raise ConfigError(f"{directory} cannot be read: {error}") from error
  if not steps:
    raise ConfigError(
      f"there is no checkpoint in {directory}: a run writes one every "
      f"checkpoint.every steps and at its end; start it again with the same "
      f"--workdir, or give another run"
    )
  chosen = steps
  if step is not None:
    if step not in map(str, steps):
      raise ConfigError(
        f"there is no checkpoint of step {step} in {directory}, but of "
        f"{', '.join(map(str, steps))}"
      )
    chosen = [int(step)]
  errors = []
  for needs_metadata in (True, False):
    for number in reversed(chosen):
      path = directory / str(number)
      try:
        with returning_memory():
          params = _load_params(path, raw, needs_metadata)
      except DamagedError as error:
        errors.append(f"{path}: {error}")
        continue
      for text in errors:
        log.warning("%s; taking step %d", text, number)
      return params
  errors = list(dict.fromkeys(errors))
  remedy = describe_renaming(directory, steps)
  lines = ["no checkpoint can be used:", *errors, *([remedy] if remedy else [])]
  raise ConfigError("\n  ".join(lines))


def _load_params(path: epath.Path, raw: bool, needs_metadata: bool) -> Any:
  """Loads the parameters of one checkpoint; raises DamagedError."""
  metadata, tree = load_metadata(path)
  if needs_metadata and metadata is None:
    raise DamagedError("it has no checksums, as before format 1")
  name, found = "params", tree["params"]
  if not raw:  # As `train_state.get_evaluated_params`.
    if tree.get("ema") is not None:
      name, found = "ema", tree["ema"]
    elif "teacher" in (tree.get("aux") or {}):
      name, found = "aux/teacher", tree["aux"]["teacher"]
  leaves, structure = jax.tree_util.tree_flatten_with_path(found)
  names = [f"{name}/{get_path(keys)}" for keys, _ in leaves]
  check_claims(path, [leaf for _, leaf in leaves])
  arrays: dict[str, np.ndarray] = {}
  for group in order_groups({name: found}):
    for key, array in load_arrays(path, tree, group).items():
      arrays[key] = align(array)
    if metadata is not None:
      sums = {name: compute_checksum(arrays[name]) for name in group}
      compare(sums, metadata["checksums"])
  return structure.unflatten([arrays[name] for name in names])
