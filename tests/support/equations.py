# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The paper's equations written out in NumPy, and models held against them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from tests.support.models import make_params
from vit_jax import models
from vit_jax.sharding import get_path


def get_shapes(model, size=224, channels=3):
  """path -> shape of a model's parameters."""
  image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), image)
  leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
  return {get_path(path): leaf.shape for path, leaf in leaves}


def count(model):
  return sum(math.prod(shape) for shape in get_shapes(model).values())


def layer_norm(x, p, eps=1e-6):
  mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
  return (x - mean) / np.sqrt(variance + eps) * p["scale"] + p["bias"]


def gelu_tanh(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_exact(x):
  return 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


def embed_patches(picture, p, patch):
  """One token a patch, in raster order."""
  kernel = p["kernel"].reshape(-1, p["kernel"].shape[-1])
  for top in range(0, picture.shape[0], patch):
    for left in range(0, picture.shape[1], patch):
      cut = picture[top : top + patch, left : left + patch].reshape(-1)
      yield cut @ kernel + p["bias"]


def attend(x, memory, p, turn, bias):
  """Multi-head attention, a head at a time; also its weights."""
  out, weights = np.zeros_like(x), []
  for head in range(p["query"]["kernel"].shape[1]):
    q, k, v = (
      source @ p[name]["kernel"][:, head] + p[name]["bias"][head]
      for name, source in (("query", x), ("key", memory), ("value", memory))
    )
    if "query_norm" in p:
      q, k = layer_norm(q, p["query_norm"]), layer_norm(k, p["key_norm"])
    q, k = turn(q), turn(k)
    a = np.exp(q @ k.T / np.sqrt(q.shape[-1]) + bias(q, p, head))
    a /= a.sum(-1, keepdims=True)
    weights.append(a)
    out += a @ v @ p["out"]["kernel"][head]
  return out + p["out"]["bias"], np.stack(weights)


def apply_mlp(x, p, gelu):
  y = x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"]
  if "gate" in p:
    gate = x @ p["gate"]["kernel"] + p["gate"]["bias"]
    y = gate / (1 + np.exp(-gate)) * y
  else:
    y = gelu(y)
  return y @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]


def add_1d(x, p):
  """The learned embedding of the paper, added once."""
  return x + p["pos_embedding"][0]


def forward(
  params,
  image,
  patch,
  pool,
  gelu,
  start=add_1d,
  add=lambda x, layer, encoder: x,
  turn=lambda x: x,
  bias=lambda q, p, head: 0.0,
  record=None,
):
  """The paper's equations 1 to 4, an example and a head at a time.

  Args:
    start: (tokens, posembed_input) -> tokens, before the first block.
    add: (tokens, layer, encoder's parameters) -> tokens, before every block.
    turn: queries or keys of a head -> the same with their positions in them.
    bias: (queries, attention's parameters, head) -> what is added to logits.
    record: a list that gets (weights, residual stream) of every block.
  """
  logits = []
  for picture in image:
    tokens = list(embed_patches(picture, params["embedding"], patch))
    registers = list(params.get("register", np.zeros((1, 0, 1)))[0])
    prefix = [params["cls"][0, 0]] if pool == "token" else []
    encoder = params["Transformer"]
    x = np.stack(prefix + registers + tokens)
    x = start(x, encoder.get("posembed_input"))
    blocks = encoder["encoderblock"]
    depth = blocks["LayerNorm_0"]["scale"].shape[0]
    for layer in range(depth):
      p = jax.tree.map(lambda a, i=layer: a[i], blocks)
      scales = [p.get(f"LayerScale_{i}", dict(scale=1.0)) for i in range(2)]
      x = add(x, layer, encoder)
      y = layer_norm(x, p["LayerNorm_0"])
      y, weights = attend(y, y, p["MultiHeadDotProductAttention_0"], turn, bias)
      x = x + y * scales[0]["scale"]
      y = apply_mlp(layer_norm(x, p["LayerNorm_1"]), p["MlpBlock_0"], gelu)
      x = x + y * scales[1]["scale"]
      if record is not None:
        record.append((weights, x))
    if "encoder_norm" in encoder:
      x = layer_norm(x, encoder["encoder_norm"])
    patches = x[len(prefix) + len(registers) :]
    if pool == "map":
      p = params["MAPHead_0"]
      y, _ = attend(
        p["probe"][0],
        patches,
        p["MultiHeadDotProductAttention_0"],
        lambda x: x,
        lambda q, p, head: 0.0,
      )
      y = y + apply_mlp(layer_norm(y, p["LayerNorm_0"]), p["MlpBlock_0"], gelu)
      x = y[0]
    else:
      x = x[0] if pool == "token" else patches.mean(0)
    if "pooled_norm" in params:
      x = layer_norm(x, params["pooled_norm"])
    if "pre_logits" in params:
      x = np.tanh(
        x @ params["pre_logits"]["kernel"] + params["pre_logits"]["bias"]
      )
    logits.append(x @ params["head"]["kernel"] + params["head"]["bias"])
  return np.stack(logits)


def check_forward(reference=None, **fields):
  """Compares a small model of these fields with `forward`.

  Args:
    reference: further arguments of `forward`.
    **fields: of the model.
  """
  fields = dict(pool="token", gelu="tanh", depth=3) | fields
  model = models.make_model(7, variant="mu/4", dtype="float32", **fields)
  assert model.find_errors(12, 8) == []
  image = np.random.default_rng(1).uniform(-1, 1, (2, 12, 8, 3))
  params = make_params(model, image)
  gelu = dict(tanh=gelu_tanh, exact=gelu_exact)[fields["gelu"]]
  record = []
  expected = forward(
    params, image, 4, fields["pool"], gelu, record=record, **reference or {}
  )
  params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
  apply = jax.jit(functools.partial(model.apply, intermediates=True))
  logits, found = apply({"params": params}, jnp.asarray(image, jnp.float32))
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  close(logits, expected)
  depth = fields["depth"]
  for i, (weights, residual) in enumerate(record):
    close(found["attention"][i % depth, i // depth], weights)
    close(found["residual"][i % depth, i // depth], residual)
