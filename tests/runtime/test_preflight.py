# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is said of a run before it begins."""

import pytest

from tests.support import build
from vit_jax.config import ConfigError
from vit_jax.hosts.coordination import Hosts
from vit_jax.runtime.preflight import describe, prepare_data
from vit_jax.sections import resolve


@pytest.mark.parametrize(
  ("batch", "warned"), [(1432, False), (1440, True), (8 << 20, True)]
)
def test_a_batch_of_more_than_all_images_is_warned_of(config, batch, warned):
  config["train"]["batch_size"] = batch
  lines = []
  describe(build(config), lines.append)
  found = [x for x in lines if "training images" in x]
  assert len(found) == warned
  if warned:
    assert found[0].startswith("warning: ")
    assert f"train.batch_size={batch:,} is" in found[0]
    assert "1,437 training images" in found[0]


@pytest.mark.parametrize("variant", ["mu/4", "Mixer-B/16"])
def test_images_of_too_many_patches_are_refused(config, variant):
  """XLA ends the process where the size of an array overflows."""
  config["model"] = dict(variant=variant)
  config["data"]["size"] = 1 << 20
  with pytest.raises(ConfigError, match="data.size=1048576 makes .* patches"):
    build(config)
  config["data"]["size"] = (1 << 20, 16)
  build(config)


def test_the_key_of_a_split_that_is_not_there_is_named(config):
  config["evals"]["few"] = dict(kind="knn", split="test", train_split="tran")
  with pytest.raises(ConfigError, match="evals.few.train_split: .* 'tran'"):
    build(config)
  config["evals"]["few"] = dict(kind="knn", split="valid")
  with pytest.raises(ConfigError, match="evals.few.split: .* 'valid'") as e:
    build(config)
  assert str(e.value).endswith(
    "'train[:90%]'; --config.evals.few.split=SPLIT names another"
  )


def test_so_is_that_of_the_training_images(config):
  config["data"]["train"] = "valid"
  with pytest.raises(ConfigError, match="data.train=SPLIT names another"):
    prepare_data(resolve(config), Hosts(), str)


@pytest.mark.parametrize(
  ("variant", "init", "warned"),
  [("Ti/16", None, True), ("Ti/16", "x.npz", False), ("mu/4", None, False)],
)
def test_many_random_parameters_and_few_images_are_warned_of(
  config, variant, init, warned
):
  config["model"]["variant"] = variant
  config["data"]["size"] = 16
  lines = []
  describe(build(config | {"init": init}), lines.append)
  found = [x for x in lines if "the parameters are random" in x]
  assert len(found) == warned
  assert all("1,437 images are few" in x for x in found)


@pytest.mark.parametrize(
  ("model", "multipliers", "init", "warned"),
  [
    ({}, (("^head/", 1.0), (".", 0.0)), None, True),
    ({}, (("^head/", 1.0), (".", 0.0)), "x.npz", False),
    ({"depth": 4}, (("^head/|_3/", 1.0), (".", 0.0)), None, True),
    ({"adapter": "lora:2"}, (), None, True),
    ({"adapter": "lora:2"}, (), "x.npz", False),
    ({}, (("^embedding/", 0.0),), None, False),  # MoCo v3's.
    ({}, ((".", 0.0),), None, False),
    ({}, (), None, False),
  ],
)
def test_frozen_parameters_at_random_are_warned_of(
  config, model, multipliers, init, warned
):
  config["model"] |= model
  config["optim"]["multipliers"] = multipliers
  lines = []
  describe(build(config | {"init": init}), lines.append)
  assert sum("what is frozen is random" in x for x in lines) == warned


@pytest.mark.parametrize(
  ("objective", "fields", "named"),
  [
    (dict(name="mae"), dict(pool="map"), "model.pool='map'"),
    (
      dict(name="masked_patch"),
      dict(pool="map", representation_size=8),
      "model.pool='map' and model.representation_size=8",
    ),
    (dict(name="mae"), dict(pool="gap"), None),
    (dict(name="supervised"), dict(pool="map"), None),
  ],
)
def test_weights_that_an_objective_does_not_reach_are_warned_of(
  config, objective, fields, named
):
  config["objective"] = objective
  config["model"] |= dict(variant="mu/4") | fields
  config["data"]["augment"] = {}
  config["evals"] = {}
  lines = []
  describe(build(config), lines.append)
  found = [x for x in lines if "does not train the weights" in x]
  assert len(found) == (named is not None)
  assert all(f"weights of {named}, which" in x for x in found)
