# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Memory that is freed, and whether the system clears it once more."""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

# Pages of 64 MiB that are written 20 times, in a thread as XLA's.
SCRIPT = """
import concurrent.futures, platform, resource, sys
import numpy as np
from vit_jax.devices import host_memory as memory

if platform.libc_ver()[0] != "glibc":
  print("other")
  raise SystemExit

def fill():
  for _ in range(20):
    np.empty(1 << 26, np.uint8).fill(1)

def count(function):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  with concurrent.futures.ThreadPoolExecutor(1) as threads:
    threads.submit(function).result()
  after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  return (after - before) * resource.getpagesize() >> 26

if "keep" in sys.argv:
  memory.keep_memory()
count(fill)
print(count(fill))
memory.return_memory()
print(count(fill))
"""


@pytest.mark.parametrize(
  ("words", "counts"), [((), [20, 20]), (("keep",), [0, 1])]
)
def test_what_is_freed_is_kept_on_a_cpu(words, counts):
  """Counted in buffers that the system has cleared."""
  done = subprocess.run(
    [sys.executable, "-c", SCRIPT, *words],
    cwd=ROOT,
    env=os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"},
    check=True,
    capture_output=True,
    text=True,
  )
  if done.stdout.startswith("other"):
    pytest.skip("not GNU's C library")
  assert [int(line) for line in done.stdout.split()] == counts
