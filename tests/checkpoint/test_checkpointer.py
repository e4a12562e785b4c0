# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import numpy as np
import pytest
from etils import epath

from tests.support import build, lower
from vit_jax.checkpoint import Checkpointer, CheckpointOptions
from vit_jax.data import pipeline
from vit_jax.data.augment import normalize
from vit_jax.optim.options import OPTIMIZERS
from vit_jax.train_state import compute_digest


@pytest.fixture
def directory(tmp_path):
  return epath.Path(tmp_path) / "checkpoints"


@pytest.mark.parametrize(
  ("devices", "mesh"),
  [(1, {}), (2, dict(fsdp=2)), (4, dict(fsdp=2, tensor=2))],
)
def test_a_state_is_restored_onto_any_mesh(config, directory, devices, mesh):
  config["model"]["variant"] = "Ti/4"
  config["mesh"] = dict(fsdp=-1)
  exp = build(config)
  state = exp.make_state()
  with Checkpointer(directory, CheckpointOptions()) as checkpointer:
    checkpointer.save(0, state, wait=True)
  other = build(config | {"mesh": mesh}, jax.devices()[:devices])
  with Checkpointer(directory, CheckpointOptions()) as checkpointer:
    restored = checkpointer.restore(other.abstract_state)
  places = jax.tree.map(lambda x: x.sharding, other.abstract_state)
  assert jax.tree.map(lambda x: x.sharding, restored) == places
  for a, b in zip(
    jax.tree.leaves(state), jax.tree.leaves(restored), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  assert compute_digest(restored.params) == compute_digest(state.params)


def get_batch(exp, step):
  """The batch that follows so many steps."""
  return next(
    pipeline.make_train_batches(
      exp.data,
      exp.mesh,
      exp.info.channels,
      batch_size=exp.train.batch_size,
      seed=exp.train.seed,
      start_step=step,
    )
  )


def get_logits(exp, params, batch):
  """What a model says of a batch, on the mesh of its experiment."""

  def apply(params, batch):
    return exp.model.apply({"params": params}, normalize(batch)["image"])

  with jax.set_mesh(exp.mesh):
    return np.asarray(jax.jit(apply)(params, batch))


def test_a_run_moves_from_mesh_to_mesh(config, tmp_path, fill_state):
  """Eight devices train a step, two and then four take it over."""
  config["model"] |= dict(width=64, num_heads=2)
  config["data"]["augment"] = {}
  config["mesh"] = dict(fsdp=4, tensor=2)
  exp = build(config)
  step = lower(exp).compile()
  state, _ = step(fill_state(exp), get_batch(exp, 0))
  expected = jax.tree.map(np.asarray, state)
  # Kept on the host, for another mesh has another set of devices.
  batch = jax.tree.map(np.asarray, get_batch(exp, 1))
  logits = get_logits(exp, state.params, batch)
  for devices, mesh in ((2, {}), (4, dict(fsdp=2))):
    directory = epath.Path(tmp_path) / f"for_{devices}"
    with Checkpointer(directory, CheckpointOptions()) as checkpointer:
      checkpointer.save(int(state.step), state, wait=True)
    exp = build(config | {"mesh": mesh}, jax.devices()[:devices])
    with Checkpointer(directory, CheckpointOptions()) as checkpointer:
      state = checkpointer.restore(exp.abstract_state)
    assert len(state.params["head"]["kernel"].sharding.device_set) == devices
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    assert int(state.step) == 1
    next_batch = get_batch(exp, int(state.step))
    jax.tree.map(np.testing.assert_array_equal, next_batch, batch)
    np.testing.assert_allclose(
      get_logits(exp, state.params, next_batch),
      logits,
      rtol=0,
      atol=1e-6 * np.abs(logits).max(),
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_restored(config, directory, fill_state, name):
  """With what is not there too: moments of frozen or unfactored arrays."""
  config["model"] |= dict(width=64, mlp_dim=64)
  config["optim"] |= dict(
    name=name, momentum_dtype="bfloat16", multipliers=(("^embedding", 0.0),)
  )
  exp = build(config)
  state = fill_state(exp)
  opt_state = jax.tree.map(lambda x: x + 1, state.opt_state)
  state = state.replace(opt_state=opt_state)
  with Checkpointer(directory, CheckpointOptions()) as checkpointer:
    checkpointer.save(0, state, wait=True)
    restored = checkpointer.restore(exp.abstract_state)
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  for a, b in zip(
    jax.tree.leaves(state), jax.tree.leaves(restored), strict=True
  ):
    assert a.dtype == b.dtype and a.sharding == b.sharding
    np.testing.assert_array_equal(a, b)


def test_the_newest_are_kept(config, directory):
  exp = build(config, jax.devices()[:1])
  state = exp.make_state()
  with Checkpointer(
    directory, CheckpointOptions(every=2, keep=2)
  ) as checkpointer:
    assert checkpointer.restore(exp.abstract_state) is None
    for step in (2, 4, 6):
      assert checkpointer.is_due(step) and not checkpointer.is_due(step + 1)
      checkpointer.save(step, state.replace(step=state.step + step))
    checkpointer.finish()
    assert checkpointer.find_latest_step() == 6
    assert int(checkpointer.restore(exp.abstract_state).step) == 6
  assert sorted(path.name for path in directory.iterdir()) == ["4", "6"]


def test_a_step_is_saved_once(config, directory):
  exp = build(config, jax.devices()[:1])
  with Checkpointer(directory, CheckpointOptions()) as checkpointer:
    checkpointer.save(3, exp.make_state(), wait=True)
    checkpointer.save(3, exp.make_state(), wait=True)
    assert checkpointer.find_latest_step() == 3


def test_a_state_may_be_donated_while_it_is_saved(config, directory):
  exp = build(config, jax.devices()[:1])
  state = exp.make_state()
  expected = compute_digest(state.params)
  with Checkpointer(directory, CheckpointOptions()) as checkpointer:
    checkpointer.save(1, state)
    jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)(state)
    checkpointer.wait()
    restored = checkpointer.restore(exp.abstract_state)
  assert compute_digest(restored.params) == expected


def test_what_a_killed_save_left_is_swept(config, directory):
  exp = build(config, jax.devices()[:1])
  with Checkpointer(directory, CheckpointOptions()) as checkpointer:
    checkpointer.save(1, exp.make_state(), wait=True)
  left = directory / "2.orbax-checkpoint-tmp"
  (left / "state").mkdir(parents=True)
  with Checkpointer(directory, CheckpointOptions()) as checkpointer:
    assert checkpointer.find_latest_step() == 1
    checkpointer.save(2, exp.make_state(), wait=True)
    assert checkpointer.find_latest_step() == 2
  assert not left.exists()
