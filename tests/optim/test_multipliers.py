# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.support import build, lower
from vit_jax import models, optim
from vit_jax.config import ConfigError
from vit_jax.objectives import OBJECTIVES
from vit_jax.objectives.objective import Objective, Setting
from vit_jax.optim import multipliers
from vit_jax.sharding import OWN, get_path
from vit_jax.train_state import TrainState
from vit_jax.train_step import make_train_step


def get_shapes(size=8, **fields):
  model = models.make_model(10, **fields)
  image = jnp.zeros((1, size, size, 3))
  return jax.eval_shape(model.init, jax.random.key(0), image)["params"]


def compute_multipliers(params, **options):
  found = multipliers.compute_multipliers(
    optim.Optim(lr=1.0, **options), params
  )
  leaves = jax.tree_util.tree_leaves_with_path(found)
  return {get_path(keys): rate for keys, rate in leaves}


def test_layer_decay_of_every_parameter():
  params = get_shapes(
    variant="mu/4", depth=3, representation_size=8, layer_scale=0.1, registers=1
  )
  found = compute_multipliers(params, layer_decay=0.5)
  for path, rate in found.items():
    if "encoderblock" in path:
      expected = [0.125, 0.25, 0.5]
    elif path.startswith(("head", "pre_logits", "Transformer/encoder_norm")):
      expected = 1.0
    else:
      entry = ("embedding", "cls", "register", "Transformer/posembed_input")
      assert path.startswith(entry)
      expected = 0.0625
    np.testing.assert_array_equal(rate, expected, strict=False)


@pytest.mark.parametrize(
  ("fields", "above", "below"),
  [
    (
      dict(variant="mu/4", pool="map"),
      ["MAPHead_0/probe", "MAPHead_0/MlpBlock_0/Dense_0/kernel"],
      ["embedding/kernel"],
    ),
    (dict(variant="R26+S/32", size=64), ["head/bias"], ["conv_root/kernel"]),
    (
      dict(variant="Mixer-B/4"),
      ["pre_head_layer_norm/scale", "head/kernel"],
      ["stem/kernel"],
    ),
  ],
)
def test_layer_decay_of_other_models(fields, above, below):
  found = compute_multipliers(get_shapes(**fields), layer_decay=0.5)
  depth = max(rate.size for rate in found.values())
  assert [found[path] for path in above] == [1.0] * len(above)
  assert [found[path] for path in below] == [0.5 ** (depth + 1)]


def test_the_first_pattern_wins_and_depth_multiplies():
  params = get_shapes(variant="mu/4", depth=3)
  found = compute_multipliers(
    params,
    layer_decay=0.5,
    multipliers=(
      ("encoderblock_0/", 0.0),
      ("encoderblock_1/.*kernel", 3.0),
      ("block|^head/bias", 10.0),
    ),
  )
  mlp = "Transformer/encoderblock/MlpBlock_0/Dense_0"
  np.testing.assert_array_equal(found[f"{mlp}/kernel"], [0, 0.75, 5])
  np.testing.assert_array_equal(found[f"{mlp}/bias"], [0, 2.5, 5])
  assert found["head/bias"] == 10 and found["head/kernel"] == 1
  assert found["embedding/kernel"] == 0.0625


@pytest.mark.parametrize(
  ("multipliers", "pattern", "remedy"),
  [
    (
      (("encoder_block", 0.0),),
      "'encoder_block'",
      "did you mean 'encoderblock_0' or 'encoder_norm'?",
    ),
    ((("~", 0.0),), "'~'", "Transformer, cls, embedding, head"),
    (
      (("embed", 0.0), ("^embedding", 1.0)),
      "'^embedding'",
      "earlier patterns match all of its parameters",
    ),
    ((("(", 0.0),), "'('", "regular expression"),
  ],
)
def test_patterns_that_do_nothing_are_named(multipliers, pattern, remedy):
  params = get_shapes(variant="mu/4")
  with pytest.raises(ConfigError) as caught:
    compute_multipliers(params, multipliers=multipliers)
  assert str(caught.value).startswith(f"optim.multipliers: {pattern} ")
  assert remedy in str(caught.value)


def test_layer_decay_needs_a_stack_of_blocks():
  with pytest.raises(ConfigError, match="has no stack of blocks"):
    compute_multipliers(get_shapes(variant="R50x1", size=32), layer_decay=0.5)


@pytest.mark.parametrize(
  ("patterns", "more"),
  [
    ((), ()),
    ((("Norm_|_norm/", 0.5), ("^head/", 0.0)), ("Norm_", "_norm/")),
    (((".", 1.0),), ("",)),  # All of it: adapters beside what is trained.
  ],
)
def test_with_adapters_the_rest_is_frozen(patterns, more):
  """All but them and the head, unless a pattern says otherwise."""
  fields = dict(variant="mu/4", depth=2, pool="map", representation_size=8)
  model = models.make_model(10, adapter="lora:2", **fields)
  plain = model.clone(adapter=None)
  options = optim.Optim(lr=1.0, multipliers=patterns)
  assert optim.freeze_base(options, plain) is options
  made = multipliers.compute_multipliers(
    optim.freeze_base(options, model), get_shapes(adapter="lora:2", **fields)
  )
  leaves = jax.tree_util.tree_leaves_with_path(made)
  found = {get_path(keys): rate for keys, rate in leaves}
  for path, rate in found.items():
    head = path.startswith("head/") and ("^head/", 0.0) not in patterns
    expected = head or path.startswith("pre_logits/") or "_lora/" in path
    expected |= any(name in path for name in more)
    assert bool(rate.all()) == bool(rate.any()) == expected, path
  assert sum("_lora/" in path for path in found) == 2 * 2 * 6


@pytest.mark.parametrize("name", OWN)
def test_with_adapters_what_an_objective_adds_is_trained(name):
  """A head or decoder has no trained weights, and no adapters, to begin at."""
  model = models.make_model(0, variant="mu/4", depth=2, adapter="lora:2")
  setting = Setting(views=2, classes=3)
  objective = OBJECTIVES[name](model).place(setting)
  image = jnp.zeros((2, 8, 8, 3))
  params = jax.eval_shape(objective.module.init, jax.random.key(0), image)
  options = optim.freeze_base(optim.Optim(lr=1.0), model)
  found = compute_multipliers(params["params"], multipliers=options.multipliers)
  own = {path: rate for path, rate in found.items() if path.startswith(name)}
  assert own and all(rate.all() for rate in own.values())
  assert not any("_lora/" in path for path in own)
  others = {path for path, rate in found.items() if rate.any()} - own.keys()
  assert others and all("_lora/" in path for path in others)


BLOCK = "Transformer/encoderblock"
# -0.0 and a denormal are the values that an added zero would change.
ODD = np.float32([-0.0, 1e-40, 3.0, -1.5])
FROZEN = (("^embedding|encoderblock_1/", 0.0), ("head", 2.0))


def make_params():
  return {
    "embedding": {"kernel": jnp.asarray(ODD)},
    "Transformer": {"encoderblock": {"kernel": jnp.asarray([ODD, ODD, ODD])}},
    "head": {"kernel": jnp.asarray(ODD)},
  }


def test_factors_are_on_the_whole_update():
  """Twice the learning rate, once with and once without a pattern."""

  def run(lr, multipliers):
    options = optim.Optim(
      lr=lr, schedule="constant", weight_decay=0.5, multipliers=multipliers
    )
    tx = optim.make_optimizer(options, optim.make_schedule(options, 10))
    params = make_params()
    gradient = jax.tree.map(jnp.ones_like, params)
    updates, _ = tx.update(gradient, tx.init(params), params, step=0)
    return updates["head"]["kernel"]

  np.testing.assert_array_equal(run(0.2, ()), run(0.1, (("head", 2.0),)))


class Linear(Objective):
  """An objective whose gradient is its batch."""

  evaluate = None

  def loss(self, params, aux, batch, key):
    count = batch["mask"].sum()
    loss = sum((p * batch["x"].sum()).sum() for p in jax.tree.leaves(params))
    return loss / count, ({"loss": (loss, count)}, aux)


def test_what_is_frozen_is_not_differentiated():
  """Neither the norm that is recorded nor clipping sees its gradient."""
  options = optim.Optim(
    name="sgd", lr=1.0, schedule="constant", clip_norm=1.0, multipliers=FROZEN
  )
  schedule = optim.make_schedule(options, 10)
  tx = optim.make_optimizer(options, schedule)
  step = make_train_step(
    Linear(),
    tx,
    schedule,
    lambda batch, key: batch,
    seed=0,
    ema=None,
    freeze=lambda params: optim.stop_frozen(options, params),
  )
  params = make_params()
  state = TrainState(jnp.int32(0), params, tx.init(params), None, {})
  batch = {"x": jnp.ones(2), "mask": jnp.ones(2, bool)}
  state, metrics = jax.jit(step)(state, batch)
  # Four numbers of the head and four of each of two blocks have gradient 1.
  norm = np.sqrt(12)
  np.testing.assert_allclose(metrics["grad_norm"][0], norm, rtol=1e-6)
  np.testing.assert_allclose(
    state.params["head"]["kernel"], ODD - 2 / norm, rtol=1e-6
  )
  blocks = state.params["Transformer"]["encoderblock"]["kernel"]
  np.testing.assert_allclose(blocks[2], ODD - 1 / norm, rtol=1e-6)


def test_a_run_freezes(config, fill_state):
  """Through the whole step: all but the head and the last block."""
  config["model"] |= dict(depth=2, dropout=0.0)
  config["data"] |= dict(augment={}, crop="none")
  config["optim"] |= dict(
    layer_decay=0.5, multipliers=(("^head/|encoderblock_1/", 1), ("", 0.0))
  )
  exp = build(config, jax.devices()[:1])
  state = fill_state(exp)
  before = jax.tree.map(np.asarray, state.params)
  batch = jax.tree.map(
    lambda x: jax.device_put(np.ones(x.shape, x.dtype), x.sharding),
    exp.abstract_batch,
  )
  step = lower(exp).compile()
  for _ in range(3):
    state, _ = step(state, batch)
  after = jax.tree.map(np.asarray, state.params)
  pairs = zip(
    jax.tree_util.tree_leaves_with_path(before),
    jax.tree.leaves(after),
    strict=True,
  )
  for (keys, a), b in pairs:
    path = get_path(keys)
    if BLOCK in path:
      np.testing.assert_array_equal(a[0], b[0])
      assert path.endswith("kernel") <= (a[1] != b[1]).any()
    elif not path.startswith("head/"):
      np.testing.assert_array_equal(a, b)
  assert (before["head"]["bias"] != after["head"]["bias"]).any()


# Last, for what it uses stays until the module ends.
@pytest.mark.parametrize("name", optim.options.OPTIMIZERS)
@pytest.mark.usefixtures("optimised")
def test_what_is_frozen_keeps_its_bits(name):
  """Whatever its gradient, and although weight decay pulls at all the rest."""
  options = optim.Optim(
    name=name,
    lr=0.1,
    warmup_steps=1,
    weight_decay=0.5,
    multipliers=FROZEN,
  )
  tx = optim.make_optimizer(options, optim.make_schedule(options, 10))
  params = make_params()
  state = tx.init(params)
  for leaf in jax.tree.leaves(state):
    assert leaf.shape != ODD.shape or not np.any(leaf), "moments start at zero"
  paths = [get_path(k) for k, _ in jax.tree_util.tree_leaves_with_path(state)]
  assert not any("embedding" in path for path in paths)
  assert any("head" in path for path in paths)

  @jax.jit
  def step(params, state, scale, done):
    gradient = jax.tree.map(lambda x: jnp.ones_like(x) * scale, params)
    gradient["embedding"]["kernel"] *= jnp.nan
    updates, state = tx.update(gradient, state, params, step=done)
    return optax.apply_updates(params, updates), state

  for done, scale in enumerate((1.0, -2.0, 0.5)):
    params, state = step(params, state, scale, done)
  blocks = np.asarray(params["Transformer"]["encoderblock"]["kernel"])
  bits = ODD.view(np.uint32)
  for frozen in (np.asarray(params["embedding"]["kernel"]), blocks[1]):
    np.testing.assert_array_equal(frozen.view(np.uint32), bits)
  for moved in (np.asarray(params["head"]["kernel"]), blocks[0], blocks[2]):
    assert (moved != ODD).all()
