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
passes through one gather, one line (slope, offset and divisor) and one box,
which are the identity if the chosen operation does not need them. What the
others do not share, the map of Equalize and the averages of Sharpness, is
computed for the few images that drew them. All arithmetic is in integers, so
that all devices and programs agree to the bit.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from vit_jax.data.equalize import Image, Values, equalize

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
Images = UInt8[Array, "B H W c"]


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


class Line(NamedTuple):
  """value -> (slope value + offset) / divisor & bits, from first to last.

  Other values stay. The result is cut to [0, 255] before its bits are.
  """

  slope: Any
  offset: Any
  divisor: Any
  first: Any
  last: Any
  bits: Any


def make_blend(magnitude: float) -> Line:
  """Makes the line from another image, which is the offset, and beyond."""
  return Line(compute_factor(magnitude), 0, UNIT, 0, 255, 255)


def make_lines(magnitude: float) -> Int[np.ndarray, "16 6"]:
  """Makes the `Line` of each operation, as far as no image decides on it."""
  lines = dict.fromkeys(OPS, Line(1, 0, 1, 0, 255, 255))
  # As the released code behaves in TensorFlow: the threshold is modulo 256, so
  # that magnitudes 10 and 20 solarize all values; and at least one bit is kept.
  threshold = int(25.6 * magnitude) % 256
  kept = min(max(int(0.4 * magnitude), 1), 8)
  lines["Invert"] = Line(-1, 255, 1, 0, 255, 255)
  lines["Posterize"] = Line(1, 0, 1, 0, 255, 255 >> (8 - kept) << (8 - kept))
  lines["Solarize"] = Line(-1, 255, 1, threshold, 255, 255)
  lines["SolarizeAdd"] = Line(1, int(11 * magnitude), 1, 0, 127, 255)
  for name in ("Color", "Contrast", "Brightness"):
    lines[name] = make_blend(magnitude)
  return np.asarray([lines[name] for name in OPS], np.int32)


def stretch(line: Line, values: Values) -> Line:
  """Makes the line of AutoContrast: of each channel, from its range to all."""
  low, high = (
    find(values, axis=(0, 1), keepdims=True) for find in (jnp.min, jnp.max)
  )
  wide = high > low
  return line._replace(
    slope=jnp.where(wide, 255, line.slope),
    offset=jnp.where(wide, -255 * low, line.offset),
    divisor=jnp.where(wide, high - low, line.divisor),
  )


def apply_line(line: Line, values: Values, away: Values) -> Values:
  """Applies a line, the offset plus `away`, to values from 0 to 255."""
  raised = line.slope * values + line.offset + away
  divisor = jnp.broadcast_to(line.divisor, values.shape)
  changed = jnp.clip(raised, 0, 255 * divisor)
  changed = jax.lax.div(changed, divisor) & line.bits
  due = (line.first <= values) & (values <= line.last)
  return jnp.where(due, changed, values)


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


def sharpen(image: Image, magnitude: float, like: Like) -> Image:
  """Blends an image with its averages of 3x3 pixels."""
  values = image.astype(jnp.int32)
  away = (UNIT - compute_factor(magnitude)) * smooth(values, like)
  return apply_line(make_blend(magnitude), values, away).astype(jnp.uint8)


def change_some(
  change: Callable[[Image], Image], images: Images, due: Bool[Array, "B"]
) -> Images:
  """Changes those images of a batch that are due, an eighth at a time."""
  count = len(images)
  size = -(-count // 8)
  # Those that are due come first; the last part may pass the end.
  order = jnp.pad(jnp.argsort(~due), (0, -count % size), constant_values=count)
  total = jnp.sum(due)

  def step(state):
    images, done = state
    places = jax.lax.dynamic_slice(order, (done,), (size,))
    found = jnp.take(images, places, axis=0, mode="clip")
    now = (done + jnp.arange(size) < total)[:, None, None, None]
    found = jnp.where(now, jax.vmap(change)(found), found)
    return images.at[places].set(found, mode="drop"), done + size

  # Of the same devices as `total`.
  state = (images, jnp.zeros_like(total))
  return jax.lax.while_loop(lambda state: state[1] < total, step, state)[0]


def average_grey(grey: Int[Array, "H W 1"], like: Like) -> Int[Array, ""]:
  """Computes what Contrast is about."""
  if like == "pillow":
    return (2 * jnp.sum(grey) + grey.size) // (2 * grey.size)
  # The sum of the histogram, divided by the number of its bins.
  return jnp.asarray(min(grey.size // 256, 255))


def distort(
  image: Image, choice: Choice, magnitude: float, like: Like = "pillow"
) -> Image:
  """Applies one layer to one image; but Equalize and Sharpness leave it.

  Args:
    image: image of 1 or 3 channels.
    choice: choices of `choose`.
    magnitude: magnitude of any operation, in [0, 30].
    like: form of the operations that have two.
  """
  height, width, _ = image.shape
  op, values = choice.op, image.astype(jnp.int32)

  matrices = jnp.asarray(make_matrices(magnitude, height, width))
  values = warp(values, matrices[choice.negative.astype(jnp.int32), op])

  line = Line(*jnp.asarray(make_lines(magnitude))[op])
  line = jax.tree.map(
    lambda x, y: jnp.where(op == NUMBER["AutoContrast"], x, y),
    stretch(line, values),
    line,
  )
  grey, away = compute_grey(values, like), jnp.zeros_like(values)
  for name, found in (
    ("Color", grey),
    ("Contrast", average_grey(grey, like)),
  ):
    away = jnp.where(op == NUMBER[name], found, away)
  away = (UNIT - compute_factor(magnitude)) * away
  values = apply_line(line, values, away)

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


def distort_all(
  images: Images, choices: Choice, magnitude: float, like: Like = "pillow"
) -> Images:
  """Applies one layer to images, with the choices [B ...] of each.

  The other arguments are those of `distort`.
  """
  images = jax.vmap(lambda x, y: distort(x, y, magnitude, like))(
    images, choices
  )
  for name, change in (
    ("Equalize", equalize),
    ("Sharpness", lambda x: sharpen(x, magnitude, like)),
  ):
    images = change_some(change, images, choices.op == NUMBER[name])
  return images


def make_randaugment(
  layers: int, magnitude: float, like: Like = "pillow"
) -> Callable[[Images, jax.Array], Images]:
  """Makes a pure function (images, keys [B]) -> images.

  An image depends on its own key alone.

  Args:
    layers: number of operations, applied one after another.
    magnitude: magnitude of each, in [0, 30].
    like: form of the operations that have two.
  """

  def randaugment(images, keys):
    def step(images, layer_keys):
      choices = jax.vmap(lambda key: choose(key, *images.shape[1:3]))(
        layer_keys
      )
      return distort_all(images, choices, magnitude, like), None

    # [layers B]: the keys of a layer are together.
    each = jax.vmap(lambda key: jax.random.split(key, layers), out_axes=1)
    return jax.lax.scan(step, images, each(keys))[0]

  return randaugment
