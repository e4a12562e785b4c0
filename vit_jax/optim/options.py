# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The optim section of a config."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, Literal

from vit_jax.config import (
  Count,
  Examples,
  Natural,
  NotNegative,
  Positive,
  Rate,
  Share,
  Unused,
  parameters,
)

# Keys that only some optimizers and schedules read, with the defaults of each;
# the values are those of their papers.
OPTIMIZERS = {
  "adam": dict(b1=0.9, b2=0.999, momentum_dtype="float32"),
  "sgd": dict(b1=0.9, momentum_dtype="float32"),
  "adafactor": dict(
    b1=0.9, b2=0.999, momentum_dtype="bfloat16", clip_update=None
  ),
  "lion": dict(b1=0.9, b2=0.99, momentum_dtype="float32"),
  "muon": dict(b1=0.9, b2=0.999, momentum=0.95, momentum_dtype="float32"),
}
COOLDOWN = dict(cooldown_steps=0, cooldown_epochs=None, cooldown_examples=None)
SCHEDULES = {
  "cosine": {},
  "linear": {},
  "constant": COOLDOWN,
  "rsqrt": COOLDOWN | dict(timescale=10_000, shift=0),
}
# By the key that decides.
TABLES: dict[str, Mapping[str, Mapping[str, Any]]] = {
  "name": OPTIMIZERS,
  "schedule": SCHEDULES,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optim:
  """The optim section of a config.

  Attributes:
    name: "adam" with decoupled weight decay (AdamW); "sgd" with momentum;
      "adafactor" of "Scaling Vision Transformers"; "lion"; "muon" for hidden
      matrices with Adam for the rest.
    lr: the peak learning rate, reached after the warm-up.
    schedule: shape of the learning rate after the linear warm-up from zero.
      "rsqrt" is lr / sqrt(1 + (step - warm-up + shift) / timescale), as in the
      released code of "Scaling Vision Transformers"; where the warm-up is as
      long as the timescale, that is lr sqrt(timescale / step).
    warmup_steps, warmup_epochs, warmup_examples: length of the warm-up, in one
      of the three units.
    cooldown_steps, cooldown_epochs, cooldown_examples: length of the end of the
      run in which the rate of the schedule, which goes on, is faded linearly
      into end_lr, in one of the three units; for "rsqrt" and "constant" only,
      as the others reach end_lr by themselves.
    end_lr: learning rate that one more update after the last would have
      ("rsqrt" and "constant": only with a cool-down).
    timescale: timescale of "rsqrt", in steps: three of them after the warm-up
      the rate is half of lr.
    shift: steps that "rsqrt" takes for done when the warm-up ends, to go on
      where another run stopped; its peak is below lr then.
    b1: decay of the first moment: SGD's momentum; Lion's weight of the moment
      in its update; for Muon that of its Adam.
    b2: decay of the second moment (Adafactor: the limit of its growing decay;
      Lion: decay of its only moment; Muon: that of its Adam).
    momentum: decay of Muon's own moment, for matrices.
    momentum_dtype: dtype in which the first moment is stored; bfloat16 in the
      paper's fine-tuning code and in "Scaling Vision Transformers". Updates of
      the parameters are float32.
    weight_decay: multiplied by the learning rate (AdamW). Decays kernels only,
      as the authors' released code does (the paper does not say), and the
      matrices of adapters.
    weight_decay_end: the weight decay that one more update after the last would
      have, to which `weight_decay` goes along half a cosine over the whole run,
      warm-up included (DINO's 0.04 to 0.4); None keeps it.
    clip_norm: global norm to which gradients are clipped, or None.
    clip_update: root mean square to which Adafactor's update of an array, or of
      each layer of a stack, is clipped: 1 in its paper (section 6), None in the
      released code of "Scaling Vision Transformers".
    layer_decay: factor on the learning rate from one layer to the one below it
      (BEiT, arXiv 2106.08254): 1 for head and final norm, layer_decay for the
      last of L blocks, layer_decay ** (L + 1) for all below the first.
    multipliers: (pattern, multiplier) pairs for the learning rate, weight decay
      included. The first pattern that matches a parameter's path wins, where
      block i is "encoderblock_i" or "MixerBlock_i" as in the authors'
      checkpoints. Parameters that match none have 1; 0 freezes them. With
      model.adapter they have 0, except for adapters and the head.
    ema: decay of the average of the parameters that is evaluated, or None;
      0.9999 is the paper's Polyak averaging. The paper does not say how it
      begins: here the decay is (1 + step) / (10 + step) while that is smaller,
      for 9 / (1 - ema) steps, 90,000 with 0.9999. Until then the average
      reaches back over a tenth of the steps done, and forgets the start.
  """

  name: Literal["adam", "sgd", "adafactor", "lion", "muon"] = "adam"
  lr: Positive
  schedule: Literal["cosine", "linear", "constant", "rsqrt"] = "cosine"
  warmup_steps: Natural = 0
  warmup_epochs: Positive | None = None
  warmup_examples: Examples | None = None
  cooldown_steps: Natural = 0
  cooldown_epochs: Positive | None = None
  cooldown_examples: Examples | None = None
  end_lr: NotNegative = 0.0
  timescale: Count = 10_000
  shift: Natural = 0
  b1: Rate | None = None
  b2: Rate | None = None
  momentum: Rate | None = None
  momentum_dtype: Literal["float32", "bfloat16"] | None = None
  weight_decay: NotNegative = 0.0
  weight_decay_end: NotNegative | None = None
  clip_norm: Positive | None = None
  clip_update: Positive | None = None
  layer_decay: Share | None = None
  multipliers: tuple[tuple[str, NotNegative], ...] = ()
  ema: Rate | None = None

  def __post_init__(self):
    for key, value in OPTIMIZERS[self.name].items():
      if getattr(self, key) is None:
        object.__setattr__(self, key, value)


def _list_own(table: Mapping[str, Mapping[str, Any]]) -> set[str]:
  """Lists the keys that only some rows of a table have."""
  return {key for row in table.values() for key in row}


def list_parameters(given: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
  """The keys that an optim section may have, with their defaults.

  Keys of other optimizers and schedules have no effect, and are errors unless
  they are None or what they would be if they were left out.

  Args:
    given: the section, whose name and schedule decide.
  """
  found = parameters(Optim)
  for key, table in TABLES.items():
    name = given.get(key, found[key].default)
    if not isinstance(name, str) or name not in table:
      continue  # The check of the key's type reports it.
    for own in _list_own(table):
      if own in table[name]:
        found[own] = found[own].replace(default=table[name][own])
      elif own not in given:
        del found[own]
      else:
        unused = Unused(f"optim.{key}={name!r}", found[own].default)
        found[own] = found[own].replace(annotation=unused)
  return found
