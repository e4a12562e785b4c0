# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import pytest

from tests.support import build, lower
from vit_jax import optim
from vit_jax.config import ConfigError
from vit_jax.sections import resolve


def test_defaults_are_those_of_the_optimizer(config):
  for name, expected in optim.options.OPTIMIZERS.items():
    options = optim.Optim(name=name, lr=1.0)
    assert {key: getattr(options, key) for key in expected} == expected
    config["optim"] = dict(name=name, lr=1.0)
    resolved = resolve(config)["optim"]
    assert expected.items() <= resolved.items(), "the record names them all"
    assert optim.Optim(**resolved) == options


@pytest.mark.parametrize(
  ("section", "message"),
  [
    (
      dict(name="sgd", b2=0.9, shift=0),
      "optim.b2=0.9 has no effect with optim.name='sgd': leave it out, or set "
      "it to None",
    ),
    (dict(momentum=0.9), "optim.momentum=0.9 has no effect"),
    (dict(cooldown_steps=3), "optim.cooldown_steps=3 has no effect with"),
    (dict(schedule="constant", timescale=3), "optim.timescale=3 has no"),
    (dict(schedule="constant", shift=3), "optim.shift=3 has no effect"),
    (dict(name="adam", clip_update=1.0), "optim.clip_update=1.0 has no effect"),
    (dict(name="adafactor", clip_update=0.0), "optim.clip_update=0.0"),
    (dict(name="adan"), "did you mean 'adam'?"),
    (dict(schedule=3), "optim.schedule=3 (int) must be one of 'cosine'"),
    (
      dict(multipliers=(("head", 1.0), ("x",))),
      "must be ((str, float in [0, inf)), ...)",
    ),
    (dict(multipliers=(("head", -1.0),)), "must be ((str, float in [0, inf))"),
    (dict(layer_decay=0.0), "must be float in (0, 1] or None"),
  ],
)
def test_nothing_is_set_that_does_nothing(config, section, message):
  config["optim"] = dict(lr=1.0) | section
  with pytest.raises(ConfigError) as caught:
    resolve(config)
  assert message in str(caught.value)


def test_what_a_recipe_sets_is_set_back_without_a_trace(config):
  config["optim"] = dict(lr=1.0)
  expected = resolve(config)["optim"]
  config["optim"] = dict(lr=1.0, cooldown_steps=0, timescale=None, shift=0)
  found = [key for key in config["optim"] if key not in expected]
  assert found == ["cooldown_steps", "timescale", "shift"]
  assert resolve(config)["optim"] == expected


def test_pairs_come_from_lists_and_tuples(config):
  for pairs in ([["head", 2]], (("head", 2.0),)):
    config["optim"] = dict(lr=1.0, multipliers=pairs)
    assert resolve(config)["optim"]["multipliers"] == (("head", 2.0),)


@pytest.mark.parametrize(
  ("train", "section", "facts"),
  [
    (
      dict(steps=None),
      {},
      ("train.steps, train.epochs or train.examples",),
    ),
    (
      dict(steps=None, examples=7),
      {},
      ("train.examples=7", "1,437", "train.batch_size=16"),
    ),
    (
      dict(accumulate=3),
      {},
      ("train.batch_size=16", "24, train.accumulate=3", "take 24"),
    ),
    (
      dict(accumulate=2, batch_size=40),
      {},
      ("train.batch_size=40", "16, train.accumulate=2", "take 32 or 48"),
    ),
    (
      {},
      dict(warmup_steps=2, warmup_examples=8),
      ("optim.warmup_steps=2", "optim.warmup_examples=8"),
    ),
    (
      {},
      dict(multipliers=(("hed/", 2.0),)),
      ("optim.multipliers: 'hed/'", "did you mean 'head'?"),
    ),
  ],
)
def test_what_does_not_go_together_is_said(config, train, section, facts):
  config["train"] |= train
  config["optim"] = dict(lr=1.0) | section
  with pytest.raises(ConfigError) as caught:
    build(config)
  assert all(fact in str(caught.value) for fact in facts)


def test_durations_in_examples_and_epochs(config):
  config["train"] |= dict(steps=None, examples=1600)
  config["optim"] = dict(
    lr=1.0, schedule="rsqrt", warmup_examples=160, cooldown_epochs=0.2
  )
  exp = build(config)
  assert exp.steps == 100
  assert exp.optim.warmup_steps == 10
  assert exp.optim.cooldown_steps == round(0.2 * 1437 / 16)
  assert float(exp.schedule(5)) == 0.5
  assert 0 < float(exp.schedule(99)) < 0.06


@pytest.mark.parametrize("name", optim.options.OPTIMIZERS)
def test_every_optimizer_lowers_on_a_mesh(config, name):
  """With everything on at once; the state stays where it belongs."""
  config["model"] |= dict(depth=2, width=64, num_heads=2)
  config["mesh"] = dict(fsdp=2, tensor=2, replica=2)
  config["optim"] |= dict(
    name=name,
    schedule="rsqrt",
    cooldown_steps=1,
    clip_norm=1.0,
    layer_decay=0.75,
    multipliers=(("^embedding|encoderblock_0", 0.0),),
  )
  config["train"]["accumulate"] = 4
  exp = build(config)
  text = lower(exp).as_text()
  assert "stablehlo.while" in text
  frozen = exp.abstract_state.params["embedding"]["kernel"].shape
  moments = jax.tree.leaves(exp.abstract_state.opt_state)
  assert not any(x.shape == frozen for x in moments)
