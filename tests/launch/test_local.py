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
from tests.support import ROOT

HEAD = """
import os, pathlib, signal, subprocess, sys, time
i = int(os.environ["JAX_PROCESS_ID"])

def wait_for(path):
  while not path.exists():
    time.sleep(0.02)
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
  out, err = process.communicate(timeout=600)
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
  assert local.choose_status(ended) == status


def test_the_first_failure_is_named_and_the_others_end_by_themselves(tmp_path):
  code = f"""
path = pathlib.Path({str(tmp_path / "said")!r})
if i == 0:
  sys.exit(5)
wait_for(path)
sys.exit(42)
"""
  process = start(code, "-n", "2")
  lines = [process.stderr.readline() for _ in range(2)]
  assert lines == [
    "local.py: process 0 ended with status 5\n",
    "local.py: the others have 90 s to end\n",
  ]
  (tmp_path / "said").touch()
  status, _, err = finish(process)
  assert status == 5
  assert err == "local.py: process 1 ended with status 42\n"


def test_who_does_not_end_is_ended():
  code = """
if i == 0:
  time.sleep(600)
os.kill(os.getpid(), signal.SIGKILL)
"""
  began = time.monotonic()
  status, _, err = finish(start(code, "-n", "2", "--grace=0.5"))
  assert 0.5 < time.monotonic() - began < 300
  assert status == 128 + signal.SIGKILL
  assert err.splitlines() == [
    "local.py: process 1 was ended by SIGKILL",
    "local.py: the others have 0.5 s to end",
    "local.py: sending SIGTERM to the processes that still run",
    "local.py: process 0 was ended by SIGTERM",
  ]


def test_who_ignores_sigterm_is_killed_with_its_helpers(
  monkeypatch, capfd, tmp_path
):
  monkeypatch.setattr(local, "KILL_AFTER", 0.5)
  code = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
path = pathlib.Path({str(tmp_path / "helped")!r})
if i == 1:
  wait_for(path)
  sys.exit(7)
helper = subprocess.Popen(["sleep", "600"])
print(helper.pid, flush=True)
path.touch()
time.sleep(600)
"""
  own = local.make_environments(2, None, 0, 1)
  numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
  handlers = [signal.getsignal(number) for number in numbers]
  try:
    status = local.run([sys.executable, "-c", HEAD + code], own, grace=0.5)
  finally:
    for number, handler in zip(numbers, handlers, strict=True):
      signal.signal(number, handler)
  out, err = capfd.readouterr()
  assert status == 7
  assert err.splitlines()[-2:] == [
    "local.py: sending SIGKILL to the processes that still run",
    "local.py: process 0 was ended by SIGKILL",
  ]
  helper = int(out.removeprefix("[0] "))
  deadline = time.monotonic() + 60
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


# Says which signals it got, and ends as a run that has saved.
SAVE = """
got = []
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
  signal.signal(number, lambda number, _: got.append(number))
print("ready", flush=True)
while not got:
  time.sleep(0.01)
time.sleep(0.5)
print(*map(int, got), flush=True)
"""
READY = ["[0] ready\n", "[1] ready\n"]


@pytest.fixture
def hang_up():
  """Sets what SIGHUP does in what is started: nohup may be around us."""
  previous = signal.getsignal(signal.SIGHUP)
  yield lambda how: signal.signal(signal.SIGHUP, how)
  signal.signal(signal.SIGHUP, previous)


@pytest.mark.parametrize(
  ("number", "arrives"),
  [
    (signal.SIGINT, signal.SIGINT),
    (signal.SIGTERM, signal.SIGTERM),
    (signal.SIGHUP, signal.SIGTERM),
  ],
)
def test_signals_reach_every_process_once(number, arrives, hang_up):
  """Also where a terminal sends them to the whole group, as here."""
  hang_up(signal.SIG_DFL)
  process = start(SAVE + "sys.exit(42)", "-n", "2")
  assert sorted([process.stdout.readline() for _ in range(2)]) == READY
  os.killpg(process.pid, number)
  status, out, err = finish(process)
  assert status == 42, err
  assert sorted(out.splitlines()) == [f"[{i}] {arrives:d}" for i in range(2)]


def test_nohup_outlives_the_terminal(hang_up):
  hang_up(signal.SIG_IGN)
  process = start(SAVE + "sys.exit(42)", "-n", "2")
  assert sorted([process.stdout.readline() for _ in range(2)]) == READY
  os.killpg(process.pid, signal.SIGHUP)
  os.killpg(process.pid, signal.SIGINT)
  status, out, err = finish(process)
  assert status == 42, err
  assert sorted(out.splitlines()) == [
    f"[{i}] {signal.SIGINT:d}" for i in range(2)
  ]


def test_processes_save_where_nobody_reads_any_more(tmp_path):
  """As after Ctrl-C with `2>&1 | tee log`, which ends the tee too."""
  code = f"""
{SAVE}
for stream in (sys.stdout, sys.stderr):
  print("x" * (1 << 17), file=stream, flush=True)
pathlib.Path({str(tmp_path)!r}, str(i)).touch()
sys.exit(42)
"""
  process = start(code, "-n", "2")
  assert sorted([process.stdout.readline() for _ in range(2)]) == READY
  process.stdout.close()
  process.stderr.close()
  process.send_signal(signal.SIGINT)
  assert process.wait(600) == 42
  assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_what_is_dropped_is_said():
  process = start(SAVE + "sys.exit(42)", "-n", "2")
  assert sorted([process.stdout.readline() for _ in range(2)]) == READY
  process.stdout.close()
  process.send_signal(signal.SIGINT)
  err = process.stderr.read()
  assert process.wait(600) == 42
  said = "local.py: Broken pipe: further output to <stdout> is dropped\n"
  assert err.count(said) == 1 and err.count("ended with status 42") == 2


def test_a_terminal_that_is_closed_lets_all_save(tmp_path, hang_up):
  """It hangs up, and what is written to it fails from then on."""
  code = f"""
{SAVE}
pathlib.Path({str(tmp_path)!r}, str(i)).write_text(str(int(got[0])))
sys.exit(42)
"""
  hang_up(signal.SIG_DFL)
  terminal, side = os.openpty()
  take = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
  )
  process = subprocess.Popen(
    [
      *(sys.executable, "-c", take, "launch/local.py", "-n", "2"),
      *("--", sys.executable, "-c", HEAD + code),
    ],
    cwd=ROOT,
    stdin=side,
    stdout=side,
    stderr=side,
    start_new_session=True,
  )
  os.close(side)
  read = b""
  while read.count(b"ready") < 2:
    read += os.read(terminal, 1 << 10)
  os.close(terminal)
  assert process.wait(600) == 42
  number = f"{signal.SIGTERM:d}"
  assert [(tmp_path / str(i)).read_text() for i in range(2)] == [number] * 2


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["--", "true"], "the following arguments are required: -n"),
    (["-n", "2"], "there is no command: put it after --"),
    (["-n", "2", "true"], "there is no command: put it after --"),
    (["-n", "0", "--", "true"], "-n 0: there must be at least one process"),
    (["-n", "2", "--devises=1", "--", "true"], "unknown flag --devises=1"),
    (["-n", "2", "--devices=0", "--", "true"], "--devices=0: there must be"),
    (["-n", "2", "--grace=-1", "--", "true"], "--grace=-1 must be seconds"),
    (["-n", "2", "--", "nosuch"], "nosuch: command not found: activate its"),
    (["-n", "3", "--", "true"], "3 processes cannot share 8 GPUs"),
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
        "--config.model.remat=none",
        "--config.train.accumulate=1",
        "--config.train.batch_size=32",
        "--config.train.steps=120",
        "--config.train.log_every=1",
        "--config.train.report=false",
      ],
      "-n",
      "2",
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
  assert sorted(saved) == [("0", step), ("1", step)] and 0 < int(step) < 120
  status, _, err = finish(start_run())
  assert status == 0, err
  assert f"[0] resuming after step {step}\n" in err
  result = json.loads((tmp_path / "result.json").read_text())
  assert (result["steps"], result["total"]) == (120, 360)
