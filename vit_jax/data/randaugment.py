# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""RandAugment (Cubuk et al., 2020) on the device: uint8 in, uint8 out.

The sixteen operations, and the effect of a magnitude on each, are those of the
released code of the AugReg authors (the RandAugment of big_vision, from that of
EfficientNet in tensorflow/tpu). AugReg's magnitudes 10, 15 and 20 are on its
scale, whose maximum was once 10. Magnitude 0 is not weak: Color, Contrast,
Brightness and Sharpness then keep a tenth of the image. Lengths in pixels are
for images of 224 px there, and a share of the side here.

Three operations have two forms. "pillow": Contrast is about the mean of the
image, and the averages of Color and Sharpness are rounded. "augreg", what the
released code computes and AugReg was trained with: Contrast is about the number
of pixels / 256, 196 at 224 px and 255 from 256 px on, and averages are cut off.

Under vmap every branch of a switch is computed. So there is none: each image
passes through one gather, one map of 256 values, one blend and one box, which
are the identity if the chosen operation does not need them. All arithmetic is
in integers, so that all devices and programs agree to the bit.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

OPS = (
  *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize"),
  *("Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY"),
  *("TranslateX", "TranslateY", "Cutout", "SolarizeAdd"),
)
NUMBER = {name: i for i, name in enumerate(OPS)}

FILL = 128  # Value of pixels from outside of the image, and of Cutout.
SIDE = 224  # Side in px of the images that the released code's lengths are for.
UNIT = 10_000  # Blending weights are multiples of 1 / UNIT.
FRACTION = 16  # Fractional bits of a coordinate.

Like = Literal["pillow", "augreg"]
Image = UInt8[Array, "H W c"]
Values = Int[Array, "H W c"]
Maps = Int[Array, "c 256"]


class Choice(NamedTuple):
  """The random choices of one layer for one image.

  Attributes:
    op: index of the operation in OPS.
    negative: whether to rotate, shear or translate the other way.
    centre: (y, x) of Cutout's box.
  """

  op: Int[Array, ""]
  negative: Bool[Array, ""]
  centre: Int[Array, "2"]


def choose(key: jax.Array, height: int, width: int) -> Choice:
  """Samples the choices of a layer, uniformly."""
  draws = jax.random.uniform(key, (4,))
  sides = jnp.asarray([len(OPS), height, width])
  op, y, x = jnp.floor(draws[:3] * sides).astype(jnp.int32)
  return Choice(op=op, negative=draws[3] < 0.5, centre=jnp.stack([y, x]))


def compute_factor(magnitude: float) -> int:
  """Computes the weight of the image in a blend, in 1 / UNIT."""
  return round((0.18 * magnitude + 0.1) * UNIT)


def make_matrices(
  magnitude: float, height: int, width: int
) -> Int[np.ndarray, "2 16 2 3"]:
  """Makes (y, x, 1) of a pixel -> its origin, by sign and operation.

  Fixed point, with FRACTION fractional bits.
  """
  shear = 0.03 * magnitude
  shift = 10 * magnitude / SIDE
  matrices = np.tile(np.eye(2, 3), (2, len(OPS), 1, 1))
  for matrix, sign in zip(matrices, (1, -1), strict=True):
    angle = sign * np.deg2rad(3 * magnitude)
    sine, cosine = np.sin(angle), np.cos(angle)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    middle = np.array([height - 1, width - 1]) / 2
    matrix[NUMBER["Rotate"], :, :2] = rotation
    matrix[NUMBER["Rotate"], :, 2] = middle - rotation @ middle
    matrix[NUMBER["ShearX"], 1, 0] = sign * shear
    matrix[NUMBER["ShearY"], 0, 1] = sign * shear
    matrix[NUMBER["TranslateX"], 1, 2] = sign * shift * width
    matrix[NUMBER["TranslateY"], 0, 2] = sign * shift * height
  return np.rint(matrices * 2**FRACTION).astype(np.int32)


def make_fixed_maps(magnitude: float) -> Int[np.ndarray, "16 256"]:
  """Makes value -> value by operation, for those independent of the image."""
  value = np.arange(256)
  maps = np.tile(value, (len(OPS), 1))
  # As the released code behaves in TensorFlow: the threshold is modulo 256, so
  # that magnitudes 10 and 20 solarize all values; and at least one bit is kept.
  threshold = int(25.6 * magnitude) % 256
  bits = min(max(int(0.4 * magnitude), 1), 8)
  added = np.minimum(value + int(11 * magnitude), 255)
  maps[NUMBER["Invert"]] = 255 - value
  maps[NUMBER["Posterize"]] = value >> (8 - bits) << (8 - bits)
  maps[NUMBER["Solarize"]] = np.where(value < threshold, value, 255 - value)
  maps[NUMBER["SolarizeAdd"]] = np.where(value < 128, added, value)
  bright = value * compute_factor(magnitude) // UNIT
  maps[NUMBER["Brightness"]] = np.minimum(bright, 255)
  return maps.astype(np.int32)


def blend(
  away: Int[Array, "*s"], image: Int[Array, "*s"], factor: int
) -> Int[Array, "*s"]:
  """Interpolates from `away` (0) to `image` (UNIT) and beyond, in [0, 255]."""
  units = UNIT * away + factor * (image - away)
  return jnp.clip(units, 0, 255 * UNIT) // UNIT


def compute_grey(image: Values, like: Like) -> Int[Array, "H W 1"]:
  """Computes the luma of ITU-R 601, rounded as Pillow or TensorFlow does."""
  if image.shape[-1] == 1:
    return image
  pillow = like == "pillow"
  weights = [19595, 38470, 7471] if pillow else [2989, 5870, 1140]
  weighted = image * jnp.asarray(weights)[None, None]
  total = jnp.sum(weighted, axis=-1, keepdims=True)
  if pillow:
    return (total + 0x8000) >> 16
  # TensorFlow divides by 255, multiplies by 255.5, and cuts off.
  return total * 511 // (510 * 10_000)


def smooth(image: Values, like: Like) -> Values:
  """Averages 3x3 pixels, the middle one with weight 5; keeps the border."""
  height, width, _ = image.shape
  padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
  rows = padded[:-2] + padded[1:-1] + padded[2:]
  total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * image
  y, x = jnp.arange(height), jnp.arange(width)
  y, x = (0 < y) & (y < height - 1), (0 < x) & (x < width - 1)
  inside = y[:, None, None] & x[None, :, None]
  mean = (2 * total + 13) // 26 if like == "pillow" else total // 13
  return jnp.where(inside, mean, image)


def warp(image: Values, matrix: Int[Array, "2 3"]) -> Values:
  """Transforms an image: pixel (y, x) is the nearest to matrix @ (y, x, 1)."""
  height, width, channels = image.shape
  y, x = jnp.arange(height)[:, None], jnp.arange(width)[None]
  half = 1 << (FRACTION - 1)
  row, column = (
    (m[0] * y + m[1] * x + m[2] + half) >> FRACTION for m in matrix
  )
  inside = (0 <= row) & (row < height) & (0 <= column) & (column < width)
  place = jnp.where(inside, row * width + column, 0)
  # Channels are packed into one number: a gather costs by its number of items.
  shifts = 8 * jnp.arange(channels)
  packed = jnp.sum(image << shifts[None, None], axis=-1)
  found = jnp.take(packed.reshape(-1), place, mode="clip")
  values = (found[..., None] >> shifts[None, None]) & 255
  return jnp.where(inside[..., None], values, FILL)


def split_value(image: Values) -> tuple[Array, Array]:
  """Makes one-hot float32 [H W c 16] of the upper and the lower four bits."""
  return jax.nn.one_hot(image >> 4, 16), jax.nn.one_hot(image & 15, 16)


def count_by_product(image: Values) -> Maps:
  """Computes `count_values` as a matrix product: TPUs scatter slowly.

  Factors are 0 or 1 and sums are float32, so it is exact to 16 million pixels.
  """
  high, low = split_value(image)
  counts = jnp.einsum("HWci,HWcj->cij", high, low)
  return counts.reshape(-1, 256).astype(jnp.int32)


def count_by_scatter(image: Values) -> Maps:
  """Computes `count_values` as a scatter-add, for CPUs and GPUs."""
  channel = jnp.arange(image.shape[-1])[None, None]
  counts = jnp.zeros((image.shape[-1], 256), jnp.int32)
  return counts.at[channel, image].add(1)


def count_values(image: Values) -> Maps:
  """Computes the histogram of each channel."""
  return jax.lax.platform_dependent(
    image, tpu=count_by_product, default=count_by_scatter
  )


def map_by_product(image: Values, maps: Maps) -> Values:
  """Computes `apply_maps` as a matrix product: TPUs gather slowly.

  They multiply in bfloat16, in which values to 255 are exact.
  """
  high, low = split_value(image)
  table = maps.reshape(-1, 16, 16).astype(jnp.float32)
  rows = jnp.einsum("HWci,cij->HWcj", high, table)
  return jnp.sum(rows * low, axis=-1).astype(jnp.int32)


def map_by_gather(image: Values, maps: Maps) -> Values:
  """Computes `apply_maps` as a gather, for CPUs and GPUs."""
  channel = jnp.arange(image.shape[-1])[None, None]
  return jnp.take(maps.reshape(-1), image + 256 * channel, mode="clip")


def apply_maps(image: Values, maps: Maps) -> Values:
  """Maps the values of each channel: maps[c, image[H, W, c]]."""
  return jax.lax.platform_dependent(
    image, maps, tpu=map_by_product, default=map_by_gather
  )


def compute_autocontrast_maps(counts: Maps) -> Maps:
  """Computes maps that stretch the values of each channel to [0, 255]."""
  low = jnp.argmax(counts > 0, axis=-1)[:, None]
  high = 255 - jnp.argmax(counts[:, ::-1] > 0, axis=-1)[:, None]
  value = jnp.arange(256)[None]
  stretched = (value - low) * 255 // jnp.maximum(high - low, 1)
  return jnp.where(high > low, jnp.clip(stretched, 0, 255), value)


def compute_equalize_maps(counts: Maps) -> Maps:
  """Computes maps that flatten the histogram of each channel."""
  high = 255 - jnp.argmax(counts[:, ::-1] > 0, axis=-1)[:, None]
  last = jnp.take_along_axis(counts, high, axis=-1)
  step = (jnp.sum(counts, axis=-1, keepdims=True) - last) // 255
  below = jnp.cumsum(counts, axis=-1) - counts
  flat = (below + step // 2) // jnp.maximum(step, 1)
  value = jnp.arange(256)[None]
  return jnp.where(step > 0, jnp.minimum(flat, 255), value)


def compute_contrast_map(
  grey: Int[Array, "H W 1"], factor: int, like: Like
) -> Maps:
  """Computes a map that scales values about the mean of the grey image."""
  if like == "pillow":
    mean = (2 * jnp.sum(grey) + grey.size) // (2 * grey.size)
  else:  # The sum of the histogram, divided by the number of its bins.
    mean = jnp.asarray(min(grey.size // 256, 255))
  return blend(jnp.broadcast_to(mean, (256,)), jnp.arange(256), factor)[None]


def distort(
  image: Image, choice: Choice, magnitude: float, like: Like = "pillow"
) -> Image:
  """Applies one layer to one image.

  Args:
    image: image of 1 or 3 channels.
    choice: choices of `choose`.
    magnitude: magnitude of any operation, in [0, 30].
    like: form of the operations that have two.
  """
  height, width, channels = image.shape
  op, factor = choice.op, compute_factor(magnitude)
  values = image.astype(jnp.int32)

  matrices = jnp.asarray(make_matrices(magnitude, height, width))
  values = warp(values, matrices[choice.negative.astype(jnp.int32), op])

  counts, grey = count_values(values), compute_grey(values, like)
  shape = (channels, 256)
  fixed = jnp.asarray(make_fixed_maps(magnitude))[op]
  maps = jnp.broadcast_to(fixed[None], shape)
  for name, found in (
    ("AutoContrast", compute_autocontrast_maps(counts)),
    ("Equalize", compute_equalize_maps(counts)),
    ("Contrast", compute_contrast_map(grey, factor, like)),
  ):
    maps = jnp.where(op == NUMBER[name], jnp.broadcast_to(found, shape), maps)
  values = apply_maps(values, maps)

  away = values
  for name, found in (("Color", grey), ("Sharpness", smooth(values, like))):
    away = jnp.where(op == NUMBER[name], found, away)
  values = blend(away, values, factor)

  y, x = jnp.arange(height), jnp.arange(width)
  y, x = (
    jnp.where(
      (p >= centre - half) & (p < centre + half), op == NUMBER["Cutout"], False
    )
    for p, centre, half in (
      (y, choice.centre[0], int(4 * magnitude * height / SIDE)),
      (x, choice.centre[1], int(4 * magnitude * width / SIDE)),
    )
  )
  box = y[:, None, None] & x[None, :, None]
  return jnp.where(box, FILL, values).astype(jnp.uint8)


def make_randaugment(
  layers: int, magnitude: float, like: Like = "pillow"
) -> Callable[[Image, jax.Array], Image]:
  """Makes a pure function (image, key) -> image for one example.

  Args:
    layers: number of operations, applied one after another.
    magnitude: magnitude of each, in [0, 30].
    like: form of the operations that have two.
  """

  def randaugment(image: Image, key: jax.Array) -> Image:
    def step(image, layer_key):
      choice = choose(layer_key, *image.shape[:2])
      return distort(image, choice, magnitude, like), None

    return jax.lax.scan(step, image, jax.random.split(key, layers))[0]

  return randaugment
