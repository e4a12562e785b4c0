# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that is computed from a model and its images, batch by batch."""

import collections
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vit_jax.analysis.attention import (
  compute_entropy,
  compute_mean_distance,
  read_maps,
)
from vit_jax.analysis.filters import compute_components, find_filters
from vit_jax.analysis.norms import compute_norms
from vit_jax.analysis.positions import (
  compute_position_similarity,
  find_positions,
)
from vit_jax.analysis.rollout import compute_rollout, read_rollout
from vit_jax.analysis.similarity import compute_layer_similarity

# What the attention weights of a batch may take, and the most images in it.
MAX_BYTES = 2**28
MAX_BATCH = 32
# Patches of all images by which layers are compared.
SAMPLES = 2048


def has_attention(module: nn.Module) -> bool:
  """Whether a model has attention, as ViTs and hybrids do."""
  return hasattr(module, "attention")


def count_attention_bytes(module: nn.Module, size: tuple[int, int]) -> int:
  """Bytes of the attention weights [L K N N] of one image."""
  if not has_attention(module):
    return 0
  heads: Any = module
  tokens = heads.make_layout(*size).tokens
  return 4 * heads.depth * heads.num_heads * tokens**2


def choose_batch_size(module: nn.Module, size: tuple[int, int]) -> int:
  """The largest B whose attention weights stay within MAX_BYTES, at least 1."""
  bytes_per_image = max(1, count_attention_bytes(module, size))
  return max(1, min(MAX_BATCH, MAX_BYTES // bytes_per_image))


def compute_attention(model: Any, images: Any) -> Float[Array, "L B K N N"]:
  """Attention weights of every layer and head.

  Args:
    model: from `vit_jax.load`.
    images: [B H W c] from its `preprocess`.

  Raises:
    ValueError: for a model without attention.
  """
  if not has_attention(model.module):
    raise ValueError(f"{type(model.module).__name__} has no attention")
  return model(images, intermediates=True)[1]["attention"]


def summarise(
  module: nn.Module,
  params: Mapping[str, Any],
  images: Float[Array, "B H W c"],
  picked: Int[Array, "B k"],
) -> tuple[dict[str, Array], list[Array]]:
  """What is kept of one forward pass, for `explain`.

  Args:
    module: any model.
    params: its parameters.
    images: its input.
    picked: the patches of each image by which layers are compared.

  Returns:
    Name -> array [B ...], as of `explain`; and of each layer [B k D].
  """
  apply: Any = module.apply
  logits, found = apply({"params": params}, images, intermediates=True)
  kept = {"logits": logits}
  skipped = 0
  if has_attention(module):
    vit: Any = module
    layout = vit.make_layout(*images.shape[1:3])
    attention, skipped = found["attention"], layout.prefix
    pooling = found.get("pooling")
    rollout = compute_rollout(attention)
    kept["rollout"] = read_rollout(rollout, layout, pooling)
    kept["maps"] = read_maps(attention, layout)
    if pooling is not None:
      kept["pooling"] = pooling.reshape(*pooling.shape[:2], *layout.grid)
    kept["distance"] = compute_mean_distance(attention, layout, vit.stride)
    kept["entropy"] = compute_entropy(attention)
  if "residual" in found:
    kept["norms"] = compute_norms(found["residual"])
    layers = list(found["residual"][:, :, skipped:])
  else:
    layers = _pool_stages([x for k, x in found.items() if k != "pre_logits"])
  rows = jnp.arange(len(images))[:, None]
  return kept, [x[rows, picked].astype(jnp.float32) for x in layers]


def draw_cells(images: range, cells: int, count: int) -> Int[np.ndarray, "B k"]:
  """Draws patches of images, uniformly; those of an image are always the same.

  Args:
    images: numbers of the images.
    cells: number of patches of an image.
    count: number of those that are drawn (k).
  """
  return np.stack(
    [
      np.sort(np.random.default_rng((0, i)).choice(cells, count, replace=False))
      for i in images
    ]
  )


def _pool_stages(stages: list[Array]) -> list[Array]:
  """Feature maps [B h w D] of stages -> [B n D], on the grid of the last."""
  batch, rows, columns, _ = stages[-1].shape
  return [
    jax.image.resize(
      x.astype(jnp.float32), (batch, rows, columns, x.shape[-1]), "linear"
    ).reshape(batch, rows * columns, -1)
    for x in stages
  ]


def explain(
  model: Any,
  batches: Iterable[tuple[Float[np.ndarray, "B H W c"], int]],
  total: int,
  pictures: int,
) -> dict[str, np.ndarray]:
  """Computes what explains a model, from its images and its parameters.

  One batch is on the device at a time, and of an image only small arrays are
  kept.

  Args:
    model: from `vit_jax.load`.
    batches: pairs of images and how many of them, the first, count.
    total: images in all batches.
    pictures: number of images, the first, whose maps of every head are kept.

  Returns:
    Of n images, by name: `logits` [n Y]; of models with attention `rollout`
    [n h w], `distance` [n L K] in pixels, `entropy` [n L K] in bits, and of
    the first ones `maps` [m L K h w] and, with attention pooling, `pooling`
    [m K h w]; `norms` [n L N] of tokens. Of all images `similarity` [L L], the
    CKA of layers, whose `samples` [] is the number of examples. Of the
    parameters `components` [k P P c] and their `variances` [k], and where
    positions are added `positions` [h w h w]. What a model does not have is
    left out.

  Raises:
    FloatingPointError: if the logits of an image are not finite.
  """
  sizes = model.manifest["preprocess"]
  size = (sizes["height"], sizes["width"])
  module, params = model.module, model.params
  cells = _count_cells(module, params, size)
  count_drawn = max(1, min(cells, SAMPLES // total))
  step = jax.jit(summarise, static_argnums=0)
  kept = collections.defaultdict(list)
  layers = collections.defaultdict(list)
  done = 0
  for images, count in batches:
    picked = draw_cells(range(done, done + len(images)), cells, count_drawn)
    arrays, parts = jax.device_get(step(module, params, images, picked))
    for name, array in arrays.items():
      if name in ("maps", "pooling"):
        count_kept = max(0, min(count, pictures - done))
      else:
        count_kept = count
      kept[name].append(array[:count_kept])
    for i, part in enumerate(parts):
      layers[i].append(part[:count].reshape(-1, part.shape[-1]))
    done += count
  found = {name: np.concatenate(arrays) for name, arrays in kept.items()}
  if "logits" in found and not np.isfinite(found["logits"]).all():
    bad = (~np.isfinite(found["logits"]).all(axis=1)).sum()
    raise FloatingPointError(
      f"the model's scores are not finite for {bad:,} of {done:,} images"
    )
  samples = [np.concatenate(x) for _, x in sorted(layers.items())]
  if len(samples) > 1 and len(samples[0]) > 1:
    found["similarity"] = compute_layer_similarity(samples)
    found["samples"] = np.asarray(len(samples[0]))
  return found | explain_params(module, params, size)


def _count_cells(
  module: nn.Module, params: Mapping[str, Any], size: tuple[int, int]
) -> int:
  """The number of patches of an image, or of cells of the last stage."""
  channels = find_filters(params).shape[2]
  image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
  apply: Any = module.apply
  _, found = jax.eval_shape(
    lambda p, x: apply({"params": p}, x, intermediates=True), params, image
  )
  if "residual" not in found:
    stages = [x for name, x in found.items() if name != "pre_logits"]
    return int(np.prod(stages[-1].shape[1:3]))
  tokens = found["residual"].shape[2]
  if has_attention(module):
    vit: Any = module
    tokens -= vit.make_layout(*size).prefix
  return tokens


def explain_params(
  module: nn.Module, params: Mapping[str, Any], size: tuple[int, int]
) -> dict[str, np.ndarray]:
  """What `explain` finds in the parameters alone."""
  components, variances = compute_components(find_filters(params))
  found = {"components": components, "variances": variances}
  vectors = find_positions(module, params, size)
  if vectors is not None:
    similarity = compute_position_similarity(vectors)
    found["positions"] = similarity.astype(np.float32)
  return found
