# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a process may use of its machine: cores, memory and shared memory."""

import dataclasses
import math
import os
import pathlib
from typing import Any

# A container may have less than its machine: version 2 and 1 of cgroups.
CGROUP = "sys/fs/cgroup"
SHARED = "/dev/shm"


@dataclasses.dataclass(frozen=True)
class Machine:
  """What this process may use.

  Attributes:
    cores: number of cores; that of the machine, or less by an affinity, by a
      container's quota, or because other processes of the run have the rest.
    limit: why there are no more; empty if the machine has no more.
    memory: bytes of memory that are free; None if unknown.
    shared: bytes of shared memory that are free; None if there is no limit of
      its own.
  """

  cores: int
  limit: str = ""
  memory: int | None = None
  shared: int | None = None

  def __str__(self) -> str:
    cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
    return f"{cores}, {self.limit}" if self.limit else cores


def count_cores() -> int:
  """Counts the cores that this process may run on."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def inspect(processes: int = 1, root: str = "/") -> Machine:
  """Finds what this process may use.

  Args:
    processes: number of processes of the run on this machine, which share it.
    root: where the system's files are.
  """
  cores, limit = count_cores(), ""
  if cores < (os.cpu_count() or 1):
    limit = f"an affinity, of {os.cpu_count()}"
  quota = find_quota(pathlib.Path(root))
  if quota is not None and quota < cores:
    # Of a part of a core nothing can be made but a slower thread.
    cores, limit = max(1, math.floor(quota)), f"a quota of {quota:.3g} cores"
  if processes > 1:
    cores = max(1, cores // processes)
    limit = f"the share of one of {processes} processes"
  shares = max(1, processes)
  memory = find_memory(pathlib.Path(root))
  shared = find_shared(pathlib.Path(root))
  return Machine(
    cores=cores,
    limit=limit,
    memory=memory if memory is None else memory // shares,
    shared=shared if shared is None else shared // shares,
  )


def _read(path: pathlib.Path) -> list[str]:
  """The words of a file of the system; none if there is no such file."""
  try:
    return path.read_text().split()
  except OSError:
    return []


def _list_groups(root: pathlib.Path, controller: str) -> list[pathlib.Path]:
  """Lists the directories that may limit this process."""
  base = root / CGROUP
  found = [base, base / controller, base / f"{controller},cpuacct"]
  for line in _read(root / "proc/self/cgroup"):
    _, _, rest = line.partition(":")
    names, _, path = rest.partition(":")
    here = base if not names else base / names
    # Each group is limited by those above it.
    parts = pathlib.PurePosixPath(path.lstrip("/")).parts
    found += [here.joinpath(*parts[: i + 1]) for i in range(len(parts))]
  return found


def find_quota(root: pathlib.Path) -> float | None:
  """Finds how many cores a container may use; None without a quota."""
  found = []
  for group in _list_groups(root, "cpu"):
    words = _read(group / "cpu.max")
    words = words or [
      *_read(group / "cpu.cfs_quota_us"),
      *_read(group / "cpu.cfs_period_us"),
    ]
    numbers = [_parse(word) for word in words]
    match numbers:
      case [int(time), int(period)] if time > 0 and period > 0:
        found.append(time / period)
  return min(found, default=None)


def _parse(word: Any) -> int | None:
  """A whole number; None for another word, as "max"."""
  try:
    return int(word)
  except ValueError:
    return None


def find_memory(root: pathlib.Path) -> int | None:
  """Finds how many bytes of memory are free, for a container or for all."""
  found = []
  words = _read(root / "proc/meminfo")
  if "MemAvailable:" in words:
    found.append(int(words[words.index("MemAvailable:") + 1]) << 10)
  for group in _list_groups(root, "memory"):
    for most, used in (
      ("memory.max", "memory.current"),
      ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
      match [_parse(x) for x in (*_read(group / most), *_read(group / used))]:
        case [int(limit), int(taken)]:
          found.append(max(0, limit - taken))
  return min(found, default=None)


def find_memory_limit(root: pathlib.Path) -> int | None:
  """Finds how many bytes of memory there are, for a container or for all."""
  found = []
  words = _read(root / "proc/meminfo")
  if "MemTotal:" in words:
    found.append(int(words[words.index("MemTotal:") + 1]) << 10)
  for group in _list_groups(root, "memory"):
    for name in ("memory.max", "memory.limit_in_bytes"):
      match [_parse(x) for x in _read(group / name)]:
        case [int(limit)]:
          found.append(limit)
  return min(found, default=None)


def find_shared(root: pathlib.Path) -> int | None:
  """Finds how many bytes of shared memory are free."""
  path = root / SHARED.lstrip("/")
  if not path.exists():
    return None
  found = os.statvfs(path)
  return found.f_bavail * found.f_frsize
