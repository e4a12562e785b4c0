# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Options about weights, of `vit_jax.load` and of the verbs."""

import argparse
import json

import pytest

import vit_jax
from tests.support.weights import make_tiny_weights
from vit_jax.config import ConfigError
from vit_jax.config.weight_options import FIELDS, add_options, read_options
from vit_jax.convert import save_weights
from vit_jax.convert.infer import ASSUMED

NAMES = ["cat", "dog", "ä", "d e", "f"]


@pytest.fixture
def path(tmp_path):
  save_weights(make_tiny_weights(), str(tmp_path / "a.npz"), "authors")
  return str(tmp_path / "a.npz")


def parse(*flags):
  parser = argparse.ArgumentParser()
  add_options(parser)
  return read_options(parser.parse_args(flags))


def test_flags_are_arguments_of_load(path, tmp_path):
  assert set(FIELDS) == set(ASSUMED) and parse() == {}
  (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
  model, preprocess = vit_jax.load(
    path,
    **parse(
      "--gelu=exact",
      "--layer_norm_eps=1e-5",
      "--size=16,12",
      "--crop=0.875",
      f"--classes={tmp_path / 'names.txt'}",
    ),
  )
  assert model.module.gelu == "exact" and model.module.layer_norm_eps == 1e-5
  assert preprocess.size == (16, 12) and preprocess.crop == 0.875
  assert model.class_names == tuple(NAMES)
  assert model.manifest["preprocess"]["crop"] == 0.875
  _, preprocess = vit_jax.load(path, **parse("--crop=whole", "--size=4"))
  assert preprocess.crop is None and preprocess.size == (4, 4)
  with pytest.raises(ConfigError, match="--size=a must be H,W"):
    parse("--size=a")


@pytest.mark.parametrize(
  "content",
  [
    NAMES,
    {str(i): name for i, name in enumerate(NAMES)},
    {str(i): [f"n{i}", name] for i, name in enumerate(NAMES)},
  ],
)
def test_names_of_classes_in_json(path, tmp_path, content):
  (tmp_path / "names.json").write_text(json.dumps(content))
  model, _ = vit_jax.load(path, classes=tmp_path / "names.json")
  assert model.class_names == tuple(NAMES)
  assert vit_jax.load(path, classes=NAMES)[0].class_names == tuple(NAMES)


@pytest.mark.parametrize(
  "content, message",
  [
    ("a\nb\n", "has 2 names, and .* has 5 classes"),
    ('{"1": "a"}', "keys are 0, 1, 2"),
    ("[1", "keys are 0, 1, 2"),
    (None, "names.txt"),
  ],
)
def test_names_that_can_not_be(path, tmp_path, content, message):
  if content is not None:
    (tmp_path / "names.txt").write_text(content)
  with pytest.raises(ConfigError, match=f"classes=.*{message}"):
    vit_jax.load(path, classes=tmp_path / "names.txt")


@pytest.mark.parametrize("crop", [0, 1.5, "half", True])
def test_crops_that_can_not_be(path, crop):
  with pytest.raises(ConfigError, match="crop=.*share"):
    vit_jax.load(path, crop=crop)
