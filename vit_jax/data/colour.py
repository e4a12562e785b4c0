# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Colours of views on the device: jitter, grey, blur, solarisation.

What SimCLR (Chen et al., 2020, arXiv 2002.05709, appendix A) and BYOL (Grill et
al., 2020, arXiv 2006.07733, appendix B) began, with the numbers of the programs
of MoCo v3 and DINO. Those work on bytes and round after every operation, and
blur by boxes; here values are float32 from 0 to 255 and the blur is Gaussian.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Image = Float[Array, "H W c"]

# Strengths of both programs: factors are in 1 +- these, hue turns by +- HUE.
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1

LUMA = (0.299, 0.587, 0.114)  # Of red, green and blue in grey, as Pillow's.

# Range of the standard deviation of a blur in pixels of images of 224 px, and
# how many of the largest it reaches.
SIGMA = (0.1, 2.0)
REACH = 4

BLACK, MEAN, GREY = range(3)  # Kinds of blends, and all their orders.
ORDERS = tuple(itertools.permutations((BLACK, MEAN, GREY)))

THRESHOLD = 128  # From here on solarisation inverts.


class Colour(NamedTuple):
  """Probabilities of what is done to a view."""

  jitter: Any
  grey: Any
  blur: Any
  solarise: Any


# Value of data.views.colour -> probabilities of the first view, of the others,
# and of small crops. MoCo v3 has no small crops: they get what DINO's do.
SCHEMES = {
  name: (
    Colour(jitter=0.8, grey=0.2, blur=1.0, solarise=0.0),
    Colour(jitter=0.8, grey=0.2, blur=0.1, solarise=0.2),
    Colour(jitter=0.8, grey=0.2, blur=0.5, solarise=0.0),
  )
  for name in ("moco", "dino")
}


def get_chances(
  name: str, numbers: Sequence[int], count: int
) -> Float[np.ndarray, "V 4"]:
  """Looks up the probabilities of views.

  Args:
    name: value of data.views.colour; "none" has zeros.
    numbers: numbers of the views, from 0 on.
    count: number from which on views are small crops.
  """
  scheme = SCHEMES.get(name, (Colour(0.0, 0.0, 0.0, 0.0),) * 3)
  kinds = [2 if i >= count else min(i, 1) for i in numbers]
  return np.asarray([scheme[kind] for kind in kinds], np.float32)


def make_grey(image: Image) -> Float[Array, "H W 1"]:
  """The luma of a colour image; a grey one as it is."""
  if image.shape[-1] != len(LUMA):
    return image[..., :1]
  red, green, blue = jnp.split(image, 3, axis=-1)
  return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def blend(
  image: Image, factor: Float[Array, ""], kind: Int[Array, ""] | int
) -> Image:
  """Moves an image away from another (factor > 1) or towards it.

  A kind changes brightness (BLACK: the other image is that), contrast (MEAN:
  the mean of its grey) or saturation (GREY: its grey).
  """
  grey = make_grey(image)
  other = jnp.where(kind == GREY, grey, jnp.where(kind == MEAN, grey.mean(), 0))
  return jnp.clip(factor * image + (1 - factor) * other, 0.0, 255.0)


def turn_hue(image: Image, turn: Float[Array, ""]) -> Image:
  """Turns the hue by a share of the circle, in the HSV space; grey stays.

  Args:
    image: any values.
    turn: in [-1, 1].
  """
  if image.shape[-1] != len(LUMA):
    return image
  red, green, blue = image[..., 0], image[..., 1], image[..., 2]
  value = image.max(axis=-1)
  chroma = value - image.min(axis=-1)
  # How far round the circle, in sixths of it: red is 0, green 2, blue 4. A
  # compiler may compute colours several times and round in several ways: so of
  # two that are nearly the largest each must give the same place.
  safe = jnp.where(chroma > 0, chroma, 1.0)
  place = jnp.where(
    (red >= green) & (red >= blue),
    (green - blue) / safe,
    jnp.where(
      green >= blue, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe
    ),
  )
  place = place + 6.0 * turn
  channels = []
  for offset in (5.0, 3.0, 1.0):
    k = (place + offset) % 6.0
    lack = jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)
    channels.append(value - chroma * lack)
  return jnp.stack(channels, axis=-1)


def jitter(image: Image, drawn: Float[Array, "6"]) -> Image:
  """Changes brightness, contrast, saturation and hue, in random order.

  Under vmap every branch of a switch is computed, so there is none: the three
  blends in their order, once before the hue and once after it, where those that
  are not due have the factor 1, which changes nothing. (To turn the hue in each
  of its four places, between three blends, takes twice as long on a TPU.)

  Args:
    image: values from 0 to 255.
    drawn: uniform over [0, 1): the order of the blends, the place of the hue
      among them, and the strength of each.
  """
  order = jnp.asarray(ORDERS)[jnp.floor(len(ORDERS) * drawn[0]).astype(int)]
  place = jnp.floor(4 * drawn[1])  # Blends before the hue.
  changes = 2 * drawn[2:] - 1
  factors = 1 + changes[:3] * jnp.asarray((BRIGHTNESS, CONTRAST, SATURATION))
  for i in range(3):
    factor = jnp.where(i < place, factors[order[i]], 1.0)
    image = blend(image, factor, order[i])
  image = turn_hue(image, HUE * changes[3])
  for i in range(3):
    factor = jnp.where(i < place, 1.0, factors[order[i]])
    image = blend(image, factor, order[i])
  return image


def blur(image: Image, sigma: Float[Array, ""], reach: int) -> Image:
  """Blurs by a Gaussian; beyond the border lies the border.

  Args:
    image: any values.
    sigma: standard deviation in pixels.
    reach: pixels at which it is cut off.
  """

  def make_matrix(length: int) -> Array:
    """Weights [length length]; those of beyond are the border's, too."""
    places = jnp.arange(-reach, length + reach)
    distance = places[None] - jnp.arange(length)[:, None]
    weights = jnp.exp(-0.5 * (distance / sigma) ** 2)
    weights = jnp.where(jnp.abs(distance) <= reach, weights, 0.0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    before, inside, after = jnp.split(weights, [reach, reach + length], axis=1)
    inside = inside.at[:, 0].add(before.sum(axis=1))
    return inside.at[:, -1].add(after.sum(axis=1))

  rows, columns = map(make_matrix, image.shape[:2])
  return jnp.einsum(
    *("ih,hwc,jw->ijc", rows, image, columns), precision="highest"
  )


def solarise(image: Image) -> Image:
  """Inverts the values from THRESHOLD on."""
  return jnp.where(image >= THRESHOLD, 255.0 - image, image)


def change_colour(
  image: Image, key: jax.Array, chances: Float[Array, "4"], scale: float
) -> Image:
  """Does what a view's probabilities say, each with a coin of its own.

  Args:
    image: values from 0 to 255.
    key: random key of the view.
    chances: probabilities, in the order of `Colour`.
    scale: pixels of the run's images per pixel of images of 224 px.
  """
  drawn = jax.random.uniform(key, (11,))
  coins = Colour(*(drawn[:4] < jnp.asarray(chances)))
  image = jnp.where(coins.jitter, jitter(image, drawn[4:10]), image)
  image = jnp.where(coins.grey, make_grey(image), image)
  least, most = (scale * sigma for sigma in SIGMA)
  sigma = least + (most - least) * drawn[10]
  blurred = blur(image, sigma, math.ceil(REACH * most))
  image = jnp.where(coins.blur, blurred, image)
  return jnp.where(coins.solarise, solarise(image), image)
