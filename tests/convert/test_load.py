# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""`vit_jax.load`: from a path and pictures to logits."""

import dataclasses
import os

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vit_jax
from tests.support.weights import make_tiny_weights
from vit_jax.config import ConfigError
from vit_jax.convert import load, save_weights
from vit_jax.convert.npz import POSITION
from vit_jax.convert.resample import resample_positions
from vit_jax.data import sources
from vit_jax.train import train


@pytest.fixture
def path(tmp_path):
  """Weights of a small model for colour images of 8 by 12 px."""
  weights = make_tiny_weights((8, 12), names=tuple("abcde"))
  save_weights(weights, str(tmp_path / "a.npz"), "authors")
  return tmp_path / "a.npz"


def test_a_run_is_loaded_with_its_eyes(config, tmp_path):
  """The evaluation's number comes out of files, through the library."""
  config["data"] |= dict(eval_crop=0.8, eval_rounding="timm")
  result = train(config, str(tmp_path / "run"))
  model, preprocess = vit_jax.load(tmp_path / "run")
  assert (preprocess.crop, preprocess.rounding) == (0.8, "timm")
  examples = sources.open_source(
    "tfds:digits", "test[:40]", config["data"]["dir"]
  )
  images = preprocess([example["image"] for example in examples])
  assert images.shape == (40, 8, 8, 1) and images.dtype == np.float32
  found = np.asarray(model(images)).argmax(axis=-1)
  labels = [example["label"] for example in examples]
  assert int((found == labels).sum()) == result["correct"]
  assert model.class_names == tuple("0123456789")
  assert model.module.dropout == 0.1


def test_logits_are_those_of_the_module(path):
  model, preprocess = vit_jax.load(path, gelu="exact")
  assert model.module.gelu == "exact" and model.module.dtype == "float32"
  assert model.class_names == tuple("abcde")
  images = np.random.default_rng(0).normal(size=(2, 8, 12, 3))
  images = images.astype(np.float32)
  params = jax.tree.map(np.asarray, make_tiny_weights((8, 12)).tree)
  expected = model.module.apply({"params": params}, jnp.asarray(images))
  np.testing.assert_allclose(model(images), expected, rtol=1e-5, atol=1e-5)
  logits, found = model(images, intermediates=True)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
  assert found["attention"].shape == (2, 2, 2, 25, 25)


@pytest.mark.parametrize(
  "platform, overrides, dtype",
  [
    ("cpu", {}, "float32"),
    ("gpu", {}, "bfloat16"),
    ("tpu", {}, "bfloat16"),
    ("tpu", dict(dtype="float32"), "float32"),
    ("cpu", dict(dtype="bfloat16"), "bfloat16"),
  ],
)
def test_accelerators_compute_in_bfloat16(
  path, monkeypatch, platform, overrides, dtype
):
  monkeypatch.setattr(load, "start_backend", lambda: platform)
  model, preprocess = vit_jax.load(path, **overrides)
  assert model.module.dtype == model.manifest["model"]["dtype"] == dtype
  logits = model(preprocess(np.zeros((8, 8, 3), np.uint8)))
  assert logits.dtype == np.float32


def test_jax_is_started_before_weights_are_read(path, monkeypatch):
  done, read = [], load.load_weights
  monkeypatch.setattr(load, "start_backend", lambda: done.append("start"))
  monkeypatch.setattr(
    load, "load_weights", lambda *x, **y: done.append("read") or read(*x, **y)
  )
  load.load_as(path)
  assert done == ["start", "read"]


def test_weights_without_a_head_give_the_representation(tmp_path):
  weights = make_tiny_weights((8, 12), classes=0)
  save_weights(weights, str(tmp_path / "a.npz"), "authors")
  model, _ = vit_jax.load(tmp_path / "a.npz")
  images = np.ones((2, 8, 12, 3), np.float32)
  logits, found = model(images, intermediates=True)
  assert logits.shape == (2, 32)
  np.testing.assert_array_equal(logits, found["pre_logits"])


def test_a_head_can_be_left_out(path):
  model, preprocess = vit_jax.load(path, num_classes=0)
  assert "head" not in model.params and model.class_names == ()
  assert model(preprocess(np.zeros((8, 8, 3), np.uint8))).shape == (1, 32)
  assert len(repr(model)) < 2000


def test_a_name_needs_a_directory():
  with pytest.raises(ConfigError, match="directory=DIR"):
    vit_jax.load("augreg:B/16")


def test_another_size_and_patch(path):
  model, preprocess = vit_jax.load(path, size=(16, 12), resample="bicubic")
  assert preprocess.size == (16, 12)
  source = make_tiny_weights((8, 12)).params[POSITION]
  np.testing.assert_array_equal(
    model.params["Transformer"]["posembed_input"]["pos_embedding"],
    resample_positions(source, (4, 6), (8, 6), "bicubic"),
  )
  model, preprocess = vit_jax.load(path, size=24, patch_size=4)
  assert model.params["embedding"]["kernel"].shape == (4, 4, 3, 32)
  assert model(preprocess(np.zeros((5, 5, 3), np.uint8))).shape == (1, 5)


def write(path, image):
  """An image file; OpenCV has blue first."""
  assert cv2.imwrite(str(path), image[..., ::-1])
  return path


def test_pictures_of_any_kind_become_input(path, tmp_path):
  _, preprocess = vit_jax.load(path)
  colour = np.full((30, 20, 3), (255, 51, 0), np.uint8)
  grey = np.full((9, 9, 1), 102, np.uint8)
  file = write(tmp_path / "a.png", colour)
  batch = preprocess(
    [file, str(file), file.read_bytes(), colour, grey, grey[:, :, 0]]
  )
  assert batch.shape == (6, 8, 12, 3) and batch.dtype == np.float32
  for image in batch[:4]:
    np.testing.assert_allclose(image[3, 4], [1, -0.6, -1], rtol=1e-5)
  for image in batch[4:]:
    np.testing.assert_allclose(image, np.full((8, 12, 3), -0.2), rtol=1e-5)
  np.testing.assert_array_equal(preprocess(file), batch[:1])
  np.testing.assert_array_equal(preprocess(colour[None]), batch[3:4])
  assert preprocess([]).shape == (0, 8, 12, 3)


def test_the_middle_is_cut_where_the_weights_want_it(tmp_path):
  weights = make_tiny_weights()
  pixels = dict(crop=0.5, mean=(0.0,) * 3, std=(1.0,) * 3)
  preprocess = dataclasses.replace(weights.preprocess, **pixels)
  weights = dataclasses.replace(weights, preprocess=preprocess)
  save_weights(weights, str(tmp_path / "a.npz"), "authors")
  _, preprocess = vit_jax.load(tmp_path / "a.npz")
  image = np.zeros((16, 32, 3), np.uint8)
  image[4:12, 12:20] = 255
  np.testing.assert_array_equal(preprocess(image), np.ones((1, 8, 8, 3)))


@pytest.mark.parametrize(
  "overrides, message",
  [
    (dict(gelo="exact"), "gelo.*gelu"),
    (dict(num_classes=7), "has 5 classes, not 7; .*--config.init="),
    (dict(size=9), "data.size=9 is not a multiple of 2.* take 8 or 10"),
    (dict(pool="gap"), "override.*pool='gap', but the arrays show 'token'"),
    (dict(gelu="erf"), "gelu='erf'.*'tanh', 'exact'"),
    (dict(resample="cubic"), "resample='cubic'"),
    (dict(antialias=True, size=16), "antialias.*resample='bilinear'"),
    (dict(size="384"), "size='384'"),
    (dict(size=(16,), patch_size=0), "size=.*\n.*patch_size=0"),
    (dict(num_classes="9"), "num_classes='9'"),
    (dict(attention="flash"), "attention='flash' needs a TPU, and this is cpu"),
  ],
)
def test_overrides_that_can_not_be(path, overrides, message):
  with pytest.raises(ConfigError, match=f"(?s){message}"):
    vit_jax.load(path, **overrides)


@pytest.mark.parametrize(
  "images",
  [
    np.zeros((1, 8, 8, 3), np.float32),
    np.zeros((8, 12, 3), np.float32),
    np.zeros((1, 8, 12, 3), np.uint8),
  ],
)
def test_what_is_no_input_is_named(path, images):
  model, _ = vit_jax.load(path)
  with pytest.raises(ValueError, match=r"float \(B, 8, 12, 3\)"):
    model(images)


def test_what_is_no_picture_is_named(path, tmp_path):
  _, preprocess = vit_jax.load(path)
  (tmp_path / "a.txt").write_text("no picture")
  os.mkfifo(tmp_path / "c.png")
  for name in ("a.txt", "b.png", "c.png"):
    with pytest.raises(ValueError, match=name):
      preprocess([tmp_path / name])
  with pytest.raises(ValueError, match=r"float32 \(4, 4, 3\)"):
    preprocess(np.zeros((4, 4, 3), np.float32))
  with pytest.raises(ValueError, match=r"uint8 \(4, 4, 2\)"):
    preprocess(np.zeros((4, 4, 2), np.uint8))


def test_the_package_has_nothing_else():
  with pytest.raises(AttributeError, match="has no attribute 'lode'"):
    vit_jax.lode  # noqa: B018
