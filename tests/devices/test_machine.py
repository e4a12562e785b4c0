# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a container may use, by the files that Linux shows it."""

import pytest

from vit_jax.devices import machine


def write(root, files):
  for name, text in files.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


V2 = "0::/a/b\n"
V1 = "4:cpu,cpuacct:/a\n5:memory:/a\n"


@pytest.mark.parametrize(
  ("files", "quota"),
  [
    ({}, None),
    ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    # The group above has less than that of the process.
    (
      {
        "proc/self/cgroup": V2,
        "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
        "sys/fs/cgroup/a/b/cpu.max": "800000 100000\n",
      },
      2.0,
    ),
    (
      {
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
      },
      None,
    ),
    (
      {
        "proc/self/cgroup": V1,
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
      },
      0.5,
    ),
  ],
)
def test_the_quota_of_a_container(tmp_path, files, quota):
  write(tmp_path, files)
  assert machine.find_quota(tmp_path) == quota


def test_the_memory_of_a_container(tmp_path):
  assert machine.find_memory(tmp_path) is None
  write(
    tmp_path,
    {"proc/meminfo": "MemTotal: 90 kB\nMemAvailable:   60 kB\nSwap: 0 kB\n"},
  )
  assert machine.find_memory(tmp_path) == 60 << 10
  group = {"sys/fs/cgroup/memory.current": "30000\n"}
  write(tmp_path, group | {"sys/fs/cgroup/memory.max": "max\n"})
  assert machine.find_memory(tmp_path) == 60 << 10
  write(tmp_path, group | {"sys/fs/cgroup/memory.max": "50000\n"})
  assert machine.find_memory(tmp_path) == 20_000
  write(tmp_path, {"sys/fs/cgroup/memory.max": "20000\n"})
  assert machine.find_memory(tmp_path) == 0


def test_processes_share_what_there_is(tmp_path, monkeypatch):
  monkeypatch.setattr(machine, "count_cores", lambda: 12)
  monkeypatch.setattr(machine.os, "cpu_count", lambda: 12)
  write(tmp_path, {"proc/meminfo": "MemAvailable: 60 kB\n"})
  alone = machine.inspect(root=str(tmp_path))
  assert (alone.cores, alone.memory, alone.shared) == (12, 60 << 10, None)
  assert str(alone) == "12 cores"
  third = machine.inspect(3, str(tmp_path))
  assert (third.cores, third.memory) == (4, 20 << 10) and "3" in third.limit
  write(tmp_path, {"sys/fs/cgroup/cpu.max": "250000 100000\n"})
  less = machine.inspect(root=str(tmp_path))
  assert less.cores == 2 and "2.5" in str(less)
  (tmp_path / "dev/shm").mkdir(parents=True)
  assert machine.inspect(root=str(tmp_path)).shared > 0
  monkeypatch.setattr(machine.os, "cpu_count", lambda: 64)
  write(tmp_path, {"sys/fs/cgroup/cpu.max": "max 100000\n"})
  assert "64" in machine.inspect(root=str(tmp_path)).limit
