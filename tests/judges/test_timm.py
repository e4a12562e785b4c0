# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""timm reads what we write, and we what timm writes."""

import numpy as np
import pytest

import vit_jax
from tests.judges import (
  CLASSES,
  OTHER_SIZE,
  TOLERANCE,
  check,
  make_images,
  make_weights,
  randomize,
  resize,
)
from vit_jax.convert import load_weights, save_weights

pytestmark = pytest.mark.judges

# What timm computes otherwise than the authors do.
PLAIN = dict(gelu="exact")
HYBRID = PLAIN | dict(
  group_norm_eps=1e-5, std_conv_eps=1e-8, std_conv_eps_in="variance"
)
NAMES = {
  "Ti/16": "vit_tiny_patch16_224",
  "S/32": "vit_small_patch32_224",
  "B/16": "vit_base_patch16_224",
  "L/16": "vit_large_patch16_224",
  "R+Ti/16": "vit_tiny_r_s16_p8_224",
  "R26+S/32": "vit_small_r26_s32_224",
  "R50+B/16": "vit_base_r50_s16_224",
}
TINY = "vit_tiny_patch16_224"
SHORT = {"L/16": dict(depth=4)}  # Of 24 equal blocks.


@pytest.fixture(scope="session")
def create(torch, timm):
  """Makes a model of NaN: whatever a loader forgets is seen in the logits."""

  def create(name, **arguments):
    with torch.device("meta"):
      model = timm.create_model(name, **{"num_classes": CLASSES} | arguments)
    model = model.to_empty(device="cpu").eval()
    for parameter in model.parameters():
      parameter.fill_(np.nan)
    return model

  return create


@pytest.fixture(scope="session")
def judge(torch):
  """(model, images [B H W c]) -> its logits."""
  return lambda model, images: model(
    torch.from_numpy(np.moveaxis(images, -1, 1))
  )


@pytest.fixture
def save(torch, tmp_path):
  """Writes a model's weights as timm does; gives the path."""
  from safetensors.torch import save_file

  def save(model):
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path, {"format": "pt"})
    return str(path)

  return save


@pytest.mark.parametrize("variant", NAMES)
def test_files_of_the_authors_kind(create, judge, save, tmp_path, variant):
  short = SHORT.get(variant, {})
  fields = (HYBRID if variant.startswith("R") else PLAIN) | short
  weights = make_weights(variant, **fields)
  path = str(tmp_path / "weights.npz")
  save_weights(weights, path, "authors")
  model = create(NAMES[variant], **short)
  model.load_pretrained(path)
  images = make_images()
  judged = judge(model, images)
  check(weights, images, judged)

  read = load_weights(save(model))
  assert read.form == "timm"
  assert short or read.variant == variant
  assert fields.items() <= read.fields.items()
  check(read, images, judged)

  model = create(NAMES[variant], img_size=OTHER_SIZE, **short)
  model.load_pretrained(path)
  images = make_images(OTHER_SIZE)
  resized = resize(weights, OTHER_SIZE, "bilinear")
  check(resized, images, judge(model, images))


def test_feature_maps(timm, torch, tmp_path):
  """Of each layer and at another size, with a class token and registers."""
  weights = make_weights("Ti/16", depth=3, registers=2, **PLAIN)
  path = str(tmp_path / "model")
  save_weights(weights, path, "timm")
  ours, _ = vit_jax.load(path)
  model = timm.create_model(
    f"local-dir:{path}", pretrained=True, img_size=OTHER_SIZE
  ).eval()
  images = make_images(OTHER_SIZE)
  inputs = torch.from_numpy(np.moveaxis(images, -1, 1))
  raw, normed = (
    model.forward_intermediates(inputs, norm=norm, intermediates_only=True)
    for norm in (False, True)
  )
  found = ours.features(images, range(3), resample="bicubic", antialias=True)
  for x, judged in zip(found, [*raw[:2], normed[2]], strict=True):
    assert x.shape == (2, 16, 10, 192)
    judged = np.moveaxis(np.asarray(judged), 1, -1)
    difference = np.abs(x - judged).max() / np.abs(judged).max()
    assert difference <= TOLERANCE, f"they differ by {difference:.1e}"


@pytest.mark.parametrize("prefix", ["opt/target/", "params/"])
def test_names_below_a_prefix(create, judge, tmp_path, prefix):
  # Below params/ timm takes what it finds for big_vision's.
  form = "authors" if "opt" in prefix else "big_vision"
  weights = make_weights("Ti/16", depth=2, **PLAIN)
  path = str(tmp_path / "weights.npz")
  save_weights(weights, path, form, prefix=prefix)
  model = create(TINY, depth=2, no_embed_class=form == "big_vision")
  model.load_pretrained(path)
  images = make_images()
  check(weights, images, judge(model, images))


@pytest.mark.parametrize("form", ["big_vision", "big_vision_scanned"])
@pytest.mark.parametrize("pool", ["token", "gap", "map"])
def test_files_of_big_vision(create, judge, tmp_path, pool, form):
  weights = make_weights("Ti/16", depth=2, pool=pool, **PLAIN)
  path = str(tmp_path / "weights.npz")
  save_weights(weights, path, form)
  arguments = dict(no_embed_class=True)
  if pool != "token":
    arguments = dict(class_token=False, fc_norm=False)
    arguments["global_pool"] = "avg" if pool == "gap" else pool
  for size in ((224, 224), OTHER_SIZE):
    model = create(TINY, depth=2, img_size=size, **arguments)
    model.load_pretrained(path)
    images = make_images(size)
    check(resize(weights, size, "bilinear"), images, judge(model, images))


# Architecture, its arguments, our fields.
WRITTEN = {
  "map": (
    "vit_base_patch16_siglip_224",
    dict(depth=2),
    dict(pool="map"),
  ),
  "map, and the other GELU": (
    "vit_base_patch32_siglip_256",
    dict(depth=2),
    dict(pool="map", gelu="tanh"),
  ),
  "unusual heads": (
    "vit_base_patch16_gap_224",
    dict(depth=2),
    dict(pool="gap", num_heads=16),
  ),
  "mean beside a class token": (
    "vit_small_patch16_224",
    dict(depth=2, global_pool="avg"),
    dict(pool="gap", fc_norm=True, registers=1),
  ),
  "mean of normalised tokens beside a class token": (
    TINY,
    dict(depth=2, global_pool="avg", fc_norm=False),
    dict(pool="gap", fc_norm=False, registers=1),
  ),
  "mean without a class token": (
    TINY,
    dict(depth=2, global_pool="avg", class_token=False, fc_norm=False),
    dict(pool="gap", fc_norm=False, registers=0),
  ),
  "registers that have positions": (
    TINY,
    dict(depth=2, reg_tokens=2, init_values=1e-5, qk_norm=True),
    dict(registers=2, qk_norm=True, layer_scale=1e-5),
  ),
  "registers without positions": (
    TINY,
    dict(depth=2, reg_tokens=2, no_embed_class=True),
    dict(registers=2, layer_scale=None),
  ),
  "registers and the mean": (
    "vit_base_patch16_reg4_gap_256",
    dict(depth=2),
    dict(pool="gap", registers=4),
  ),
  "SwiGLU": (
    "vit_giant_patch14_reg4_dinov2",
    dict(depth=2, embed_dim=192, num_heads=3, img_size=224),
    dict(swiglu=True, registers=4, mlp_dim=512),
  ),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_directories_that_timm_writes(timm, create, judge, tmp_path, what):
  name, arguments, fields = WRITTEN[what]
  model = create(name, **arguments)
  randomize(model)
  timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
  weights = load_weights(str(tmp_path))
  read = {key: weights.fields.get(key) for key in fields}
  assert (weights.form, read) == ("timm", fields)
  images = make_images(weights.size)
  check(weights, images, judge(model, images))


# Ours, and how many channels; config.json tells timm the rest.
READ = {
  "tokens": ("Ti/16", 3, {}),
  "hybrid": ("R26+S/32", 3, HYBRID),
  "root alone": ("R+Ti/16", 1, HYBRID),
  "other patches": ("Ti/32", 1, dict(gelu="tanh", fc_norm=True)),
  "mean": ("Ti/16", 3, dict(pool="gap", fc_norm=True)),
  "mean with registers": ("Ti/16", 3, dict(pool="gap", registers=2)),
  "map": ("Ti/16", 3, dict(pool="map", qk_norm=True)),
  "registers": ("Ti/16", 3, dict(registers=2, layer_scale=0.1)),
}


@pytest.mark.parametrize("what", READ)
def test_directories_that_timm_reads(timm, judge, tmp_path, what):
  variant, channels, fields = READ[what]
  size = (128, 96)
  weights = make_weights(variant, size, channels, **PLAIN | fields)
  save_weights(weights, str(tmp_path / "model"), "timm")
  directory = f"local-dir:{tmp_path / 'model'}"
  model = timm.create_model(directory, pretrained=True).eval()
  images = make_images(size, channels)
  check(weights, images, judge(model, images))


@pytest.mark.parametrize(
  "fields",
  [
    dict(width=48, depth=2, mlp_dim=70, num_heads=3),
    dict(depth=2, swiglu=True, mlp_dim=100, registers=2),
    dict(depth=2, swiglu=True, mlp_dim=64, layer_scale=0.1, gelu="exact"),
    dict(depth=2, mlp_dim=100, pool="map", gelu="tanh"),
    dict(depth=2, pool="gap", fc_norm=True, gelu="tanh"),
  ],
)
def test_directories_of_models_without_a_name(timm, judge, tmp_path, fields):
  size = (48, 64)
  weights = make_weights("Ti/16", size, **dict(gelu="exact") | fields)
  path = tmp_path / "model"
  save_weights(weights, str(path), "timm", say=lambda line: None)
  model = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
  images = make_images(size)
  check(weights, images, judge(model, images))
  (path / "model.safetensors.json").unlink()
  check(load_weights(str(path)), images, judge(model, images))
