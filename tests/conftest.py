# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Eight virtual CPU devices, checked shapes, and the digits in a temporary
directory. Nothing here needs a network."""

import functools
import gc
import itertools
import os
import re
import subprocess
import sys
import tempfile
from xml.etree import ElementTree

# Small programs take far longer to compile than to run: with these, which the
# processes that tests start inherit, a sixth of the time. `optimised` below is
# for tests of what the compiler makes of a program.
FAST = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
os.environ |= FAST

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from beartype import BeartypeConf  # noqa: E402
from beartype.claw import beartype_package  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

from tests.support import ROOT  # noqa: E402
from tests.support.runs import make_config, reuse_experiment  # noqa: E402
from tests.support.shared import get_shared_root, make_once  # noqa: E402

# What trains for more than seconds, starts processes or compiles for TPUs:
# whole runs, which are killed and go on, studies, notebooks and more. `make
# runs` runs these, `make test` all others.
RUNS = (
  "benchmark/",
  "checkpoint/test_chaos.py",
  "checkpoint/test_checkpointer.py",
  "checkpoint/test_damage.py",
  "checkpoint/test_formats.py",
  "config/test_command_line.py",
  "convert/test_initialize.py::test_a_run",
  "convert/test_large.py",
  "convert/test_load.py::test_a_run",
  "convert/test_runs.py::test_a_run",
  "data/test_augment.py::test_any_mesh",
  "data/test_folder.py::test_a_run",
  "data/test_lost_data.py",
  "data/test_mixture.py::test_a_run",
  "data/test_multi_label.py::test_a_run",
  "data/test_pipeline.py::test_worker_processes",
  "data/test_records.py::test_300_million",
  "data/test_unlabelled.py::test_a_run",
  "data/test_unreadable.py::test_all_that_would",
  "data/test_unreadable.py::test_runs",
  "devices/",
  "evaluators/",
  "fuzz/",
  "hosts/test_coordination.py",
  "hosts/test_preemption_notice.py",
  "launch/test_local.py",
  "models/test_attention_kernels.py",
  "models/test_regularisation.py::test_remat",
  "models/test_vit.py::test_unrolling_and_remat",
  "notebooks/test_notebooks.py::test_a_",
  "notebooks/test_notebooks.py::test_transfer",
  "optim/test_nonfinite.py",
  "perturbations/test_corruptions.py",
  "plan/",
  "prepare/test_command.py",
  "runs/",
  "runtime/test_compilation_cache.py",
  "runtime/test_fitting.py::test_a_run_fits",
  "runtime/test_fitting.py::test_a_state_that_is_compiled",
  "runtime/test_fitting.py::test_the_estimate",
  "runtime/test_lock.py",
  "runtime/test_profile.py",
  "study/",
  "test_api.py::test_the_page_is_run",
  "test_evaluate.py",
  "test_evaluate_robustness.py",
  "test_imports.py::test_command_line_modules",
  "test_meshes.py",
  "test_packaging.py::test_a_packaged_recipe_trains",
  "test_predict.py",
  "test_soup.py",
  "test_step_memory.py",
  "test_train_step.py::test_eight_devices",
)

# Runs with one device, as most people's. The programs of one are kept, see
# `compilation_cache`; those of eight would be compiled again and again.
ONE_DEVICE = (
  "convert/test_initialize.py",
  "convert/test_load.py",
  "convert/test_runs.py",
  "data/test_folder.py",
  "data/test_lost_data.py",
  "data/test_mixture.py",
  "data/test_multi_label.py",
  "data/test_unlabelled.py",
  "data/test_unreadable.py",
  "runs/",
  "runtime/test_failed_start.py",
  "runtime/test_profile.py",
  "study/",
  "test_evaluate.py",
  "test_predict.py",
)
EIGHT_DEVICES = ("runs/test_train.py",)  # Whatever the above says.

CACHE_BYTES = 2 << 30  # Of compiled programs that test runs leave.

# LLVM gets a program as one module, not as 32 for as many threads: a quarter
# less of the processor time of compiling. XLA ends a process over a flag that
# it does not know, as the other one from 0.12 on.
FAST["XLA_FLAGS"] = "--xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):
  FAST["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ |= FAST

# What is imported and traced stays: looking for garbage among it takes long.
gc.set_threshold(100_000)

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.devices()  # XLA reads its flags once.
DEVICES = {
  name: getattr(jax, name)
  for name in ("devices", "local_devices", "device_count", "local_device_count")
}

sys.path.insert(0, str(ROOT))  # Tests build the recipes of configs/.


def find_shaped():
  """Modules with shapes; and with what beartype alone takes otherwise.

  Warnings to callers would be of its frames, which it says are ours; what wraps
  a function is checked by it as that function, and what jax.jit makes of one
  before it is traced.
  """
  special = r"jaxtyping import|stacklevel|functools\.wraps|@.*\bjax\."
  for path in (ROOT / "vit_jax").rglob("*.py"):
    if re.search(special, path.read_text()):
      yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


# Every annotated shape and type of the package is checked at run time. Where
# there are no shapes, by beartype alone: jaxtyping's way to it took a sixth of
# the time of runs.
beartype_package(
  "vit_jax", conf=BeartypeConf(claw_is_pep526=False, is_pep484_tower=True)
)
install_import_hook(list(find_shaped()), "beartype.beartype")


def pytest_collection_modifyitems(items):
  """Marks what `make runs` runs."""
  for item in items:
    if item.nodeid.removeprefix("tests/").startswith(RUNS):
      item.add_marker("runs")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
  """Runs what profiles in a new process: a process has one profiler.

  And where tests before it loaded libtpu, it ends the process. All such tests
  of a file have one process, which the first of them starts.
  """
  marked = pyfuncitem.get_closest_marker("profiler")
  if not marked or "VIT_JAX_PROFILER" in os.environ:
    return None
  path = pyfuncitem.path

  def run(directory):
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-m"]
    command += ["profiler", f"--junitxml={directory}/found.xml", str(path)]
    kept = {k: x for k, x in os.environ.items() if "PYTEST" not in k}
    subprocess.run(command, cwd=ROOT, env=kept | {"VIT_JAX_PROFILER": "1"})

  factory = pyfuncitem._request.getfixturevalue("tmp_path_factory")
  directory = make_once(factory, f"{path.parent.name}_{path.stem}", run)
  cases = ElementTree.parse(directory / "found.xml").iter("testcase")
  (case,) = (x for x in cases if x.get("name") == pyfuncitem.name)
  wrong = [x.text for x in case if x.tag in ("failure", "error", "skipped")]
  assert not wrong, "\n".join(map(str, wrong))
  return True


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
  """Programs that several tests or processes compile are compiled once.

  And once for all test runs on a kind of processor, of every clone: the second
  of tests/evaluators, objectives, export and checkpoint took 162 s for 252 s.
  """
  from jax.experimental.compilation_cache import compilation_cache as cache

  from vit_jax.runtime.compilation_cache import (
    describe_cpu,
    find_cache_dir,
    prune,
  )

  kind = describe_cpu()
  place = get_shared_root(tmp_path_factory) / "xla"
  if kind:
    place = find_cache_dir().with_name("tests") / f"cpu-{kind}"
  place.mkdir(parents=True, exist_ok=True)
  prune(place, CACHE_BYTES)
  values = {
    "jax_compilation_cache_dir": str(place),
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": 0,
  }
  for name, value in values.items():
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)
  with pytest.MonkeyPatch.context() as patch:
    skip_several_devices(patch)
    # What this finds is how jax uses its cache from now on, also after a run
    # over several CPUs, which are skipped here.
    jax.jit(lambda: 0)()
    patch.setattr(cache, "reset_cache", lambda: None)
    yield


def skip_several_devices(patch):
  """Lets jax keep and load programs for one device only.

  Devices of a loaded one may wait for each other: see `use_cache`, which has
  runs do without, but other tests compile such programs as well.
  """
  from jax._src import compilation_cache

  get = compilation_cache.get_executable_and_time
  put = compilation_cache.put_executable_and_time
  skipped = set()

  def find(key, options, *rest):
    if options.num_replicas * options.num_partitions == 1:
      return get(key, options, *rest)
    skipped.add(key)
    return None, None

  def keep(key, *rest):
    if key not in skipped:
      put(key, *rest)

  patch.setattr(compilation_cache, "get_executable_and_time", find)
  patch.setattr(compilation_cache, "put_executable_and_time", keep)


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory):
  """What is written beside tests goes with their files: TFDS's builders leave
  an empty directory each."""
  tempfile.tempdir = str(tmp_path_factory.mktemp("t"))
  yield
  tempfile.tempdir = None


@pytest.fixture(scope="module")
def optimised():
  """Programs are compiled as those of users are; XLA's own flags stay."""
  with pytest.MonkeyPatch.context() as patch:
    for name in FAST:
      patch.delenv(name, raising=False)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True, scope="module")
def one_device(request):
  """The first of the eight devices alone, for the files that say so."""
  name = str(request.path.relative_to(ROOT / "tests"))
  with pytest.MonkeyPatch.context() as patch:
    if name.startswith(ONE_DEVICE) and not name.startswith(EIGHT_DEVICES):
      for function in DEVICES:
        patch.setattr(jax, function, functools.partial(keep_one, function))
    yield


def keep_one(function, *arguments):
  found = DEVICES[function](*arguments)
  return 1 if isinstance(found, int) else found[:1]


@pytest.fixture
def eight_devices(monkeypatch):
  """All of them, for a test of such a file."""
  for name, function in DEVICES.items():
    monkeypatch.setattr(jax, name, function)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
  """A directory that holds the prepared digits."""
  from vit_jax.data import sources

  def prepare(directory):
    sources.prepare_embedded("tfds:digits", str(directory), lambda _: None)

  return str(make_once(tmp_path_factory, "data", prepare))


@pytest.fixture
def config(data_dir):
  """A run of a few seconds on the digits, as plain sections."""
  return make_config(data_dir)


@pytest.fixture
def same_programs():
  """Runs of one config have the same step, traced and compiled once.

  For tests of files, rows and ends; not of what is computed.
  """
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("vit_jax.train.Experiment", reuse_experiment)
    yield


@pytest.fixture(autouse=True)
def kept_cache():
  """`plan`, and runs over several CPUs, switch jax's cache of programs off."""
  yield
  jax.config.update("jax_enable_compilation_cache", True)


@pytest.fixture
def unknown_memory():
  """For tests that no fit changes: nothing is traced to estimate one."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("vit_jax.devices.fitting.get_memory", lambda device: None)
    yield


@pytest.fixture
def ask_at(monkeypatch):
  """A function that lets runs be asked to end in a step; undone as patches."""
  from vit_jax.hosts.preemption import Preemption

  def ask(step):
    poll, polls = Preemption.poll, itertools.count(1)

    def ask_and_poll(preemption):
      if next(polls) == step:
        preemption.request_stop("a test")
      poll(preemption)

    monkeypatch.setattr(Preemption, "poll", ask_and_poll)

  return ask


@pytest.fixture(scope="session")
def fill_state():
  """A function Experiment -> state that compiles no initialisation.

  Parameters are all random, the head's too, so each of them has a gradient.
  """

  def fill(exp):
    rng = np.random.default_rng(0)
    state = jax.tree.map(
      lambda x: np.zeros(x.shape, x.dtype), exp.abstract_state
    )
    params = jax.tree.map(
      lambda x: rng.normal(size=x.shape, scale=0.3).astype(x.dtype),
      state.params,
    )
    places = jax.tree.map(lambda x: x.sharding, exp.abstract_state)
    ema = None if state.ema is None else jax.tree.map(np.copy, params)
    return jax.device_put(state.replace(params=params, ema=ema), places)

  return fill
