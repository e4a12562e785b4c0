# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the device does to images: value range, flip, mixup.

Each example has a key of its own, so the result does not depend on how a batch
is spread over devices.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from vit_jax.config import NotNegative
from vit_jax.sharding import constrain

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
  """What the data.augment section of a config sets.

  Attributes:
    flip: mirror left and right, every second image.
    mixup: alpha of mixup (Zhang et al., 2018): each example is mixed with the
      next of the batch, weights from Beta(alpha, alpha), the larger for
      itself. 0 is off.
  """

  flip: bool = False
  mixup: NotNegative = 0.0


def scale_values(image: UInt8[Array, "B H W c"]) -> Float[Array, "B H W c"]:
  """uint8 to float32 in [-1, 1]."""
  return image.astype(jnp.float32) / 127.5 - 1.0


def normalize(batch: Batch) -> Batch:
  """A batch as evaluation wants it: uint8 images to values in [-1, 1]."""
  image = constrain(scale_values(batch["image"]), "B H W c")
  return batch | {"image": image}


def make_augment(
  augment: Augment, get_targets: Callable[[jax.Array], jax.Array]
) -> Callable[[Batch, jax.Array], Batch]:
  """A pure function (batch, key) -> batch with float images.

  Args:
    augment: what to do.
    get_targets: label -> float [B Y]; called only if labels are mixed.
  """

  def flip(image, key):
    coin = jax.random.bernoulli(key)
    return jnp.where(coin, image[:, ::-1, :], image)

  def mix(x, y, weight):
    weight = weight.reshape(-1, *(1,) * (x.ndim - 1))
    return weight * x + (1 - weight) * y

  def apply(batch: Batch, key: jax.Array) -> Batch:
    batch = normalize(batch)
    keys = jax.random.split(key, batch["image"].shape[0])
    keys = jax.vmap(jax.random.split)(keys)  # [B 2]: flip, mixup
    if augment.flip:
      batch |= {"image": jax.vmap(flip)(batch["image"], keys[:, 0])}
    if augment.mixup:
      draw = jax.vmap(
        lambda k: jax.random.beta(k, augment.mixup, augment.mixup)
      )
      weight = draw(keys[:, 1])
      weight = jnp.maximum(weight, 1 - weight)
      mixed = {"image": batch["image"], "label": get_targets(batch["label"])}
      batch |= {
        name: mix(x, jnp.roll(x, -1, axis=0), weight)
        for name, x in mixed.items()
      }
    return batch | {"image": constrain(batch["image"], "B H W c")}

  return apply
