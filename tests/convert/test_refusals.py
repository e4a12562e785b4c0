# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Malformed files and manifests, and what only the caller knows."""

import json
import os
import pickle

import numpy as np
import pytest

from tests.support.weights import (
  HYBRID,
  MIXER,
  VIT,
  check_params,
  check_refused,
  check_same,
  edit,
  lie,
  make_weights,
  read_arrays,
)
from vit_jax.config import ConfigError
from vit_jax.convert import storing
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import FORMATS
from vit_jax.convert.weights import load_weights
from vit_jax.convert.writing import save_weights

DEEP = VIT | dict(depth=3)
BLOCK = "Transformer/encoderblock_"


def write(tmp_path, form="authors", manifest=False, **fields):
  """A file of a small model; its path, and what is in it."""
  weights = make_weights(**fields)
  path = tmp_path / f"x{FORMATS[form].suffix}"
  save_weights(weights, str(path), form, overwrite=True)
  if not manifest:
    (tmp_path / f"{path.name}.json").unlink()
  return str(path), weights


def drop(arrays, part):
  return {name: x for name, x in arrays.items() if part not in name}


def test_an_array_of_another_shape_in_one_layer_is_named(tmp_path):
  for layer in (0, 1):
    path, _ = write(tmp_path, fields=DEEP)
    name = f"{BLOCK}{layer}/MlpBlock_3/Dense_0/kernel"
    edit(path, lambda arrays, name=name: arrays | {name: arrays[name][:, :9]})
    message = check_refused(path, "2 differences", "(authors)")
    assert f"  - {name} (32, 128)\n  + {name} (32, 9)" in message


def test_arrays_that_are_missing_and_not_wanted_are_listed_together(tmp_path):
  path, _ = write(tmp_path, fields=DEEP)
  edit(path, lambda arrays: drop(arrays, "encoderblock_1/"))
  message = check_refused(path, "16 differences")
  lines = message.splitlines()[1:]
  assert len(lines) == 16
  assert all(line.startswith(f"  - {BLOCK}1/") for line in lines)

  path, _ = write(tmp_path, fields=DEEP)
  edit(path, lambda arrays: drop(arrays, "_2/LayerNorm_2/bias"))
  check_refused(path, "1 difference ", f"  - {BLOCK}2/LayerNorm_2/bias (32,)")

  def both(arrays):
    more = {"what/is/this": np.ones(3, np.float32)}
    return drop(arrays, "embedding/bias") | more

  path, _ = write(tmp_path, fields=DEEP)
  edit(path, both)
  message = check_refused(path, "2 differences")
  assert "  - embedding/bias (32,)\n  + what/is/this (3,)" in message


@pytest.mark.parametrize(
  ("form", "fields"),
  [
    *(("authors", VIT), ("big_vision_scanned", VIT), ("mixer", MIXER)),
    *(("timm", VIT | dict(registers=1)), ("hugging_face", VIT)),
  ],
)
@pytest.mark.parametrize("shape", [(), (1, 2, 3), (0, 3, 0, 5)])
def test_no_shape_is_more_than_an_error(form, fields, shape, tmp_path):
  """Any array may be of any shape; those that tell the model are tried."""
  path, _ = write(tmp_path, form, fields=fields)
  arrays = read_arrays(path)
  telling = [
    name
    for name in arrays
    if any(
      part in name
      for part in ("embed", "cls", "head", "reg_token", "stem", "conv_root")
    )
    or (any(part in name for part in ("_0/", "block/", ".0.")))
  ]
  assert len(telling) > 10
  for name in telling[:: 1 + len(telling) // 5]:
    odd = arrays | {name: np.ones(shape, np.float32)}
    edit(path, lambda _, odd=odd: odd)
    with pytest.raises(CheckpointError) as caught:
      load_weights(path)
    message = str(caught.value)
    assert path in message and name in message, message


def test_depths_that_would_take_forever_are_refused(tmp_path):
  path, _ = write(tmp_path)
  name = f"{BLOCK}9999/LayerNorm_0/scale"
  edit(path, lambda arrays: arrays | {name: np.ones(32, np.float32)})
  check_refused(path, "LayerNorm_0/scale has 10,000 layers")
  path, _ = write(tmp_path, fields=HYBRID)
  name = "block1/unit9999/conv1/kernel"
  edit(path, lambda arrays: arrays | {name: np.ones((1, 1, 1, 1), np.float32)})
  check_refused(path, f"{name} has 9,999 layers")


def test_damaged_files_and_pickles(tmp_path):
  path, _ = write(tmp_path)
  content = (tmp_path / "x.npz").read_bytes()
  for size in (len(content) // 2, len(content) - 1, 0):
    (tmp_path / "x.npz").write_bytes(content[:size])
    check_refused(path)
  trap = tmp_path / "sprung"

  class Trap:
    def __reduce__(self):
      return open, (str(trap), "w")

  arrays = {"cls": np.array([Trap()], object)}
  np.savez(path, **arrays, allow_pickle=True)
  check_refused(path, "cls")
  (tmp_path / "x.pt").write_bytes(pickle.dumps(Trap()))
  check_refused(str(tmp_path / "x.pt"), "holds a pickle")
  assert not trap.exists()


def test_arrays_of_no_model(tmp_path):
  path = str(tmp_path / "x.npz")
  storing.write_npz(path, {"a/b": np.ones(3), "c": np.ones(2)})
  check_refused(path, "its 2 arrays", "  a/b", "timm")
  path, _ = write(tmp_path)
  edit(path, lambda arrays: arrays | {"cls": np.ones((1, 1, 32), np.int32)})
  check_refused(path, "cls is int32")


def test_the_number_of_heads_where_nothing_says_it(tmp_path):
  path, weights = write(tmp_path, "timm", width=48, num_heads=3)
  check_refused(path, "width 48", "num_heads=K", "--num_heads=K")
  check_refused(path, "num_heads=5 does not divide", num_heads=5)
  found = load_weights(path, num_heads=3)
  check_params(found.params, weights.params)
  assert found.origins["num_heads"] == "given"
  # Widths of the tables, and a norm of queries, tell it.
  path, weights = write(tmp_path, "timm", width=48, num_heads=3, qk_norm=True)
  check_params(load_weights(path).params, weights.params)


def test_what_the_caller_says(tmp_path):
  path, weights = write(tmp_path, "timm")
  found = load_weights(path, gelu="tanh", layer_norm_eps=1e-5)
  check_params(found.params, weights.params)
  assert found.model.gelu == "tanh" and found.model.layer_norm_eps == 1e-5
  assert found.origins["gelu"] == "given"
  found = load_weights(path)
  assert found.model.gelu == "exact"
  assert found.origins["gelu"] == "the default of timm"
  check_refused(path, "model.depth=3, but the arrays show 2", depth=3)
  check_refused(path, "model.pool='map'", pool="map")
  check_refused(path, "model.gelu='relu'", "'exact'", gelu="relu")
  check_refused(path, "model.gleu", "gelu", gleu="exact")
  check_refused(path, "is not a ViT", variant="R50x1")
  check_refused(path, "source_size=(0, 224)", source_size=(0, 224))
  check_refused(path, "source_size=(-224, -224)", source_size=(-224, -224))
  check_refused(path, "stated size 32x32", source_size=(32, 32))


def test_the_grid_is_never_guessed(tmp_path):
  """Six rows of positions are those of 3x2 patches, or of 2x3."""
  path, weights = write(tmp_path, manifest=True, size=(48, 32))
  found = load_weights(path)
  check_same(found, weights)
  assert found.size == (48, 32)
  assert found.origins["size"] == f"{path}.json"
  (tmp_path / "x.npz.json").unlink()
  check_refused(path, "6 positions", "source_size=(H, W)", "--source_size=H,W")
  for size in ((48, 32), (32, 48)):
    found = load_weights(path, source_size=size)
    assert found.size == size
    check_params(found.params, weights.params)
  # A published file's name says it.
  path, weights = write(tmp_path, size=(176, 176))
  check_refused(path, "121 positions")
  name = "B_16-i21k-300ep-lr_0.001-aug_none-wd_0.1-do_0.0-sd_0.0--x-res_176.npz"
  (tmp_path / name).write_bytes((tmp_path / "x.npz").read_bytes())
  found = load_weights(str(tmp_path / name))
  assert found.size == (176, 176)
  assert found.origins["size"] == "the file name"


def test_what_arrays_do_not_show_is_in_the_manifest(tmp_path):
  weights = make_weights(
    gelu="exact",
    layer_norm_eps=1e-5,
    size=(16, 32),
    class_names=("a", "b", "ä", "d", "e"),
    preprocess=dict(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), crop=0.875),
  )
  for form in ("authors", "timm", "hugging_face"):
    path = str(tmp_path / f"{form}{FORMATS[form].suffix}")
    save_weights(weights, path, form)
    found = load_weights(path)
    check_same(found, weights)
    # And from there into the next, for the formats agree on less than we.
    save_weights(found, str(tmp_path / f"run-{form}"))
    check_same(load_weights(str(tmp_path / f"run-{form}")), weights)
  # What we compute by default is not what timm does, so it is said.
  path, weights = write(tmp_path, "timm", manifest=True)
  assert load_weights(path).model.gelu == "tanh"


WRONG = {
  "no JSON": ("{", ".json"),
  "not an object": ("[1]", "JSON object"),
  "nested": ("[" * 100_000, ".json"),
  "height 0": ({"preprocess.height": 0}, "preprocess.height=0"),
  "height": ({"preprocess.height": "224"}, "preprocess.height='224'"),
  "no width": ({"preprocess.width": None}, "preprocess.width=None"),
  "huge": ({"preprocess.width": 10**9}, "preprocess.width=1000000000"),
  "channels": ({"preprocess.channels": 4}, "preprocess.mean has 3 values"),
  "mean": ({"preprocess.mean": [0.5]}, "preprocess.mean has 1 values"),
  "means": ({"preprocess.mean": "half"}, "preprocess.mean='half'"),
  "std": ({"preprocess.std": [1, 0, 1]}, "preprocess.std=[1, 0, 1]"),
  "nan": ({"preprocess.mean": [0, float("nan"), 0]}, "preprocess.mean="),
  "crop": ({"preprocess.crop": 2}, "preprocess.crop=2"),
  "preprocess": ({"preprocess": 3}, "preprocess=3 must be a section"),
  "model": ({"model": []}, "model=[] must be a section"),
  "classes": ({"num_classes": 6}, "num_classes is 6"),
  "bad classes": ({"num_classes": True}, "num_classes=True"),
  "names": ({"class_names": ["a"]}, "class_names has 1"),
  "bad names": ({"class_names": [1, 2]}, "class_names must be"),
  "field": ({"model.gleu": "tanh"}, "model.gleu"),
  "gelu": ({"model.gelu": "relu"}, "model.gelu='relu'"),
  "type": ({"model.depth": 2.5}, "model.depth=2.5"),
  "variant": ({"model.variant": "B/17x"}, "'B/17x'"),
  "no variant": ({"model.variant": 5}, "model.variant"),
  "kind": ({"model.variant": "R50x1"}, "model.variant='R50x1' is not a ViT"),
  "depth": ({"model.depth": 3}, "model.depth=3, but the arrays show 2"),
  "stem": ({"model.stem": [2, 2]}, "model.stem=(2, 2), but the arrays show"),
  "layer_norm": ({"model.layer_norm_eps": 0}, "model.layer_norm_eps=0"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_a_manifest_that_lies_beside_a_file(changes, message, tmp_path):
  path, _ = write(tmp_path, manifest=True, class_names=tuple("abcde"))
  lie(tmp_path / "x.npz.json", changes)
  text = check_refused(path, f"{path}.json")
  if "num_classes" not in message:
    assert message in text


def test_all_that_is_wrong_with_a_manifest_is_said_at_once(tmp_path):
  path, _ = write(tmp_path, manifest=True)
  wrong = {"model.gelu": "relu", "preprocess.height": -1, "num_classes": "5"}
  lie(tmp_path / "x.npz.json", wrong)
  check_refused(path, "model.gelu", "preprocess.height", "num_classes='5'")
  # What is about other arrays is said, too.
  path, _ = write(tmp_path, manifest=True)
  lie(tmp_path / "x.npz.json", {"num_classes": 6, "model.width": 48})
  check_refused(
    path,
    "model.width=48, but the arrays show 32",
    "num_classes=6, but the arrays show 5",
  )


def test_a_manifest_may_say_but_a_part(tmp_path):
  path, weights = write(tmp_path)
  (tmp_path / "x.npz.json").write_text('{"model": {"gelu": "exact"}, "x": 1}')
  found = load_weights(path)
  check_params(found.params, weights.params)
  assert found.model.gelu == "exact" and found.variant == "B/16"


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"hidden_act": "relu"}, "hidden_act='relu'"),
    ({"num_attention_heads": 0}, "model.num_heads=0"),
    ({"num_attention_heads": 5}, "num_heads=5 does not divide"),
    ({"num_attention_heads": None}, "config.json is malformed"),
    ({"image_size": [224]}, "config.json is malformed"),
    ({"image_size": -224}, "preprocess.height=-224"),
    ({"num_channels": 1}, "preprocess.mean has 3 values"),
    ({"layer_norm_eps": float("inf")}, "model.layer_norm_eps=inf"),
    ({"id2label": {"x": "y"}}, "config.json is malformed"),
    ({"id2label": [1]}, "config.json is malformed"),
  ],
)
def test_a_config_of_hugging_face_that_is_wrong(changes, message, tmp_path):
  save_weights(make_weights(), str(tmp_path / "x"), "hugging_face")
  (tmp_path / "x" / "model.safetensors.json").unlink()
  path = tmp_path / "x" / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))
  check_refused(str(tmp_path / "x"), message)


@pytest.mark.parametrize("form", ["hugging_face", "timm"])
def test_grey_images_of_unknown_mean(form, tmp_path):
  weights = make_weights(dict(variant="Ti/16", depth=12), channels=1)
  save_weights(weights, str(tmp_path), form)
  os.remove(tmp_path / "model.safetensors.json")
  if form == "hugging_face":
    os.remove(tmp_path / "preprocessor_config.json")
  found = load_weights(str(tmp_path))
  assert found.preprocess.channels == 1
  assert found.preprocess.mean == found.preprocess.std == (0.5,)


@pytest.mark.parametrize(
  ("form", "fields", "message"),
  [
    ("hugging_face", HYBRID, "stem=(1, 1)"),
    ("hugging_face", VIT | dict(pool="gap"), "pool='gap'"),
    ("authors", VIT | dict(registers=1), "register (1, 1, 32)"),
    ("authors", VIT | dict(pool="map"), "MAPHead_0/probe"),
    ("timm", VIT | dict(representation_size=8), "representation_size=8"),
    ("bit", VIT, "for ResNets"),
    ("timm", MIXER, "of kind MLP-Mixer"),
    ("big_vision", VIT | dict(position="rope"), "position='rope'"),
  ],
)
def test_what_a_format_has_no_place_for(form, fields, message, tmp_path):
  path = tmp_path / f"x{FORMATS[form].suffix}"
  with pytest.raises(CheckpointError) as caught:
    save_weights(make_weights(fields), str(path), form)
  assert message in str(caught.value) and form in str(caught.value)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fields", [HYBRID, VIT | dict(pool="gap")])
def test_what_is_named_instead_can_be_written(fields, tmp_path):
  weights = make_weights(fields, layer_norm_eps=1e-6)
  with pytest.raises(CheckpointError) as caught:
    save_weights(weights, str(tmp_path / "x"), "hugging_face")
  (line,) = [x for x in str(caught.value).splitlines() if "what can: " in x]
  named = line.split("what can: ")[1].partition(", as ")[0].split(", ")
  assert ("timm" in named) == (fields is not HYBRID)  # It has no such stem.
  for form in named:
    suffix = FORMATS[form].suffix if form in FORMATS else ""
    path = tmp_path / f"{form}{suffix if suffix == '.npz' else ''}"
    assert save_weights(weights, str(path), form)


@pytest.mark.parametrize(
  ("name", "form", "how", "message"),
  [
    ("x.npz", "timm", {}, "timm is written to *.safetensors"),
    ("x.safetensors", "authors", {}, "authors is written to *.npz"),
    ("x", "authors", {}, "authors is written to *.npz"),
    ("x.npz", "vit_jax", {}, "vit_jax is written to a directory"),
    ("x.npz", "autors", {}, "did you mean 'authors'?"),
    ("x.npz", "authors", dict(prefix="parms/"), "did you mean 'params/'?"),
    ("x.safetensors", "timm", dict(prefix="params/"), "for .npz files only"),
    ("x", "vit_jax", dict(bfloat16=True), "are float32"),
    ("file", "timm", {}, "file is a file, expected a directory"),
    ("file", "vit_jax", {}, "file is a file, expected a directory"),
    ("file/x.npz", "authors", {}, "x.npz"),
    ("full", "timm", {}, "config.json exists"),
    ("full", "vit_jax", dict(overwrite=True), "more than weights (config.json"),
    ("full", "vit_jax", {}, "full exists"),
  ],
)
def test_where_nothing_can_be_written(name, form, how, message, tmp_path):
  (tmp_path / "file").touch()
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "config.json").write_text("{}")
  with pytest.raises(ConfigError) as caught:
    # One that timm has, so that there is a config.json to write.
    weights = make_weights(dict(variant="Ti/16"))
    save_weights(weights, str(tmp_path / name), form, **how)
  assert message in str(caught.value)
  found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
  assert found == ["file", "full", "full/config.json"]


def test_what_is_given_in_place_of_weights(tmp_path):
  """Each is one error, which says what to give."""
  weights = make_weights(preprocess=dict(resize="bilinear_antialias"))
  runs, several = tmp_path / "runs", tmp_path / "several"
  for name in ("a", "b"):
    save_weights(weights, str(runs / name))
  save_weights(weights, str(several), "hugging_face", shard_size=100_000)
  shard = several / "model-00001-of-00003.safetensors"
  check_refused(str(shard), "one of 3 files", str(several), "index.json")
  for above in (runs, tmp_path):
    check_refused(str(above), "holds 2 runs, and is none", f"as {runs}/a")
  last = runs / "a/checkpoints"
  check_refused(str(last), str(runs / "a"), f"{last}/0")
  programs = tmp_path / "programs"
  programs.mkdir()
  for name in ("model.onnx", "model.stablehlo"):
    (programs / name).write_bytes(b"\x08\x0a\x12\x07" * 9)
    check_refused(str(programs / name), "not weights", "export.json")
  check_refused(str(programs), "not weights", "export.json")
  (tmp_path / "empty").mkdir()
  (tmp_path / "noise").write_bytes(b"\xff\x00" * 99)
  for name in ("empty", "noise"):
    check_refused(str(tmp_path / name), "directory of a run", "big_vision")


def test_the_directory_of_an_exported_npz_is_read(tmp_path):
  weights = make_weights(class_names=tuple("abcde"))
  (tmp_path / "e").mkdir()
  save_weights(weights, str(tmp_path / "e/model.npz"), "authors")
  check_same(load_weights(str(tmp_path / "e")), weights)
