# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from PIL import Image

from tests.support import build
from vit_jax.config import ConfigError
from vit_jax.runtime import class_weights
from vit_jax.runtime.class_weights import balance_classes

SLOTS = dict(label_slots=2)


def test_each_class_counts_as_much():
  counts = np.array([90, 10, 0, 40])
  weights = np.array(balance_classes(counts.tolist()))
  products = (counts * weights)[counts > 0]
  np.testing.assert_allclose(products, products[0], rtol=1e-12)
  assert abs((counts * weights).sum() / counts.sum() - 1) < 1e-12
  assert weights[2] == 0


def test_they_are_counted_in_the_part_that_is_trained_on(config, tmp_path):
  for name, number in (("cat", 20), ("dog", 5)):
    (tmp_path / name).mkdir()
    for i in range(number):
      Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
  config["data"] |= dict(source=f"folder:{tmp_path}", size=8)
  config["evals"] = {}
  config["objective"] = dict(class_weights="balanced")
  exp = build(config)
  # 18 and 4 are left for training.
  expected = (11 / 18, 11 / 4)
  assert exp.objective.class_weights == pytest.approx(expected, rel=1e-12)
  assert exp.recorded_config["objective"]["class_weights"] == "balanced"
  config["objective"] = dict(class_weights=(1.0, 2.0, 3.0))
  with pytest.raises(ConfigError, match="3 numbers, and there are 2 classes"):
    build(config)


def test_labels_of_a_prepared_set_are_counted(config, monkeypatch):
  config["objective"] = dict(class_weights="balanced")
  config["data"]["train"] = "train[:500]"
  exp = build(config)
  counts = np.bincount([int(x["label"]) for x in exp.data.open("train[:500]")])
  assert counts.sum() == 500 and len(set(counts.tolist())) > 1
  found = exp.objective.class_weights
  assert found == pytest.approx(50 / counts, rel=1e-12)
  monkeypatch.setattr(class_weights, "READ", 499)
  with pytest.raises(ConfigError, match="500 images.*number for each class"):
    build(config)


@pytest.mark.parametrize("changes", [dict(source="synthetic:10"), SLOTS])
def test_of_other_sources_they_are_given(config, changes):
  config["objective"] = dict(class_weights="balanced")
  config["data"] |= changes
  with pytest.raises(ConfigError, match="a number for each class"):
    build(config)
