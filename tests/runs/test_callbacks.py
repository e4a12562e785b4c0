# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a caller of `train` is told, and how it ends a run."""

import json
import os
import socket
import subprocess

import numpy as np
import pytest

import vit_jax
from tests.support.forked import Forked
from vit_jax.config import ConfigError
from vit_jax.metrics.rows import read_rows
from vit_jax.runtime.callbacks import Callbacks, check_callbacks
from vit_jax.train import train

pytestmark = pytest.mark.usefixtures("same_programs")


class Heard(vit_jax.Callback):
  """Keeps what it is told; answers as told."""

  def __init__(self, answers=()):
    self.calls, self.answers = [], answers

  def hear(self, *call):
    self.calls.append(call)
    return call[:2] in self.answers

  def on_log(self, step, values):
    return self.hear("log", step, values["loss"])

  def on_evaluation(self, step, name, values):
    return self.hear("evaluation", step, name, values["total"])

  def on_save(self, step, path):
    return self.hear("save", step, path)


@pytest.fixture
def long(config):
  config["train"] |= dict(steps=12, log_every=2)
  config["evals"]["test"]["every"] = 5
  config["checkpoint"] = config.get("checkpoint", {}) | dict(every=4)
  return config


def test_every_row_evaluation_and_save_is_told_once(long, tmp_path):
  heard = Heard()
  train(long, str(tmp_path), callbacks=[heard])
  rows = [row for row in read_rows(tmp_path) if "loss" in row]
  assert [x[1:] for x in heard.calls if x[0] == "log"] == [
    (row["step"], row["loss"]) for row in rows
  ]
  told = [x[1:3] for x in heard.calls if x[0] == "evaluation"]
  assert told == [(5, "test"), (10, "test"), (12, "test")]
  saved = [x[1:] for x in heard.calls if x[0] == "save"]
  path = tmp_path / "checkpoints"
  assert saved == [(step, str(path / str(step))) for step in (4, 8, 12)]


@pytest.mark.parametrize(
  ("answer", "steps"),
  [(("log", 4), 5), (("evaluation", 5), 6), (("save", 8), 9)],
)
def test_a_callback_ends_a_run_which_can_go_on(
  answer, steps, long, tmp_path, capsys
):
  """The save of step 4 tells of its row; others come one interval late."""
  result = train(long, str(tmp_path), callbacks=[Heard([answer]), Heard()])
  assert result["steps"] == steps and result["total"] > 0
  said = f"a callback ends the run after step {steps}"
  assert said in capsys.readouterr().err
  assert (tmp_path / "checkpoints" / str(steps)).is_dir()
  whole = train(long, str(tmp_path))
  assert whole["steps"] == 12
  rows = [row["step"] for row in read_rows(tmp_path) if "loss" in row]
  assert rows[-1] == 12 and len(rows) == len({*rows})


def test_what_a_callback_raises_ends_the_run(long, tmp_path):
  class Broken(vit_jax.Callback):
    def on_log(self, step, values):
      raise ValueError("mine")

  with pytest.raises(ValueError, match="mine"):
    train(long, str(tmp_path), callbacks=[Broken()])
  assert train(long, str(tmp_path))["steps"] == 12


@pytest.mark.parametrize("answer", [np.True_, np.asarray(True)])
def test_numpys_truth_ends_a_run_too(answer):
  """Comparisons of arrays make it: `min(losses) < np.float32(0.1)`."""

  class Enough(vit_jax.Callback):
    def on_log(self, step, values):
      return answer

  callbacks = Callbacks([Enough()])
  callbacks.call("on_log", 1, {})
  assert callbacks.take_answer() is True


@pytest.mark.parametrize(
  ("callbacks", "words"),
  [
    (Heard(), "is no list"),
    ([Heard], "Heard()"),  # The class.
    ([print], "on_log"),
    ([Heard(), None], "on_log"),
  ],
)
def test_what_is_no_callback_is_named(callbacks, words):
  with pytest.raises(ConfigError) as caught:
    check_callbacks(callbacks)
  assert words in str(caught.value) and "callbacks" in str(caught.value)


def test_a_callback_may_change_what_it_is_given():
  class Takes(vit_jax.Callback):
    def on_evaluation(self, step, name, values):
      values.clear()

  heard, values = Heard(), {"total": 3}
  Callbacks([Takes(), heard]).call("on_evaluation", 1, "test", values)
  assert values == {"total": 3}
  assert heard.calls == [("evaluation", 1, "test", 3)]


# As on a pod: each host runs the same script. Their number, and which one it
# is, are its arguments.
SCRIPT = """
import json, os, sys
import jax
address, count, index, config, workdir, mine = sys.argv[1:]
jax.distributed.initialize(address, int(count), int(index))
import vit_jax

class Told(vit_jax.Callback):
  def on_log(self, step, values):
    print("log", step, values["loss"].hex(), flush=True)
    return index == "1" and step == 4

callbacks = [Told()] if index in mine else []
result = vit_jax.train(json.loads(config), workdir, callbacks=callbacks)
print("end", result.steps)
"""


def train_on_two_hosts(config, workdir, mine):
  """Trains from Python.

  Args:
    mine: the hosts, as "01", that have a callback. That of host 1 ends the run.

  Returns:
    For each host its exit status, standard output and standard error.
  """
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  arguments = [json.dumps(config), str(workdir), mine]
  processes = [
    Forked(
      ["-c", SCRIPT, address, "2", index, *arguments],
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in "01"
  ]
  texts = [process.communicate(timeout=240) for process in processes]
  return [
    (process.returncode, *text)
    for process, text in zip(processes, texts, strict=True)
  ]


def test_one_host_of_two_ends_the_run(long, tmp_path):
  told = []
  for status, out, err in train_on_two_hosts(long, tmp_path, "01"):
    assert status == 0, err
    lines = out.splitlines()  # Gloo has some of its own.
    told.append([x for x in lines if x.startswith(("log", "end"))])
  assert told[0] == told[1] and told[0][-1] == "end 5"
  assert [x.split()[1] for x in told[0][:-1]] == ["2", "4", "5"]


def test_hosts_of_which_one_has_no_callback_refuse_to_run(long, tmp_path):
  for status, out, err in train_on_two_hosts(long, tmp_path / "run", "0"):
    assert status == 2 and "log" not in out
    assert "the hosts of this run differ:" in err
    assert "whether there are callbacks: True on host 0" in err
  assert not (tmp_path / "run").exists()
