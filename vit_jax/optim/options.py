# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the optim section of a config sets."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, Literal

from vit_jax.config import (
  Count,
  Natural,
  NotNegative,
  Positive,
  Rate,
  Share,
  parameters,
)

# What only some optimizers and schedules read, and what it is for each of them
# unless a config says otherwise; the values are their papers'.
OPTIMIZERS = {
  "adam": dict(b1=0.9, b2=0.999, momentum_dtype="float32"),
  "sgd": dict(b1=0.9, momentum_dtype="float32"),
  "adafactor": dict(b1=0.9, b2=0.999, momentum_dtype="bfloat16"),
  "lion": dict(b1=0.9, b2=0.99, momentum_dtype="float32"),
  "muon": dict(b1=0.9, b2=0.999, momentum=0.95, momentum_dtype="float32"),
}
COOLDOWN = dict(cooldown_steps=0, cooldown_epochs=None, cooldown_examples=None)
SCHEDULES = {
  "cosine": {},
  "linear": {},
  "constant": COOLDOWN,
  "rsqrt": COOLDOWN | dict(timescale=10_000),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optim:
  """What the optim section of a config sets.

  Attributes:
    name: "adam" with decoupled weight decay (AdamW); "sgd" with momentum;
      "adafactor" of "Scaling Vision Transformers"; "lion"; "muon" for hidden
      matrices with Adam for the rest.
    lr: the peak learning rate, reached after the warm-up.
    schedule: what follows the linear warm-up from zero. "rsqrt" is
      lr sqrt(timescale / max(step, timescale)).
    warmup_steps, warmup_epochs, warmup_examples: the warm-up's length, in one
      of the three units.
    cooldown_steps, cooldown_epochs, cooldown_examples: the length of a linear
      way down to end_lr at the end of the run, in one of the three units;
      "rsqrt" and "constant" alone, the others get there by themselves.
    end_lr: the learning rate that the update after the last would have
      ("rsqrt" and "constant": if they are cooled down).
    timescale: of "rsqrt", in steps; not less than the warm-up, or the peak
      stays below lr.
    b1: decay of the first moment: SGD's momentum, what Lion mixes a gradient
      with, and for Muon that of its Adam.
    b2: decay of the second moment (Adafactor: what its growing decay stops at;
      Lion: of its only moment; Muon: of its Adam).
    momentum: Muon's own, for matrices.
    momentum_dtype: of the first moment; the paper's fine-tuning code and
      "Scaling Vision Transformers" keep it in bfloat16. What is added to the
      parameters is float32.
    weight_decay: times the learning rate (AdamW). Decays kernels only, as the
      authors' released code does; the paper does not say.
    clip_norm: the global norm that gradients are clipped to, or None.
    layer_decay: factor on the learning rate from one layer to the one below it
      (BEiT, arXiv 2106.08254): head and final norm have 1, the last of L blocks
      layer_decay, all below the first layer_decay ** (L + 1).
    multipliers: (pattern, factor) pairs on the learning rate, weight decay
      included. The first pattern that is found in a parameter's path wins,
      where block i is "encoderblock_i" or "MixerBlock_i" as in the authors'
      checkpoints; no factor is 1, and 0 freezes: nothing moves it.
    ema: decay of the parameter average that is evaluated, or None; of the
      paper's Polyak averaging 0.9999. How it begins the paper does not say:
      ours has the decay (1 + step) / (10 + step) while that is smaller, for
      9 / (1 - ema) steps, 90,000 of 0.9999. What is averaged is then a tenth of
      the steps done old, and where the run started is forgotten.
  """

  name: Literal["adam", "sgd", "adafactor", "lion", "muon"] = "adam"
  lr: Positive
  schedule: Literal["cosine", "linear", "constant", "rsqrt"] = "cosine"
  warmup_steps: Natural = 0
  warmup_epochs: Positive | None = None
  warmup_examples: Count | None = None
  cooldown_steps: Natural = 0
  cooldown_epochs: Positive | None = None
  cooldown_examples: Count | None = None
  end_lr: NotNegative = 0.0
  timescale: Count = 10_000
  b1: Rate | None = None
  b2: Rate | None = None
  momentum: Rate | None = None
  momentum_dtype: Literal["float32", "bfloat16"] | None = None
  weight_decay: NotNegative = 0.0
  clip_norm: Positive | None = None
  layer_decay: Share | None = None
  multipliers: tuple[tuple[str, NotNegative], ...] = ()
  ema: Rate | None = None

  def __post_init__(self):
    for key, value in OPTIMIZERS[self.name].items():
      if getattr(self, key) is None:
        object.__setattr__(self, key, value)


def get_parameters(given: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
  """The keys that an optim section may have, with their defaults.

  Those of another optimizer or schedule are none of them, so nothing is set
  that does nothing.

  Args:
    given: the section; its name and schedule decide.
  """
  found = parameters(Optim)
  for key, table in (("name", OPTIMIZERS), ("schedule", SCHEDULES)):
    name = given.get(key, found[key].default)
    if not isinstance(name, str) or name not in table:
      continue  # Whoever checks the key's type says so.
    for own in {own for row in table.values() for own in row}:
      if own in table[name]:
        found[own] = found[own].replace(default=table[name][own])
      else:
        del found[own]
  return found
