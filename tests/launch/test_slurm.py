# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""launch/slurm.sh, with programs in the places of srun and scontrol."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.support import ROOT

SCRIPT = ROOT / "launch/slurm.sh"

# Notes how it was called; srun runs its command as one task.
FAKE = f"""#!{sys.executable}
import json, os, pathlib, subprocess, sys
name = pathlib.Path(sys.argv[0]).name
with open(os.environ["CALLS"], "a") as calls:
  calls.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
if name == "srun":
  command = [x for x in sys.argv[1:] if not x.startswith("--")]
  sys.exit(subprocess.run(command).returncode)
"""


@pytest.fixture
def job(tmp_path):
  """The environment of a batch script: a node with two tasks and two GPUs."""
  for name in ("srun", "scontrol"):
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(FAKE)
    path.chmod(0o755)
  return {
    "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    "CALLS": str(tmp_path / "calls"),
    "SLURM_JOB_ID": "123",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_GPUS_ON_NODE": "2",
    "SLURM_CPUS_PER_TASK": "6",
  }


def start(job, *arguments):
  return subprocess.Popen(
    ["bash", SCRIPT, *arguments],
    env=job,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  """(exit status, standard output, standard error)"""
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def get_calls(job):
  path = pathlib.Path(job["CALLS"])
  lines = path.read_text().splitlines() if path.exists() else []
  return [json.loads(line) for line in lines]


SAVED = ["slurm.sh: saved: back into the queue"]
LOST = ["slurm.sh: a task was lost or stuck: back into the queue"]
NO_MORE = [
  "slurm.sh: a task was lost or stuck, and the job was restarted 10 times: "
  "see why above; the same sbatch goes on"
]


@pytest.mark.parametrize(
  ("status", "restarts", "said"),
  [
    (0, None, []),
    (1, None, []),
    (2, None, []),
    (253, None, []),  # srun's, for a task that was out of memory.
    (42, None, SAVED),
    (42, 1000, SAVED),
    (43, None, LOST),
    (43, 9, LOST),
    (43, 10, NO_MORE),
    (137, 9, LOST),
    (137, 10, NO_MORE),
  ],
)
def test_what_goes_back_into_the_queue(job, status, restarts, said):
  if restarts is not None:  # Slurm sets it from the first restart on.
    job = job | {"SLURM_RESTART_COUNT": str(restarts)}
  command = ["bash", "-c", f"echo trained; exit {status}"]
  found, out, err = finish(start(job, "--", *command))
  assert (found, err) == (status, "")
  flags = ["--label", "--kill-on-bad-exit=0", "--cpus-per-task=6"]
  calls = [["srun", *flags, *command]]
  if said in (SAVED, LOST):
    calls.append(["scontrol", "requeue", "123"])
  assert get_calls(job) == calls
  lines = ["trained", f"slurm.sh: ended with status {status}", *said]
  assert out.splitlines() == lines


@pytest.mark.parametrize("end", [42, 43, 137])
def test_a_job_that_slurm_ends_stays_ended(job, tmp_path, end):
  """The script gets SIGTERM itself, and waits until the tasks have saved."""
  started, asked = tmp_path / "started", tmp_path / "asked"
  wait = f"until [ -e {asked} ]; do sleep 0.02; done"
  code = f"touch {started}; {wait}; echo saved; exit {end}"
  process = start(job, "--", "bash", "-c", code)
  while not started.exists():
    assert process.poll() is None
    time.sleep(0.02)
  process.send_signal(signal.SIGTERM)
  asked.touch()
  status, out, _ = finish(process)
  assert status == end
  assert out.splitlines() == ["saved", f"slurm.sh: ended with status {end}"]
  assert [name for name, *_ in get_calls(job)] == ["srun"]


def test_a_dry_run_prints_what_a_job_runs(job):
  command = ["python", "x.py", '--a=("it\'s$", 1)', ""]
  status, out, _ = finish(start(job, "--dry_run", "--", *command))
  assert status == 0 and get_calls(job) == []
  run, requeue = out.splitlines()
  flags = ["srun", "--label", "--kill-on-bad-exit=0", "--cpus-per-task=6"]
  assert shlex.split(run) == [*flags, *command]
  assert requeue == (
    "scontrol requeue $SLURM_JOB_ID  # if that ended with 42, 43 or 137"
  )
  printed = subprocess.run(
    ["bash", "-c", f"printf '%s\\n' {run}"], capture_output=True, text=True
  )
  assert printed.stdout.split("\n")[:-1] == [*flags, *command]


@pytest.mark.parametrize(
  ("changed", "arguments", "message"),
  [
    ({}, [], "put the command after --"),
    ({}, ["python", "x.py"], "put the command after --"),
    ({}, ["--"], "there is no command: put it after --"),
    ({"SLURM_JOB_ID": ""}, ["--", "true"], "there is no job: sbatch launch/"),
    (
      {"SLURM_NTASKS_PER_NODE": "1"},
      ["--", "true"],
      "1 tasks a node for 2 GPUs: JAX gives each task one; ask for as many",
    ),
  ],
)
def test_bad_usage(job, changed, arguments, message):
  status, _, err = finish(start(job | changed, *arguments))
  assert status == 2
  assert err.startswith(f"slurm.sh: error: {message}")
  assert get_calls(job) == []


def test_what_sbatch_reads():
  """Directives count as far as the first command."""
  head = re.split(r"^[^#\n]", SCRIPT.read_text(), flags=re.MULTILINE)[0]
  found = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", head, re.MULTILINE)
  assert len(found) == SCRIPT.read_text().count("#SBATCH")
  directives = dict(found)
  assert directives["ntasks-per-node"] == directives["gpus-per-node"]
  assert directives["signal"] == "TERM@300", "to the tasks, not to the script"
  assert directives["open-mode"] == "append", "one log over all restarts"
  assert directives["requeue"] == ""
