# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights that hold NaN or infinity are read, and their arrays are named."""

import warnings

import numpy as np
import pytest

from tests.support.weights import make_tiny_weights
from vit_jax.convert import load_weights, save_weights

KERNEL = "Transformer/encoderblock/MlpBlock_0/Dense_0/kernel"


@pytest.mark.parametrize(
  "name, form",
  [("a.npz", "authors"), ("a.safetensors", "timm"), ("run", "vit_jax")],
)
def test_arrays_that_are_not_finite_are_named(tmp_path, name, form):
  weights = make_tiny_weights((8, 12))
  path = str(tmp_path / name)
  save_weights(weights, path, form)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    load_weights(path)
  params = {key: np.array(x) for key, x in weights.params.items()}
  params[KERNEL][1, :2, 0] = np.nan
  params["head/bias"][0] = -np.inf
  params["head/kernel"][0, 0] = np.inf
  weights.params.update(params)
  save_weights(weights, path, form, overwrite=True)
  with pytest.warns(UserWarning, match="not finite") as found:
    again = load_weights(path)
  np.testing.assert_array_equal(again.params[KERNEL], params[KERNEL])
  (text,) = (str(x.message) for x in found if "not finite" in str(x.message))
  assert path in text and f"3 arrays of {len(params)}" in text
  size = params[KERNEL].size
  assert f"{KERNEL}, 2 of {size:,} values in layer 1" in text
  assert "head/bias, 1 of 5 values" in text and "head/kernel, 1 of" in text
