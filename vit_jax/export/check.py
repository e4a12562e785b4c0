# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Comparing what was exported with our own logits, on real images."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from vit_jax.config import ConfigError, RunError
from vit_jax.data.images import find_images
from vit_jax.data.preprocess import Preprocess
from vit_jax.export.function import Function

# Largest difference of a logit as a share of the largest logit, at least 1. In
# float32 sums of other orders differ, by 1e-6 in a ViT and 2e-5 in the 50
# normalised layers of a ResNet; bfloat16 has 8 bits, whose errors add up.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
BATCHES = (1, 3, 8)  # Sizes that the same file is run with.
SIDE = 8  # Of a digit.

Run = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """How an exported model compares with ours.

  Attributes:
    runtime: what ran it, with its version.
    images: which images, in words.
    number: of images.
    batches: sizes of the batches.
    error: largest difference of a logit, as a share of the largest.
    tolerance: that `error` may have.
    agree: images of the same best class.
  """

  runtime: str
  images: str
  number: int
  batches: list[int]
  error: float
  tolerance: float
  agree: int


def read_images(
  names: Sequence[str], preprocess: Preprocess
) -> tuple[np.ndarray, str]:
  """Images uint8 [B H W c] of the model's size, and which they are.

  Args:
    names: paths of images and folders; none for the package's own.
    preprocess: of the model.

  Raises:
    ConfigError: naming what cannot be read.
  """
  if not names:
    return make_images(preprocess)
  paths, _ = find_images(names)
  try:
    pixels = preprocess.cut(list(paths))
  except ValueError as error:
    raise ConfigError(f"--images: {error}") from error
  return pixels, f"{len(paths):,} of --images"


def make_images(preprocess: Preprocess) -> tuple[np.ndarray, str]:
  """Eight images that scikit-learn brings along, and which they are.

  Digits for one channel, else its two photographs, whole and in quarters.
  Channels beyond the third repeat them.
  """
  from sklearn import datasets

  channels = preprocess.channels
  if channels == 1:
    digits = datasets.load_digits().images[: max(BATCHES)]
    found = [(x * 255 / 16).round().astype(np.uint8) for x in digits]
    return preprocess.cut(found), "the first 8 of scikit-learn's digits"
  found = []
  for image in datasets.load_sample_images().images:
    y, x = image.shape[0] // 2, image.shape[1] // 2
    found += [image, image[:y, :x], image[:y, x:], image[y:, :x]]
  order = np.arange(channels) % 3
  cut = [np.ascontiguousarray(image[:, :, order]) for image in found]
  return preprocess.cut(cut), "scikit-learn's 2 photographs, in 8 cuts"


def compute_logits(function: Function, pixels: np.ndarray) -> np.ndarray:
  """Our own logits; `pixels` are uint8 [B H W c].

  Args:
    function: of float32, without pre-processing: as `vit_jax.load` computes.
    pixels: images of the model's size.
  """
  images = function.preprocess.normalize(pixels)
  call = jax.jit(function.apply)
  return np.concatenate(
    [
      np.asarray(call(function.params, images[i : i + max(BATCHES)]))
      for i in range(0, len(images), max(BATCHES))
    ]
  )


def compare(
  run: Run,
  make_input: Callable[[np.ndarray], np.ndarray],
  pixels: np.ndarray,
  wanted: np.ndarray,
  batches: Sequence[int] = BATCHES,
  **rest: Any,
) -> Comparison:
  """Compares a runtime's logits with `wanted`, in batches of several sizes.

  Args:
    run: the exported model in its runtime.
    make_input: makes its input of uint8 images.
    pixels: images uint8 [B H W c].
    wanted: our logits of them, [B Y].
    batches: their sizes.
    **rest: other fields of the comparison.

  Raises:
    RunError: if the error is above the tolerance, or not a number.
  """
  scale = max(1.0, float(np.abs(wanted).max()))
  sizes = sorted({min(size, len(pixels)) for size in batches})
  error, found = 0.0, wanted
  for size in sizes:
    starts = range(0, len(pixels), size) if size == sizes[-1] else [0]
    parts = [run(make_input(pixels[i : i + size])) for i in starts]
    found = np.concatenate(parts)
    if found.shape != wanted[: len(found)].shape:
      raise RunError(f"its output is {found.shape}, ours {wanted.shape}")
    difference = np.abs(found - wanted[: len(found)]).max() / scale
    error = float(np.maximum(error, difference))  # Which keeps NaN.
  done = Comparison(
    number=len(pixels),
    batches=sizes,
    error=error,
    agree=int((found.argmax(axis=1) == wanted.argmax(axis=1)).sum()),
    **rest,
  )
  if not error <= done.tolerance:
    raise RunError(
      f"{done.runtime} has other logits than ours: they differ by {error:.2g} "
      f"of the largest, and the tolerance is {done.tolerance:g}; nothing was "
      f"written. Weights whose logits are not finite, or that magnify the "
      f"smallest errors, do so; --dtype=float32 is the exact one"
    )
  return done


def describe(done: Comparison) -> str:
  """A comparison in one line."""
  sizes = ", ".join(map(str, done.batches))
  return (
    f"{done.runtime}: largest difference {done.error:.1e} of the largest logit "
    f"(tolerance {done.tolerance:g}), {done.agree} of {done.number} images of "
    f"the same class, batches of {sizes}; {done.images}"
  )
