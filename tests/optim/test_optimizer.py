# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

from vit_jax import models, optim, sharding
from vit_jax.devices.mesh import make_mesh
from vit_jax.optim import adafactor, muon


def run(options, params, gradients):
  tx = optim.make_optimizer(options, optim.make_schedule(options, 100))
  state = tx.init(params)

  @jax.jit
  def step(params, state, gradient, done):
    updates, state = tx.update(gradient, state, params, step=done)
    return optax.apply_updates(params, updates), state

  for done, gradient in enumerate(gradients):
    params, state = step(params, state, gradient, done)
  return params


def nest(arrays):
  """{"a/b": x} as {"a": {"b": x}}, float32."""
  tree = {}
  for path, value in arrays.items():
    *parents, last = path.split("/")
    node = functools.reduce(lambda n, k: n.setdefault(k, {}), parents, tree)
    node[last] = jnp.asarray(value, jnp.float32)
  return tree


def compare(options, shapes, step, rtol=1e-5):
  """Three steps of an optimizer against `step`, which is NumPy.

  Args:
    options: of the optimizer, at a constant learning rate.
    shapes: path -> shape.
    step: (path, gradients so far) -> update, before decay and learning rate.
    rtol: of the largest difference.
  """
  rng = np.random.default_rng(0)
  params = {path: rng.normal(size=shape) for path, shape in shapes.items()}
  gradients = [
    {path: rng.normal(size=shape) for path, shape in shapes.items()}
    for _ in range(3)
  ]
  found = run(options, nest(params), map(nest, gradients))
  for path, expected in params.items():
    decay = options.weight_decay if path.endswith("kernel") else 0
    for t in range(3):
      update = step(path, [g[path] for g in gradients[: t + 1]])
      expected = expected - options.lr * (update + decay * expected)
    value = functools.reduce(lambda n, k: n[k], path.split("/"), found)
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=rtol)


def test_adam_decays_kernels_by_the_learning_rate_and_nothing_else():
  lr, wd, b1, b2 = 0.1, 0.3, 0.9, 0.999
  options = optim.Optim(lr=lr, schedule="constant", weight_decay=wd)
  params = {"kernel": np.float64([1, -2]), "bias": np.float64([1, -2])}
  gradients = np.random.default_rng(0).normal(size=(3, 2))
  expected = {name: value.copy() for name, value in params.items()}
  for name, decay in (("kernel", wd), ("bias", 0.0)):
    m, v = np.zeros(2), np.zeros(2)
    for t, g in enumerate(gradients, 1):
      m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
      step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
      expected[name] -= lr * (step + decay * expected[name])
  found = run(
    options,
    {k: jnp.asarray(v, jnp.float32) for k, v in params.items()},
    [{k: jnp.asarray(g, jnp.float32) for k in params} for g in gradients],
  )
  for name in params:
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


def test_weight_decay_goes_along_a_cosine():
  """As of DINO's program, whose steps count from 0 to one before the last."""
  steps, lr, first, last = 4, 0.5, 0.04, 0.4
  options = optim.Optim(
    name="sgd",
    lr=lr,
    schedule="constant",
    weight_decay=first,
    weight_decay_end=last,
  )
  tx = optim.make_optimizer(options, optim.make_schedule(options, steps), steps)
  params = nest({"kernel": [2.0], "bias": [2.0]})
  state = tx.init(params)
  zeros = jax.tree.map(jnp.zeros_like, params)
  expected = 2.0
  for step in range(steps):
    updates, state = jax.jit(tx.update)(zeros, state, params, step=step)
    params = optax.apply_updates(params, updates)
    decay = last + 0.5 * (first - last) * (1 + np.cos(np.pi * step / steps))
    expected *= 1 - lr * decay
    np.testing.assert_allclose(params["kernel"], [expected], rtol=1e-6)
  assert params["bias"] == 2.0


def test_sgd_with_momentum():
  options = optim.Optim(name="sgd", lr=0.1, schedule="constant")
  gradients = [{"bias": jnp.asarray([g])} for g in (1.0, 2.0)]
  found = run(options, {"bias": jnp.asarray([0.0])}, gradients)
  np.testing.assert_allclose(found["bias"], [-0.1 * (1 + 0.9 + 2)], rtol=1e-6)


def test_momentum_in_half_precision():
  options = optim.Optim(
    name="sgd", lr=0.1, schedule="constant", momentum_dtype="bfloat16"
  )
  tx = optim.make_optimizer(options, optim.make_schedule(options, 1))
  assert tx.init(nest({"bias": [0.0]}))[0].trace["bias"].dtype == jnp.bfloat16
  gradients = np.random.default_rng(0).normal(size=(4, 50))
  trace, expected = np.zeros(50), np.zeros(50)
  for g in gradients:
    trace = g + 0.9 * trace  # What is kept is rounded, what is added is not.
    expected -= 0.1 * trace
    trace = trace.astype(ml_dtypes.bfloat16).astype(np.float64)
  steps = [nest({"bias": g}) for g in gradients]
  found = run(options, nest({"bias": np.zeros(50)}), steps)["bias"]
  # A float32 rounding may tip one to bfloat16: then 2**-8 of it, of lr 0.1.
  np.testing.assert_allclose(found, expected, atol=2e-3)
  close = np.isclose(found, expected, atol=1e-6)
  assert close.mean() > 0.9


@pytest.mark.parametrize("name", ["adam", "lion", "muon", "adafactor"])
def test_the_first_moment_may_be_in_half_precision(name):
  options = optim.Optim(name=name, lr=0.1, momentum_dtype="bfloat16")
  tx = optim.make_optimizer(options, optim.make_schedule(options, 1))
  shapes = {
    "head/kernel": np.zeros((4, 4)),
    f"{BLOCK}/{MLP}": np.zeros((1, 4, 4)),
  }
  state = tx.init(nest(shapes))
  sizes = {jnp.dtype("bfloat16"): 0, jnp.dtype("float32"): 0}
  for leaf in jax.tree.leaves(state):
    if leaf.ndim > 1:
      sizes[leaf.dtype] += leaf.size
  second = {"adam": 32, "lion": 0, "muon": 16, "adafactor": 32}[name]
  assert list(sizes.values()) == [32, second]


def test_lion():
  def step(path, gradients):
    m = np.zeros_like(gradients[0])
    for g in gradients:
      update = np.sign(0.9 * m + 0.1 * g)
      m = 0.99 * m + 0.01 * g
    return update

  options = optim.Optim(
    name="lion", lr=0.1, schedule="constant", weight_decay=0.3
  )
  compare(options, {"head/kernel": (4, 3), "head/bias": (3,)}, step)


BLOCK = "Transformer/encoderblock"
MLP = "MlpBlock_0/Dense_0/kernel"
QUERY = "MultiHeadDotProductAttention_0/query/kernel"
OUT = "MultiHeadDotProductAttention_0/out/kernel"


@pytest.mark.parametrize("clip", [None, 0.7])
def test_adafactor(clip):
  """A matrix a layer, a head; clipped, if at all, a layer at a time."""

  def second_moment(gradients, b2=0.4):  # 0.4 is reached at the second step.
    v = row = column = 0.0
    for t, g in enumerate(gradients, 1):
      decay = min(b2, 1 - t**-0.8)
      row = decay * row + (1 - decay) * (g**2).mean(-1, keepdims=True)
      column = decay * column + (1 - decay) * (g**2).mean(-2, keepdims=True)
      v = decay * v + (1 - decay) * g**2
    factored = g.ndim > 1 and min(g.shape[-2:]) >= 32
    if factored:
      v = row * column / row.mean(-2, keepdims=True)
    return gradients[-1] / np.sqrt(v)

  def update_of_layer(path, gradients):
    if path == QUERY:  # D K C: one matrix D x C a head.
      swapped = [g.swapaxes(0, 1) for g in gradients]
      u = second_moment(swapped).swapaxes(0, 1)
    else:
      u = second_moment(gradients) if gradients[0].ndim > 1 else None
      if u is None:
        u = second_moment([g[:, None] for g in gradients])[:, 0]
    return u / max(1, np.sqrt((u**2).mean()) / clip) if clip else u

  def step(path, gradients):
    short, m = path.removeprefix(f"{BLOCK}/"), 0.0
    for t in range(len(gradients)):
      now = gradients[: t + 1]
      if short == path:
        u = update_of_layer(path, now)
      else:
        layers = zip(*now, strict=True)
        u = np.stack([update_of_layer(short, list(x)) for x in layers])
      m = 0.9 * m + 0.1 * u
    return m

  options = optim.Optim(
    name="adafactor",
    lr=0.1,
    schedule="constant",
    b2=0.4,
    weight_decay=0.3,
    momentum_dtype="float32",
    clip_update=clip,
  )
  shapes = {
    f"{BLOCK}/{MLP}": (3, 32, 48),
    f"{BLOCK}/{QUERY}": (3, 40, 2, 32),
    f"{BLOCK}/LayerNorm_0/scale": (3, 40),
    "head/kernel": (40, 10),  # Too narrow to be factored.
    "head/bias": (10,),
  }
  # Two divisions by roots of float32 means: a few roundings more than 1e-5.
  compare(options, shapes, step, rtol=3e-5)


def test_adafactor_never_takes_layers_for_a_side_of_a_matrix():
  get = adafactor.find_factored_axes
  assert get(f"{BLOCK}/{MLP}", (400, 64, 128)) == (1, 2)
  assert get(f"{BLOCK}/{QUERY}", (400, 768, 12, 64)) == (1, 3)
  assert get(f"{BLOCK}/{OUT}", (12, 12, 64, 768)) == (2, 3)
  assert get(f"{BLOCK}/MlpBlock_0/Dense_0/bias", (400, 768)) is None
  assert get("embedding/kernel", (16, 16, 3, 768)) is None
  assert get("head/kernel", (768, 21843)) == (0, 1)


def test_muon():
  """Blocks are matrices a layer, heads side by side; the rest is Adam's."""

  def orthogonalize(x):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = x / np.linalg.norm(x)
    for _ in range(5):
      s = x @ x.T
      x = a * x + (b * s + c * s @ s) @ x
    return x

  def step(path, gradients):
    short, t = path.removeprefix(f"{BLOCK}/"), len(gradients)
    b1, b2, beta = 0.9, 0.999, 0.95
    m = v = mu = 0.0
    for g in gradients:
      m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
      mu = beta * mu + (1 - beta) * g
    if not path.endswith("kernel") or short == path:
      return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    # Nesterov's momentum, without the bias of its start at zero.
    mu = beta * mu / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
    inputs = int(np.prod(g.shape[1:3] if short == OUT else g.shape[1:2]))
    flat = mu.reshape(g.shape[0], inputs, -1)
    sides = 0.2 * np.sqrt(max(flat.shape[1:]))
    update = np.stack([orthogonalize(x) * sides for x in flat])
    return update.reshape(g.shape)

  options = optim.Optim(
    name="muon", lr=0.1, schedule="constant", weight_decay=0.3
  )
  shapes = {
    f"{BLOCK}/{MLP}": (2, 6, 8),
    f"{BLOCK}/{QUERY}": (2, 6, 2, 3),
    f"{BLOCK}/{OUT}": (2, 2, 3, 6),
    f"{BLOCK}/LayerNorm_0/scale": (2, 6),
    "embedding/kernel": (2, 2, 3, 6),
    "head/kernel": (6, 4),
    "head/bias": (4,),
  }
  # Five iterations of a quintic enlarge float32 roundings some ten times.
  compare(options, shapes, step, rtol=2e-4)


@pytest.mark.parametrize(
  ("fields", "expected"),
  [
    (dict(variant="mu/4", representation_size=8, registers=1), 7),
    (dict(variant="mu/4", pool="map", position="relative"), 12),
    (dict(variant="Mixer-B/4"), 4),
    # 3 + 1, 3 x 3 + 1, ... convolutions in each of four stages.
    (dict(variant="R50x1"), 52),
  ],
)
def test_what_muon_takes(fields, expected):
  params = get_shapes(8 if "R50" not in fields["variant"] else 32, **fields)
  taken = [
    sharding.get_path(keys)
    for keys, matrix in jax.tree_util.tree_leaves_with_path(
      muon.make_matrix_mask(params)
    )
    if matrix
  ]
  assert len(taken) == expected
  assert all(path.endswith("kernel") for path in taken)
  entries = ("head/", "embedding/", "stem/", "root_block/")
  assert not any(path.startswith(entries) for path in taken)


def get_shapes(size=8, **fields):
  model = models.make_model(10, **fields)
  image = jnp.zeros((1, size, size, 3))
  return jax.eval_shape(model.init, jax.random.key(0), image)["params"]


def count_bytes(array, shape):
  return int(np.prod(shape)) * array.dtype.itemsize


@pytest.mark.parametrize("mesh", [dict(fsdp=8), dict(fsdp=4, tensor=2)])
@pytest.mark.parametrize("name", optim.options.OPTIMIZERS)
def test_the_state_of_an_optimizer_follows_its_parameters(name, mesh):
  """ViT-B/16 in two layers with ImageNet-21k's head, from shapes alone."""
  model = models.make_model(21_843, variant="B/16", depth=2)
  options = optim.Optim(name=name, lr=1.0, clip_norm=1.0, weight_decay=0.1)
  tx = optim.make_optimizer(options, optim.make_schedule(options, 10))

  def init():
    image = jnp.zeros((1, 224, 224, 3))
    params = model.init(jax.random.key(0), image)["params"]
    return {"params": params, "opt_state": tx.init(params)}

  mesh = make_mesh(**mesh)
  shapes = jax.eval_shape(init)
  places = sharding.get_shardings(mesh, shapes)
  placed = jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    places,
  )
  params = {
    sharding.get_path(keys): x
    for keys, x in jax.tree_util.tree_leaves_with_path(placed["params"])
  }
  held, ideal, undivided = 0, 0, set()
  for keys, x in jax.tree_util.tree_leaves_with_path(placed):
    path = sharding.get_path(keys)
    own = next((p for p in params if path.endswith(f"/{p}")), None)
    if own is None:
      assert x.size <= 3, f"{path} is no parameter's, and large"
      continue
    if x.shape == params[own].shape:
      assert x.sharding == params[own].sharding, path
    else:
      assert x.ndim == params[own].ndim, path
    held += count_bytes(x, x.sharding.shard_shape(x.shape))
    whole = params[own].shape
    shard = params[own].sharding.shard_shape(whole)
    if count_bytes(x, shard) == count_bytes(x, whole):
      undivided.add(own.rpartition("Attention_0/")[2])
    ideal += count_bytes(x, x.shape) * np.prod(shard) / np.prod(whole)
  # Where no axis divides 21,843 classes, or nothing of a bias lies on fsdp.
  attention = {"query/bias", "key/bias", "value/bias"}
  hidden = f"{BLOCK}/MlpBlock_0/Dense_0/bias"
  split = {"head/bias"}
  assert undivided == (
    split if mesh.shape["tensor"] > 1 else split | attention | {hidden}
  )
  assert held <= 1.02 * ideal


def test_gradients_are_clipped_to_their_global_norm():
  options = optim.Optim(name="sgd", lr=1.0, schedule="constant", clip_norm=1.0)
  gradient = {"a": jnp.asarray([3.0]), "b": jnp.asarray([4.0])}
  params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
  found = run(options, params, [gradient])
  np.testing.assert_allclose([found["a"][0], found["b"][0]], [-0.6, -0.8])


def test_the_average_follows_early_and_settles_later():
  average, params = {"x": jnp.zeros(1)}, {"x": jnp.ones(1)}
  first = optim.update_ema(average, params, jnp.int32(0), 0.99)
  np.testing.assert_allclose(first["x"], [0.9], rtol=1e-6)
  late = optim.update_ema(average, params, jnp.int32(10**6), 0.99)
  np.testing.assert_allclose(late["x"], [0.01], rtol=1e-5)
