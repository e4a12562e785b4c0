# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Files that claim far more than they hold, at the real bounds; and what no
line of the package may do with untrusted bytes."""

import ast
import gc
import json
import os
import pathlib
import pickle
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorstore
from etils import epath

import vit_jax
from tests.fuzz.readers import CORPUS
from tests.support import ROOT
from tests.support.weights import make_weights
from vit_jax.checkpoint import Checkpointer, CheckpointOptions
from vit_jax.config import ConfigError
from vit_jax.convert.writing import save_weights
from vit_jax.storage.untrusted import MAX_TEXT
from vit_jax.train_state import TrainState

# For processes whose memory is bounded: what a call adds to it at most, in KiB.
# Not `ru_maxrss`, of which a process begins with its parent's, and keeps what
# the largest file took.
GROWTH = """
import pathlib, re, sys, tempfile

def get_peak():
  status = pathlib.Path("/proc/self/status").read_text()
  return int(re.search(r"VmHWM:\\s*(\\d+)", status)[1])

def measure(call, *arguments):
  pathlib.Path("/proc/self/clear_refs").write_text("5")  # Forgets the peak.
  before = get_peak()
  answer = call(*arguments)
  return answer, get_peak() - before
"""

# Reads every file of the corpus. The first of each reader warms up.
MEASURE = """
from tests.fuzz.checks import check, place
from tests.fuzz.readers import CORPUS, READERS

for name, reader in READERS.items():
  root = pathlib.Path(tempfile.mkdtemp(dir=sys.argv[1]))
  directory = place(reader, root)
  for seed in reader.seeds():
    check(reader, seed, directory)
  for path in sorted((CORPUS / name).iterdir()):
    taken, grown = measure(check, reader, path.read_bytes(), directory)
    print(name, path.name, taken, grown)
"""

# Loads a run, to warm up, and then those that claim more than they hold.
MEASURE_RUNS = """
import vit_jax

def load(path):
  try:
    vit_jax.load(path)
  except vit_jax.config.ConfigError as error:
    return str(error)

assert load(sys.argv[1]) is None
for path in sys.argv[2:]:
  answer, grown = measure(load, path)
  print(grown, answer.replace("\\n", " "))
"""

ADDRESSES = 8 << 30  # Bytes; JAX's and TFDS's libraries take a few of them.

# KiB; what the lies of the corpus would take is from 64 MiB to 2^65 bytes.
MOST = 40 << 10
# It is within the real bounds, and no more is taken than it holds.
ALLOWED = {"zeros-of-64-mib": 160 << 10, "header-of-64-mib": MOST}


def run_bounded(program, *arguments):
  """Runs a program after GROWTH; returns the words of each line it prints."""
  # Each thread would have addresses of its own, and there are many.
  few = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
  few["JAX_PLATFORMS"] = "cpu"
  done = subprocess.run(
    [sys.executable, "-c", GROWTH + program, *map(str, arguments)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=os.environ | few,
    preexec_fn=lambda: resource.setrlimit(
      resource.RLIMIT_AS, (ADDRESSES, ADDRESSES)
    ),
  )
  assert done.returncode == 0, done.stderr
  return [line.split() for line in done.stdout.splitlines()]


on_linux = pytest.mark.skipif(
  not sys.platform.startswith("linux"), reason="/proc tells what memory is used"
)


@on_linux
def test_what_claims_much_takes_little(tmp_path):
  rows = run_bounded(MEASURE, tmp_path)
  assert len(rows) == len(list(CORPUS.glob("*/*")))
  for _, name, taken, grown in rows:
    assert int(grown) <= ALLOWED.get(name, MOST), (name, grown)
    assert taken == str(name == "zeros-of-64-mib"), name


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """A run with a checkpoint, as training writes it."""
  path = tmp_path_factory.mktemp("runs") / "run"
  weights = make_weights()
  save_weights(weights, str(path))
  state = TrainState(
    step=np.zeros((), np.int32),
    params=weights.tree,
    opt_state=(),
    ema=None,
    aux={},
  )
  shutil.rmtree(path / "checkpoints")
  with Checkpointer(
    epath.Path(path / "checkpoints"), CheckpointOptions()
  ) as checkpointer:
    checkpointer.save(0, state)
    checkpointer.finish()
  return path


@pytest.fixture
def run(written, tmp_path):
  """A copy of it, to spoil."""
  yield pathlib.Path(shutil.copytree(written, tmp_path / "run"))
  gc.collect()  # Of what could not be read Orbax leaves tasks that complain.


CHECKPOINT = "checkpoints/0/_CHECKPOINT_METADATA"
STATE = "checkpoints/0/state"


def change(path, edit):
  """Rewrites a JSON file."""
  value = json.loads(path.read_text())
  edit(value)
  path.write_text(json.dumps(value))


def lead_out(metadata):
  for leaf in metadata["tree_metadata"].values():
    leaf["key_metadata"][0]["key"] = "../../../outside"


def name_system(metadata):
  for leaf in metadata["tree_metadata"].values():
    leaf["value_metadata"]["value_type"] = "os.system"


def open_store(path):
  """The values of a run's checkpoint, by key."""
  state = epath.Path(path) / STATE
  spec = {"driver": "ocdbt", "base": f"file://{state}/"}
  return tensorstore.KvStore.open(spec).result()


def claim(path, shape):
  """Makes a bias of a run an array in one chunk of 1.6 GB that has 50 KB."""
  blocks = 12_800  # Each of 2^17 zeros.
  store = open_store(path)
  array = json.loads(store["params.head.bias/zarr.json"])
  array["codecs"] = array["codecs"][0]["configuration"]["codecs"]
  size = blocks << 15  # Of float32.
  array["chunk_grid"]["configuration"]["chunk_shape"] = [size]
  array["shape"] = [shape or size]
  store["params.head.bias/zarr.json"] = json.dumps(array).encode()
  # A frame of Zstandard (RFC 8878) with a window of 2^17 bytes; then blocks of
  # one byte that is repeated, of which the last says so.
  head = (1 << 17 << 3 | 1 << 1).to_bytes(3, "little")
  end = (1 << 17 << 3 | 1 << 1 | 1).to_bytes(3, "little")
  frame = b"\x28\xb5\x2f\xfd\x00\x38"
  frame += (head + b"\0") * (blocks - 1) + end + b"\0"
  store["params.head.bias/c/0"] = frame
  change(path / CHECKPOINT, lambda x: x.pop("custom_metadata"))


@on_linux
def test_a_checkpoint_that_claims_much_takes_little(written, tmp_path):
  runs = []
  for shape in (5, None):  # A chunk is unpacked for the smallest part of it.
    runs.append(pathlib.Path(shutil.copytree(written, tmp_path / str(shape))))
    claim(runs[-1], shape)
  rows = run_bounded(MEASURE_RUNS, written, *runs)
  assert len(rows) == 2
  for path, (grown, *words) in zip(runs, rows, strict=True):
    assert int(grown) <= MOST
    text = " ".join(words)
    assert str(path) in text and "arrays claim 1,677,9" in text, text
    assert "1,073,741,824" in text


@pytest.mark.parametrize(
  ("file", "edit"),
  [
    (CHECKPOINT, b"[" * 100_000),
    (f"{STATE}/_METADATA", b"[" * 100_000),
    (f"{STATE}/_METADATA", b"\xff"),
    (f"{STATE}/_METADATA", lambda x: x.update(tree_metadata=3)),
    (f"{STATE}/_METADATA", lead_out),
    (f"{STATE}/_METADATA", name_system),
    (CHECKPOINT, b" " * (MAX_TEXT + 1)),
    (f"{STATE}/manifest.ocdbt", b""),
    (f"{STATE}/manifest.ocdbt", b"\xff" * 115),
    ("manifest.json", b"[" * 100_000),
    ("manifest.json", lambda x: x["preprocess"].update(channels=10**12)),
    ("manifest.json", lambda x: x["preprocess"].update(mean=[10**400] * 3)),
    ("manifest.json", lambda x: x["model"].update(depth=10**12)),
    ("manifest.json", lambda x: x["model"].update(width=10**30)),
    ("manifest.json", lambda x: x.update(num_classes=10**13, class_names=[])),
  ],
)
def test_an_untrusted_run(file, edit, run):
  path = run / file
  if isinstance(edit, bytes):
    path.write_bytes(edit)
  else:
    change(path, edit)
  with pytest.raises(ConfigError) as caught:
    vit_jax.load(run)
  assert str(run) in str(caught.value)


def test_an_array_that_says_nothing_of_itself(run):
  open_store(run)["params.head.bias/zarr.json"] = b"{}"
  with pytest.raises(ConfigError, match="its arrays is missing or damaged"):
    vit_jax.load(run)


class Trap:
  """Leaves a file behind where it is unpickled."""

  def __init__(self, path):
    self._path = str(path)

  def __reduce__(self):
    return open, (self._path, "w")


def test_pickles_in_a_run_are_not_opened(run, tmp_path):
  trap = pickle.dumps(Trap(tmp_path / "ran"))
  for name in ("state.pkl", "_strategy.pkl", f"{STATE}/params.pkl"):
    (run / name).write_bytes(trap)
  vit_jax.load(run)
  for path in run.rglob("*"):
    if path.is_file() and path.suffix != ".txt":
      data = path.read_bytes()
      path.write_bytes(trap)
      try:
        vit_jax.load(run)
      except ConfigError:
        pass
      path.write_bytes(data)
  assert not (tmp_path / "ran").exists()


# What runs code of others, or writes where an archive says.
UNSAFE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
UNSAFE |= {"yaml", "torch", "runpy"}
# Other programs beside ours, in torch: of a benchmark, which reads no file, and
# of exports, which reads what was just written.
PEERS = ("timm_step.py", "peers.py")
# Runs the package's own modules, by the names that it finds in itself.
VERBS = ROOT / "vit_jax" / "__main__.py"
CALLS = {"eval", "exec", "extract", "extractall", "unpack_archive", "system"}


def test_no_line_runs_what_a_file_says():
  """`load_recipe` alone runs a file: the recipe that a user names."""
  for path in sorted((ROOT / "vit_jax").rglob("*.py")):
    if path.name in PEERS:
      continue
    for node in ast.walk(ast.parse(path.read_text())):
      names = []
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        names = [node.module]
      unsafe = UNSAFE - {"runpy"} if path == VERBS else UNSAFE
      assert not unsafe & {name.partition(".")[0] for name in names}, path
      if isinstance(node, ast.Call):
        function = node.func
        name = getattr(function, "attr", getattr(function, "id", ""))
        assert name not in CALLS, (path, node.lineno)
        # np.load opens pickles where it is told to.
        keywords = {word.arg: word.value for word in node.keywords}
        allowed = keywords.get("allow_pickle")
        assert allowed is None or allowed.value is False, (path, node.lineno)
