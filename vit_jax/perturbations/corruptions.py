# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Common corruptions of five severities, by name.

Hendrycks and Dietterich, 2019, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations", arXiv 1903.12261, section 3; severities
are the numbers of the program that they published with it. Of its fifteen,
frost is missing, which pastes photographs of ice.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vit_jax.perturbations import blur, digital, noise, weather
from vit_jax.sharding import constrain

# In the order of the paper.
CORRUPTIONS = {
  "gaussian_noise": noise.add_gaussian,
  "shot_noise": noise.add_shot,
  "impulse_noise": noise.add_impulses,
  "defocus_blur": blur.blur_lens,
  "glass_blur": blur.blur_glass,
  "motion_blur": blur.blur_motion,
  "zoom_blur": blur.blur_zoom,
  "snow": weather.add_snow,
  "fog": weather.add_fog,
  "brightness": noise.change_brightness,
  "contrast": noise.change_contrast,
  "elastic": digital.distort,
  "pixelate": digital.pixelate,
}
# On the host.
JPEG = "jpeg"
NAMES = (*CORRUPTIONS, JPEG)

SEVERITIES = (1, 2, 3, 4, 5)


def to_bytes(images: Float[Array, "B H W c"]) -> Float[Array, "B H W c"]:
  """Rounds [0, 1] to values that a file would hold, from 0 to 255."""
  return jnp.round(255 * jnp.clip(images, 0, 1))


def corrupt(
  name: str,
  images: Float[Array, "B H W c"],
  keys: jax.Array,
  severity: Int[Array, ""],
) -> Float[Array, "B H W c"]:
  """Applies a corruption to each image.

  Args:
    name: of CORRUPTIONS.
    images: pixels from 0 to 255.
    keys: one an example; corruptions draw each its own numbers from it.
    severity: 1 to 5.
  """
  number = list(CORRUPTIONS).index(name)

  def apply(image, key):
    key = jax.random.fold_in(key, number)
    return CORRUPTIONS[name](image, key, severity)

  return constrain(to_bytes(jax.vmap(apply)(images / 255, keys)), "B H W c")


def compress(images: jax.Array, severity: int) -> jax.Array:
  """JPEG of each image [B H W c], on the host that holds it."""
  encode = functools.partial(digital.compress, severity=severity)
  parts = [
    jax.device_put(
      encode(np.asarray(shard.data).astype(np.uint8)).astype(np.float32),
      shard.device,
    )
    for shard in images.addressable_shards
  ]
  return jax.make_array_from_single_device_arrays(
    images.shape, images.sharding, parts
  )
