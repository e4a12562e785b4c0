# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Prefixes of names, and files of models that are none of ours."""

import re

import numpy as np
import pytest

import vit_jax
from tests.support.weights import (
  VIT,
  check_params,
  check_refused,
  edit,
  make_tiny_weights,
  make_weights,
)
from vit_jax.convert import load_weights, save_weights
from vit_jax.convert.initialize import initialize
from vit_jax.convert.storing import write_safetensors
from vit_jax.convert.transfer import Transfer
from vit_jax.models import make_model


def write(tmp_path, form="timm", change=None, **fields):
  """A file in a format, its arrays changed, without what says the rest."""
  weights = make_weights(VIT | fields)
  name = "x.npz" if form in ("authors", "big_vision") else "x.safetensors"
  save_weights(weights, str(tmp_path / name), form)
  if change:
    edit(tmp_path / name, change)
  return str(tmp_path / name), weights


def put(prefix, *more):
  """Puts a prefix before all names, and adds arrays beside them."""
  beside = {name: np.ones(3, np.float32) for name in more}
  return lambda arrays: {prefix + n: x for n, x in arrays.items()} | beside


@pytest.mark.parametrize("form", ["timm", "hugging_face"])
@pytest.mark.parametrize(
  "prefix", ["module.", "model.", "backbone.", "module._orig_mod.", "net.enc."]
)
def test_what_wraps_a_model_is_stripped(form, prefix, tmp_path):
  change = put(prefix, "criterion.weight", "head.extra")
  path, weights = write(tmp_path, form, change)
  found = load_weights(path)
  check_params(found.params, weights.params)
  assert found.prefix == prefix and found.form == form
  assert found.beside == ("criterion.weight", "head.extra")
  with pytest.warns(UserWarning, match=rf"'{prefix}'.*2 arrays.*criterion"):
    vit_jax.load(path)


@pytest.mark.parametrize("prefix", ["model/", "state/model/params/", "params/"])
def test_prefixes_of_npz_files(prefix, tmp_path):
  path, weights = write(tmp_path, "authors", put(prefix, "step"))
  found = load_weights(path)
  check_params(found.params, weights.params)
  assert found.prefix == prefix and found.beside == ("step",)


def test_two_models_in_a_file_are_not_chosen_from(tmp_path):
  def twice(arrays):
    return put("student.")(arrays) | put("teacher.")(arrays)

  path, _ = write(tmp_path, "timm", twice)
  check_refused(path, "2 models", "'student.'", "'teacher.'")


def test_a_head_beside_the_prefix_is_left_out_and_said(tmp_path):
  def wrap(arrays):
    return {
      name if name.startswith("head.") else f"backbone.{name}": x
      for name, x in arrays.items()
    }

  path, _ = write(tmp_path, "timm", wrap)
  (tmp_path / "x.safetensors.json").unlink()
  found = load_weights(path, num_heads=2)
  assert found.num_classes == 0
  assert set(found.beside) == {"head.weight", "head.bias"}


# What tells a file, beside what a ViT of timm or Hugging Face has.
FOREIGN = {
  "DeiT with a distillation token": ("timm", ["dist_token"]),
  "DINOv2 as its authors": ("timm", ["mask_token", "blocks.0.ls1.gamma"]),
  "DINOv2 of Hugging Face": (
    "hugging_face",
    ["dinov2.embeddings.mask_token", "encoder.layer.0.layer_scale1.lambda1"],
  ),
  "masked autoencoder": ("timm", ["decoder_pos_embed"]),
  "CLIP, as timm": ("timm", ["norm_pre.weight"]),
  "CLIP of OpenAI": (
    None,
    ["visual.class_embedding", "visual.transformer.resblocks.0.ln_1.weight"],
  ),
  "CLIP of Hugging Face": (None, ["vision_model.pre_layrnorm.weight"]),
  "SigLIP of Hugging Face": (None, ["vision_model.head.probe"]),
  "BEiT": (None, ["blocks.0.attn.relative_position_bias_table"]),
  "Swin": (None, ["layers.0.blocks.0.attn.relative_position_bias_table"]),
  "ViT of torchvision": (
    None,
    ["conv_proj.weight", "encoder.layers.encoder_layer_0.ln_1.weight"],
  ),
  "ResNet with batch": (None, ["bn1.running_mean"]),
  "LoRA": (None, ["base_model.model.blocks.0.attn.qkv.lora_A.weight"]),
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_foreign_models_are_named_with_what_told_them(what, prefix, tmp_path):
  form, names = FOREIGN[what]
  if form:
    path, _ = write(tmp_path, form, put("", *names))
    edit(path, put(prefix))
  else:
    path = str(tmp_path / "x.safetensors")
    arrays = {prefix + name: np.ones(3, np.float32) for name in names}
    write_safetensors(path, arrays, {})
  text = check_refused(path, what, *(f"{prefix}{name} (3,)" for name in names))
  assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
  "lacking, word",
  [
    ("blocks.0.attn.qkv.bias", "qkv_bias=False"),
    ("norm.weight", "without a norm after its blocks"),
    ("blocks.0.norm1.bias", "RMSNorm"),
  ],
)
def test_what_ours_have_and_a_file_lacks_is_named(lacking, word, tmp_path):
  kind = lacking.replace(".0.", r"\.\d+\.")

  def drop(arrays):
    return {n: x for n, x in arrays.items() if not re.fullmatch(kind, n)}

  path, _ = write(tmp_path, "timm", drop)
  text = check_refused(path, word, lacking)
  assert "likeliest" not in text and len(text.splitlines()) == 1


def start(weights, variant, size=(224, 224)):
  model = make_model(weights.num_classes, variant=variant, dtype="float32")
  return initialize(weights, model, size, 3, Transfer())


def test_weights_of_another_size_say_which_model_to_use():
  weights = make_weights(dict(variant="Ti/16"))
  with pytest.raises(vit_jax.config.ConfigError) as caught:
    start(weights, "B/16")
  text = str(caught.value)
  assert "use model=Ti/16" in text and len(text.splitlines()) == 1
  assert start(weights, "Ti/16")[1].loaded


def test_a_default_is_not_what_the_source_has(tmp_path):
  weights = make_tiny_weights(gelu="exact")
  model = make_model(5, **VIT | dict(variant="mu/2", dtype="float32"))
  path = str(tmp_path / "x.safetensors")
  save_weights(weights, path, "timm")
  _, report = initialize(load_weights(path), model, (8, 8), 3, Transfer())
  assert any("the source has 'exact'" in x for x in report.warnings)
  (tmp_path / "x.safetensors.json").unlink()
  bare = load_weights(path, source_size=(8, 8), num_heads=2)
  _, report = initialize(bare, model, (8, 8), 3, Transfer())
  (warning,) = [x for x in report.warnings if "gelu" in x]
  assert "the default of timm" in warning and "source has" not in warning
