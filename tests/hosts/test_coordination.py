# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Hosts that differ, do not arrive, fail, hang or die: real processes that only
wait for each other, as a run does between two steps."""

import os
import re
import signal
import socket
import subprocess
import time

import jax
import pytest

from tests.support.forked import Forked

NAME = socket.gethostname()

# Older ones end the process where host 0 is gone, with status 1 and no signal
# that could be caught.
ABORTS = pytest.mark.skipif(
  jax.__version_info__ < (0, 10), reason="jaxlib ends without a signal"
)

SCRIPT = """
import threading, time
from vit_jax.runtime.start import start
from vit_jax.hosts.coordination import Hosts, Timeouts
from vit_jax.hosts.watchdog import Watchdog

timeouts = Timeouts({timeouts})
start(timeouts)
hosts = Hosts()
with Watchdog(hosts, timeouts) as watchdog:
  hosts.exchange_names()
{body}
"""

ROUNDS = """
  for number in range(10**6):
    watchdog.mark(f"round {number}")
    hosts.gather(None)
    time.sleep(0.1)
    if number == 3:
      print("under way", flush=True)
"""


def start(count, body, *, missing=(), **timeouts):
  """Starts `count` hosts, except for those that are `missing`."""
  given = ", ".join(f"{name}={value}" for name, value in timeouts.items())
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  environment = os.environ | {"JAX_PLATFORMS": "cpu"}
  if count > 1:
    environment |= {
      "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
      "JAX_NUM_PROCESSES": str(count),
    }
  return [
    Forked(
      ["-c", SCRIPT.format(timeouts=given, body=body)],
      env=environment | {"JAX_PROCESS_ID": str(index)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
    if index not in missing
  ]


def finish(process):
  """Returns the exit status and standard error of a process."""
  _, text = process.communicate(timeout=120)
  return process.returncode, text


def test_a_host_that_does_not_arrive_ends_the_others():
  processes = start(3, ROUNDS, missing=[2], initialization_timeout=4)
  found = "error: not all of the 3 hosts of this run arrived within 4 s: "
  for index, process in enumerate(processes):
    status, text = finish(process)
    assert status == 43, text
    assert f"{found}this is host {index}, " in text
    assert "--config.hosts.initialization_timeout=SECONDS" in text


@pytest.mark.parametrize(
  "number", [pytest.param(signal.SIGKILL, marks=ABORTS), signal.SIGSTOP]
)
def test_a_lost_host_0_ends_the_other_one_by_name(number):
  """Host 0 serves the store; the loss of host 1 is in test_processes."""
  processes = start(2, ROUNDS, heartbeat_timeout=4)
  for process in processes:
    assert process.stdout.readline() == "under way\n"
  processes[0].send_signal(number)
  began = time.monotonic()
  status, text = finish(processes[1])
  took = time.monotonic() - began
  processes[0].kill()
  assert status == 43, text
  assert f"lost: host 0 ({NAME}): " in text
  row = rf"  host 0 \({NAME}\): (starting|round \d+), for \d+ s\n"
  assert re.search(row, text), text
  stacks = text.partition(f"stacks of host 1 ({NAME}):")[2]
  assert 'File "<string>", line ' in stacks, "where the script stands"
  # The bound is 4 s and some heartbeats; the rest is for a busy machine.
  assert took < 30
  finish(processes[0])


def test_a_host_that_fails_is_named_with_its_error_on_all_hosts():
  body = f"""
  if hosts.index == 1:
    raise LookupError("of this host alone")
{ROUNDS}"""
  first, second = (finish(p) for p in start(2, body, heartbeat_timeout=4))
  assert second[0] == 1 and second[1].startswith("Traceback ")
  assert second[1].endswith("LookupError: of this host alone\n")
  assert first[0] == 43
  assert f"failed: host 1 ({NAME}): LookupError: of this host" in first[1]


@ABORTS
def test_a_host_0_that_lacks_data_tells_the_other_one():
  """Its end is the end of the store, on which the other one waits."""
  body = f"""
  from vit_jax.config import ConfigError
  if hosts.index == 0:
    raise ConfigError("no data here")
{ROUNDS}"""
  first, second = (
    finish(p) for p in start(2, body, progress_timeout=12, heartbeat_timeout=24)
  )
  assert first == (2, "error: no data here\n")
  assert second[0] == 43, second[1]
  assert f"failed: host 0 ({NAME}): ConfigError: no data here\n" in second[1]
  assert "lost: " not in second[1]


def test_hosts_that_fail_alike_do_not_wait_for_each_other():
  """No host can be lost any more; `finish` waits for 120 s."""
  timeouts = dict(progress_timeout=6, heartbeat_timeout=1000)
  for process in start(2, "  raise LookupError", **timeouts):
    status, text = finish(process)
    assert status == 1 and text.endswith("LookupError\n"), text


HANGS = """
  def read_what_hangs():
    threading.Event().wait()

  watchdog.mark("reading the batch of step 7")
  read_what_hangs()
"""


def test_a_host_that_is_stuck_ends_itself_with_its_stacks():
  (process,) = start(1, HANGS, progress_timeout=1)
  status, text = finish(process)
  assert status == 43, text
  assert text.startswith(
    f"stuck: host 0 ({NAME}): reading the batch of step 7, for "
  )
  assert "(limit 1 s: 1 x hosts.progress_timeout=1)" in text
  assert "\n  the same command continues the run\n" in text
  assert " in read_what_hangs\n" in text


def test_the_host_that_keeps_others_waiting_is_the_one_that_is_named():
  body = """
  watchdog.mark("reading the batch of step 7")
  if hosts.index == 1:
    threading.Event().wait()
  time.sleep(1)
  watchdog.mark("step 7")
  hosts.gather(None)
"""
  for process in start(2, body, progress_timeout=4, heartbeat_timeout=30):
    status, text = finish(process)
    assert status == 43, text
    assert text.startswith(f"stuck: host 1 ({NAME}): reading the batch of ")


def test_a_host_that_starts_slowly_is_waited_for():
  """It compiles what host 0 had kept, and may take six times as long."""
  body = """
  from vit_jax.hosts.watchdog import STARTING
  if hosts.index == 0:
    watchdog.mark("compiling", STARTING)
    watchdog.mark("step 1")
    hosts.gather(None)
  else:
    watchdog.mark("compiling", STARTING)
    time.sleep(5)
    watchdog.mark("step 1")
    hosts.gather(None)
"""
  for process in start(2, body, progress_timeout=3, heartbeat_timeout=60):
    assert finish(process) == (0, "")


def test_a_run_that_was_suspended_was_not_stuck():
  """Ctrl-Z, and fg later than a run may be stuck."""
  body = """
  watchdog.mark("waiting")
  print("under way", flush=True)
  time.sleep(1)
"""
  (process,) = start(1, body, progress_timeout=3)
  process.stdout.readline()
  process.send_signal(signal.SIGSTOP)
  time.sleep(4)
  process.send_signal(signal.SIGCONT)
  assert finish(process) == (0, "")
