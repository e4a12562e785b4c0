# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Averages of weights, to the bit, and what a greedy soup is made of."""

import dataclasses
import io
import json
import shutil
import tempfile
import tracemalloc

import numpy as np
import pytest

import vit_jax
from tests.support.weights import make_tiny_weights, make_weights
from vit_jax import soup
from vit_jax.config import ConfigError
from vit_jax.convert import averaging
from vit_jax.convert.averaging import Average, check_alike
from vit_jax.convert.weights import load_weights
from vit_jax.convert.writing import save_weights


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory):
  """Weights of a model of digits, others near it, and some far away."""
  root = tmp_path_factory.mktemp("ingredients")
  first = make_tiny_weights(classes=10, channels=1, names=tuple("0123456789"))
  random = np.random.default_rng(0)
  paths = {}
  for name, scale in (("a", 0.0), ("b", 0.01), ("c", 3.0)):
    params = {
      k: (x + scale * random.standard_normal(x.shape)).astype(np.float32)
      for k, x in first.params.items()
    }
    paths[name] = str(root / name)
    save_weights(dataclasses.replace(first, params=params), paths[name])
  return paths


def test_the_uniform_soup_is_the_mean(ingredients, tmp_path, capsys):
  out = str(tmp_path / "soup")
  soup.main([*ingredients.values(), f"--out={out}", "--json"])
  found = json.loads(capsys.readouterr().out)
  assert found["ingredients"] == list(ingredients.values())
  assert json.loads((tmp_path / "soup/soup.json").read_text()) == found
  parts = [load_weights(path) for path in ingredients.values()]
  mean = load_weights(out)
  assert mean.manifest == parts[0].manifest
  for name, array in mean.params.items():
    exact = np.mean([x.params[name].astype(np.float64) for x in parts], axis=0)
    np.testing.assert_array_equal(array, exact.astype(np.float32))
  model, _ = vit_jax.load(out)
  assert model(np.zeros((1, 8, 8, 1), np.float32)).shape == (1, 10)


def test_runs_of_different_starts_are_said(tmp_path):
  """Not those of one start, nor where one is no run."""
  paths = []
  for name, init, seed in (
    *(("a", None, 0), ("b", None, 1), ("c", None, 0)),
    *(("d", "w.npz", 0), ("e", "w.npz", 1)),
  ):
    paths.append(str(tmp_path / name))
    (tmp_path / name).mkdir()
    config = dict(init=init, train=dict(seed=seed))
    (tmp_path / name / "config.json").write_text(json.dumps(config))
  a, b, c, d, e = paths
  for same in ([a, c], [d, e], [a, str(tmp_path / "none")]):
    assert soup.describe_starts(same) is None
  assert "(seed 0, seed 1)" in soup.describe_starts([a, b, c])
  assert "(seed 0, w.npz)" in soup.describe_starts([a, d])
  for damaged in ("{", "[]", "3", '{"init": null}', '{"init": 0, "train": 3}'):
    (tmp_path / "b/config.json").write_text(damaged)
    assert soup.describe_starts([a, b]) is None


def test_a_soup_is_replaced_and_no_ingredient(ingredients, tmp_path):
  a, b, c = ingredients.values()
  out = str(tmp_path / "soup")
  soup.soup([a, b], out)
  with pytest.raises(ConfigError, match="--overwrite"):
    soup.soup([a, c], out)
  soup.soup([a, c], out, overwrite=True)
  found = json.loads((tmp_path / "soup/soup.json").read_text())
  assert found["ingredients"] == [a, c]
  # Weights that are converted to it are no soup.
  save_weights(load_weights(a), out, overwrite=True)
  assert not (tmp_path / "soup/soup.json").exists()
  for paths, over in (
    ([a, b], b),
    ([b, f"{a}/checkpoints/0"], a),
    ([b, a], f"{a}/../a/"),
  ):
    with pytest.raises(
      ConfigError, match=f"--out={over} would replace {a}|{b}"
    ):
      soup.soup(paths, over, overwrite=True)
  with pytest.raises(ConfigError, match="holds more than weights"):
    (tmp_path / "soup/thesis.tex").touch()
    soup.soup([a, b], out, overwrite=True)


def test_one_model_is_in_memory(tmp_path, monkeypatch):
  monkeypatch.setattr(averaging, "CHUNK", 1 << 14)
  weights = make_weights(dict(variant="mu/16", depth=6, width=256))
  size = sum(array.nbytes for array in weights.params.values())
  with tempfile.TemporaryFile(dir=tmp_path) as file:
    average = Average(file)
    tracemalloc.start()
    try:
      for _ in range(3):
        average.add(weights)
      assert tracemalloc.get_traced_memory()[1] < 0.5 * size
      mean = average.get()
      # A part of CHUNK float64 elements twice, and the mean.
      assert tracemalloc.get_traced_memory()[1] < 1.5 * size
    finally:
      tracemalloc.stop()
  for name, array in weights.params.items():
    np.testing.assert_array_equal(mean.params[name], array)


def test_a_disk_that_is_full_is_named():
  class Full(io.BytesIO):
    def write(self, data):
      raise OSError(28, "No space left on device")

  weights = make_tiny_weights(classes=10, channels=1)
  with pytest.raises(ConfigError, match="MiB free: .*No space left"):
    Average(Full()).add(weights)


def test_the_greedy_soup_keeps_what_does_not_lower_the_accuracy(
  ingredients, tmp_path, data_dir, monkeypatch
):
  """Accuracies are given: those of a model and of averages of two models."""
  a, b, c = ingredients.values()
  score = {(a,): 0.8, (b,): 0.7, (c,): 0.9, (c, a): 0.6, (c, b): 0.9}
  parts = {x: load_weights(x).params for x in (a, b, c)}

  def identify(params):
    """The weights of which these are the average."""
    for names in score:
      mean = {
        k: np.mean([parts[x][k].astype(np.float64) for x in names], axis=0)
        for k in params
      }
      if all(np.allclose(params[k], mean[k], atol=1e-7) for k in params):
        return names
    raise AssertionError("an average that was not expected")

  from vit_jax.convert.weights import flatten
  from vit_jax.evaluators.classification import Classification

  def run(self, state, mark=lambda: None):
    yield "accuracy", score[identify(flatten(state.params))]

  monkeypatch.setattr(Classification, "run", run)
  out = tmp_path / "soup"
  found = soup.soup(
    [a, b, c],
    str(out),
    greedy=True,
    data="tfds:digits",
    data_dir=data_dir,
    split="train[90%:]",
  )
  assert found["ingredients"] == [c, b]
  assert found["accuracy"] == 0.9 and found["images"] == 144
  assert found["accuracy_alone"] == {a: 0.8, b: 0.7, c: 0.9}
  assert identify(load_weights(str(out)).params) == (c, b)


def test_the_greedy_soup_is_as_good_as_it_says(ingredients, tmp_path, data_dir):
  images = dict(data="tfds:digits", data_dir=data_dir, split="train[90%:]")
  out = str(tmp_path / "soup")
  found = soup.soup(list(ingredients.values()), out, greedy=True, **images)
  assert found["accuracy"] >= max(found["accuracy_alone"].values())
  assert vit_jax.evaluate(out, **images)["accuracy"] == found["accuracy"]


def test_what_cannot_be_averaged(ingredients, tmp_path, data_dir):
  a, b, _ = ingredients.values()
  out = str(tmp_path / "soup")
  for arguments, message in (
    ([[a], out], "give two"),
    ([[a, a], out], "given twice"),
    ([[a, b, a + "/"], out], "the same weights as"),
    ([[a, a + "x"], out], "there is no"),
  ):
    with pytest.raises(ConfigError, match=message):
      soup.soup(*arguments)
  with pytest.raises(ConfigError, match="give --split=SPLIT"):
    soup.soup([a, b], out, greedy=True)
  with pytest.raises(ConfigError, match="--split is for --greedy"):
    soup.soup([a, b], out, split="test")
  copy = tmp_path / "copy"
  shutil.copytree(b, copy)
  where = dict(data="tfds:digits", data_dir=data_dir, split="test")
  for more in ({}, dict(greedy=True) | where):
    with pytest.raises(ConfigError, match=f"{copy} has the same weights as"):
      soup.soup([a, b, str(copy)], out, **more)
  weights = load_weights(a)
  with pytest.raises(ConfigError, match="class_names is"):
    check_alike(weights, dataclasses.replace(weights, class_names=("x",) * 10))
  average = Average(io.BytesIO())
  average.add(weights)
  other = make_tiny_weights(classes=7, channels=1)
  with pytest.raises(
    ConfigError, match="cannot be averaged with .*num_classes"
  ):
    average.add(other)
  assert not (tmp_path / "soup").exists()
