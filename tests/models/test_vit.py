# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The Vision Transformer against counts of the literature, and against the
paper's equations written out in NumPy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.sharding import get_path


def get_shapes(model, size=224, channels=3):
  """path -> shape of a model's parameters."""
  image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), image)
  leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
  return {get_path(path): leaf.shape for path, leaf in leaves}


def count(model):
  return sum(math.prod(shape) for shape in get_shapes(model).values())


def test_pre_training_head_of_the_published_checkpoint():
  model = models.get_model(21843, variant="B/16", representation_size=768)
  assert count(model) == 103_186_515


def test_paths_are_those_of_the_authors_checkpoints():
  shapes = get_shapes(models.get_model(1000, variant="B/16"))
  block = "Transformer/encoderblock"
  attention = f"{block}/MultiHeadDotProductAttention_0"
  expected = {
    "cls": (1, 1, 768),
    "embedding/kernel": (16, 16, 3, 768),
    "embedding/bias": (768,),
    "Transformer/posembed_input/pos_embedding": (1, 197, 768),
    "Transformer/encoder_norm/scale": (768,),
    "Transformer/encoder_norm/bias": (768,),
    f"{attention}/out/kernel": (12, 12, 64, 768),
    f"{attention}/out/bias": (12, 768),
    f"{block}/MlpBlock_0/Dense_0/kernel": (12, 768, 3072),
    f"{block}/MlpBlock_0/Dense_0/bias": (12, 3072),
    f"{block}/MlpBlock_0/Dense_1/kernel": (12, 3072, 768),
    f"{block}/MlpBlock_0/Dense_1/bias": (12, 768),
    "head/kernel": (768, 1000),
    "head/bias": (1000,),
  }
  for name in ("query", "key", "value"):
    expected[f"{attention}/{name}/kernel"] = (12, 768, 12, 64)
    expected[f"{attention}/{name}/bias"] = (12, 12, 64)
  for name in ("LayerNorm_0", "LayerNorm_1"):
    expected[f"{block}/{name}/scale"] = (12, 768)
    expected[f"{block}/{name}/bias"] = (12, 768)
  assert shapes == expected


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


def make_params(model, image, seed=0):
  """Parameters with no zeros in them, in float64."""
  image = jnp.asarray(image, jnp.float32)
  params = jax.jit(model.init)(jax.random.key(seed), image)["params"]
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda p: np.asarray(p) + 0.1 * rng.normal(size=p.shape), params
  )


def check_forward(reference=None, **fields):
  """Compares a small model of these fields with `forward`.

  Args:
    reference: further arguments of `forward`.
    **fields: of the model.
  """
  fields = dict(pool="token", gelu="tanh", depth=3) | fields
  model = models.get_model(7, variant="mu/4", dtype="float32", **fields)
  assert model.get_errors(12, 8) == []
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


@pytest.mark.parametrize("pool", ["token", "gap", "map"])
@pytest.mark.parametrize("gelu", ["tanh", "exact"])
@pytest.mark.parametrize("representation_size", [None, 24])
def test_forward_is_the_papers_equations(pool, gelu, representation_size):
  check_forward(pool=pool, gelu=gelu, representation_size=representation_size)


def add_past_registers(count):
  """The learned embedding where registers stand between its rows."""

  def start(x, p):
    x = x.copy()
    x[0] += p["pos_embedding"][0, 0]
    x[1 + count :] += p["pos_embedding"][0, 1:]
    return x

  return dict(start=start)


@pytest.mark.parametrize(
  "fields, reference",
  [
    (dict(registers=3), add_past_registers(3)),
    (
      dict(registers=2, pool="gap", position="none"),
      dict(start=lambda x, p: x),
    ),
    (dict(layer_scale=0.1), {}),
    (dict(qk_norm=True), {}),
    (dict(swiglu=True), {}),
    (dict(fc_norm=True, pool="gap"), {}),
    (
      dict(registers=1, layer_scale=0.1, qk_norm=True, swiglu=True, unroll=2),
      add_past_registers(1),
    ),
  ],
  ids=lambda x: "-".join(x),
)
def test_forward_with_a_flag_is_its_equation(fields, reference):
  check_forward(reference, **fields)


@pytest.mark.parametrize(
  "fields",
  [
    dict(unroll=2),
    dict(unroll=4),
    dict(remat="dots"),
    dict(remat="full"),
    dict(remat="full", unroll=4),
  ],
)
def test_unrolling_and_remat_change_no_parameter_logit_or_gradient(fields):
  image = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))

  def run(**fields):
    model = models.get_model(
      3, variant="mu/4", depth=4, dropout=0.5, dtype="float32", **fields
    )
    params = model.init(jax.random.key(0), image)["params"]
    params["head"]["kernel"] += 1.0

    def loss(params):
      rngs = {"dropout": jax.random.key(2)}
      logits = model.apply({"params": params}, image, train=True, rngs=rngs)
      return jnp.sum(logits**2)

    return jax.tree.leaves((params, jax.jit(jax.value_and_grad(loss))(params)))

  for a, b in zip(run(), run(**fields), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_initial_logits_are_the_head_bias():
  model = models.get_model(5, variant="mu/4", head_bias=-10.0)
  image = jnp.ones((2, 8, 8, 3))
  variables = model.init(jax.random.key(0), image)
  logits = model.apply(variables, image)
  assert logits.dtype == jnp.float32
  np.testing.assert_array_equal(logits, np.full((2, 5), -10.0))


def test_parameters_are_float32_whatever_the_activations():
  model = models.get_model(5, variant="mu/4", representation_size=32)
  params = model.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
  assert {p.dtype for p in jax.tree.leaves(params)} == {np.dtype("float32")}


def test_dropout_is_off_in_evaluation_and_on_in_training():
  model = models.get_model(5, variant="mu/4", dropout=0.5, dtype="float32")
  image = jnp.ones((1, 8, 8, 3))
  params = model.init(jax.random.key(0), image)["params"]
  params["head"]["kernel"] += jax.random.normal(jax.random.key(1), (32, 5))

  def run(seed, train):
    rngs = {"dropout": jax.random.key(seed)}
    return model.apply({"params": params}, image, train=train, rngs=rngs)

  np.testing.assert_array_equal(run(0, False), run(1, False))
  np.testing.assert_array_equal(run(0, True), run(0, True))
  assert np.abs(run(0, True) - run(1, True)).max() > 0.01


def test_an_image_is_never_cropped_in_silence():
  for variant in ("mu/4", "Mixer-B/4"):
    model = models.get_model(3, variant=variant)
    with pytest.raises(ConfigError, match="height=10 .* take 8 or 12"):
      jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 10, 8, 3)))


def test_sizes_that_do_not_divide_are_named():
  model = models.get_model(3, variant="mu/4", num_heads=5)
  assert model.get_errors(12, 12) == [
    "model.width=32 is not a multiple of 5, model.num_heads: take 30 or 35"
  ]
  hybrid = models.get_model(3, variant="R50+B/16")
  assert hybrid.get_errors(224, 224) == []
  assert hybrid.get_errors(100, 100) == [
    "data.size=100 is not a multiple of 16, the patch size: take 96 or 112"
  ]
  assert hybrid.get_errors(100, 96) == [
    "data.size=(100, 96): height=100 is not a multiple of 16, the patch size: "
    "take 96 or 112"
  ]
  mixer = models.get_model(3, variant="Mixer-B/16")
  assert mixer.get_errors(32, 96) == []
  assert mixer.get_errors(96, 8) == [
    "data.size=(96, 8): width=8 is not a multiple of 16, the patch size: "
    "take 16"
  ]
  assert len(mixer.get_errors(100, 8)) == 2
  assert models.get_model(3, variant="R50x1").get_errors(100, 97) == []
