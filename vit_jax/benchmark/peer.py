# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a peer needs to know to do what a recipe's training step does."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from vit_jax.config import ConfigError, raise_all

# Our names of sizes -> timm's.
SIZES = {
  "Ti": "tiny",
  "S": "small",
  "B": "base",
  "L": "large",
  "H": "huge",
  "g": "giant",
  "G": "gigantic",
}
POOLS = {"token": "token", "gap": "avg"}
# Fields of our ViT that timm's does not have, or has otherwise -> what it does.
ONLY = {
  "stem": None,
  "representation_size": None,
  "position": "learned_1d",
  "position_at": "input",
  "registers": 0,
  "patch_dropout": 0.0,
  "swiglu": False,
}


@dataclasses.dataclass(frozen=True)
class PeerModel:
  """A model in timm's words.

  Attributes:
    name: timm's name of it.
    fields: what its constructor gets.
    parameters: number of parameters that it must have.
    size, channels, classes: (H, W), c and Y.
  """

  name: str
  fields: dict[str, Any]
  parameters: int
  size: tuple[int, int]
  channels: int
  classes: int


@dataclasses.dataclass(frozen=True)
class Task:
  """A training step in words that any library understands.

  Attributes:
    model: the model.
    batch_size: B.
    dtype: "bfloat16" or "float32", of activations.
    cross_entropy: "softmax" or "sigmoid".
    label_smoothing: of the targets.
    lr, b1, b2, weight_decay, clip_norm: of Adam.
  """

  model: PeerModel
  batch_size: int
  dtype: str
  cross_entropy: str
  label_smoothing: float
  lr: float
  b1: float
  b2: float
  weight_decay: float
  clip_norm: float | None


def describe_model(
  model: Any, variant: str, size: Sequence[int], channels: int, params: Any
) -> PeerModel:
  """Describes a model of ours in timm's words.

  Args:
    model: Flax module.
    variant: its name, as "B/16".
    size: (H, W).
    channels: c.
    params: its parameters, or their shapes.

  Raises:
    ConfigError: naming everything that timm does not do likewise.
  """
  if not hasattr(model, "position"):
    raise ConfigError(f"--against=timm compares ViTs, not {variant}")
  errors = [
    f"--against=timm: timm has no model.{name}={getattr(model, name)!r}: set "
    f"--config.model.{name}={value}"
    for name, value in ONLY.items()
    if getattr(model, name) != value
  ]
  if model.pool not in POOLS:
    errors.append(
      f"--against=timm: model.pool={model.pool!r} is compared for "
      f"{' and '.join(POOLS)} only"
    )
  raise_all(errors)
  letter, patch = variant.split("/")
  return PeerModel(
    name=f"vit_{SIZES.get(letter, letter)}_patch{patch}_224",
    fields=dict(
      img_size=tuple(size),
      patch_size=model.patch_size,
      in_chans=channels,
      num_classes=model.num_classes,
      embed_dim=model.width,
      depth=model.depth,
      num_heads=model.num_heads,
      mlp_ratio=model.mlp_dim / model.width,
      class_token=model.pool == "token",
      global_pool=POOLS[model.pool],
      fc_norm=model.fc_norm,
      qk_norm=model.qk_norm,
      init_values=model.layer_scale,
      pos_drop_rate=model.dropout,
      proj_drop_rate=model.dropout,
      drop_path_rate=model.stochastic_depth,
    ),
    parameters=sum(x.size for x in jax.tree.leaves(params)),
    size=(size[0], size[1]),
    channels=channels,
    classes=model.num_classes,
  )


def make_task(exp: Any) -> Task:
  """Describes the training step of an `Experiment`.

  Raises:
    ConfigError: naming everything that timm does not do likewise.
  """
  config, errors = exp.config, []
  try:
    model = describe_model(
      exp.model,
      config["model"]["variant"],
      exp.data.shape,
      exp.info.channels,
      exp.abstract_state.params,
    )
  except ConfigError as error:
    errors.append(str(error))
  augment = config["data"]["augment"]
  for name in ("randaugment", "mixup", "cutmix", "erasing"):
    if augment[name]:
      off = "none" if name == "randaugment" else 0
      errors.append(
        f"--against=timm compares steps without data.augment.{name}, which "
        f"timm does elsewhere: set --config.data.augment.{name}={off}"
      )
  if exp.optim.name != "adam":
    errors.append(
      f"--against=timm compares with Adam: set --config.optim.name=adam in "
      f"place of {exp.optim.name}"
    )
  if config["objective"]["name"] != "supervised":
    errors.append(
      f"--against=timm compares objective.name=supervised, not "
      f"{config['objective']['name']}"
    )
  if exp.data.label_slots:
    errors.append("--against=timm compares images of one label each")
  raise_all(errors)
  return Task(
    model=model,
    batch_size=exp.train.batch_size,
    dtype=exp.model.dtype,
    cross_entropy=config["objective"]["cross_entropy"],
    label_smoothing=config["objective"]["label_smoothing"],
    lr=exp.optim.lr,
    b1=exp.optim.b1,
    b2=exp.optim.b2,
    weight_decay=exp.optim.weight_decay,
    clip_norm=exp.optim.clip_norm,
  )
