# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Memory that is freed, and whether the system clears it once more."""

import os
import subprocess
import sys

import PIL.Image
import pytest

from tests.support import ROOT
from vit_jax import analyze, evaluate, features, predict, soup
from vit_jax.devices import detection

# A buffer of 40 MiB that each of three threads, as XLA's, writes 20 times.
SCRIPT = """
import platform, resource, sys, threading
import vit_jax.main
from vit_jax.devices import host_memory as memory

if platform.libc_ver()[0] != "glibc":
  print("other")
  raise SystemExit
assert "numpy" not in sys.modules
vit_jax.main.prepare_memory() if "run" in sys.argv else None
import numpy as np  # Which may have a thread, and so a heap.

threading.Thread(target=threading.Event().wait, daemon=True).start()
memory.keep_memory() if "run" in sys.argv else None
SIZE, turn, end = 40 << 20, threading.Lock(), threading.Barrier(3)

def fill():
  with turn:
    for _ in range(20):
      np.empty(SIZE, np.uint8).fill(1)
  end.wait()

def count():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  threads = [threading.Thread(target=fill) for _ in range(3)]
  [x.start() for x in threads]
  [x.join() for x in threads]
  after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  return (after - before) * resource.getpagesize() // SIZE

count()
print(count())
memory.return_memory()
print(count())
"""


@pytest.mark.parametrize(
  ("words", "counts"), [((), [60, 60]), (("run",), [0, 1])]
)
def test_what_is_freed_is_kept_on_a_cpu(words, counts):
  """Counted in buffers that the system has cleared."""
  done = subprocess.run(
    [sys.executable, "-c", SCRIPT, *words],
    cwd=ROOT,
    env=os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0", "JAX_PLATFORMS": "cpu"},
    check=True,
    capture_output=True,
    text=True,
  )
  if done.stdout.startswith("other"):
    pytest.skip("not GNU's C library")
  assert [int(line) for line in done.stdout.split()] == counts


@pytest.mark.parametrize(
  ("command", "words"),
  [
    (predict, ["RUN", "IMAGE"]),
    (evaluate, ["RUN"]),
    (features, ["RUN", "--out=f.npz"]),
    (analyze, ["RUN", "--images=IMAGE", "--out=DIR"]),
    (soup, ["RUN", "OTHER", "--out=DIR"]),
  ],
)
def test_commands_that_compute_many_batches_keep_memory(
  command, words, tmp_path, monkeypatch
):
  kept = []
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(detection, "keep_memory", lambda: kept.append(True))
  monkeypatch.setattr(soup, "check", lambda *_: None)  # It comes first.
  PIL.Image.new("RGB", (8, 8)).save("IMAGE", "PNG")
  with pytest.raises(SystemExit):  # There is no such run.
    command.main(words)
  assert kept
