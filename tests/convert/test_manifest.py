# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What lies beside the weights of others, and what it must agree with."""

import json
import warnings

import jax
import numpy as np
import pytest

import vit_jax
from tests.support.weights import (
  VIT,
  check_params,
  make_tiny_weights,
  make_weights,
  read_arrays,
)
from vit_jax.convert import CheckpointError, load_weights, save_weights
from vit_jax.convert.npz import POSITION
from vit_jax.convert.storing import write_safetensors


def write(tmp_path, form, changes=None, **fields):
  """A directory in a format of PyTorch's, its config.json changed."""
  names = tuple("abcde")
  save_weights(
    make_tiny_weights(names=names, **fields), str(tmp_path / "w"), form
  )
  (tmp_path / "w" / "model.safetensors.json").unlink()
  path = tmp_path / "w" / "config.json"
  config = json.loads(path.read_text())
  if form == "timm":  # As if it were a model that timm has a name for.
    config |= {"architecture": "vit_tiny_patch16_224", "model_args": {}}
    del config["label_names"]
  path.write_text(json.dumps(config | (changes or {})))
  return str(tmp_path / "w")


@pytest.mark.parametrize(
  "form, changes, message",
  [
    (
      "hugging_face",
      {"id2label": {"0": "a", "1": "b", "2": "c"}},
      "num_classes=3, but the arrays show 5",
    ),
    (
      "hugging_face",
      {"hidden_size": 99, "num_hidden_layers": 40},
      "model.width=99, but the arrays show 32",
    ),
    (
      "timm",
      {"num_classes": 99, "model_args": {"num_heads": 2}},
      "num_classes=99, but the arrays show 5",
    ),
  ],
)
def test_a_config_that_is_of_other_arrays(form, changes, message, tmp_path):
  path = write(tmp_path, form, changes)
  with pytest.raises(CheckpointError, match=message):
    load_weights(path, source_size=(8, 8))


@pytest.mark.parametrize(
  "changes, expected",
  [
    ({"model_args": {"num_heads": 4}}, dict(num_heads=4, gelu="exact")),
    (
      {"model_args": {"num_heads": 2, "act_layer": "gelu_tanh"}},
      dict(num_heads=2, gelu="tanh"),
    ),
    (
      {"architecture": "vit_so400m_patch16_siglip_256"},
      dict(num_heads=2, gelu="tanh"),
    ),
    (
      {"architecture": "vit_so400m_patch14_siglip_224"},
      dict(num_heads=2, gelu="exact"),
    ),
    ({"architecture": "vit_base_patch16_gap_224"}, dict(num_heads=16)),
    ({"architecture": "vit_medium_patch16_reg4_gap_256"}, dict(num_heads=8)),
    (
      {"architecture": "vit_giantopt_patch16_siglip_256"},
      dict(num_heads=16, gelu="tanh"),
    ),
  ],
)
def test_what_timm_says_of_a_model(changes, expected, tmp_path):
  path = write(tmp_path, "timm", changes | {"label_names": list("vwxyz")})
  weights = load_weights(path, source_size=(8, 8))
  assert {name: weights.fields[name] for name in expected} == expected
  assert weights.class_names == tuple("vwxyz")


def test_a_size_that_patches_do_not_divide(tmp_path):
  """As SigLIP's 384 px of patches of 14 px, whose last 6 px timm leaves out."""
  path = write(tmp_path, "timm")
  patch = load_weights(path).fields["patch_size"]
  size = 8 + patch - 1, 8
  with pytest.raises(CheckpointError) as error:
    load_weights(path, source_size=size)
  for text in (f"no multiple of patches of {patch} px", "source_size=(8, 8)"):
    assert text in str(error.value)


@pytest.mark.parametrize("form", ["timm", "hugging_face"])
def test_a_config_that_others_wrote_beside_our_manifest(form, tmp_path):
  directory = tmp_path / "w"
  weights = make_tiny_weights(names=tuple("abcde"))
  save_weights(weights, str(directory), form)
  assert load_weights(str(directory)).class_names == tuple("abcde")
  path = directory / "config.json"
  config = json.loads(path.read_text())
  if form == "timm":
    config["label_names"] = list("vwxyz")
    config["pretrained_cfg"]["mean"] = [0.4, 0.4, 0.4]
    changed = "preprocess.mean, class_names"
  else:
    config["id2label"] = dict(enumerate("vwxyz"))
    config |= {"hidden_act": "gelu", "layer_norm_eps": 1e-3}
    changed = "model.gelu, model.layer_norm_eps, class_names"
  path.write_text(json.dumps(config))
  message = f"differ in {changed}: another program .* remove model.safetensors"
  with pytest.raises(CheckpointError, match=message):
    load_weights(str(directory))
  (directory / "model.safetensors.json").unlink()
  assert load_weights(str(directory)).class_names == tuple("vwxyz")


def test_a_default_of_transformers_changes_no_manifest(tmp_path):
  """Of a directory that was copied without preprocessor_config.json."""
  mean = {"preprocess": dict(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))}
  weights = make_weights(VIT, **mean)
  save_weights(weights, str(tmp_path / "w"), "hugging_face")
  (tmp_path / "w/preprocessor_config.json").unlink()
  assert load_weights(str(tmp_path / "w")).preprocess.mean == (0.4, 0.5, 0.6)


@pytest.mark.parametrize("manifest", [True, False])
def test_a_class_token_may_have_a_norm_after_it(manifest, tmp_path):
  weights = make_tiny_weights(pool="token", fc_norm=True)
  save_weights(weights, str(tmp_path / "w"), "timm")
  if not manifest:
    (tmp_path / "w/model.safetensors.json").unlink()
  found = load_weights(str(tmp_path / "w"))
  fields = found.all_fields
  assert (fields["pool"], fields["registers"]) == ("token", 0)
  assert fields["fc_norm"]
  assert found.params.keys() == weights.params.keys()
  for name, array in weights.params.items():
    np.testing.assert_array_equal(found.params[name], array)


def test_swiglu_beside_attention_pooling_is_no_model_of_timm(tmp_path):
  """Its pooling has an MLP of twice the width there, without a gate."""
  weights = make_weights(VIT, swiglu=True, pool="map", layer_norm_eps=1e-6)
  with pytest.raises(CheckpointError, match="another MLP in their attention"):
    save_weights(weights, str(tmp_path / "w"), "timm")
  path = str(tmp_path / "w.safetensors")
  save_weights(weights, path, "timm")
  check_params(load_weights(path).params, weights.params)


def test_one_class_is_no_softmax_to_transformers(tmp_path):
  """It raises for problem_type=single_label_classification of one class."""
  weights = make_weights(VIT, classes=1, class_names=("a",))
  save_weights(weights, str(tmp_path / "w"), "hugging_face")
  config = json.loads((tmp_path / "w/config.json").read_text())
  assert config["id2label"] == {"0": "a"} and "problem_type" not in config


def test_a_classifier_does_not_read_the_pooler(tmp_path):
  path = write(tmp_path, "hugging_face")
  plain = load_weights(path)
  file = f"{path}/model.safetensors"
  arrays = read_arrays(file)
  pooler = {
    "vit.pooler.dense.weight": np.eye(32, dtype=np.float32),
    "vit.pooler.dense.bias": np.zeros(32, np.float32),
  }
  write_safetensors(file, {**arrays, **pooler}, {}, overwrite=True)
  found = load_weights(path)
  assert found.params.keys() == plain.params.keys()
  assert "representation_size" not in {
    name for name, value in found.fields.items() if value
  }


def test_a_size_that_nothing_states_is_warned_of(tmp_path):
  weights = make_tiny_weights((112, 448), channels=1, classes=2)
  # As many patches as a square of 224 px.
  assert weights.params[POSITION].shape[1] == 1 + 112 * 112
  save_weights(weights, str(tmp_path / "a.npz"), "authors")
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    model, _ = vit_jax.load(tmp_path / "a.npz")
    assert model.manifest["preprocess"]["height"] == 112
    (tmp_path / "a.npz.json").unlink()
    vit_jax.load(tmp_path / "a.npz", source_size=(112, 448))
  with pytest.warns(UserWarning, match="224x224 px.* source_size"):
    vit_jax.load(tmp_path / "a.npz")


def test_a_mesh_of_the_callers_own_is_left_alone(tmp_path):
  save_weights(make_tiny_weights(), str(tmp_path / "a.npz"), "authors")
  with jax.set_mesh(jax.make_mesh((1,), ("data",))):
    model, preprocess = vit_jax.load(tmp_path / "a.npz")
    logits = model(preprocess(np.zeros((8, 8, 3), np.uint8)))
  assert logits.shape == (1, 5)
