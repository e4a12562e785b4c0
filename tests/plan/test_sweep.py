# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The command, and its search, as a user runs them."""

import json
import os
import subprocess
import sys

import pytest

from tests.support import ROOT, build
from vit_jax.config import ConfigError
from vit_jax.config.recipe import load_config
from vit_jax.devices import fitting
from vit_jax.devices.topology import make_topology
from vit_jax.models.activations import measure_stream
from vit_jax.plan import __main__ as command
from vit_jax.plan import sweep as sweeping

pytest.importorskip("libtpu")

FLAGS = [
  "--config=configs/digits.py",
  "--config.model.variant=mu/4",
  "--config.model.depth=1",
]


@pytest.fixture(scope="module")
def topology():
  return make_topology("v5e:2x2")


@pytest.fixture(scope="module")
def exp(topology):
  config = load_config("configs/digits.py", FLAGS[1:])
  return build(config, topology.devices)


def run(*flags):
  """`python -m vit_jax.plan`, from a terminal that knows nothing of TPUs."""
  return subprocess.run(
    [sys.executable, "-m", "vit_jax.plan", *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env={k: v for k, v in os.environ.items() if not k.startswith("TPU_")},
  )


def test_candidates_are_all_that_divide(exp, topology):
  """The model has four heads."""
  found = list(sweeping.make_candidates(exp, topology, [128]))
  # Six meshes of four chips, five micro-batches, three policies.
  assert len(found) == len(set(found)) == 6 * 5 * 3
  assert {(x.replica, x.fsdp, x.tensor) for x in found} == {
    *((4, 1, 1), (2, 2, 1), (1, 4, 1), (2, 1, 2), (1, 2, 2), (1, 1, 4))
  }
  # Seven images are on one chip, or on four that share their heads.
  seven = list(sweeping.make_candidates(exp, topology, [7]))
  assert {x[1:5] for x in seven} == {(1, 1, 1, 4)}


def test_what_cannot_fit_is_not_compiled(topology):
  flags = [*FLAGS[1:], "--config.model.width=100000000"]
  config = load_config("configs/digits.py", flags)
  with pytest.raises(ConfigError, match="GiB a chip.* v5e:2x2 has 15.75 GiB"):
    sweeping.sweep(config, topology, [], print, budget=1.0)
  found = sweeping.Sweep(9, [], too_large=9)
  assert "none fits" in str(found) and "budget" not in str(found)
  assert "--budget" in str(sweeping.Sweep(9, [], too_large=8))


def test_slices_are_joined_by_replicas(exp):
  two = make_topology("v5e:2x2", slices=2)
  found = sweeping.make_candidates(exp, two, [128])
  assert {x.replica for x in found} == {2, 4, 8}


def test_what_an_image_costs(exp):
  none, dots, full = (
    sweeping.measure_image(exp, remat) for remat in sweeping.REMAT
  )
  assert none.activations > dots.activations > full.activations > 0
  # The forward pass is a third; it is run again but for the head and stem.
  assert none.flops < dots.flops < full.flops < 4 / 3 * none.flops


def test_more_chips_of_a_state_need_less_of_each(exp, topology):
  image = sweeping.measure_image(exp, "none")
  whole, parted, split = (
    sweeping.guess(exp, topology, candidate, image)
    for candidate in (
      sweeping.Candidate(128, 1, 4, 1, 1, "none"),
      sweeping.Candidate(128, 1, 1, 4, 1, "none"),
      sweeping.Candidate(128, 4, 1, 4, 1, "none"),
    )
  )
  assert whole.memory > parted.memory > split.memory
  # Weights are gathered for every micro-batch.
  assert split.seconds > parted.seconds


def test_micro_batches_that_fast_memory_holds_are_faster(
  exp, topology, monkeypatch
):
  image = sweeping.measure_image(exp, "none")
  one = sweeping.Candidate(128, 1, 4, 1, 1, "none")
  two = one._replace(accumulate=2)
  tokens, stream = measure_stream(exp.model, exp.data.shape)
  monkeypatch.setitem(fitting.MIN_TOKENS, "tpu", 16 * tokens)
  monkeypatch.setitem(fitting.MOST_BYTES, "tpu", 16 * stream)
  guesses = {x: sweeping.guess(exp, topology, x, image) for x in (one, two)}
  assert guesses[two].seconds < guesses[one].seconds
  plan = {"memory": {"total": guesses[one].memory}}
  fits = {"candidate": one._asdict(), "outcome": "fits", "plan": plan}
  assert sweeping.is_worthwhile(two, guesses, [fits], topology)


def test_the_best_mesh_of_every_policy_comes_first(exp, topology):
  candidates = list(sweeping.make_candidates(exp, topology, [128]))
  images = {x: sweeping.measure_image(exp, x) for x in sweeping.REMAT}
  guesses = {
    x: sweeping.guess(exp, topology, x, images[x.remat]) for x in candidates
  }
  ranked = sweeping.rank(guesses)
  assert sorted(ranked) == sorted(candidates)
  # Five micro-batches of three policies, then the second mesh of each.
  groups = [(x.accumulate, x.remat) for x in ranked]
  assert len(set(groups[:15])) == len(set(groups[15:30])) == 15
  seconds = [guesses[x].seconds for x in ranked]
  assert seconds[:15] == sorted(seconds[:15])


def test_what_was_compiled_corrects_the_arithmetic(topology):
  one = sweeping.Candidate(128, 1, 4, 1, 1, "none")
  two = one._replace(accumulate=2)
  dots = two._replace(remat="dots")
  available = topology.generation.memory
  guesses = {
    one: sweeping.Guess(available, 1.0),
    two: sweeping.Guess(available / 2, 1.0),
    dots: sweeping.Guess(available / 2, 1.0),
  }

  def tried(outcome, total):
    plan = {"memory": {"total": total}}
    return [{"candidate": one._asdict(), "outcome": outcome, "plan": plan}]

  def ask(candidate, results):
    return sweeping.is_worthwhile(candidate, guesses, results, topology)

  assert ask(one, []) and ask(two, []) and ask(dots, [])
  # It needs three times what was guessed: half of that is too much as well.
  no_room = tried("out of memory", 3 * available)
  assert not ask(two, no_room) and ask(dots, no_room)
  assert ask(two, tried("out of memory", 1.9 * available))
  assert ask(two, tried("out of memory", None))
  # Where the whole batch fits, nobody splits it.
  assert not ask(two, tried("fits", 0.9 * available))
  assert ask(dots, tried("fits", 0.9 * available))


def said_of(tried):
  """A candidate as its progress line names it."""
  return ", ".join(x.removeprefix("--config.") for x in tried["overrides"])


def test_the_fastest_that_fits_as_overrides_to_paste(exp, topology, capsys):
  said = []
  found = sweeping.sweep(
    exp.config, topology, FLAGS, said.append, budget=500.0, few=2
  )
  assert len(said) == 3 and "images/s at most" in said[0]
  # Minutes of compilation are announced, and not where the table is.
  shown = capsys.readouterr()
  first, second = shown.err.splitlines()
  assert "candidate 1 of at most 2, 8m20s of the budget" in first
  assert first.endswith(said_of(found.tried[0])) and shown.out == ""
  assert "candidate 2 " in second and second.endswith(said_of(found.tried[1]))
  assert found.ranked == 90 and len(found.tried) == 2
  assert [x["outcome"] for x in found.tried] == ["fits", "fits"]
  speeds = [x["plan"]["at_most"]["images_per_second"] for x in found.tried]
  assert found.best["plan"]["at_most"]["images_per_second"] == max(speeds)
  lines = str(found).splitlines()
  assert lines[-1] == " ".join(found.best["overrides"])
  # Pasted, they give the plan that was promised.
  where = ["--topology=v5e:2x2", *FLAGS, *lines[-1].split()]
  done = run(*where, "--json")
  assert done.returncode == 0, done.stderr
  again = json.loads(done.stdout)
  for key in ("mesh", "memory", "bounds", "program", "at_most", "at_least"):
    assert again[key] == found.best["plan"][key]
  assert (
    done.stderr.startswith("mu/4: compiling ") and "rning" not in done.stderr
  )


def test_what_is_not_compiled_in_time_is_said(exp, topology):
  found = sweeping.sweep(exp.config, topology, FLAGS, print, budget=0.5)
  assert [x["outcome"] for x in found.tried] == [
    "not compiled within the budget"
  ]
  assert found.best is None
  assert "1 of 90 " in str(found) and "--budget" in str(found)


@pytest.mark.parametrize(
  ("sizes", "message"),
  [
    ("7", "no mesh of 4 chips divides a batch of 7"),
    ("a,8", "--batch_sizes=a,8"),
  ],
)
def test_batches_that_can_not_be(exp, topology, sizes, message):
  one_head = {**exp.config, "model": {**exp.config["model"], "num_heads": 1}}
  with pytest.raises(ConfigError, match=message):
    sweeping.sweep(
      one_head, topology, FLAGS, print, budget=1.0, batch_sizes=sizes
    )


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--topology=v5e:2x2"], "--config is missing"),
    (["--config=configs/digits.py"], "--topology is missing"),
    ([*FLAGS, "--topology=v5e:2x2", "--budget=9"], "--budget"),
    ([*FLAGS, "--topology=v5e:2x2", "--sweep", "--budget=0"], "above 0"),
    ([*FLAGS, "--topology=v5e:2x2", "--swep"], "did you mean '--sweep'"),
    ([*FLAGS, "--topology=v5e:2x2", "--config.mesh.fsdp=3"], "mesh"),
  ],
)
def test_a_command_that_can_not_be(flags, message, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  with pytest.raises(SystemExit) as caught:
    command.main(flags)
  shown = capsys.readouterr()
  assert caught.value.code == 2 and shown.out == ""
  assert message in shown.err
