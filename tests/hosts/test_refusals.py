# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Hosts that may not train together. That such a run ends with status 2 on all
of them is in tests/runs/test_processes.py."""

import re
import socket

from configs.digits import SMALL
from tests.support import build
from tests.support.hosts import run_together
from tests.support.weights import make_weights
from vit_jax.config import ConfigError
from vit_jax.convert import save_weights
from vit_jax.runtime.run import Run
from vit_jax.runtime.workdir import open_workdir
from vit_jax.train import load_init

NAME = socket.gethostname()


def test_hosts_that_differ_are_named_with_what_they_have():
  def compare(hosts):
    hosts.compare({"same": [1, "a"]})
    facts = {"same": 1, "optim.lr": 0.2 if hosts.index == 2 else 0.1}
    hosts.compare(facts | ({"more": "x"} if hosts.index == 0 else {}))

  expected = [
    "the hosts of this run differ:",
    f"  more: 'x' on host 0 ({NAME}); missing on host 1 ({NAME}) and host 2 "
    f"({NAME})",
    f"  optim.lr: 0.1 on host 0 ({NAME}) and host 1 ({NAME}); 0.2 on host 2 "
    f"({NAME})",
  ]
  for error in run_together(3, compare):
    assert isinstance(error, ConfigError)
    assert str(error).splitlines()[:3] == expected


def test_hosts_that_do_not_share_a_workdir_refuse_to_run(tmp_path):
  places = [tmp_path / "run", tmp_path / "other"]
  for error in run_together(
    2, lambda hosts: open_workdir(str(places[hosts.index]), hosts, 0.2)
  ):
    assert isinstance(error, ConfigError)
    assert f"--workdir is not shared: host 1 ({NAME})" in str(error)
  assert not list(places[0].iterdir())


def test_hosts_that_share_a_workdir_see_it(tmp_path):
  found = run_together(
    2, lambda hosts: open_workdir(str(tmp_path), hosts, 60.0)
  )
  assert found == [tmp_path, tmp_path] and not list(tmp_path.iterdir())


def test_hosts_of_other_weights_refuse_to_run(tmp_path, config, monkeypatch):
  """One path may lead each host to a file of its own."""
  fields = SMALL | dict(depth=1)
  weights = make_weights(fields, size=(16, 16), channels=1, classes=10)
  exps = []
  for name in ("a.npz", "b.npz"):
    save_weights(weights, str(tmp_path / name), "authors")
    weights.params["head/bias"][3] += 1
    own = {"model": fields, "init": str(tmp_path / name)}
    config["data"]["size"] = 16
    exps.append(build(config | own))

  def initialise(hosts):
    run = object.__new__(Run)  # What it does before is not of interest here.
    run._hosts, run.say = hosts, lambda _: None
    load_init(exps[hosts.index], run)

  monkeypatch.setattr("jax.process_count", lambda: 2)
  for error in run_together(2, initialise):
    assert isinstance(error, ConfigError)
    assert "digest of the initial weights" in str(error)
    assert re.search(
      rf"'\w{{64}}' on host 0 \({NAME}\); '\w{{64}}' on host 1", str(error)
    )
