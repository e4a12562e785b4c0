# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes on this machine: tiny ones, and two of a real run."""

import ast
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from launch import local

ROOT = pathlib.Path(__file__).parent.parent.parent


HEAD = """
import os, signal, subprocess, sys, time
i = int(os.environ["JAX_PROCESS_ID"])
"""


def start(code, *flags):
  """Starts processes of a few lines of Python, which know their number `i`."""
  return start_command([sys.executable, "-c", HEAD + code], *flags)


def start_command(command, *flags, **environment):
  return subprocess.Popen(
    [sys.executable, "launch/local.py", *flags, "--", *command],
    cwd=ROOT,
    env=os.environ | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    process_group=0,
  )


def finish(process):
  """(exit status, standard output, standard error)"""
  out, err = process.communicate(timeout=120)
  return process.returncode, out, err


def test_it_needs_nothing_that_is_installed():
  tree = ast.parse((ROOT / "launch/local.py").read_text())
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names.add(node.module)
  tops = {name.partition(".")[0] for name in names}
  assert "subprocess" in tops and tops <= sys.stdlib_module_names


def test_every_line_says_whose_it_is():
  code = r"""
for text in ("\rstep 1", "\r\x1b[2Kstep 2\r", "\nthe end, \u00e4h"):
  sys.stdout.buffer.write(text.encode())
  sys.stdout.flush()
print(f"on stderr of {i}\n", file=sys.stderr)
"""
  status, out, err = finish(start(code, "-n", "2"))
  assert status == 0
  for i in range(2):
    mine = [x for x in out.split("\n") if x.startswith(f"[{i}] ")]
    texts = ["step 1", "\x1b[2Kstep 2", "the end, \u00e4h"]
    assert mine == [f"[{i}] {text}" for text in texts]
  assert sorted(err.splitlines()) == [
    "[0] on stderr of 0",
    "[1] on stderr of 1",
  ]


def test_what_processes_are_told():
  code = """
names = ["NUM_PROCESSES", "PROCESS_ID", "PLATFORMS", "NUM_CPU_DEVICES"]
print(*(os.environ[f"JAX_{x}"] for x in [*names, "COORDINATOR_ADDRESS"]))
"""
  status, out, err = finish(start(code, "-n", "2", "--devices=3"))
  assert status == 0, err
  lines = sorted(out.splitlines())
  address = lines[0].split()[-1]
  assert re.fullmatch(r"localhost:\d+", address)
  assert lines == [f"[{i}] 2 {i} cpu 3 {address}" for i in range(2)]


def test_gpus_are_dealt_out():
  def get(n, devices, gpus):
    made = local.make_environments(n, devices, gpus, 1)
    return [own.get("CUDA_VISIBLE_DEVICES") for own in made]

  assert get(2, None, 8) == ["0,1,2,3", "4,5,6,7"]
  assert get(3, None, 3) == ["0", "1", "2"]
  assert get(2, None, 0) == get(2, 4, 8) == [None, None]
  assert local.count_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == 0


@pytest.mark.parametrize(
  ("ended", "status"),
  [
    ([0, 0], 0),
    ([0, 42], 42),
    ([42, 42], 42),
    ([42, 1, 3], 1),
    ([137, 42, 143], 137),
  ],
)
def test_the_status_of_a_run(ended, status):
  assert local.get_status(ended) == status


def test_the_first_failure_is_named_and_the_others_end_by_themselves():
  code = "time.sleep(i); sys.exit(5 if i == 0 else 42)"
  status, _, err = finish(start(code, "-n", "2"))
  assert status == 5
  assert err.splitlines() == [
    "local.py: process 0 ended with status 5",
    "local.py: the others have 60 s to end",
    "local.py: process 1 ended with status 42",
  ]


def test_who_does_not_end_is_ended():
  code = """
if i == 0:
  time.sleep(600)
os.kill(os.getpid(), signal.SIGKILL)
"""
  began = time.monotonic()
  status, _, err = finish(start(code, "-n", "2", "--grace=0.5"))
  assert 0.5 < time.monotonic() - began < 30
  assert status == 128 + signal.SIGKILL
  assert err.splitlines() == [
    "local.py: process 1 was ended by SIGKILL",
    "local.py: the others have 0.5 s to end",
    "local.py: SIGTERM to what still runs",
    "local.py: process 0 was ended by SIGTERM",
  ]


def test_who_ignores_sigterm_is_killed_with_its_helpers(monkeypatch, capfd):
  monkeypatch.setattr(local, "KILL_AFTER", 0.5)
  code = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if i == 1:
  sys.exit(7)
helper = subprocess.Popen(["sleep", "600"])
print(helper.pid, flush=True)
time.sleep(600)
"""
  own = local.make_environments(2, None, 0, 1)
  numbers = (signal.SIGINT, signal.SIGTERM)
  handlers = [signal.getsignal(number) for number in numbers]
  try:
    # Long enough for Python to start: the helper must be there to be killed.
    status = local.run([sys.executable, "-c", HEAD + code], own, grace=3)
  finally:
    for number, handler in zip(numbers, handlers, strict=True):
      signal.signal(number, handler)
  out, err = capfd.readouterr()
  assert status == 7
  assert err.splitlines()[-2:] == [
    "local.py: SIGKILL to what still runs",
    "local.py: process 0 was ended by SIGKILL",
  ]
  helper = int(out.removeprefix("[0] "))
  deadline = time.monotonic() + 10
  while is_alive(helper) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not is_alive(helper)


def is_alive(pid):
  """Whether a process runs: one that nobody has waited for does not."""
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except FileNotFoundError:
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_every_process_once(number):
  """Also where a terminal sends them to the whole group, as here."""
  code = """
got = []
for number in (signal.SIGINT, signal.SIGTERM):
  signal.signal(number, lambda number, _: got.append(number))
print("ready", flush=True)
while not got:
  time.sleep(0.01)
time.sleep(0.5)
print(*map(int, got), flush=True)
sys.exit(42)
"""
  process = start(code, "-n", "2")
  assert sorted([process.stdout.readline() for _ in range(2)]) == [
    "[0] ready\n",
    "[1] ready\n",
  ]
  os.killpg(process.pid, number)
  status, out, err = finish(process)
  assert status == 42, err
  assert sorted(out.splitlines()) == [f"[{i}] {number:d}" for i in range(2)]


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["--", "true"], "the following arguments are required: -n"),
    (["-n", "2"], "there is no command: put it after --"),
    (["-n", "2", "true"], "there is no command: put it after --"),
    (["-n", "0", "--", "true"], "-n 0: there must be at least one process"),
    (["-n", "2", "--devises=1", "--", "true"], "--devises=1 is no flag"),
    (["-n", "2", "--devices=0", "--", "true"], "--devices=0: there must be"),
    (["-n", "2", "--grace=-1", "--", "true"], "--grace=-1 must be seconds"),
    (["-n", "2", "--", "nosuch"], "nosuch: command not found: activate its"),
    (["-n", "3", "--", "true"], "3 processes can not share 8 GPUs evenly"),
  ],
)
def test_bad_usage(argv, message, capsys):
  with pytest.raises(SystemExit) as caught:
    local.parse(argv, gpus=8)
  assert caught.value.code == 2
  assert f"local.py: error: {message}" in capsys.readouterr().err


def test_two_processes_of_a_run_are_interrupted_and_go_on(tmp_path, data_dir):
  def start_run():
    return start_command(
      [
        *(sys.executable, "-m", "vit_jax.main"),
        "--config=configs/digits.py",
        f"--workdir={tmp_path}",
        f"--config.data.dir={data_dir}",
        "--config.model.depth=1",
        "--config.train.batch_size=32",
        "--config.train.steps=60",
        "--config.train.log_every=1",
      ],
      "-n",
      "2",
      # Half of a run's seconds are XLA's optimisations.
      JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    )

  process = start_run()
  for line in process.stderr:
    if line.startswith("[0] step"):
      process.terminate()
      break
  status, _, err = finish(process)
  assert status == 42, err
  saved = re.findall(
    r"^\[(\d)\] SIGTERM: saved step (\d+) in", err, re.MULTILINE
  )
  (_, step), *_ = saved
  assert sorted(saved) == [("0", step), ("1", step)] and 0 < int(step) < 60
  status, _, err = finish(start_run())
  assert status == 0, err
  assert f"[0] resuming after step {step}\n" in err
  result = json.loads((tmp_path / "result.json").read_text())
  assert (result["steps"], result["total"]) == (60, 360)
