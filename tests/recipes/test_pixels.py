# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes crop and resize as the code that they follow."""

import importlib

import pytest

PIXELS = ("crop", "resize", "eval_crop", "eval_resize")


@pytest.mark.parametrize(
  "recipe, expected",
  [
    # The ViT authors' code: bilinear throughout.
    ("vit_b16.py", ("distorted_box", "bilinear", None, None)),
    ("bit.py", ("distorted_box", "bilinear", None, None)),
    ("hybrid.py", ("distorted_box", "bilinear", None, None)),
    ("finetune.py", ("distorted_box", "bilinear", None, None)),
    # big_vision: inception_crop(224), and resize_small(256)|central_crop(224).
    ("augreg.py", ("distorted_box", "bilinear", 0.875, "area")),
    ("vit_s16.py", ("distorted_box", "bilinear", 0.875, "area")),
    ("distill.py", ("distorted_box", "bilinear", 0.875, "area")),
    ("bit_sgd.py", ("distorted_box", "bilinear", 0.875, "area")),
  ],
)
def test_pixels_are_those_of_the_source(recipe, expected):
  module = importlib.import_module(f"configs.{recipe.removesuffix('.py')}")
  data = module.get_config()["data"]
  assert tuple(data.get(key) for key in PIXELS) == expected
  augment = data["augment"]
  if augment.get("randaugment"):
    assert augment["randaugment_like"] == "augreg"
