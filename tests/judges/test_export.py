# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Exports in the libraries that they are for: TensorFlow, transformers, timm.

onnxruntime and jax.export are in tests/export.
"""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image
from sklearn import datasets

from tests.support import ROOT
from tests.support.runs import make_config
from tests.support.weights import MIXER, RESNET, VIT, make_weights
from vit_jax import predict
from vit_jax.checkpoint import load_params
from vit_jax.convert import save_weights
from vit_jax.convert.weights import load_weights
from vit_jax.export import __main__ as command
from vit_jax.export import peers
from vit_jax.train import train

pytestmark = pytest.mark.judges

SIZE = (64, 64)
NAMES = ("ant", "bee", "cat", "dog", "eel")
# What transformers computes with, and the pixels that it makes.
THEIRS = VIT | dict(
  variant="Ti/16", gelu="exact", layer_norm_eps=1e-12, depth=2
)
PILLOW = dict(resize="bilinear_antialias")


def make_small(fields, **options):
  """Weights of the size of trained ones, of which no sum is a thousand."""
  weights = make_weights(fields, size=SIZE, preprocess=PILLOW, **options)
  small = {path: 0.2 * array for path, array in weights.params.items()}
  return dataclasses.replace(weights, params=small)


def export(capsys, weights, path, *arguments):
  """Exports weights by the command; returns what it found."""
  save_weights(weights, str(path / "run"))
  flags = [str(path / "run"), f"--out={path / 'out'}", "--json", *arguments]
  command.main(flags)
  return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
  ("fields", "dtype"),
  [
    (VIT, "bfloat16"),
    *((fields, "float32") for fields in (VIT, MIXER, RESNET)),
  ],
  ids=["vit_bfloat16", "vit", "mixer", "bit"],
)
def test_tensorflow_has_our_logits(fields, dtype, tmp_path):
  """In a process of its own: one that has TensorFlow cannot import torch."""
  weights = make_weights(fields, size=SIZE, class_names=NAMES)
  save_weights(weights, str(tmp_path / "run"))
  done = subprocess.run(
    [
      *(sys.executable, "-m", "vit_jax.export", str(tmp_path / "run")),
      *("--to=saved_model", f"--out={tmp_path / 'out'}", "--json"),
      *("--with_preprocess", f"--dtype={dtype}"),
    ],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])["comparison"]
  assert found["runtime"].startswith("TensorFlow 2.")
  # Sums in another order; a mantissa of 8 bits.
  assert found["error"] <= {"float32": 1e-5, "bfloat16": 0.1}[dtype]
  assert found["batches"] == [1, 3, 8]


def test_timm_has_our_logits(timm, tmp_path, capsys):
  fields = THEIRS | dict(layer_norm_eps=1e-6)
  weights = make_weights(fields, size=SIZE, class_names=NAMES)
  done = export(capsys, weights, tmp_path, "--to=timm")
  assert done["comparison"]["runtime"].startswith("timm 1.")
  assert done["comparison"]["error"] <= 1e-5


@pytest.mark.parametrize("classes", [5, 0])
def test_transformers_has_our_logits(classes, transformers, tmp_path, capsys):
  fields = THEIRS | (dict(representation_size=24) if not classes else {})
  weights = make_small(fields, classes=classes, class_names=NAMES[:classes])
  done = export(capsys, weights, tmp_path, "--to=hugging_face")
  assert done["comparison"]["runtime"].startswith("transformers 5.")
  assert done["comparison"]["error"] <= 1e-5


@pytest.mark.parametrize("form", ["timm", "hugging_face"])
def test_a_run_of_adapters_has_its_logits(
  form, data_dir, timm, transformers, tmp_path, capsys
):
  """Those of the model that was trained, which adds them at every layer."""
  workdir, fields = str(tmp_path / "run"), dict(depth=2, adapter="lora:8")
  fields |= dict(gelu="exact", layer_norm_eps=1e-6)
  if form == "hugging_face":
    fields |= dict(layer_norm_eps=1e-12)
  config = make_config(data_dir)
  config["model"] |= fields
  config["optim"] |= dict(lr=0.02, warmup_steps=0)
  train(config, workdir)
  command.main([workdir, f"--to={form}", f"--out={tmp_path / 'out'}", "--json"])
  done = json.loads(capsys.readouterr().out.splitlines()[-1])["comparison"]
  assert done["runtime"].startswith(("timm 1.", "transformers 5."))
  assert done["error"] <= 1e-5

  params = load_params(epath.Path(workdir) / "checkpoints")
  merged = load_weights(workdir)
  image = np.random.default_rng(0).normal(size=(4, *merged.size, 1))
  image = image.astype(np.float32)
  unmerged = jax.jit(merged.model.clone(adapter="lora:8").apply)
  trained = unmerged({"params": params}, image)
  load = {"timm": peers.load_timm, "hugging_face": peers.load_hugging_face}[
    form
  ]
  run, _ = load(epath.Path(tmp_path / "out"), *[True] * (form != "timm"))
  scale = np.abs(trained).max()
  np.testing.assert_allclose(run(image), trained, rtol=0, atol=1e-5 * scale)


def test_a_pipeline_says_what_predict_says(transformers, tmp_path, capsys):
  weights = make_small(THEIRS, class_names=NAMES)
  export(capsys, weights, tmp_path, "--to=hugging_face")
  out, photo = str(tmp_path / "out"), tmp_path / "photo.png"
  Image.fromarray(datasets.load_sample_image("china.jpg")).save(photo)
  transformers.AutoModelForImageClassification.from_pretrained(out)
  rows = transformers.pipeline(
    "image-classification",
    model=out,
    image_processor=transformers.AutoImageProcessor.from_pretrained(
      out, backend="pil"
    ),
    device="cpu",
  )(str(photo), top_k=5)
  theirs = {row["label"]: row["score"] for row in rows}
  predict.main([str(tmp_path / "run"), str(photo), "--format=json"])
  (image,) = json.loads(capsys.readouterr().out)["images"]
  ours = {x["class"]: x["probability"] for x in image["predictions"]}
  assert ours.keys() == theirs.keys() == set(NAMES)
  for name, value in ours.items():
    # Pillow resizes with whole numbers, we as it does: a level of 255 apart.
    np.testing.assert_allclose(theirs[name], value, atol=1e-4)
