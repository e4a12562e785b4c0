# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The same photographs through our pre-processing and through theirs.

timm's own transform needs torchvision. Where that is missing, it is written out
with Pillow; transformers has processors of Pillow.
"""

import dataclasses
import importlib.util
import json
import math

import jax
import numpy as np
import pytest
from PIL import Image

from tests.judges import make_weights
from vit_jax.convert import load_weights, save_weights
from vit_jax.data.preprocess import Preprocess

pytestmark = pytest.mark.judges

# Higher than wide, wider than high, odd, small, and all but a square.
SIZES = ((150, 100), (97, 211), (333, 250), (40, 60), (128, 127))
# Differences of values in [-1, 1]: a step of 255 is 7.8e-3, and float32 rounds
# sums of another order by 1e-7 a value.
ROUNDING = 1e-6


def make_photographs():
  """Images like photographs: waves of all lengths, edges, and some noise."""
  rng = np.random.default_rng(3)
  for height, width in SIZES:
    y, x = np.mgrid[:height, :width]
    image = np.zeros((height, width, 3))
    for length in (200, 60, 20, 6):
      angle, phase = rng.uniform(0, 2 * np.pi, 2)
      wave = (x * np.cos(angle) + y * np.sin(angle)) / length * 2 * np.pi
      image += rng.uniform(0.3, 1, 3) * np.sin(wave + phase)[..., None]
    image += 2 * (x * 0.7 > y)[..., None] + rng.normal(0, 0.2, image.shape)
    image -= image.min()
    yield (255 * image / image.max()).round().astype(np.uint8)


def transform_by_timm(timm, cfg):
  """timm's evaluation transform of a config, as a function of an image."""
  if not importlib.util.find_spec("torchvision"):
    return lambda image: transform_by_pillow(image, cfg)
  from timm.data import create_transform, resolve_data_config

  data = resolve_data_config({}, pretrained_cfg=cfg)
  transform = create_transform(**data)
  return lambda image: np.moveaxis(
    transform(Image.fromarray(image)).numpy(), 0, -1
  )


def transform_by_pillow(image, cfg):
  """What timm's transform does, written out."""
  _, height, width = cfg["input_size"]
  kernel = Image.Resampling[cfg["interpolation"].upper()]
  around = [math.floor(side / cfg["crop_pct"]) for side in (height, width)]
  (h, w), size = image.shape[:2], around
  if cfg["crop_mode"] != "squash":
    ratio = min(h / around[0], w / around[1])
    size = [round(h / ratio), round(w / ratio)]
    if around[0] == around[1]:
      long = int(around[0] * max(h, w) / min(h, w))
      size = [long, around[0]] if w <= h else [around[0], long]
  picture = Image.fromarray(image).resize((size[1], size[0]), kernel)
  top, left = round((size[0] - height) / 2), round((size[1] - width) / 2)
  values = np.asarray(picture)[top : top + height, left : left + width]
  mean, std = (np.float32(cfg[name]) for name in ("mean", "std"))
  return (values.astype(np.float32) / 255 - mean) / std


def check_pixels(preprocess, transform):
  """Every photograph gives the same values in both."""
  for image in make_photographs():
    ours, theirs = preprocess(image)[0], transform(image)
    assert ours.shape == theirs.shape
    scale = 1 / min(preprocess.std)
    assert np.abs(ours - theirs).max() <= ROUNDING * scale, image.shape


def make_preprocess(**pixels):
  """What `write` writes of pixels."""
  return Preprocess(
    height=48, width=48, channels=3, **dict(resize="bicubic") | pixels
  )


def write(tmp_path, form, size=(48, 48), **pixels):
  """A small model's directory in a format, as its own programs read it."""
  weights = make_weights(
    "Ti/16",
    size,
    depth=1,
    gelu="exact",
    preprocess=dict(resize="bicubic") | pixels,
  )
  path = tmp_path / "model"
  save_weights(weights, str(path), form, say=lambda line: None)
  (path / "model.safetensors.json").unlink()  # Theirs alone.
  return path


def rewrite(path, **changes):
  """Changes keys of a JSON file."""
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


TIMM = [
  *(
    dict(crop_pct=share, crop_mode=mode, interpolation=kernel)
    for share in (1.0, 0.95, 0.9, 0.875)
    for mode, kernel in (("center", "bicubic"), ("squash", "bilinear"))
  ),
  dict(crop_pct=0.85, crop_mode="center", interpolation="lanczos"),
]


@pytest.mark.parametrize("size", [(48, 48), (48, 80)])
@pytest.mark.parametrize(
  "changes", TIMM, ids=lambda x: "-".join(map(str, x.values()))
)
def test_what_timm_says_of_pixels(timm, tmp_path, size, changes):
  path = write(tmp_path, "timm", size)
  config = json.loads((path / "config.json").read_text())
  cfg = config["pretrained_cfg"] | changes
  cfg |= dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
  rewrite(path / "config.json", pretrained_cfg=cfg)
  preprocess = load_weights(str(path)).preprocess
  check_pixels(preprocess, transform_by_timm(timm, cfg))


OURS = [
  dict(),
  dict(resize="bilinear_antialias"),
  dict(resize="lanczos", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)),
  dict(crop=0.875, rounding="timm"),
  dict(crop=0.9, rounding="timm"),
  dict(crop=0.7, rounding="timm", squash=True),
]


@pytest.mark.parametrize("pixels", OURS)
def test_timm_reads_our_pixels(timm, tmp_path, pixels):
  path = write(tmp_path, "timm", **pixels)
  cfg = json.loads((path / "config.json").read_text())["pretrained_cfg"]
  expected = make_preprocess(**pixels)
  check_pixels(expected, transform_by_timm(timm, cfg))
  assert load_weights(str(path)).preprocess == expected


@pytest.fixture(scope="session")
def process(transformers):
  """(directory) -> the processor's function of an image, through Pillow."""

  def process(directory):
    processor = transformers.AutoImageProcessor.from_pretrained(
      str(directory), backend="pil"
    )
    return lambda image: np.moveaxis(
      processor(Image.fromarray(image), return_tensors="np").pixel_values[0],
      0,
      -1,
    )

  return process


CROP = dict(do_center_crop=True, crop_size=dict(height=48, width=48))
PROCESSORS = [
  dict(),
  *(dict(resample=number) for number in (1, 2, 3)),
  dict(do_normalize=False),
  dict(do_rescale=False),
  dict(do_rescale=False, do_normalize=False),
  dict(rescale_factor=1 / 127.5, image_mean=[1, 1, 1], image_std=[1, 1, 1]),
  dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
  CROP | dict(size=dict(shortest_edge=55)),
  CROP | dict(size=dict(shortest_edge=48)),
  CROP | dict(size=dict(height=54, width=54)),
  dict(do_center_crop=True, crop_size=48, size=54),
]


@pytest.mark.parametrize("changes", PROCESSORS)
def test_what_a_processor_says_of_pixels(process, tmp_path, changes):
  path = write(tmp_path, "hugging_face")
  rewrite(path / "preprocessor_config.json", **changes)
  check_pixels(load_weights(str(path)).preprocess, process(path))


@pytest.mark.parametrize(
  "pixels",
  [
    *OURS[:3],
    dict(crop=0.875, rounding="transformers"),
    dict(crop=0.8, rounding="transformers", squash=True),
  ],
)
def test_processors_read_our_pixels(process, tmp_path, pixels):
  path = write(tmp_path, "hugging_face", **pixels)
  expected = make_preprocess(**pixels)
  check_pixels(expected, process(path))
  found = load_weights(str(path)).preprocess
  assert found.around == expected.around
  check_pixels(found, process(path))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_pipeline_has_our_probabilities(transformers, tmp_path, loss):
  weights = make_weights(
    "Ti/16",
    (48, 48),
    depth=2,
    gelu="exact",
    layer_norm_eps=1e-12,
    preprocess=dict(resize="bicubic", crop=0.875, rounding="transformers"),
  )
  weights = dataclasses.replace(weights, cross_entropy=loss)
  save_weights(weights, str(tmp_path / "model"), "hugging_face")
  path = str(tmp_path / "model")
  pipeline = transformers.pipeline(
    "image-classification",
    model=path,
    image_processor=transformers.AutoImageProcessor.from_pretrained(
      path, backend="pil"
    ),
    device="cpu",
  )
  (tmp_path / "model" / "model.safetensors.json").unlink()
  found = load_weights(str(tmp_path / "model"))
  assert found.cross_entropy == loss
  score = jax.nn.softmax if loss == "softmax" else jax.nn.sigmoid
  for image in make_photographs():
    rows = pipeline(Image.fromarray(image), top_k=10)
    theirs = {row["label"]: row["score"] for row in rows}
    pixels = jax.numpy.asarray(found.preprocess(image))
    logits = found.model.apply({"params": found.tree}, pixels)
    ours = np.asarray(score(logits))[0]
    for i, value in enumerate(ours):
      # Logits differ by 3e-5 of the largest, which is below 10.
      assert abs(value - theirs[f"LABEL_{i}"]) < 1e-4
