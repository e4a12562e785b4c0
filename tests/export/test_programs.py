# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Exported programs in their own runtimes, against a loaded model's logits."""

import dataclasses
import functools

import jax
import numpy as np
import onnx
import pytest
from etils import epath
from sklearn import datasets

import vit_jax
from tests.support.weights import HYBRID, MIXER, RESNET, VIT, make_weights
from vit_jax.config import ConfigError, RunError
from vit_jax.convert import save_weights
from vit_jax.export import check, formats, stablehlo
from vit_jax.export.function import make_function

# A small image makes few tokens; 64 is twice the stride of a hybrid's stem.
SIZE = (64, 32)
MODELS = {
  "vit": VIT | dict(position="learned_1d", representation_size=8),
  "map": VIT | dict(pool="map", gelu="exact", registers=1),
  "gap": VIT | dict(pool="gap", position="learned_2d", position_at="shared"),
  "rope": VIT | dict(position="rope", swiglu=True, qk_norm=True),
  "own": VIT | dict(position_at="every_layer", layer_scale=0.1, fc_norm=True),
  "sincos": VIT | dict(position="sincos_2d", pool="gap"),
  "hybrid": HYBRID | dict(depth=1),
  "hybrid_root": dict(variant="mu/8", depth=1, stem=()),
  "mixer": MIXER,
  "resnet": RESNET,
}
PROGRAMS = ("onnx", "stablehlo")


def load_photographs():
  """Two real photographs, uint8 [H W 3]."""
  return datasets.load_sample_images().images


@functools.cache
def make_model(name):
  """Weights of a model, images uint8 of its size, and its own logits."""
  weights = make_weights(MODELS[name], size=SIZE)
  # Of the size of trained ones: larger sums magnify their other order.
  small = {path: 0.2 * array for path, array in weights.params.items()}
  weights = dataclasses.replace(weights, params=small)
  pixels, _ = check.make_images(weights.preprocess)
  return weights, pixels, formats.compute_wanted(weights, pixels)


def export(name, form, directory, **options):
  """Exports a model; compares it with its logits."""
  weights, pixels, wanted = make_model(name)
  options = (
    dict(with_preprocess=True, dtype="float32", platforms=["cpu", "tpu"])
    | options
  )
  function, names = formats.write_program(
    weights, form, epath.Path(directory), **options
  )
  assert all((directory / name).exists() for name in names)
  return formats.compare_program(
    function, form, epath.Path(directory), pixels, wanted, "photographs"
  )


@pytest.mark.parametrize(
  ("name", "form"),
  [(name, "onnx") for name in MODELS]
  # What is traced is what runs: one of each kind.
  + [(name, "stablehlo") for name in ("map", "hybrid_root", "mixer", "resnet")],
)
def test_every_kind_of_model_has_our_logits(name, form, tmp_path):
  found = export(name, form, tmp_path)
  assert found.error <= 1e-5
  assert found.agree == found.number == 8
  assert found.batches == [1, 3, 8]


@pytest.mark.parametrize("form", PROGRAMS)
def test_bfloat16_halves_the_file_and_returns_float32(form, tmp_path):
  sizes = {}
  for dtype in ("float32", "bfloat16"):
    directory = tmp_path / dtype
    directory.mkdir()
    found = export("vit", form, directory, dtype=dtype)
    sizes[dtype] = sum(x.stat().st_size for x in directory.iterdir())
    assert found.tolerance == {"float32": 1e-4, "bfloat16": 0.1}[dtype]
  # A mantissa of 8 bits: 0.004 of each weight, over two blocks.
  assert 1e-5 < found.error < 0.05
  # Small arrays, names and the program stay.
  assert sizes["bfloat16"] < 0.6 * sizes["float32"]


@pytest.mark.parametrize("form", PROGRAMS)
@pytest.mark.parametrize("with_preprocess", [True, False])
def test_a_photograph_gets_the_logits_of_a_loaded_model(
  form, with_preprocess, tmp_path
):
  weights = make_weights(
    VIT,
    size=SIZE,
    preprocess=dict(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), crop=0.875),
  )
  save_weights(weights, str(tmp_path / "run"))
  model, preprocess = vit_jax.load(tmp_path / "run")
  (tmp_path / "out").mkdir()
  out = epath.Path(tmp_path / "out")
  function, _ = formats.write_program(
    weights,
    form,
    out,
    with_preprocess=with_preprocess,
    dtype="float32",
    platforms=["cpu"],
  )
  photographs = load_photographs()
  wanted = np.asarray(model(preprocess(photographs)))
  images = preprocess(photographs)
  if with_preprocess:
    images = preprocess.cut(photographs)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(
      preprocess.normalize(images), preprocess(photographs)
    )
  load = {"onnx": formats.onnx.load, "stablehlo": stablehlo.load}[form]
  found = load(out)(images)
  np.testing.assert_allclose(
    found, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0
  )


def test_onnx_has_named_ends_and_a_free_batch(tmp_path):
  export("vit", "onnx", tmp_path, with_preprocess=True)
  model = onnx.load(tmp_path / "model.onnx")
  onnx.checker.check_model(model, full_check=True)
  ends = [*model.graph.input, *model.graph.output]
  assert [x.name for x in ends] == ["image", "logits"]
  shapes = [
    [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim]
    for x in ends
  ]
  assert shapes == [["batch", *SIZE, 3], ["batch", 5]]
  kinds = [x.type.tensor_type.elem_type for x in ends]
  assert kinds == [onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT]
  assert "Loop" not in {node.op_type for node in model.graph.node}


def test_weights_that_fit_into_no_file_are_beside_it(tmp_path, monkeypatch):
  monkeypatch.setattr(formats.onnx, "MAX_BYTES", 1000)
  assert export("vit", "onnx", tmp_path).error <= 1e-5
  sizes = {x.name: x.stat().st_size for x in tmp_path.iterdir()}
  assert sizes.keys() == {"model.onnx", "model.onnx.data"}
  assert sizes["model.onnx.data"] > sizes["model.onnx"]


def test_stablehlo_is_for_all_platforms_and_has_no_weights(tmp_path):
  export("vit", "stablehlo", tmp_path, platforms=["cpu", "cuda", "tpu"])
  data = bytearray((tmp_path / "model.stablehlo").read_bytes())
  exported = jax.export.deserialize(data)
  assert exported.platforms == ("cpu", "cuda", "tpu")
  text = exported.mlir_module()
  assert "custom_call @tpu" not in text and "cudnn" not in text
  with np.load(tmp_path / "params.npz") as found:
    wanted = make_model("vit")[0].params
    assert found.keys() == wanted.keys()
    for path, array in found.items():
      np.testing.assert_array_equal(array, wanted[path])


def test_a_model_without_a_head_returns_its_representation(tmp_path):
  weights = make_weights(VIT, size=SIZE, classes=0)
  function = make_function(weights)
  assert function.describe()["output"]["name"] == "representation"
  formats.onnx.save(function, epath.Path(tmp_path), {})
  pixels, _ = check.make_images(weights.preprocess)
  wanted = formats.compute_wanted(weights, pixels)
  found = formats.onnx.load(epath.Path(tmp_path))(function.make_input(pixels))
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_onnx_has_no_rule_for_is_named():
  weights = make_weights(VIT | dict(position="relative"), size=SIZE)
  with pytest.raises(ConfigError, match=r"gather.*--to=stablehlo"):
    formats.onnx.make_onnx(make_function(weights))


def test_other_logits_are_an_error():
  pixels = np.zeros((8, 2, 2, 3), np.uint8)
  wanted = np.ones((8, 5), np.float32)
  rest = dict(runtime="a runtime", images="none", tolerance=1e-4)
  for off in (1e-3, np.nan):
    with pytest.raises(RunError, match="a runtime.*0.0001"):
      check.compare(
        lambda x, off=off: wanted[: len(x)] + np.float32(off),
        lambda x: x,
        pixels,
        wanted,
        **rest,
      )
  # One of a batch only.
  run = lambda x: wanted[: len(x)] + np.float32(len(x) == 3)  # noqa: E731
  with pytest.raises(RunError):
    check.compare(run, lambda x: x, pixels, wanted, **rest)
