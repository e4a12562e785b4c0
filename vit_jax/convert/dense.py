# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Feature maps of a trained model, for dense use: one vector for each patch."""

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from vit_jax.convert import resample
from vit_jax.convert.initialize import AXES, POSITIONS
from vit_jax.convert.quantize import apply as apply_quantized
from vit_jax.data.preprocess import Preprocess
from vit_jax.models.resnet import ResNet, make_norm
from vit_jax.models.vit import ViT

# Parameters of a ViT that come after its tokens.
HEADS = ("head", "pre_logits", "pooled_norm", "MAPHead_0")


def encode(
  model: ViT, image: Float[Array, "B H W c"], intermediates: bool = False
) -> tuple[Float[Array, "B N D"], dict[str, Array]]:
  """The encoder's output, and what is in between; a method for `apply`."""
  layout = model.make_layout(*image.shape[1:3])
  return model.Transformer(model.embed(image), layout, False, intermediates)


@functools.partial(
  jax.jit, static_argnames=("module", "layers", "is_quantized")
)
def compute_maps(
  params: Any,
  image: Float[Array, "B H W c"],
  *,
  module: nn.Module,
  layers: tuple[int, ...],
  is_quantized: bool = False,
) -> tuple[Float[Array, "B h w D"], ...]:
  """Computes the maps of layers, counted from 0, without other tokens.

  A map is what a block or stage adds up to, the last one's after the final
  norm, if the model has one.

  Args:
    params: parameters for images of this size.
    image: normalised.
    module: the model.
    layers: blocks, or stages of a ResNet, in any order.
    is_quantized: whether `params` are of `convert.quantize`.
  """
  apply = apply_quantized if is_quantized else type(module).apply
  last = count_layers(module) - 1
  if isinstance(module, ViT):
    layout = module.make_layout(*image.shape[1:3])
    # Without intermediates attention keeps its kernel.
    more = any(layer != last for layer in layers)
    body = {name: x for name, x in params.items() if name not in HEADS}
    x, found = apply(module, {"params": body}, image, more, method=encode)
    tokens = [x if i == last else found["residual"][i] for i in layers]
    return tuple(
      x[:, layout.prefix :].reshape(len(x), *layout.grid, -1) for x in tokens
    )
  _, found = apply(module, {"params": params}, image, intermediates=True)
  options: Any = dict(dtype=module.dtype)
  if isinstance(module, ResNet):
    norm: nn.Module = make_norm(module.group_norm_eps, **options)
    name = "group_norm"
    maps = [found[f"block{i + 1}"] for i in range(last + 1)]
  else:
    norm = nn.LayerNorm(epsilon=module.layer_norm_eps, **options)
    name = "pre_head_layer_norm"
    grid = [side // module.patch_size for side in image.shape[1:3]]
    maps = [x.reshape(len(x), *grid, -1) for x in found["residual"]]
  if last in layers:
    y: Any = norm.apply({"params": params[name]}, maps[last])
    maps[last] = nn.relu(y) if isinstance(module, ResNet) else y
  return tuple(maps[i] for i in layers)


def count_layers(module: Any) -> int:
  """Counts the layers that have a map: blocks, or a ResNet's stages."""
  return len(module.stages) if isinstance(module, ResNet) else module.depth


def find_layers(module: nn.Module, layers: Sequence[Any]) -> tuple[int, ...]:
  """Layers counted from 0, of numbers that may be negative as in Python.

  Raises:
    ValueError: if they are no numbers, or there are no such layers.
  """
  count = count_layers(module)
  try:
    numbers = [operator.index(x) for x in layers]
  except TypeError as error:
    raise ValueError(
      f"layers={layers!r} must be a number or a list of them"
    ) from error
  if not numbers or any(not -count <= x < count for x in numbers):
    raise ValueError(
      f"layers={layers!r}: the model has {count}, numbered 0 to {count - 1}, "
      f"or -{count} to -1 from the last"
    )
  return tuple(x % count for x in numbers)


def resize_params(
  params: Mapping[str, Any],
  module: nn.Module,
  old: tuple[int, int],
  new: tuple[int, int],
  kernel: str = resample.KERNELS[0],
  antialias: bool = False,
) -> Mapping[str, Any]:
  """Resamples learned positions to images of another size.

  Args:
    params: parameters of the module.
    module: the model.
    old: (H, W) of the images that they are for.
    new: (H, W) of the others.
    kernel: see `make_resize_matrix`.
    antialias: likewise.

  Raises:
    ValueError: if the model is for one size; or as `make_resize_matrix`.
  """
  if old == new or isinstance(module, ResNet):
    return params
  if not isinstance(module, ViT) or module.position == "relative":
    mixer = not isinstance(module, ViT)
    name = "Mixer" if mixer else "model of relative positions"
    raise ValueError(
      f"images are {new[0]}x{new[1]} px, and a {name} is for one size: resize "
      f"them to {old[0]}x{old[1]}"
    )
  grid = module.make_layout(*new).grid
  changed = {}
  for path, x in flatten_dict(params, sep="/").items():
    if path in POSITIONS:
      x = resample.resample_positions(
        *(np.asarray(x), module.make_layout(*old).grid, grid),
        *(kernel, antialias),
      )
    elif axis := AXES.fullmatch(path):
      count = grid[1 if axis[1] == "x" else 0]
      x = resample.resample_axis(np.asarray(x), count, kernel, antialias)
    changed[path] = x
  return unflatten_dict(changed, sep="/")


def prepare_images(
  images: Any, section: Mapping[str, Any]
) -> Float[Array, "B H W c"]:
  """Normalises uint8 images [B H W c] of any size; floats are so already.

  Args:
    images: images.
    section: the preprocess section of a manifest.

  Raises:
    ValueError: for another shape or dtype.
  """
  channels = section["channels"]
  if not isinstance(images, jax.Array):
    images = np.asarray(images)
  floating = jnp.issubdtype(images.dtype, jnp.floating)
  fits = images.ndim == 4 and images.shape[3] == channels and images.size
  if not fits or not (floating or images.dtype == np.uint8):
    raise ValueError(
      f"images are {images.dtype} {images.shape}, expected (B, H, W, "
      f"{channels}), uint8 or as preprocess() makes them"
    )
  if not floating:
    images = Preprocess.from_json(section).normalize(np.asarray(images))
  return jnp.asarray(images)
