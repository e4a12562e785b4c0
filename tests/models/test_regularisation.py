# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is random in training, and what can be seen of a forward pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.models import make_params
from vit_jax import models
from vit_jax.models.encoder import drop_branch
from vit_jax.models.flops import count_flops
from vit_jax.sharding import get_letters, get_path

IMAGE = jax.random.normal(jax.random.key(1), (64, 8, 8, 3))


def make(**fields):
  """A small model and its parameters, none of them zero."""
  fields = dict(variant="mu/2", depth=2, dtype="float32") | fields
  model = models.make_model(3, **fields)
  params = make_params(model, IMAGE[:1])
  return model, jax.tree.map(lambda p: p.astype(np.float32), params)


def run(model, params, image=IMAGE, *, train=True, seed=3):
  apply = functools.partial(model.apply, train=train, intermediates=True)
  rngs = {"dropout": jax.random.key(seed)}
  return jax.jit(apply)({"params": params}, image, rngs=rngs)


def get_equations(jaxpr):
  """All equations of a jaxpr, those of inner ones too."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in jax.tree.leaves(
      list(equation.params.values()),
      is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr"),
    ):
      inner = getattr(inner, "jaxpr", inner)
      if hasattr(inner, "eqns"):
        yield from get_equations(inner)


def test_dropout_stands_exactly_where_the_paper_puts_it():
  """After positions, attention's output and both dense layers of the MLP;
  nothing else is random: neither query, key, value, weights nor the head."""
  model, params = make(dropout=0.1, unroll=2, representation_size=24)

  def apply(params, key):
    return model.apply(
      {"params": params}, IMAGE, train=True, rngs={"dropout": key}
    )

  jaxpr = jax.make_jaxpr(apply)(params, jax.random.key(0)).jaxpr
  equations = list(get_equations(jaxpr))
  dropped = [
    equation.outvars[0].aval.shape
    for equation in equations
    if equation.primitive.name == "custom_vjp_call"
    and equation.invars
    and equation.invars[-1].aval.dtype == jnp.uint32  # Its random words.
  ]
  drawn = [x for x in equations if x.primitive.name == "random_bits"]
  assert len(drawn) == len(dropped)
  # One body of the scan stands for all blocks.
  tokens, hidden = (64, 17, 32), (64, 17, 128)
  assert sorted(dropped) == [tokens, tokens, tokens, hidden]


def test_a_dropped_branch_is_zero_and_the_others_make_up_for_it():
  x = jnp.ones((1000, 2, 3))
  y = np.asarray(drop_branch(jax.random.key(0), x, jnp.asarray(0.2)))
  values, counts = np.unique(y.reshape(1000, -1)[:, 0], return_counts=True)
  np.testing.assert_allclose(values, [0.0, 1.25])
  assert (y == y[:, :1, :1]).all()
  assert abs(counts[0] - 200) < 4 * np.sqrt(1000 * 0.2 * 0.8)


def test_stochastic_depth_rises_from_zero_to_its_rate():
  model, params = make(depth=3, stochastic_depth=0.5)
  image = jnp.broadcast_to(IMAGE[:1], (256, 8, 8, 3))
  _, found = run(model, params, image)
  first, second, third = np.asarray(found["residual"])
  assert (first == first[:1]).all()

  def count_unchanged(before, after):
    return (before == after).all(axis=(1, 2)).sum()

  # Both branches are left out at the square of the rate.
  for before, after, rate in ((first, second, 0.25), (second, third, 0.5)):
    mean = 256 * rate**2
    found = count_unchanged(before, after)
    assert abs(found - mean) < 4 * np.sqrt(mean * (1 - rate**2))
  assert len(np.unique(second[:, 0, 0])) == 4


def test_the_only_block_is_the_last():
  model, params = make(depth=1, stochastic_depth=0.5)
  _, found = run(model, params, jnp.broadcast_to(IMAGE[:1], (64, 8, 8, 3)))
  assert len(np.unique(np.asarray(found["residual"])[0, :, 0, 0])) == 4


def test_stochastic_depth_is_off_in_evaluation():
  model, params = make(stochastic_depth=0.5)
  plain, _ = make()
  logits, _ = run(model, params, train=False)
  np.testing.assert_array_equal(logits, run(plain, params, train=False)[0])


@pytest.mark.parametrize(
  "fields",
  [
    dict(),
    dict(position_at="every_layer"),
    dict(position="learned_2d", position_at="shared"),
    dict(position="relative", registers=2),
    dict(position="rope", pool="gap"),
  ],
)
def test_patches_that_are_left_keep_their_positions(fields):
  """Attention over some tokens is that over all, restricted and rescaled."""
  dropping, params = make(patch_dropout=0.5, **fields)
  full, _ = make(**fields)
  _, some = run(dropping, params)
  _, every = run(full, params)
  prefix = full.make_layout(8, 8).prefix
  assert some["embedded"].shape == (64, prefix + 8, 32)
  orders = set()
  for example in range(4):
    tokens = np.asarray(every["embedded"][example])
    index = [
      int(np.argmin(np.abs(tokens - token).sum(axis=-1)))
      for token in np.asarray(some["embedded"][example])
    ]
    assert index == sorted(set(index))
    assert index[:prefix] == list(range(prefix))
    orders.add(tuple(index))
    weights = np.asarray(every["attention"][0, example])[:, index][..., index]
    np.testing.assert_allclose(
      some["attention"][0, example],
      weights / weights.sum(axis=-1, keepdims=True),
      rtol=1e-4,  # Rescaling divides by sums of few float32 weights.
      atol=1e-6,
    )
  assert len(orders) == 4


def test_patch_dropout_is_off_in_evaluation():
  model, params = make(patch_dropout=0.5)
  _, found = run(model, params, train=False)
  assert found["embedded"].shape == (64, 17, 32)


def test_intermediates_lead_to_the_logits():
  model, params = make(representation_size=24)
  logits, found = run(model, params, train=False)
  assert {name: x.shape for name, x in found.items()} == {
    "embedded": (64, 17, 32),
    "residual": (2, 64, 17, 32),
    "attention": (2, 64, 2, 17, 17),
    "encoded": (64, 17, 32),
    "pre_logits": (64, 24),
  }
  np.testing.assert_allclose(found["attention"].sum(axis=-1), 1, rtol=1e-5)
  head = params["head"]
  np.testing.assert_allclose(
    found["pre_logits"] @ head["kernel"] + head["bias"][None],
    logits,
    rtol=1e-5,
    atol=1e-5,
  )


def test_attention_pooling_gives_its_weights():
  model, params = make(pool="map", registers=2)
  logits, found = run(model, params, train=False)
  assert found["pooling"].shape == (64, 2, 16)
  np.testing.assert_allclose(found["pooling"].sum(axis=-1), 1, rtol=1e-5)
  plain = model.apply({"params": params}, IMAGE)
  np.testing.assert_allclose(logits, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  "variant, names",
  [
    ("Mixer-B/32", {"residual", "pre_logits"}),
    ("R50x1", {"block1", "block2", "block3", "block4", "pre_logits"}),
  ],
)
def test_other_models_give_theirs(variant, names):
  model = models.make_model(3, variant=variant, head_bias=-3.0)
  image = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), image)
  logits, found = jax.eval_shape(
    lambda v, x: model.apply(v, x, intermediates=True), params, image
  )
  assert logits.shape == (2, 3)
  assert set(found) == names


def test_intermediates_cost_nothing_when_nobody_asks():
  model, params = make(depth=5)
  variables = {"params": params}
  attention, residual = (5, 64, 2, 17, 17), (5, 64, 17, 32)

  def get_results(**fields):
    jaxpr = jax.make_jaxpr(lambda v: model.apply(v, IMAGE, **fields))(variables)
    return [
      tuple(result.aval.shape)
      for equation in get_equations(jaxpr.jaxpr)
      for result in equation.outvars
    ]

  plain, asked = get_results(), get_results(intermediates=True)
  assert attention not in plain and residual not in plain
  assert attention in asked and residual in asked
  assert count_flops(model.apply, variables, IMAGE) == count_flops(
    lambda v, x: model.apply(v, x, intermediates=True), variables, IMAGE
  )


def test_remat_draws_the_same_chances():
  fields = dict(
    dropout=0.2,
    stochastic_depth=0.4,
    patch_dropout=0.25,
    layer_scale=0.5,
    registers=2,
    qk_norm=True,
    swiglu=True,
    position_at="every_layer",
  )

  def gradients(**more):
    model, params = make(**fields, **more)

    def loss(params):
      return jnp.sum(run(model, params)[0] ** 2)

    return jax.tree.leaves(jax.jit(jax.grad(loss))(params))

  expected = gradients()
  for remat in ("dots", "full"):
    for a, b in zip(expected, gradients(remat=remat), strict=True):
      # Sums of 64 examples in another order.
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)  # As said above.


@pytest.mark.parametrize(
  "fields",
  [
    dict(registers=2, layer_scale=0.1, qk_norm=True, swiglu=True, pool="map"),
    dict(position="learned_2d", position_at="every_layer", pool="gap"),
    dict(position="relative", fc_norm=True, pool="gap"),
  ],
)
def test_every_parameter_of_every_flag_has_letters(fields):
  _, params = make(**fields)
  for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
    letters = get_letters(get_path(keys))
    assert letters and len(letters.split()) == leaf.ndim, get_path(keys)
