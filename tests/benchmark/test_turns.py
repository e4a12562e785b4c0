# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that take turns in processes of their own."""

import os

import pytest

from vit_jax.benchmark.turns import OutOfMemoryError, take_turns
from vit_jax.config import ConfigError, RunError


class Fake:
  """A subject that knows its process; with a file it fills the memory."""

  def __init__(self, known=None):
    self.facts = {"process": os.getpid(), "known": known, "turns": 0}

  def time(self):
    self.facts["turns"] += 1
    return [0.25, 0.5, 1.0]


def make_big(path, facts=None):
  """A subject beside which there is no room for another."""
  if path.exists():
    try:
      os.kill(int(path.read_text()), 0)
    except ProcessLookupError:
      pass
    else:
      raise OutOfMemoryError("no room")
  path.write_text(str(os.getpid()))
  return Fake(facts)


def refuse(facts=None):
  raise ConfigError("--against=timm: no")


def die(facts=None):
  os._exit(7)


def test_each_has_one_process_and_they_alternate(capfd):
  said = []
  facts, times = take_turns(
    {"ours": (Fake, ()), "theirs": (Fake, ())}, 3, said.append
  )
  turns = [line.partition(":")[0] for line in said if "turn" in line]
  assert turns == ["ours", "theirs"] * 3
  assert times == {name: [[0.25, 0.5, 1.0]] * 3 for name in turns[:2]}
  assert [facts[name]["turns"] for name in turns[:2]] == [3, 3]
  processes = {facts[name]["process"] for name in turns[:2]} | {os.getpid()}
  assert len(processes) == 3
  assert facts["ours"]["known"] is None
  assert facts["theirs"]["known"]["process"] == facts["ours"]["process"]


def test_without_room_for_both_a_turn_is_a_process(tmp_path):
  side = make_big, (tmp_path / "device",)
  said = []
  facts, times = take_turns({"a": side, "b": side}, 2, said.append)
  assert {name: len(turns) for name, turns in times.items()} == {"a": 2, "b": 2}
  # The last process of each had one turn.
  assert [facts[name]["turns"] for name in "ab"] == [1, 1]
  assert sum("no room" in line for line in said) == 1


def test_errors_of_a_process_are_errors_here():
  with pytest.raises(ConfigError, match="timm: no"):
    take_turns({"ours": (refuse, ())}, 1, lambda _: None)
  with pytest.raises(RunError, match="timm ended with status 7"):
    take_turns({"timm": (die, ())}, 1, lambda _: None)
