# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What others say of pixels: mapped exactly, or refused by its key."""

import dataclasses
import json
import math

import numpy as np
import pytest
from PIL import Image

from tests.support.weights import VIT, make_weights
from vit_jax.convert import CheckpointError, load_weights, save_weights
from vit_jax.convert.pixels import make_processor, make_timm_pixels
from vit_jax.data.preprocess import Preprocess


def write(tmp_path, form, size=(224, 224), classes=5, **more):
  """A directory in a format, with the files of its own programs alone."""
  preprocess = dict(resize="bicubic") | more.pop("preprocess", {})
  weights = make_weights(
    VIT | more, size=size, classes=classes, preprocess=preprocess
  )
  save_weights(weights, str(tmp_path), form)
  (tmp_path / "model.safetensors.json").unlink()
  return weights


def change(path, **keys):
  """Changes keys of a JSON file; those that are None are removed."""
  content = json.loads(path.read_text()) | keys
  path.write_text(json.dumps({k: x for k, x in content.items() if x != "none"}))


CROP = dict(do_center_crop=True, crop_size=dict(height=224, width=224))


@pytest.mark.parametrize(
  "keys, message",
  [
    (dict(resample=0), r"resample=0 \(nearest\): choose from"),
    (dict(resample=5), r"resample=5 \(hamming\)"),
    (dict(do_resize=False), "do_resize=False"),
    (dict(do_pad=True), "do_pad=True"),
    (dict(size=dict(shortest_edge=224)), "without do_center_crop"),
    (dict(size=dict(shortest_edge=2, longest_edge=3)), "size=.*choose from"),
    (dict(size=256), "size=256: config.json has an image_size of 224x224"),
    (CROP | dict(crop_size=200), "crop_size=200"),
    (CROP | dict(size=dict(shortest_edge=200)), "larger than size"),
    (CROP | dict(size=dict(height=256, width=300)), "another aspect ratio"),
    (dict(rescale_factor=-1), "rescale_factor=-1"),
    (
      dict(image_processor_type="ConvNextImageProcessor", crop_pct=0.875),
      "ConvNextImageProcessor",
    ),
  ],
)
def test_what_no_pixels_here_are_is_refused(tmp_path, keys, message):
  write(tmp_path, "hugging_face")
  change(tmp_path / "preprocessor_config.json", **keys)
  with pytest.raises(CheckpointError, match=f"(?s){message}.*remove the file"):
    load_weights(str(tmp_path))


@pytest.mark.parametrize(
  "keys, message",
  [
    (dict(crop_mode="border"), "crop_mode='border': choose from center"),
    (dict(interpolation="hamming"), "interpolation='hamming'"),
    (dict(crop_pct=1.2), "crop_pct=1.2"),
    (dict(crop_border_pixels=3), "crop_border_pixels=3"),
  ],
)
def test_what_timm_asks_for_and_is_not_here(tmp_path, keys, message):
  write(tmp_path, "timm")
  config = json.loads((tmp_path / "config.json").read_text())
  pixels = config["pretrained_cfg"] | keys
  change(tmp_path / "config.json", pretrained_cfg=pixels)
  with pytest.raises(CheckpointError, match=message):
    load_weights(str(tmp_path))


@pytest.mark.parametrize(
  "arguments, message",
  [
    (dict(act_layer="quick_gelu"), "act_layer='quick_gelu'"),
    (dict(norm_layer="rmsnorm"), "norm_layer='rmsnorm'"),
    (dict(pool_include_prefix=True), "pool_include_prefix=True"),
    (dict(global_pool="avgmax"), "global_pool='avgmax'"),
  ],
)
def test_what_timm_computes_and_no_array_shows(tmp_path, arguments, message):
  write(tmp_path, "timm")
  config = json.loads((tmp_path / "config.json").read_text())
  arguments = config["model_args"] | arguments
  change(tmp_path / "config.json", model_args=arguments)
  with pytest.raises(CheckpointError, match=message):
    load_weights(str(tmp_path))


def test_what_transformers_leaves_out_are_its_defaults(tmp_path):
  write(tmp_path, "hugging_face", gelu="exact", layer_norm_eps=1e-12)
  path = tmp_path / "preprocessor_config.json"
  path.write_text(json.dumps(dict(do_normalize=True, size=224)))
  keys = dict(hidden_act="none", layer_norm_eps="none")
  change(tmp_path / "config.json", **keys)
  found = load_weights(str(tmp_path))
  assert found.preprocess.resize == "bilinear_antialias"
  assert found.preprocess.mean == (0.5,) * 3 and found.preprocess.crop is None
  for name, value in dict(gelu="exact", layer_norm_eps=1e-12).items():
    assert found.all_fields[name] == value
    assert found.origins[name] == "the default of hugging_face"
  # A DeiT's squashes to 256 px and cuts out 224.
  path.write_text(json.dumps(dict(image_processor_type="DeiTImageProcessor")))
  found = load_weights(str(tmp_path)).preprocess
  assert found.squash and found.crop == 0.875 and found.around == (256, 256)
  assert found.resize == "bicubic"


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_what_makes_probabilities_travels(tmp_path, loss):
  weights = dataclasses.replace(make_weights(), cross_entropy=loss)
  save_weights(weights, str(tmp_path), "hugging_face")
  (tmp_path / "model.safetensors.json").unlink()
  config = json.loads((tmp_path / "config.json").read_text())
  kind = dict(softmax="single", sigmoid="multi")[loss]
  assert config["problem_type"] == f"{kind}_label_classification"
  assert load_weights(str(tmp_path)).cross_entropy == loss
  change(tmp_path / "config.json", problem_type="regression")
  with pytest.raises(CheckpointError, match="problem_type='regression'"):
    load_weights(str(tmp_path))


@pytest.mark.parametrize("side", [224, 240, 256, 384, 518, 97])
@pytest.mark.parametrize("rounding", ["big_vision", "timm", "transformers"])
def test_sides_of_a_crop_survive_every_spelling(side, rounding):
  for share in (0.95, 0.9, 0.875, 0.85, 0.7, 0.33, 1.0):
    preprocess = Preprocess(
      height=side, width=side, channels=3, crop=share, rounding=rounding
    )
    around = preprocess.around[0]
    timm = make_timm_pixels(preprocess)
    assert timm["crop_mode"] == "center"
    assert math.floor(side / timm["crop_pct"]) == around
    processor = make_processor(preprocess)
    assert processor["size"] == {"shortest_edge": around}
    assert processor["crop_size"] == dict(height=side, width=side)
    assert processor["do_center_crop"]


def test_whole_images_are_squashed_in_timm(tmp_path):
  write(tmp_path, "timm")
  config = json.loads((tmp_path / "config.json").read_text())
  found = config["pretrained_cfg"]
  assert found["crop_mode"] == "squash" and found["crop_pct"] == 1.0
  assert found["interpolation"] == "bicubic"


@pytest.mark.parametrize(
  "form, size, pixels, says",
  [
    ("hugging_face", (224, 224), dict(resize="bilinear"), ["'bilinear'"]),
    (
      "timm",
      (224, 224),
      dict(resize="area", crop=0.5),
      ["'area'", "may lie a pixel"],
    ),
    ("timm", (224, 224), dict(crop=0.5, rounding="timm"), []),
  ],
)
def test_the_nearest_is_written_and_said(tmp_path, form, size, pixels, says):
  lines = []
  pixels = dict(resize="bicubic") | pixels
  weights = make_weights(size=size, preprocess=pixels)
  save_weights(weights, str(tmp_path), form, say=lines.append)
  assert len(lines) == len(says)
  for line, part in zip(lines, says, strict=True):
    assert part in line


def test_what_has_no_place_is_an_error(tmp_path):
  pixels = dict(crop=0.5, resize="bicubic")
  weights = make_weights(size=(224, 112), preprocess=pixels)
  with pytest.raises(CheckpointError, match="no place for preprocess.crop"):
    save_weights(weights, str(tmp_path / "a"), "hugging_face")
  weights = make_weights(layer_norm_eps=1e-3)
  with pytest.raises(CheckpointError, match="layer_norm_eps=0.001") as caught:
    save_weights(weights, str(tmp_path / "b"), "timm")
  assert "--layer_norm_eps=1e-06" in str(caught.value)
  with pytest.warns(UserWarning, match="timm computes with layer_norm_eps"):
    save_weights(weights, str(tmp_path / "b.safetensors"), "timm")
  assert not (tmp_path / "b").exists()


MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV")


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_pillow_of_any_mode(channels, tmp_path):
  preprocess = Preprocess(height=9, width=12, channels=channels)
  array = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
  image = Image.fromarray(array)
  for mode in MODES:
    # Pillow makes PA of LA alone.
    source = (image.convert("LA") if mode == "PA" else image).convert(mode)
    found = preprocess(source)
    to = "L" if channels == 1 else "RGB"
    expected = np.asarray(source.convert(to)) / 127.5 - 1
    expected = expected.reshape(1, 9, 12, channels)
    np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=mode)
  deep = Image.fromarray(array[..., 0].astype(np.uint16) * 257)
  found = preprocess(deep)[..., 0]
  np.testing.assert_allclose(found[0], array[..., 0] / 127.5 - 1, atol=1e-6)
  with pytest.raises(ValueError, match="mode F: .*floating-point"):
    preprocess(image.convert("F"))
  image.save(tmp_path / "a.png")
  batch = preprocess([image, str(tmp_path / "a.png")])
  np.testing.assert_allclose(batch[0], batch[1], atol=1e-2)  # Greys by a step.


def test_a_path_of_home_and_an_upright_image(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  preprocess = Preprocess(height=4, width=6, channels=3)
  array = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
  image = Image.fromarray(array)
  exif = image.getexif()
  exif[0x0112] = 6  # To be turned by 90 degrees.
  image.save(tmp_path / "a.png", exif=exif)
  found = preprocess("~/a.png")
  upright = np.rot90(array, -1) / 127.5 - 1
  np.testing.assert_allclose(found[0], upright, atol=1e-6)
  with Image.open(tmp_path / "a.png") as opened:
    np.testing.assert_array_equal(preprocess(opened), found)
