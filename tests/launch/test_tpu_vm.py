# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""launch/tpu_vm.sh, with a program in the place of gcloud.

It keeps two workers as directories, and runs what ssh is given in them, with
programs in the places of sudo, systemd and pip.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support import ROOT

WHERE = ["--name=vit", "--zone=us-west4-a"]
WHAT = ["--type=v5litepod-16", "--runtime=v2-alpha-tpuv5-lite"]
# What quoting can spoil on the way: this shell, ssh's, systemd's, and bash.
COMMAND = ["trainer", '--a=("it\'s $HOME", %n)', "", "gs://b/run", "$$ \\ `x`"]

GCLOUD = f"""#!{sys.executable}
import json, os, pathlib, shutil, subprocess, sys
root = pathlib.Path(os.environ["CLOUD"])
with open(root / "calls", "a") as calls:
  calls.write(json.dumps(sys.argv[1:]) + "\\n")
assert sys.argv[1:4] == ["compute", "tpus", "queued-resources"], sys.argv
verb, *words = sys.argv[4:]
flags = dict(x[2:].partition("=")[::2] for x in words if x.startswith("--"))
assert flags["zone"] == "us-west4-a" and "quiet" in flags
every = [root / f"worker{{i}}" for i in range(2)]
workers = every if flags.get("worker") == "all" else every[:1]
if verb == "list":
  states = (root / "states").read_text().split()
  if states[0] == "FAILS":
    print("no network", file=sys.stderr)
  elif states[0] != "NONE":
    print(states[0])
  (root / "states").write_text(" ".join(states[1:]))
  sys.exit(states[0] == "FAILS")
elif verb == "create":
  for worker in every:
    worker.mkdir()
  number = root / "incarnation"
  number.write_text(str(int(number.read_text()) + 1))
elif verb == "delete":
  for worker in every:
    shutil.rmtree(worker)
elif verb == "scp":
  for worker in workers:
    shutil.copy(words[0], worker / words[1].removeprefix("vit:"))
elif verb == "ssh":
  for worker in workers:
    environment = os.environ | {{"HOME": str(worker), "USER": "somebody"}}
    environment["PATH"] = f"{{root}}/worker:{{environment['PATH']}}"
    done = subprocess.run(
      ["bash", "-c", flags["command"]], cwd=worker, env=environment
    )
    assert done.returncode == 0, done
"""

WORKER = {
  "sudo": 'exec "$@"',
  # Runs the unit to its end; a status of 42 is one that is started again.
  "systemd-run": """
    printf '%s\\n' "$@" > "$HOME/unit"
    while [[ $1 == --* ]]; do shift; done
    cd /
    "$@"
    case $? in
      0) echo exited ;;
      42) echo auto-restart ;;
      *) echo failed ;;
    esac > "$HOME/state"
  """,
  "systemctl": """
    case $1 in
      show) echo "SubState=$(cat "$HOME/state" 2> /dev/null || echo dead)" ;;
      stop) rm -f "$HOME/state" ;;
      reset-failed) exit 1 ;;
    esac
  """,
  "python3": """
    echo "$*" >> "$HOME/python3"
    if [[ "$*" == *" venv "* ]]; then
      mkdir -p vit_jax/.venv/bin
      echo "export ACTIVATED=yes" > vit_jax/.venv/bin/activate
    fi
  """,
  # Ends as the file says for each incarnation of the machine.
  "trainer": """
    printf '%s\\0' "$PWD" "$ACTIVATED" "$0" "$@" > "$HOME/argv"
    exit "$(sed -n "$(cat "$CLOUD/incarnation")p" "$CLOUD/statuses")"
  """,
}


def write_program(path, text):
  path.parent.mkdir(exist_ok=True)
  path.write_text(text)
  path.chmod(0o755)


class Cloud:
  """A cloud in a directory."""

  def __init__(self, root):
    self.root = root
    write_program(root / "bin/gcloud", GCLOUD)
    for name, text in WORKER.items():
      write_program(root / "worker" / name, f"#!/bin/bash\n{text}")
    (root / "incarnation").write_text("0")
    # A clone of its own: what is committed there is what is installed.
    self.clone = root / "clone"
    (self.clone / "launch").mkdir(parents=True)
    shutil.copy(ROOT / "launch/tpu_vm.sh", self.clone / "launch")
    (self.clone / "setup.py").write_text("committed")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x"]
    for verb in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
      subprocess.run([*git, *verb], cwd=self.clone, check=True)
    (self.clone / "setup.py").write_text("changed")
    self.environment = {
      "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
      "TMPDIR": str(root),
      "CLOUD": str(root),
    }

  def call(self, *arguments, states=(), statuses=()):
    """Runs the script; (exit status, standard output, standard error)."""
    (self.root / "calls").write_text("")
    (self.root / "states").write_text(" ".join(states))
    (self.root / "statuses").write_text("\n".join(map(str, statuses)))
    done = subprocess.run(
      [self.clone / "launch/tpu_vm.sh", *arguments],
      env=self.environment,
      capture_output=True,
      text=True,
      timeout=60,
    )
    return done.returncode, done.stdout, done.stderr

  @property
  def calls(self):
    """Arguments of gcloud compute tpus queued-resources."""
    lines = (self.root / "calls").read_text().splitlines()
    return [json.loads(line)[3:] for line in lines]


@pytest.fixture
def cloud(tmp_path):
  return Cloud(tmp_path)


def test_a_run_that_is_preempted_twice_is_taken_up_again(cloud):
  """Taken away while it runs, and again before it is installed."""
  status, out, err = cloud.call(
    *("watch", *WHERE, *WHAT, "--spot", "--poll=0", "--", *COMMAND),
    states=[
      *("NONE", "WAITING_FOR_RESOURCES", "FAILS", "ACTIVE", "ACTIVE"),
      *("SUSPENDING", "SUSPENDED", "PROVISIONING", "SUSPENDED", "ACTIVE"),
      "ACTIVE",
    ],
    statuses=[42, "-", 0],
  )
  assert status == 0, err
  assert err.splitlines() == [
    "tpu_vm.sh: there is no vit: asking for it",
    "no network",
    "tpu_vm.sh: vit is there: installing and starting",
    "tpu_vm.sh: vit was taken away: asking for it again",
    "tpu_vm.sh: vit was taken away: asking for it again",
    "tpu_vm.sh: vit is there: installing and starting",
    "tpu_vm.sh: done; vit is still there, and costs until delete",
  ]
  start = ["ssh", "scp", "ssh", "ssh"]  # Look, copy, install, run.
  again = ["list", "delete", "create"]
  assert [verb for verb, *_ in cloud.calls] == [
    *("list", "create", "list", "list", "list", *start, "list", "ssh"),
    *("list", *again, "list", *again, "list", *start, "list", "ssh"),
  ]


def test_the_command_reaches_every_worker_as_it_was_written(cloud):
  cloud.call("create", *WHERE, *WHAT)
  cloud.call("install", *WHERE)
  status, _, err = cloud.call("run", *WHERE, "--", *COMMAND, statuses=[0])
  assert status == 0, err
  for i in range(2):
    home = cloud.root / f"worker{i}"
    argv = (home / "argv").read_text().split("\0")[:-1]
    program = str(cloud.root / "worker/trainer")
    assert argv == [str(home / "vit_jax"), "yes", program, *COMMAND[1:]]
    assert (home / "vit_jax/setup.py").read_text() == "committed"
    venv = "vit_jax/.venv"
    assert (home / "python3").read_text().splitlines() == [
      "-m pip install -q --user uv",
      f"-m uv venv -q --allow-existing --python=3.12 {venv}",
      f"-m uv pip install -q --python={venv}/bin/python -e ./vit_jax[tpu]",
    ]
    assert (home / "unit").read_text().splitlines() == [
      "--unit=vit_jax",
      "--uid=somebody",
      "--property=Restart=on-failure",
      "--property=RestartPreventExitStatus=2",
      "--property=RestartSec=10",
      "--property=StartLimitIntervalSec=3600",
      "--property=StartLimitBurst=10",
      "--property=RemainAfterExit=yes",
      "--property=KillMode=mixed",
      "--property=TimeoutStopSec=600",
      *("bash", str(home / "vit_jax.sh")),
    ]


def test_watch_ends_with_what_nobody_can_mend(cloud):
  watch = ("watch", *WHERE, *WHAT, "--poll=0", "--", "trainer")
  status, _, err = cloud.call(*watch, states=["FAILED"])
  assert status == 1
  assert "vit was refused: see gcloud compute tpus queued-resources des" in err
  states = ["NONE", "ACTIVE", "ACTIVE"]
  status, _, err = cloud.call(*watch, states=states, statuses=[2])
  assert status == 1
  assert err.splitlines()[-1] == (
    "tpu_vm.sh: error: the command failed: logs says why; vit is still there, "
    "and costs until delete"
  )


def test_verbs_call_gcloud_so(cloud):
  def get(*arguments):
    status, out, err = cloud.call(*arguments, "--dry_run")
    assert (status, err, cloud.calls) == (0, "", [])
    return out

  resource = "gcloud compute tpus queued-resources"
  end = "--zone=us-west4-a --quiet\n"
  assert get("create", *WHERE, *WHAT, "--spot", "--project=p") == (
    f"{resource} create vit --accelerator-type=v5litepod-16 "
    "--runtime-version=v2-alpha-tpuv5-lite --node-id=vit --spot "
    "--zone=us-west4-a --project=p --quiet\n"
  )
  assert get("create", *WHERE, *WHAT, "--nodes=2") == (
    f"{resource} create vit --accelerator-type=v5litepod-16 "
    "--runtime-version=v2-alpha-tpuv5-lite --node-count=2 --node-prefix=vit "
    f"{end}"
  )
  assert get("delete", *WHERE) == f"{resource} delete vit --force {end}"
  assert get("stop", *WHERE) == (
    f"{resource} ssh vit --node=all --worker=all "
    f"'--command=sudo systemctl stop vit_jax' {end}"
  )
  assert get("logs", *WHERE) == (
    f"{resource} ssh vit --node=0 --worker=0 '--command=sudo journalctl "
    f"--unit=vit_jax --lines=100 -f --output=cat' {end}"
  )
  assert get("status", *WHERE) == (
    f"{resource} describe vit '--format=value(state.state)' {end}"
    f"{resource} ssh vit --node=all --worker=all '--command=systemctl show "
    f"vit_jax --property=SubState,ExecMainStatus,NRestarts' {end}"
  )


def test_the_lines_of_a_dry_run_can_be_pasted(cloud):
  """They call gcloud with the very words that a run calls it with."""
  watch = ["watch", *WHERE, *WHAT, "--spot", "--poll=0"]
  status, out, err = cloud.call(*watch, "--dry_run", "--", *COMMAND)
  assert (status, err, cloud.calls) == (0, "", [])
  cloud.call("create", *WHERE, *WHAT)  # To be there when it is deleted.
  status, _, err = cloud.call(
    *(*watch, "--", *COMMAND),
    states=["SUSPENDED", "ACTIVE", "ACTIVE"],
    statuses=[0, 0],
  )
  assert status == 0, err
  called = cloud.calls
  (cloud.root / "calls").write_text("")
  (cloud.root / "states").write_text("SUSPENDED")
  subprocess.run(["bash", "-ec", out], env=cloud.environment, check=True)
  # The loop has looked at the state and at the units besides.
  looks = [*called[3:5], *called[8:]]
  assert [verb for verb, *_ in looks] == ["list", "ssh", "list", "ssh"]
  assert cloud.calls == [*called[:3], *called[5:8]]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "the first argument must be one of create, install, run, logs,"),
    (["up"], "the first argument must be one of create, install, run, logs,"),
    (["run"], "--name is missing"),
    (["run", "--name=x"], "--zone is missing"),
    (["run", *WHERE], "there is no command: put it after --"),
    (["run", *WHERE, "python"], "unknown flag python"),
    (["logs", *WHERE, "--", "x"], "logs takes no command"),
    (["create", *WHERE], "--type is missing, as --type=v5litepod-16"),
    (["create", *WHERE, WHAT[0]], "--runtime is missing, as --runtime=v2-al"),
    (["create", *WHERE, *WHAT, "--nodes=0"], "--nodes=0 must be a number of"),
    (["watch", *WHERE, *WHAT, "--spto"], "unknown flag --spto"),
  ],
)
def test_bad_usage(cloud, arguments, message):
  status, out, err = cloud.call(*arguments)
  assert (status, out, cloud.calls) == (2, "", [])
  assert err.startswith(f"tpu_vm.sh: error: {message}")
