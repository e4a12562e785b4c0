# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Bad arguments from Python are one error, before anything is read."""

import functools
import os
import pathlib

import numpy as np
import pytest

import vit_jax
from vit_jax.config import ConfigError
from vit_jax.data.preprocess import Preprocess


@pytest.mark.parametrize(
  "call, errors",
  [
    (lambda: vit_jax.load("x", dtyp="bfloat16"), ["dtyp: ", "'dtype'?"]),
    (lambda: vit_jax.load(3), ["vit_jax.load: path=3 (int)", "a path"]),
    (lambda: vit_jax.load(""), ["path is empty"]),
    (lambda: vit_jax.load("x", 224), ["size=224"]),
    (lambda: vit_jax.load("x", path="y"), ["path twice"]),
    (lambda: vit_jax.load("x", dtype="float17"), ["'bfloat16'?"]),
    (lambda: vit_jax.load("x", weights="int4"), ["'int8'?"]),
    (
      lambda: vit_jax.load("x", gelu=3, patch_size="b"),
      ["gelu=3 (int) must be one of", "patch_size='b'"],
    ),
    (lambda: vit_jax.predict(None), ["path=None", "needs images: a path or"]),
    (lambda: vit_jax.predict("x", "y", top="three"), ["top='three' (str)"]),
    (lambda: vit_jax.predict("x", "y", top=0), ["top=0 (int)", "[1, "]),
    (lambda: vit_jax.predict("x", "y", tip=3), ["'top'?"]),
    (lambda: vit_jax.train("digits"), ["get_config('digits')", "workdir"]),
    (lambda: vit_jax.train({}, "x", callback=[]), ["'callbacks'?"]),
    (lambda: vit_jax.train({}, "x", callbacks=3), ["a list of Callback"]),
    (lambda: vit_jax.evaluate("x", evals="knn"), ["evals='knn'", "a list"]),
    (lambda: vit_jax.evaluate("x", evals=["knn", 3]), ["evals[1]=3 (int)"]),
    (lambda: vit_jax.evaluate("x", classify=False), ["no classify"]),
    (lambda: vit_jax.features("x", splt="test"), ["'split'?"]),
    (lambda: vit_jax.features("x", max_unreadable=2), ["[0, 1]"]),
    (lambda: vit_jax.analyze("x", ["y", np.zeros(2)]), ["images[1]=array("]),
    (lambda: vit_jax.analyze("x", []), ["empty"]),
    (lambda: vit_jax.analyze("x", {"y"}), ["a path or a list of paths"]),
    (lambda: vit_jax.get_config(3), ["name=3 (int)"]),
    (
      lambda: vit_jax.get_config("finetune:model=B/16,res=224", model="L/16"),
      ["model is given in the name, too"],
    ),
    (lambda: vit_jax.get_config("finetune", lr=None), ["lr=None"]),
  ],
)
def test_one_error(call, errors, monkeypatch):
  monkeypatch.setattr(os, "open", None)  # Nothing is read.
  with pytest.raises(ConfigError) as found:
    call()
  for error in errors:
    assert error in str(found.value)


def test_what_fits_is_passed_on(monkeypatch):
  """Paths are of any kind, and numbers may be NumPy's."""
  with pytest.raises(ConfigError, match="No such file"):
    vit_jax.load(pathlib.Path("nowhere"), patch_size=np.int64(8))
  with pytest.raises(ConfigError, match="there is no nothing.jpg"):
    next(vit_jax.predict("nowhere", pathlib.Path("nothing.jpg")))


def test_arguments_of_a_recipe_have_two_places():
  config = vit_jax.get_config("finetune:model=L/16", res=224, polyak=True)
  assert config.model.variant == "L/16"
  assert (config.data.size, config.optim.ema) == (224, 0.9999)
  path = pathlib.Path(vit_jax.__file__).parent.parent / "configs/digits.py"
  assert vit_jax.get_config(path) == vit_jax.get_config("digits")


def test_images_that_are_none():
  made = Preprocess(height=8, width=8, channels=1)
  # Not what checks types in tests alone.
  preprocess = functools.partial(Preprocess.cut.__wrapped__, made)
  with pytest.raises(ConfigError, match=r"image is None \(NoneType\)"):
    preprocess(None)
  with pytest.raises(ConfigError, match=r"images\[1\] is 3 \(int\)"):
    preprocess([np.zeros((8, 8), np.uint8), 3])
  with pytest.raises(ValueError, match=r"images\[1\] is float64 \(8, 8, 1\)"):
    preprocess([np.zeros((8, 8), np.uint8), np.zeros((8, 8))])
