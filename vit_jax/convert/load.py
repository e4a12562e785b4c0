# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Loading a trained model for use from Python: `vit_jax.load`."""

import dataclasses
import functools
import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from vit_jax import models
from vit_jax.config import (
  ConfigError,
  Count,
  Natural,
  Share,
  fits,
  nearest,
  parameters,
  raise_all,
)
from vit_jax.convert import dense
from vit_jax.convert.classes import read_classes
from vit_jax.convert.fields import EXAMPLES
from vit_jax.convert.initialize import initialize
from vit_jax.convert.manifest_checks import describe_unfinished
from vit_jax.convert.published import parse_name
from vit_jax.convert.quantize import apply as apply_quantized
from vit_jax.convert.quantize import quantize
from vit_jax.convert.resample import KERNELS
from vit_jax.convert.transfer import Transfer, find_source
from vit_jax.convert.weights import Weights, load_weights
from vit_jax.data.preprocess import Preprocess
from vit_jax.devices.auto import choose_attention, find_device_errors
from vit_jax.devices.detection import start_backend
from vit_jax.storage.paths import locate


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A trained model, called with images [B H W c] for logits [B Y].

  Attributes:
    module: flax module, for `module.apply({"params": params}, images)`.
    params: its parameters.
    manifest: fields, classes and pre-processing, as in manifest.json.
    weights: "float32", or "int8" where `params` has kernels of
      `convert.quantize`, which only a call of this model reads.
  """

  module: nn.Module
  params: Mapping[str, Any] = dataclasses.field(repr=False)
  manifest: Mapping[str, Any] = dataclasses.field(repr=False)
  weights: str = "float32"

  @functools.cached_property
  def _apply(self) -> Any:
    """The compiled forward pass."""
    function = self.module.apply
    if self.weights == "int8":
      function = functools.partial(apply_quantized, self.module)
    return jax.jit(function, static_argnames="intermediates")

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the classes; empty if unknown."""
    return tuple(self.manifest["class_names"])

  def __call__(self, images: Any, *, intermediates: bool = False) -> Any:
    """Computes logits float32 [B Y], or the representation [B R] if headless.

    Args:
      images: float [B H W c] from `preprocess`.
      intermediates: returns a pair, of the logits and a dictionary of residual
        streams, attention weights and pre-logits, see the module's call.

    Raises:
      ValueError: for images of another shape or dtype.
    """
    if not isinstance(images, jax.Array):
      images = np.asarray(images)
    sizes = self.manifest["preprocess"]
    want = (sizes["height"], sizes["width"], sizes["channels"])
    floating = jnp.issubdtype(images.dtype, jnp.floating)
    if images.ndim != 4 or images.shape[1:] != want or not floating:
      raise ValueError(
        f"images are {images.dtype} {images.shape}, expected float (B, "
        f"{', '.join(map(str, want))}) from preprocess(); "
        f"load(path, size=(H, W)) makes a model for another size"
      )
    variables, images = {"params": self.params}, jnp.asarray(images)
    return self._apply(variables, images, intermediates=intermediates)

  def features(
    self,
    images: Any,
    layers: Any = -1,
    *,
    resample: str = KERNELS[0],
    antialias: bool = False,
  ) -> Any:
    """Computes feature maps [B h w D] of images of any size, for dense use.

    Class token and registers are left out. Positions are resampled to the size
    of the images, which the patches have to divide; a Mixer and a model of
    relative positions have one size.

    Args:
      images: uint8 or float [B H W c]; the latter as `preprocess` makes them.
      layers: number of a block, of a ResNet's stage, or several; negative ones
        count from the last. The last one's map is after the final norm, if
        there is one before the pooling; others are the residual stream.
      resample: kernel for positions, as of `load`.
      antialias: likewise.

    Returns:
      The map, in the dtype that the model computes in; a tuple for several
      layers, in their order.

    Raises:
      ValueError: for images of another shape or dtype, or layers that the model
        does not have.
    """
    images = dense.prepare_images(images, self.manifest["preprocess"])
    one = np.ndim(layers) == 0
    chosen = dense.find_layers(self.module, [layers] if one else layers)
    sizes = self.manifest["preprocess"]
    old, new = (sizes["height"], sizes["width"]), images.shape[1:3]
    module, params = self.module, self.params
    if old != new:
      if hasattr(module, "attention"):
        given = self.manifest["model"].get("attention", "auto")
        module = module.clone(attention=given)
      module, _ = choose_attention(module, jax.devices()[0], *new)
      raise_all(module.find_errors(*new))
      params = dense.resize_params(
        params, module, old, new, resample, antialias
      )
    int8 = self.weights == "int8"
    maps = dense.compute_maps(
      params, images, module=module, layers=chosen, is_quantized=int8
    )
    return maps[0] if one else maps


def load(
  path: str | os.PathLike,
  *,
  size: Count | tuple[Count, Count] | None = None,
  resample: str = "align_corners_bilinear",
  antialias: bool = False,
  source_size: Count | tuple[Count, Count] | None = None,
  directory: str | None = None,
  weights: Literal["float32", "int8"] = "float32",
  crop: Any = None,
  classes: str | os.PathLike | Sequence[str] | None = None,
  **overrides: Any,
) -> tuple[Model, Preprocess]:
  """Loads a trained model of any known format.

  Args:
    path: a .npz or .safetensors file, a directory that holds the latter, the
      directory of a run, or RUN/checkpoints/STEP, local or gs://; or a model's
      name such as "augreg:B/16", together with `directory`.
    size: image size, (H, W) or one number for squares, to which positions are
      resampled; None is the size that the weights were trained at.
    resample: kernel for positions, see `convert.transfer.Transfer`.
    antialias: see `convert.transfer.Transfer`.
    source_size: (H, W), or one number, at which positions were trained, if
      nothing beside the file states it.
    directory: directory of index.csv and the files, for a model's name.
    weights: "int8" keeps the kernels of layers in a quarter of the memory, see
      `convert.quantize`.
    crop: share of the shorter side that is cut from the middle of an image, or
      "whole"; None is what is recorded beside the weights, else "whole".
    classes: names of the classes, or the path of a file of them: one a line, or
      JSON, a list or an object of index and name; None is what is recorded.
    **overrides: fields of the model that arrays do not determine, e.g.
      gelu="exact"; dtype="float32" or "bfloat16" is what it computes in, on an
      accelerator bfloat16 unless this is given, on a CPU what a run was trained
      in, and float32 for other files; patch_size=P resamples the patch kernel;
      num_classes=0 drops the head.

  Returns:
    The model, and the function that makes its input from images.

  Raises:
    ConfigError: if the file cannot be read or fits no known model, or an
      override is unknown, contradicts the file or does not suit the device.
  """
  loaded = load_as(
    path,
    size=size,
    resample=resample,
    antialias=antialias,
    source_size=source_size,
    directory=directory,
    crop=crop,
    classes=classes,
    **overrides,
  )
  if start_backend() != "cpu" and "dtype" not in overrides:
    loaded = _compute_in_bfloat16(loaded)
  device = jax.devices()[0]
  module, _ = choose_attention(loaded.model, device, *loaded.size)
  raise_all(find_device_errors(module, device))
  params = loaded.params if weights == "float32" else quantize(loaded.params)
  model = Model(
    module=module,
    params=jax.device_put(unflatten_dict(params, sep="/")),
    manifest=loaded.manifest,
    weights=weights,
  )
  return model, loaded.preprocess


def list_options() -> dict[str, inspect.Parameter]:
  """Lists what `load` takes by name, for `config.arguments.checked`.

  Fields of a model are those of every kind.
  """
  found: dict[str, inspect.Parameter] = {}
  for variant in EXAMPLES.values():
    for name, field in models.parameters(variant).items():
      if name in found:  # Of another kind of model.
        kinds = found[name].annotation | field.annotation
        field = field.replace(annotation=kinds)
      found[name] = field
  return found | parameters(load_as) | parameters(load)


def load_as(
  path: str | os.PathLike,
  *,
  size: Any = None,
  resample: str = "align_corners_bilinear",
  antialias: bool = False,
  source_size: Any = None,
  directory: str | None = None,
  crop: Any = None,
  classes: str | os.PathLike | Sequence[str] | None = None,
  patch_size: Count | None = None,
  num_classes: Natural | None = None,
  **overrides: Any,
) -> Weights:
  """Reads weights as the arguments of `load` ask, which see."""
  size, source_size = _check_sizes(size, source_size)
  if resample not in KERNELS:
    raise ConfigError(f"resample={resample!r}: {nearest(resample, KERNELS)}")
  if parse_name(os.fspath(path)) and directory is None:
    raise ConfigError(
      f"{path} is a model's name; pass directory=DIR, the directory of the "
      f"files and their index.csv"
    )
  # What is given is checked before weights are read, which can take minutes.
  _check_crop(crop)
  named = "classes"
  if isinstance(classes, str | os.PathLike):
    named, classes = f"classes={os.fspath(classes)}", read_classes(classes)
  start_backend()  # Reading may use jax, which alone has libtpu log errors.
  place = find_source(os.fspath(path), directory)
  loaded = load_weights(place, source_size=source_size, **overrides)
  if (unfinished := describe_unfinished(locate(place))) is not None:
    warnings.warn(unfinished, stacklevel=4)
  if loaded.is_size_guessed:
    warnings.warn(loaded.describe_size(), stacklevel=4)
  if loaded.prefix and loaded.form in ("hugging_face", "timm"):
    warnings.warn(f"{loaded.source}: {loaded.describe_prefix()}", stacklevel=4)
  if crop is not None:
    loaded = _set_crop(loaded, crop)
  if classes is not None:
    loaded = _set_classes(loaded, classes, named)
  if num_classes == 0:
    loaded = _drop_head(loaded)
  elif num_classes not in (None, loaded.num_classes):
    raise ConfigError(
      f"{loaded.source} has {loaded.num_classes:,} classes, not "
      f"{num_classes:,}; num_classes=0 loads it without its head, and a run "
      f"with --config.init={loaded.source} trains a new one"
    )
  fields = {"patch_size": patch_size} if patch_size else {}
  if fields or size:
    transfer = Transfer(resample=resample, antialias=antialias)
    loaded = _adapt(loaded, fields, size or loaded.size, transfer)
  return loaded


def _check_sizes(
  size: Any, source_size: Any
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
  """Returns `size` and `source_size` as (H, W) or None.

  Raises:
    ConfigError: naming every argument that is wrong.
  """
  errors, pairs = [], []
  for name, value in (("size", size), ("source_size", source_size)):
    if isinstance(value, np.integer):
      value = int(value)
    if fits(value, Count):
      value = (value, value)
    if not fits(value, tuple[Count, Count] | None):
      errors.append(f"{name}={value!r} must be pixels, one number or (H, W)")
    pairs.append(None if value is None else tuple(value))
  raise_all(errors)
  return pairs[0], pairs[1]


def _check_crop(crop: Any) -> None:
  """Raises ConfigError for what is no crop."""
  if crop != "whole" and not fits(crop, Share | None):
    raise ConfigError(
      f"crop={crop!r} must be a share above 0 and at most 1, as 0.875, or "
      f"'whole'"
    )


def _set_crop(weights: Weights, crop: Any) -> Weights:
  """The same weights with another crop of their images."""
  share = None if crop == "whole" else crop
  preprocess = dataclasses.replace(weights.preprocess, crop=share, squash=False)
  return dataclasses.replace(weights, preprocess=preprocess)


def _set_classes(weights: Weights, classes: Any, given: str) -> Weights:
  """The same weights with other names of their classes."""
  names = tuple(map(str, classes))
  if len(names) != weights.num_classes:
    raise ConfigError(
      f"{given} has {len(names):,} names, and {weights.source} has "
      f"{weights.num_classes:,} classes"
    )
  return dataclasses.replace(weights, class_names=names)


def _drop_head(weights: Weights) -> Weights:
  """The same weights without the layer that computes logits."""
  params = {
    path: array
    for path, array in weights.params.items()
    if not path.startswith("head/")
  }
  return dataclasses.replace(
    weights, params=params, num_classes=0, class_names=()
  )


def _compute_in_bfloat16(weights: Weights) -> Weights:
  """The same weights in a model whose activations are bfloat16."""
  if "dtype" not in weights.all_fields:
    return weights
  fields = weights.fields | {"dtype": "bfloat16"}
  return dataclasses.replace(weights, fields=fields)


def _adapt(
  weights: Weights,
  fields: dict[str, Any],
  size: tuple[int, int],
  transfer: Transfer,
) -> Weights:
  """Resamples weights to another image or patch size."""
  if not fields.keys() <= models.parameters(weights.variant).keys():
    raise ConfigError(f"{weights.source} has no patch_size to change")
  target = dataclasses.replace(
    weights,
    fields=weights.fields | fields,
    preprocess=dataclasses.replace(
      weights.preprocess, height=size[0], width=size[1]
    ),
  )
  raise_all(target.model.find_errors(*size))
  channels = weights.preprocess.channels
  params, _ = initialize(weights, target.model, size, channels, transfer)
  return dataclasses.replace(target, params=params)
