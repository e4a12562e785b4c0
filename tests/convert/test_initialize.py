# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Starting a model from the weights of another."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from tests.support import build
from tests.support.weights import make_tiny_weights, make_weights
from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.convert import CheckpointError, save_weights
from vit_jax.convert.initialize import initialize
from vit_jax.convert.npz import POSITION
from vit_jax.convert.transfer import Transfer
from vit_jax.convert.weights import flatten
from vit_jax.train import train

FIELDS = dict(dtype="float32", depth=2)


def start(weights, size=(8, 8), channels=3, classes=5, names=(), **fields):
  """Initialises a small model; `transfer` may be among the fields."""
  transfer = Transfer(**fields.pop("transfer", {}))
  fields = dict(variant="mu/2", **FIELDS) | fields
  model = models.make_model(classes, **fields)
  return initialize(weights, model, size, channels, transfer, names)


def assert_equal(taken, weights, *but):
  """Everything but some paths is the source's, bit for bit."""
  for path in weights.params.keys() - set(but):
    np.testing.assert_array_equal(taken[path], weights.params[path], path)


def test_the_same_model_takes_everything():
  weights = make_tiny_weights()
  taken, report = start(weights)
  assert_equal(taken, weights)
  assert sorted(report.loaded) == sorted(weights.params)
  assert not report.resampled and not report.new and not report.dropped
  assert str(report) == "from source: 24 arrays as they are"


def test_another_resolution_zooms_the_grid_and_keeps_the_class_token():
  weights = make_tiny_weights((8, 12))
  taken, report = start(weights, (16, 20))
  assert_equal(taken, weights, POSITION)
  old, new = weights.params[POSITION][0], taken[POSITION][0]
  np.testing.assert_array_equal(new[0], old[0])
  grid = old[1:].reshape(4, 6, 32).astype(np.float64)
  expected = scipy.ndimage.zoom(grid, (8 / 4, 10 / 6, 1), order=1)
  np.testing.assert_allclose(
    new[1:].reshape(8, 10, 32), expected, rtol=1e-5, atol=1e-6
  )
  assert report.resampled == {
    POSITION: "4x6 -> 8x10 patches, align_corners_bilinear"
  }


def test_a_grid_of_as_many_patches_and_another_shape_is_resampled():
  weights = make_tiny_weights((4, 16))
  taken, report = start(weights, (8, 8))
  assert list(report.resampled) == [POSITION]
  assert np.abs(taken[POSITION] - weights.params[POSITION]).max() > 0.1


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_the_kernel_is_the_users_choice(kernel):
  weights = make_tiny_weights()
  plain, _ = start(weights, (12, 12), transfer=dict(resample=kernel))
  corners, _ = start(weights, (12, 12))
  assert np.abs(plain[POSITION] - corners[POSITION]).max() > 0.1
  wide, _ = start(
    weights, (4, 4), transfer=dict(resample=kernel, antialias=True)
  )
  narrow, _ = start(weights, (4, 4), transfer=dict(resample=kernel))
  assert np.abs(wide[POSITION] - narrow[POSITION]).max() > 0.1
  with pytest.raises(ConfigError, match="antialias.*resample='bilinear'"):
    start(weights, transfer=dict(antialias=True))


@pytest.mark.parametrize("position", ["learned_1d", "learned_2d"])
def test_positions_of_another_grid_are_made_anew_if_asked(position):
  weights = make_tiny_weights((8, 12), position=position)
  fields = dict(position=position, transfer=dict(resample="none"))
  taken, report = start(weights, (16, 20), **fields)
  assert taken.keys() == weights.params.keys() - report.new.keys()
  assert len(report.new) == (2 if position == "learned_2d" else 1)
  for path, why in report.new.items():
    assert path.startswith("Transformer/posembed_input/")
    assert why == "4x6 -> 8x10 patches, not resampled"
  taken, report = start(weights, (8, 12), **fields)
  assert not report.new and taken.keys() == weights.params.keys()


@pytest.mark.parametrize("position", ["learned_1d", "learned_2d"])
def test_positions_of_every_layer_are_resampled_too(position):
  fields = dict(position=position, position_at="every_layer")
  weights = make_tiny_weights((8, 12), **fields)
  taken, report = start(weights, (16, 12), **fields)
  root = "Transformer/encoderblock/posembed"
  if position == "learned_1d":
    name = f"{root}/pos_embedding"
    assert taken[name].shape == (2, 1, 8 * 6 + 1, 32)
    np.testing.assert_array_equal(
      taken[name][:, :, 0], weights.params[name][:, :, 0]
    )
  else:
    name = f"{root}/y_embedding"
    np.testing.assert_allclose(
      taken[name],
      scipy.ndimage.zoom(weights.params[name], (1, 2, 1), order=1),
      rtol=1e-5,
      atol=1e-6,
    )
  assert list(report.resampled) == [name]
  assert_equal(taken, weights, name)


def test_relative_positions_of_another_grid_are_an_error():
  weights = make_tiny_weights(position="relative")
  with pytest.raises(CheckpointError) as caught:
    start(weights, (12, 8), position="relative")
  assert "relative positions hold at one resolution" in str(caught.value)
  name = (
    "Transformer/encoderblock/MultiHeadDotProductAttention_0/relative/embedding"
  )
  assert f"  - {name} (2, 49, 2, 16)\n  + {name} (2, 33, 2, 16)" in str(
    caught.value
  )


def test_another_patch_size_and_number_of_channels():
  weights = make_tiny_weights()
  taken, report = start(weights, (16, 16), channels=1, variant="mu/4")
  assert report.resampled == {"embedding/kernel": "2x2x3 -> 4x4x1"}
  grey = np.random.default_rng(1).normal(size=(2, 2))
  small = np.einsum("pqcd,pq->d", weights.params["embedding/kernel"], grey)
  x = (np.arange(4) + 0.5) / 2 - 0.5  # Half-pixel centres, by hand.
  matrix = np.maximum(0, 1 - np.abs(np.clip(x, 0, 1)[:, None] - np.arange(2)))
  large = matrix @ grey @ matrix.T
  np.testing.assert_allclose(
    np.einsum("pqd,pq->d", taken["embedding/kernel"][:, :, 0], large),
    small,
    rtol=1e-5,
    atol=1e-5,
  )


@pytest.mark.parametrize(
  "source, target, why",
  [
    (dict(), dict(classes=7), "5 classes there, 7 here"),
    (dict(classes=0), dict(), "the source has none"),
    (
      dict(names=tuple("abcde")),
      dict(names=tuple("edcba")),
      "other classes",
    ),
    (
      dict(representation_size=24),
      dict(),
      "it reads another representation",
    ),
    (dict(), dict(pool="gap"), "it reads another representation"),
    (dict(), dict(fc_norm=True), "it reads another representation"),
    (dict(), dict(transfer=dict(head="drop")), "as asked"),
  ],
  ids=lambda x: "-".join(x) if isinstance(x, dict) else "",
)
def test_when_a_head_is_made_anew(source, target, why):
  weights = make_tiny_weights(**source)
  taken, report = start(weights, **target)
  assert not any(path.startswith("head/") for path in taken)
  heads = {p: x for p, x in report.new.items() if p.startswith("head/")}
  assert heads == {"head/kernel": why, "head/bias": why}
  assert f"  new: head/kernel, {why}" in str(report)
  if why != "as asked":
    with pytest.raises(CheckpointError, match=f"cannot be kept: {why}"):
      start(weights, **target | dict(transfer=dict(head="keep")))


def test_a_head_of_the_same_classes_is_kept():
  weights = make_tiny_weights(names=tuple("abcde"))
  for names in (tuple("abcde"), ()):
    taken, _ = start(weights, names=names, transfer=dict(head="keep"))
    assert_equal(taken, weights)


def test_the_pre_training_head_stays_behind():
  weights = make_tiny_weights(representation_size=24)
  _, report = start(weights, classes=3)
  assert {"pre_logits/kernel", "pre_logits/bias"} <= report.dropped.keys()
  taken, _ = start(weights, representation_size=24)
  assert_equal(taken, weights)


def test_a_class_token_comes_and_goes():
  weights = make_tiny_weights()
  taken, report = start(weights, pool="gap")
  assert "cls" in report.dropped
  assert report.resampled == {POSITION: "class token's row dropped"}
  np.testing.assert_array_equal(
    taken[POSITION], weights.params[POSITION][:, 1:]
  )
  taken, report = start(make_tiny_weights(pool="gap"))
  keeps = "--config.model.pool=gap pools as it does"
  assert report.new["cls"] == f"the source has none; {keeps}"
  assert not taken[POSITION][:, 0].any()
  assert "row of zeros" in report.resampled[POSITION]


def test_what_only_the_new_model_has_starts_anew():
  weights = make_tiny_weights()
  taken, report = start(weights, registers=2, layer_scale=0.1, qk_norm=True)
  assert_equal(taken, weights)
  assert {
    path.rpartition("/")[0].rpartition("/")[2] for path in report.new
  } == {*("", "LayerScale_0", "LayerScale_1", "query_norm", "key_norm")}


def test_another_body_is_an_error_with_all_differences():
  weights = make_tiny_weights()
  with pytest.raises(CheckpointError) as caught:
    start(weights, swiglu=True)
  text = str(caught.value)
  gate = "Transformer/encoderblock/MlpBlock_0/gate/kernel"
  assert f"  - {gate} (2, 32, 128)" in text


def test_another_size_is_an_error_with_the_keys_of_the_source():
  with pytest.raises(CheckpointError) as caught:
    start(make_tiny_weights(), depth=3, swiglu=True)
  keys = "use model=mu/2 (--config.model.variant=mu/2) --config.model.depth=2"
  assert str(caught.value).endswith(keys)


def test_of_a_model_of_another_name_the_name_is_enough():
  weights = make_weights(dict(variant="Ti/16"), size=(32, 32))
  model = models.make_model(5, variant="S/16", dtype="float32")
  with pytest.raises(CheckpointError) as caught:
    initialize(weights, model, (32, 32), 3, Transfer(), ())
  keys = "use model=Ti/16 (--config.model.variant=Ti/16)"
  assert str(caught.value).endswith(keys)


def test_what_no_array_shows_is_a_warning():
  weights = make_tiny_weights(gelu="exact")
  _, report = start(weights)
  assert report.warnings == [
    "model.gelu='tanh', but the source has 'exact'; set "
    "--config.model.gelu=exact for equal logits"
  ]
  assert not start(weights, gelu="exact")[1].warnings
  weights = make_tiny_weights(position="rope")
  assert start(weights, position="none")[1].warnings == [
    "model.position='none', but the source has 'rope'; set "
    "--config.model.position=rope for equal logits"
  ]
  weights = make_tiny_weights()
  preprocess = dataclasses.replace(weights.preprocess, mean=(0.4, 0.4, 0.4))
  weights = dataclasses.replace(weights, preprocess=preprocess)
  assert "mean [0.4, 0.4, 0.4]" in start(weights)[1].warnings[0]


@pytest.fixture
def digits(config):
  """The config of a run without chance in its parameters' average."""
  config["model"] = dict(variant="mu/2", depth=2, dtype="float32")
  config["optim"].pop("ema")
  return config


def save_source(path, **fields):
  """Weights for the digits in the authors' format."""
  weights = make_tiny_weights(channels=1, **fields)
  save_weights(weights, str(path), "authors")
  return weights


def test_a_run_starts_from_a_file(digits, tmp_path, capsys):
  weights = save_source(tmp_path / "source.npz", size=(12, 12), classes=10)
  digits |= {"init": str(tmp_path / "source.npz")}
  # The learning rate of the first step of a warm-up is zero.
  digits["train"] |= dict(steps=1)
  result = train(digits, str(tmp_path / "run"))
  assert result["steps"] == 1
  said = capsys.readouterr()
  text = said.out + said.err
  assert "source.npz: 23 arrays as they are" in text
  assert f"resampled: {POSITION}, 6x6 -> 4x4 patches" in text
  taken, _ = start(weights, channels=1, classes=10)
  exp = build(digits)
  state = exp.make_state(exp.load_init()[0])
  for path, leaf in flatten(state.params).items():
    np.testing.assert_array_equal(leaf, taken[path], path)
    assert leaf.sharding == flatten(exp.abstract_state.params)[path].sharding
  again = train(digits | {"init": str(tmp_path / "run")}, str(tmp_path / "two"))
  assert again["params_sha256"] == result["params_sha256"]
  assert again["correct"] == result["correct"]


def test_a_run_goes_on_without_its_source(digits, tmp_path):
  save_source(tmp_path / "source.npz", classes=10)
  digits |= {"init": str(tmp_path / "source.npz")}
  digits["train"] |= dict(steps=2)
  train(digits, str(tmp_path / "run"))
  (tmp_path / "source.npz").unlink()
  digits["train"] |= dict(steps=3)
  result = train(digits, str(tmp_path / "run"), extend=True)
  assert result["steps"] == 3
  with pytest.raises(ConfigError, match=r"- init=.*\n.*\+ init='other'"):
    train(digits | {"init": "other"}, str(tmp_path / "run"), extend=True)


def test_an_average_starts_from_the_source_too(digits, tmp_path):
  save_source(tmp_path / "source.npz", classes=10)
  digits["optim"]["ema"] = 0.9
  exp = build(digits | {"init": str(tmp_path / "source.npz")})
  state = exp.make_state(exp.load_init()[0])
  for a, b in zip(
    jax.tree.leaves(state.params), jax.tree.leaves(state.ema), strict=True
  ):
    np.testing.assert_array_equal(a, b)
    assert a is not b


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(init="nowhere.npz"), "nowhere.npz"),
    (dict(init=7), "init=7 must be the path of weights"),
    (dict(transfer=dict(head="drop")), "set --config.init=PATH"),
    (
      dict(init="a.npz", transfer=dict(resampling="bicubic")),
      "transfer.resample",
    ),
    (dict(init="augreg:B/16"), "transfer.directory"),
  ],
)
def test_what_can_not_be_taken_over(digits, tmp_path, change, message):
  with pytest.raises(ConfigError, match=message):
    train(digits | change, str(tmp_path / "run"))
  assert not (tmp_path / "run" / "checkpoints" / "1").exists()


def test_a_model_is_picked_by_name_from_a_directory(digits, tmp_path):
  weights = save_source(tmp_path / "good.npz", classes=10)
  (tmp_path / "index.csv").write_text(
    "name,ds,final_val,filename\nmu/2,i21k,0.5,good\nmu/2,i21k,0.4,bad\n"
  )
  digits |= {
    "init": "augreg:mu/2",
    "transfer": dict(directory=str(tmp_path)),
  }
  taken, report = build(digits).load_init()
  assert report.source.endswith("good.npz")
  assert_equal(taken, weights)


def test_grids_are_never_guessed(tmp_path):
  weights = make_tiny_weights((4, 16))
  save_weights(weights, str(tmp_path / "a.npz"), "authors")
  manifest = tmp_path / "a.npz.json"
  assert json.loads(manifest.read_text())["preprocess"]["width"] == 16
  manifest.unlink()
  from vit_jax.convert import load_weights

  with pytest.raises(CheckpointError, match="16 positions.*source_size"):
    load_weights(str(tmp_path / "a.npz"))
  found = load_weights(str(tmp_path / "a.npz"), source_size=(4, 16))
  assert found.size == (4, 16)
  assert dataclasses.replace(found, params={}).num_classes == 5
  assert jnp.asarray(found.params[POSITION]).shape == (1, 17, 32)
