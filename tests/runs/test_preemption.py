# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that are asked to end, at every point of their lives: real processes
that get real signals."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import jax
import pytest

from tests.support.forked import Forked
from tests.support.processes import (
  ENDLESS,
  NAME,
  check_saved,
  finish,
  read_rows,
  read_run,
  start,
  start_together,
  wait_for,
)
from tests.support.runs import OF_CALL, get_timeless
from vit_jax.config.errors import Preempted
from vit_jax.hosts.coordination import Hosts
from vit_jax.hosts.preemption import Preemption
from vit_jax.objectives.supervised import Supervised
from vit_jax.runtime import run
from vit_jax.runtime.run import Run
from vit_jax.train import train

# Far enough apart for a signal to come in time on a machine that is busy.
MIDDLE, STEPS = 16, 24
# Evaluations of many batches, which a signal finds under way.
SLOW = ["--config.evals.test.split=train[:400]"]
SLOW += ["--config.evals.test.batch_size=2"]
SLOW += [f"--config.evals.test.every={MIDDLE}"]
RUN = [f"--config.train.steps={STEPS}", "--config.train.log_every=1", *SLOW]
# Some steps a second, so that a signal comes before the run is over.
RUN += ["--config.train.batch_size=512"]
# Compiled for long, though what it computes is the scanned program's, unless
# the tests' XLA_FLAGS or the cache shorten that.
UNROLLED = ["--config.model.unroll=24"]
COMPILED = {"XLA_FLAGS": "", "JAX_ENABLE_COMPILATION_CACHE": "false"}
DEEP = ["--config.model.depth=24", "--config.model.width=32", *ENDLESS]
DEEP += ["--config.train.batch_size=32"]
LIMIT = 5.0  # Seconds to end where there is nothing to save.

# Three hosts that do nothing but poll, some faster than others, and are asked
# by one or two of them: so many runs, one after another.
POLLS = """
import random, sys, threading, time
from vit_jax.runtime.start import start
from vit_jax.hosts.coordination import Hosts
from vit_jax.config.errors import Preempted
from vit_jax.hosts.preemption import Preemption

start()
for number in range(20):
  hosts, preemption = Hosts(), Preemption()
  own = random.Random(f"{number} {hosts.index}")
  polls, stop = 0, own.randrange(5) if number % 3 != hosts.index else 10**6
  try:
    with preemption.joined(hosts, None), preemption.running(lambda: "it"):
      while True:
        if polls == stop:
          request = preemption.request_stop
          threading.Thread(target=request, args=("a test",)).start()
        time.sleep(own.random() / 100)
        preemption.poll()
        polls += 1
  except Preempted:
    print(number, polls)
"""


def wait_for_handler(process):
  """Until a process sees SIGTERM, as Linux tells."""
  bit = 1 << (signal.SIGTERM - 1)
  while True:
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    if int(re.search(r"SigCgt:\s*(\w+)", text)[1], 16) & bit:
      return
    time.sleep(0.001)


def wait_for_step(process, step, steps=STEPS):
  wait_for(process, f"step {step:{len(str(steps))}d}/{steps} ")


def read_names(workdir):
  """Of checkpoints, half-written ones too."""
  return {path.name for path in workdir.glob("checkpoints/*")}


def get_evaluated(workdir):
  """The steps that have been evaluated."""
  return [x["step"] for x in read_rows(workdir) if "test/accuracy" in x]


def check_same_run(workdir, straight):
  """A run of several parts against one that nobody stopped, to the bit."""
  result, rows = read_run(workdir)
  expected, expected_rows = read_run(straight)
  for name in set(expected) - OF_CALL:
    assert result[name] == expected[name], name
  assert get_timeless(rows) == get_timeless(expected_rows)
  assert get_evaluated(workdir) == [MIDDLE, STEPS]


def interrupt(process):
  """Ctrl-C as a terminal sends it: the workers that read get it too."""
  threads = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
  children = " ".join(path.read_text() for path in threads).split()
  assert children
  for pid in [*children, process.pid]:
    os.kill(int(pid), signal.SIGINT)


def stop(process, number=signal.SIGTERM):
  """Sends a signal where nothing is to be saved; returns the last words."""
  began = time.monotonic()
  process.send_signal(number)
  text = finish(process, 42)
  assert time.monotonic() - began < LIMIT
  return text


@pytest.fixture(scope="module")
def straight(tmp_path_factory, data_dir):
  """A run that nobody stops."""
  workdir = tmp_path_factory.mktemp("straight")
  finish(start(workdir, data_dir, *RUN))
  return workdir


def test_stopped_everywhere_it_is_the_run_that_nobody_stopped(
  tmp_path, data_dir, straight
):
  """Each part is the continuation of the one before."""
  process = start(tmp_path, data_dir, *RUN)
  wait_for_step(process, 1)
  process.terminate()  # In a step.
  first = check_saved(finish(process, 42), tmp_path)

  flags = ["--config.checkpoint.every=1", "--config.data.workers=1"]
  process = start(tmp_path, data_dir, *RUN, *flags)
  known = read_names(tmp_path)
  while read_names(tmp_path) <= known:
    assert process.poll() is None
    time.sleep(0.001)
  interrupt(process)  # As a save has begun, if not ended, and more follow.
  second = check_saved(finish(process, 42), tmp_path, "SIGINT")
  assert first < second < MIDDLE

  process = start(tmp_path, data_dir, *RUN)
  wait_for_step(process, MIDDLE)
  process.terminate()  # In an evaluation.
  assert check_saved(finish(process, 42), tmp_path) == MIDDLE
  assert not get_evaluated(tmp_path)

  process = start(tmp_path, data_dir, *RUN)
  wait_for_step(process, STEPS)
  process.terminate()  # In the last evaluation.
  assert check_saved(finish(process, 42), tmp_path) == STEPS
  assert get_evaluated(tmp_path) == [MIDDLE]

  assert f"resuming after step {STEPS}" in finish(
    start(tmp_path, data_dir, *RUN)
  )
  check_same_run(tmp_path, straight)


def test_two_hosts_of_which_one_is_asked(tmp_path, data_dir):
  """In a step, then in an evaluation, then before they can begin."""
  # Half as deep, which two that wait for each other train twice as fast.
  run = [*DEEP, *SLOW, "--config.model.depth=12"]
  unrolled = [*run, "--config.model.unroll=12"]
  other = f"SIGTERM on host 1 ({NAME})"
  first, second = start_together(2, tmp_path, data_dir, *run)
  wait_for(first, "step")
  second.terminate()
  texts = [finish(process, 42) for process in (first, second)]
  step = check_saved(texts[0], tmp_path, other)
  assert check_saved(texts[1], tmp_path) == step < MIDDLE

  processes = start_together(2, tmp_path, data_dir, *run)
  wait_for_step(processes[0], MIDDLE, 100000)
  processes[0].terminate()
  texts = [finish(process, 42) for process in processes]
  assert check_saved(texts[0], tmp_path) == MIDDLE
  cause = f"SIGTERM on host 0 ({NAME})"
  assert check_saved(texts[1], tmp_path, cause) == MIDDLE
  assert not get_evaluated(tmp_path)

  before = read_files(tmp_path)
  processes = start_together(2, tmp_path, data_dir, *unrolled, **COMPILED)
  wait_for(processes[0], "compiling")
  time.sleep(1)
  began = time.monotonic()
  text = stop(processes[1])
  assert "SIGTERM: ended before the first step" in text
  assert f"{other}: ended before the first step" in finish(processes[0], 42)
  assert time.monotonic() - began < LIMIT
  assert read_files(tmp_path) == before


def read_files(workdir):
  """What a run that has begun nothing may not touch."""
  paths = [*workdir.glob("checkpoints/**/*"), workdir / "metrics.jsonl"]
  return {path: path.read_bytes() for path in paths if path.is_file()}


def test_before_the_first_step_a_run_ends_at_once(tmp_path, data_dir):
  """At the very start, and in the compilation of a run that goes on."""
  process = start(tmp_path / "run", data_dir, *DEEP, fresh=True)
  wait_for_handler(process)
  text = stop(process)
  assert text.startswith("SIGTERM: ended before the first step")
  assert text.count("\n") == 1
  assert not (tmp_path / "run").exists()

  process = start(tmp_path, data_dir, *DEEP)
  wait_for(process, "step")
  process.terminate()
  step = check_saved(finish(process, 42), tmp_path)
  before = read_files(tmp_path)
  for number in (signal.SIGTERM, signal.SIGINT):
    process = start(tmp_path, data_dir, *DEEP, *UNROLLED, **COMPILED)
    wait_for(process, "compiling")
    wait_for(process, f"resuming after step {step}")
    time.sleep(2)  # Past what is Python.
    text = stop(process, number)
    assert f"{number.name}: ended before the first step" in text
    assert "compiled" not in text
    assert read_files(tmp_path) == before


def test_a_second_ctrl_c_stops_at_once(tmp_path, data_dir):
  """A step takes seconds, in which the second one comes."""
  flags = ["--config.train.batch_size=4096", *ENDLESS]
  process = start(tmp_path, data_dir, *flags)
  wait_for(process, "step")
  process.send_signal(signal.SIGINT)
  wait_for(process, "SIGINT: saving, then ending")
  process.terminate()  # Changes nothing.
  process.send_signal(signal.SIGINT)
  assert finish(process, 130).endswith("SIGINT again: stopped\n")
  assert not list(tmp_path.glob("checkpoints/*"))


def get_handlers():
  return [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def test_a_notebook_has_its_signals_back(config, tmp_path):
  """It gets one in the middle of `train`, and a second that changes nothing."""
  before = get_handlers()

  def send():
    while get_handlers() == before:
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)

  config["train"]["steps"] = 100000
  sender = threading.Thread(target=send)
  sender.start()
  with pytest.raises(Preempted, match=r"SIGTERM: saved step \d+ in"):
    train(config, str(tmp_path))
  sender.join()
  assert get_handlers() == before
  assert signal.set_wakeup_fd(-1) == -1


def test_at_most_one_more_step_is_trained(config, tmp_path, monkeypatch):
  """A signal comes within a step that is slow, with others in the queue."""
  begun, asked = [], []
  loss = Supervised.loss

  def wait(label):
    begun.append(time.monotonic())
    if len(begun) == 4:
      asked.append(len(begun))
      os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * run.SLOW)
    return label

  def lose(self, params, aux, batch, key):
    label = batch["label"]
    shape = jax.ShapeDtypeStruct(label.shape, label.dtype)
    label = jax.pure_callback(wait, shape, label)
    return loss(self, params, aux, {**batch, "label": label}, key)

  monkeypatch.setattr(Supervised, "loss", lose)
  config["train"] |= dict(steps=100, log_every=1)
  with pytest.raises(Preempted) as found:
    train(config, str(tmp_path))
  saved = int(re.search(r"saved step (\d+)", str(found.value))[1])
  assert saved == len(begun) <= asked[0] + 1


@pytest.mark.parametrize("slow, most", [(0.0, 1), (1e9, 2)])
def test_few_steps_wait_for_the_device(
  config, tmp_path, monkeypatch, slow, most
):
  """Where steps are slow, only one beside that which it computes."""
  waiting, advance = [], Run.advance

  def watch(this, state, metrics):
    advance(this, state, metrics)
    waiting.append(len(this._ahead))

  monkeypatch.setattr(Run, "advance", watch)
  monkeypatch.setattr(run, "SLOW", slow)
  config["train"]["steps"] = 5
  train(config, str(tmp_path))
  assert len(waiting) == 5 and max(waiting) == most


def test_a_second_ctrl_c_is_a_notebooks_own():
  before = get_handlers()
  preemption = Preemption()
  with (
    pytest.raises(KeyboardInterrupt),
    preemption.joined(Hosts(), None),
    preemption.running(lambda: ""),
  ):
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
  assert get_handlers() == before


def test_no_signal_is_caught_off_the_main_thread():
  before, found = get_handlers(), []

  def run():
    preemption = Preemption()
    with preemption.joined(Hosts(), None), preemption.running(lambda: ""):
      found.append(get_handlers())
      preemption.poll()

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert found == [before]


def test_who_is_asked_leaves_at_the_next_poll():
  preemption, left = Preemption(), None
  with (
    pytest.raises(Preempted, match="a test: saved it 0.0 s after"),
    preemption.joined(Hosts(), None),
    preemption.running(lambda: "it"),
  ):
    for left in range(10):
      preemption.poll()
      if left == 4:
        preemption.request_stop("a test")
        preemption.request_stop("another")
  assert left == 5


def test_hosts_at_different_polls_leave_at_the_same():
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
    "JAX_NUM_PROCESSES": "3",
  }
  processes = [
    Forked(
      ["-c", POLLS],
      env=environment | {"JAX_PROCESS_ID": str(index)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(3)
  ]
  said = [process.communicate(timeout=120) for process in processes]
  assert [process.returncode for process in processes] == [0] * 3, said
  outputs = [out for out, _ in said]
  assert len(outputs[0].splitlines()) == 20
  assert outputs[0] == outputs[1] == outputs[2]
  assert "a test on host" in said[0][1], "it heard of another one's"
