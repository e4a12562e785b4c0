# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trained models as a library: `vit_jax.load`."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from vit_jax.config import ConfigError, nearest
from vit_jax.convert.initialize import Transfer, find_source, initialize
from vit_jax.convert.resample import KERNELS
from vit_jax.convert.weights import Weights, load_weights
from vit_jax.data import transforms

# A path, an encoded image, or an array [H W c] of uint8, or several of them.
Image = str | os.PathLike | bytes | np.ndarray


@dataclasses.dataclass(frozen=True)
class Model:
  """A trained model: images in, logits out.

  Attributes:
    module: the flax module, for `module.apply({"params": params}, images)`.
    params: its parameters.
    manifest: model fields, classes and pre-processing.
  """

  module: nn.Module
  params: Mapping[str, Any]
  manifest: Mapping[str, Any]

  @functools.cached_property
  def _apply(self) -> Any:
    """The compiled forward pass."""
    return jax.jit(self.module.apply, static_argnames="intermediates")

  @property
  def class_names(self) -> tuple[str, ...]:
    """One a class, or none if nobody recorded them."""
    return tuple(self.manifest["class_names"])

  def __call__(self, images: Any, *, intermediates: bool = False) -> Any:
    """Logits float32 [B Y]; the representation [B R] if there is no head.

    Args:
      images: float [B H W c] from `preprocess`.
      intermediates: whether to return, beside the logits, residual streams,
        attention weights and pre-logits, as the module's call says.

    Raises:
      ValueError: for images of another form.
    """
    images = jnp.asarray(images)
    sizes = self.manifest["preprocess"]
    want = (sizes["height"], sizes["width"], sizes["channels"])
    floating = jnp.issubdtype(images.dtype, jnp.floating)
    if images.ndim != 4 or images.shape[1:] != want or not floating:
      raise ValueError(
        f"images are {images.dtype} {images.shape}, where float (B, "
        f"{', '.join(map(str, want))}) is wanted: preprocess() makes them, and "
        f"load(path, size=(H, W)) a model for another size"
      )
    variables = {"params": self.params}
    return self._apply(variables, images, intermediates=intermediates)


@dataclasses.dataclass(frozen=True)
class Preprocess:
  """Image files or arrays -> a model's input.

  Attributes:
    size: (H, W).
    channels: c.
    mean: subtracted from values in [0, 1], a channel.
    std: divided by then, a channel.
    crop: None resizes the whole image, whatever its aspect; a share resizes the
      small side to size / crop and cuts out the middle.
  """

  size: tuple[int, int]
  channels: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  crop: float | None = None

  def __call__(self, images: Image | Sequence[Image]) -> np.ndarray:
    """One image or several as float32 [B H W c].

    Args:
      images: paths, encoded bytes, or arrays uint8 [H W c] or [H W]; one, or a
        list of them. An array [B H W c] is a batch.

    Raises:
      ValueError: for what is no image, naming it.
    """
    if isinstance(images, np.ndarray) and images.ndim == 4:
      images = list(images)
    one = isinstance(images, str | bytes | os.PathLike | np.ndarray)
    batch = [self._prepare(x) for x in ([images] if one else list(images))]
    if not batch:
      return np.zeros((0, *self.size, self.channels), np.float32)
    values = np.stack(batch).astype(np.float32) / 255
    mean, std = (np.asarray(x, np.float32) for x in (self.mean, self.std))
    return (values - mean[None, None, None]) / std[None, None, None]

  def _prepare(self, image: Any) -> np.ndarray:
    """One image as uint8 [h w c] of the size."""
    if isinstance(image, bytes):
      image = transforms.decode(image, self.channels)
    elif isinstance(image, str | os.PathLike):
      try:
        image = transforms.decode(epath.Path(image).read_bytes(), self.channels)
      except (OSError, ValueError) as error:
        raise ValueError(f"{os.fspath(image)}: {error}") from error
    image = np.asarray(image)
    if image.ndim == 2:
      image = image[:, :, None]
    if image.ndim == 3 and image.shape[2] == 1 and self.channels == 3:
      image = np.repeat(image, 3, axis=2)
    fits = image.ndim == 3 and image.shape[2] == self.channels
    if not fits or image.dtype != np.uint8:
      raise ValueError(
        f"an image is {image.dtype} {image.shape}, where uint8 (H, W, "
        f"{self.channels}) is wanted"
      )
    return transforms.fit(image, self.size, self.crop)


def load(
  path: str | os.PathLike,
  *,
  size: int | tuple[int, int] | None = None,
  resample: str = "align_corners_bilinear",
  antialias: bool = False,
  source_size: tuple[int, int] | None = None,
  directory: str | None = None,
  **overrides: Any,
) -> tuple[Model, Preprocess]:
  """Loads a trained model from any format that we read.

  Args:
    path: a .npz or .safetensors file, a directory that holds the latter, a run
      of ours or a checkpoint in it, local or gs://; or "augreg:B/16", with
      `directory`.
    size: of the images, (H, W) or one number for squares; None is the size
      that the weights were trained at. Positions are resampled.
    resample: how, see `convert.initialize.Transfer`.
    antialias: likewise.
    source_size: (H, W) that the positions were trained at, where nothing says.
    directory: where the file of a model's name lies, beside an index.csv.
    **overrides: fields of the model, as gelu="exact" or dtype="bfloat16";
      patch_size resamples the patch kernel.

  Returns:
    The model, and what makes its input from images.

  Raises:
    ConfigError: if the file can not be read or is of no model that we know, or
      an override is no field, or contradicts the file.
  """
  if resample not in KERNELS:
    raise ConfigError(f"resample={resample!r}: {nearest(resample, KERNELS)}")
  given = dict(overrides)
  patch_size = given.pop("patch_size", None)
  classes = given.pop("num_classes", None)
  weights = load_weights(
    find_source(os.fspath(path), directory), source_size=source_size, **given
  )
  if classes not in (None, weights.num_classes):
    raise ConfigError(
      f"{weights.source} has {weights.num_classes:,} classes, not {classes:,}; "
      f"to train a new head, start a run with --config.init={weights.source}"
    )
  if patch_size is not None:
    adapted = {"patch_size": patch_size}
    weights = _adapt(weights, adapted, size, resample, antialias)
  elif size is not None:
    weights = _adapt(weights, {}, size, resample, antialias)
  preprocess = weights.preprocess
  return Model(
    module=weights.model,
    params=jax.device_put(weights.tree),
    manifest=weights.manifest,
  ), Preprocess(
    size=weights.size,
    channels=preprocess["channels"],
    mean=tuple(preprocess["mean"]),
    std=tuple(preprocess["std"]),
    crop=preprocess["crop"],
  )


def _adapt(
  weights: Weights,
  fields: dict[str, Any],
  size: int | tuple[int, int] | None,
  resample: str,
  antialias: bool,
) -> Weights:
  """The same weights for another image or patch size."""
  if size is None:
    size = weights.size
  height, width = (size, size) if isinstance(size, int) else size
  channels = weights.preprocess["channels"]
  target = dataclasses.replace(
    weights,
    fields=weights.fields | fields,
    preprocess=weights.preprocess | {"height": height, "width": width},
  )
  errors = target.model.get_errors(height, width)
  if errors:
    raise ConfigError("\n".join(errors))
  params, _ = initialize(
    weights,
    target.model,
    (height, width),
    channels,
    Transfer(resample=resample, antialias=antialias),
  )
  return dataclasses.replace(target, params=params)
