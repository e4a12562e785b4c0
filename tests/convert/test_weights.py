# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The formats as their authors wrote them down, and both ways through each."""

import json
import os

import jax
import ml_dtypes
import numpy as np
import pytest

from tests.support.weights import (
  HYBRID,
  MIXER,
  RESNET,
  VIT,
  check_params,
  check_same,
  compute_logits,
  count,
  edit,
  make_weights,
  read_arrays,
)
from vit_jax import models
from vit_jax.convert import storing
from vit_jax.convert.formats import FORMATS
from vit_jax.convert.weights import load_weights, make_abstract_params
from vit_jax.convert.writing import save_weights


def compute_shapes(form, variant, classes=1000, **fields):
  """Name -> shape of a model's arrays in a format, at 224 px."""
  model = models.make_model(classes, variant=variant, **fields)
  heads = getattr(model, "num_heads", 1)
  ours = make_abstract_params(model, (224, 224), 3)
  return FORMATS[form].compute_shapes(ours, heads)


def list_base_16(spelling):
  """ViT-B/16 as the authors' files have it, written out."""
  norm1, attention, norm2, mlp = spelling
  names = {
    "cls": (1, 1, 768),
    "embedding/kernel": (16, 16, 3, 768),
    "embedding/bias": (768,),
    "Transformer/posembed_input/pos_embedding": (1, 197, 768),
    "Transformer/encoder_norm/scale": (768,),
    "Transformer/encoder_norm/bias": (768,),
    "head/kernel": (768, 1000),
    "head/bias": (1000,),
  }
  for i in range(12):
    block = f"Transformer/encoderblock_{i}"
    for norm in (norm1, norm2):
      names[f"{block}/{norm}/scale"] = (768,)
      names[f"{block}/{norm}/bias"] = (768,)
    for part in ("query", "key", "value"):
      names[f"{block}/{attention}/{part}/kernel"] = (768, 12, 64)
      names[f"{block}/{attention}/{part}/bias"] = (12, 64)
    names[f"{block}/{attention}/out/kernel"] = (12, 64, 768)
    names[f"{block}/{attention}/out/bias"] = (768,)
    names[f"{block}/{mlp}/Dense_0/kernel"] = (768, 3072)
    names[f"{block}/{mlp}/Dense_0/bias"] = (3072,)
    names[f"{block}/{mlp}/Dense_1/kernel"] = (3072, 768)
    names[f"{block}/{mlp}/Dense_1/bias"] = (768,)
  return names


PRE_LINEN = (
  *("LayerNorm_0", "MultiHeadDotProductAttention_1"),
  *("LayerNorm_2", "MlpBlock_3"),
)
LINEN = (
  *("LayerNorm_0", "MultiHeadDotProductAttention_0"),
  *("LayerNorm_1", "MlpBlock_0"),
)


def test_the_authors_base_16_name_by_name():
  expected = list_base_16(PRE_LINEN)
  assert len(expected) == 200 and count(expected) == 86_567_656
  assert compute_shapes("authors", "B/16") == expected
  assert compute_shapes("authors_linen", "B/16") == list_base_16(LINEN)
  found = compute_shapes("authors", "B/16", 21_843, representation_size=768)
  assert count(found) == 103_186_515
  assert found.keys() - expected.keys() == {
    "pre_logits/kernel",
    "pre_logits/bias",
  }
  # Positions without the class token's row.
  found = compute_shapes("big_vision", "B/16")
  assert count(found) == 86_566_888
  assert found["pos_embedding"] == (1, 196, 768)
  scanned = compute_shapes("big_vision_scanned", "B/16")
  assert count(scanned) == 86_566_888 and len(scanned) == 16 + 8
  name = "Transformer/encoderblock/MlpBlock_0/Dense_0/kernel"
  assert scanned[name] == (12, 768, 3072)


@pytest.mark.parametrize(
  ("variant", "number"),
  [
    ("L/16", 392),
    ("H/14", 520),
    ("R50+B/16", 356),
    ("R50+L/32", 551),
    ("R26+B/32", 287),
    ("R26+S/32", 287),
    ("R+Ti/16", 203),
  ],
)
def test_how_many_arrays_the_authors_files_have(variant, number):
  found = compute_shapes("authors", variant)
  assert len(found) == number
  if variant == "R+Ti/16":
    assert found["embedding/kernel"] == (8, 8, 64, 192)
  if variant == "R50+B/16":
    unit = "block1/unit1"
    assert found["conv_root/kernel"] == (7, 7, 3, 64)
    assert found[f"{unit}/conv1/kernel"] == (1, 1, 64, 64)
    assert found[f"{unit}/conv2/kernel"] == (3, 3, 64, 64)
    assert found[f"{unit}/conv3/kernel"] == (1, 1, 64, 256)
    assert found[f"{unit}/conv_proj/kernel"] == (1, 1, 64, 256)
    assert "block1/unit2/conv_proj/kernel" not in found
    norms = {name: x for name, x in found.items() if "/gn" in f"/{name}"}
    assert norms["gn_root/scale"] == (1, 1, 1, 64)
    assert norms[f"{unit}/gn3/bias"] == (1, 1, 1, 256)
    assert norms[f"{unit}/gn_proj/scale"] == (1, 1, 1, 256)
    assert all(x[:3] == (1, 1, 1) and len(x) == 4 for x in norms.values())


def test_names_of_bit_mixer_and_pytorch():
  found = compute_shapes("bit", "R50x1", 21_843)
  unit = "resnet/block1/unit01"
  for name, shape in (
    ("resnet/root_block/standardized_conv2d/kernel", (7, 7, 3, 64)),
    (f"{unit}/a/standardized_conv2d/kernel", (1, 1, 64, 64)),
    (f"{unit}/a/proj/standardized_conv2d/kernel", (1, 1, 64, 256)),
    (f"{unit}/b/group_norm/gamma", (64,)),
    (f"{unit}/c/group_norm/beta", (64,)),
    ("resnet/group_norm/gamma", (2048,)),
    ("resnet/head/conv2d/kernel", (1, 1, 2048, 21_843)),
    ("resnet/head/conv2d/bias", (21_843,)),
  ):
    assert found[name] == shape, name
  assert len(found) == 2 + 16 * 9 + 4 + 1 + 2

  found = compute_shapes("mixer", "Mixer-B/16")
  assert found["MixerBlock_11/token_mixing/Dense_0/kernel"] == (196, 384)
  assert found["MixerBlock_0/channel_mixing/Dense_1/kernel"] == (3072, 768)
  assert found["pre_head_layer_norm/scale"] == (768,)
  assert len(found) == 12 * 12 + 6

  found = compute_shapes("hugging_face", "B/16")
  layer = "vit.encoder.layer.11"
  assert found[f"{layer}.attention.attention.query.weight"] == (768, 768)
  assert found[f"{layer}.attention.output.dense.bias"] == (768,)
  assert found[f"{layer}.intermediate.dense.weight"] == (3072, 768)
  assert found[f"{layer}.output.dense.weight"] == (768, 3072)
  assert found[f"{layer}.layernorm_before.weight"] == (768,)
  assert found[f"{layer}.layernorm_after.bias"] == (768,)
  embeddings = "vit.embeddings.patch_embeddings.projection.weight"
  assert found[embeddings] == (768, 3, 16, 16)
  assert found["classifier.weight"] == (1000, 768)
  assert len(found) == 200

  found = compute_shapes("timm", "B/16")
  assert found["blocks.11.attn.qkv.weight"] == (2304, 768)
  assert found["pos_embed"] == (1, 197, 768)
  assert len(found) == 200 - 4 * 12


# Whatever a format can hold, beside a plain ViT.
HELD = [
  *(
    (form, fields)
    for form in ("authors", "authors_linen")
    for fields in (VIT, VIT | dict(pool="gap"), HYBRID)
  ),
  ("authors", VIT | dict(representation_size=24)),
  ("authors", dict(variant="mu/8", depth=2, stem=())),
  *(
    (form, VIT | fields)
    for form in ("big_vision", "big_vision_scanned")
    for fields in (
      dict(pool="map"),
      dict(pool="gap", position="sincos_2d", representation_size=24),
    )
  ),
  ("bit", RESNET),
  ("mixer", MIXER),
  ("hugging_face", VIT),
  *(
    ("timm", VIT | fields)
    for fields in (
      dict(),
      dict(registers=2),
      dict(pool="gap", registers=2, fc_norm=True),
      dict(pool="gap"),
      dict(pool="map", qk_norm=True, swiglu=True, layer_scale=0.25),
    )
  ),
  ("timm", HYBRID),
  ("timm", dict(variant="mu/8", depth=2, stem=())),
  ("vit_jax", VIT | dict(position="relative", registers=1, swiglu=True)),
  ("vit_jax", HYBRID),
]


@pytest.mark.parametrize(
  ("form", "fields"), HELD, ids=lambda x: x if isinstance(x, str) else ""
)
def test_what_is_written_is_read(form, fields, tmp_path):
  weights = make_weights(fields)
  suffix = "" if form == "vit_jax" else FORMATS[form].suffix
  path = tmp_path / f"first{suffix}"
  save_weights(weights, str(path), form)
  found = load_weights(str(path))
  assert found.form == form
  check_same(found, weights)
  if not suffix:
    return
  # The same bytes the second time.
  again = tmp_path / f"second{suffix}"
  assert len(save_weights(found, str(again), form)) == 2
  assert again.read_bytes() == path.read_bytes()
  # The manifest holds what arrays do not show, and that alone.
  (tmp_path / f"first{suffix}.json").unlink()
  found = load_weights(str(path))
  check_params(found.params, weights.params)
  fields = found.all_fields
  for name, value in weights.all_fields.items():
    if name in FORMATS[form].fields and name != "position":
      assert fields[name] == FORMATS[form].fields[name]
    elif name == "layer_scale" and value:
      assert fields[name]
    else:
      assert fields[name] == value, name
  assert found.size == (224, 224) and found.num_classes == 5


@pytest.mark.parametrize("form", ["big_vision", "big_vision_scanned"])
def test_a_class_tokens_position_goes_into_the_token(form, tmp_path):
  weights = make_weights(variant="mu/4", size=(8, 8))
  save_weights(weights, str(tmp_path / "x.npz"), form)
  found = load_weights(str(tmp_path / "x.npz"))
  changed = {
    path
    for path, array in weights.params.items()
    if not np.array_equal(array, found.params[path])
  }
  assert changed == {"cls", "Transformer/posembed_input/pos_embedding"}
  # x + (c + p) + 0 and x + c + p have one sum in them, of the same numbers.
  np.testing.assert_array_equal(compute_logits(found), compute_logits(weights))
  save_weights(found, str(tmp_path / "y.npz"), form)
  first, second = (tmp_path / f"{name}.npz" for name in "xy")
  assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("prefix", ["opt/target/", "params/", "params/img/"])
@pytest.mark.parametrize(
  ("form", "fields"),
  [("authors", VIT), ("bit", RESNET), ("mixer", MIXER)],
  ids=["authors", "bit", "mixer"],
)
def test_prefixes(form, fields, prefix, tmp_path):
  weights = make_weights(fields)
  path = tmp_path / "x.npz"
  save_weights(weights, str(path), form, prefix=prefix)
  check_same(load_weights(str(path)), weights)

  def surround(arrays):
    """An optimizer's state, and for the last prefix a tower of texts."""
    assert all(name.startswith(prefix) for name in arrays)
    more = {"opt/state/step": np.array(7)}
    for name, array in arrays.items():
      inner = name.removeprefix(prefix)
      more[f"opt/state/param_states/{inner}/grad_ema"] = array
      if prefix == "params/img/":
        more[f"params/txt/{inner}"] = array + 1
    return arrays | more

  edit(path, surround)
  check_same(load_weights(str(path)), weights)


@pytest.mark.parametrize("form", ["authors", "timm", "hugging_face"])
def test_bfloat16(form, tmp_path):
  weights = make_weights()
  path = tmp_path / f"x{FORMATS[form].suffix}"
  save_weights(weights, str(path), form, bfloat16=True)
  if form == "authors":
    with np.load(path) as loaded:
      assert {loaded[name].dtype for name in loaded} == {np.dtype("V2")}
  else:
    arrays = read_arrays(path)
    assert {x.dtype for x in arrays.values()} == {np.dtype(ml_dtypes.bfloat16)}
  rounded = {
    path: array.astype(ml_dtypes.bfloat16).astype(np.float32)
    for path, array in weights.params.items()
  }
  check_params(load_weights(str(path)).params, rounded)


RENAMED = {
  "vit.encoder.layer.": "vit.layers.",
  "attention.attention.query": "attention.q_proj",
  "attention.attention.key": "attention.k_proj",
  "attention.attention.value": "attention.v_proj",
  "attention.output.dense": "attention.o_proj",
  "intermediate.dense": "mlp.fc1",
  # Also the end of the name of the attention's, which is replaced by now.
  "output.dense": "mlp.fc2",
}


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_names_of_hugging_face(new, bare, tmp_path):
  weights = make_weights(classes=0 if bare else 5)
  path = tmp_path / "x.safetensors"
  save_weights(weights, str(path), "hugging_face")

  def rename(arrays):
    renamed = {}
    for name, array in arrays.items():
      for old, replacement in RENAMED.items() if new else ():
        name = name.replace(old, replacement)
      renamed[name.removeprefix("vit.") if bare else name] = array
    assert ("layers.1.mlp.fc2.bias" in " ".join(renamed)) == new
    return renamed

  edit(path, rename)
  check_same(load_weights(str(path)), weights)


def test_the_directories_that_loaders_of_pytorch_want(tmp_path):
  weights = make_weights(
    class_names=tuple("abcde"), preprocess=dict(resize="bilinear_antialias")
  )
  written = save_weights(weights, str(tmp_path / "hf"), "hugging_face")
  assert {path.name for path in written} == set(os.listdir(tmp_path / "hf"))
  config = json.loads((tmp_path / "hf" / "config.json").read_text())
  assert config["num_attention_heads"] == 2 and config["id2label"]["1"] == "b"
  check_same(load_weights(str(tmp_path / "hf")), weights)
  # Without our manifest theirs says as much.
  (tmp_path / "hf" / "model.safetensors.json").unlink()
  found = load_weights(str(tmp_path / "hf"))
  check_same(found, weights)
  assert found.origins["gelu"] == str(tmp_path / "hf" / "config.json")
  # In several files, as large models are.
  arrays = read_arrays(tmp_path / "hf" / "model.safetensors")
  index = {}
  for i, name in enumerate(sorted(arrays)):
    index[name] = f"model-{i % 2}.safetensors"
  for file in set(index.values()):
    shard = {n: x for n, x in arrays.items() if index[n] == file}
    storing.write_safetensors(tmp_path / "hf" / file, shard, {})
  (tmp_path / "hf" / "model.safetensors").unlink()
  name = "model.safetensors.index.json"
  (tmp_path / "hf" / name).write_text(json.dumps({"weight_map": index}))
  check_same(load_weights(str(tmp_path / "hf")), weights)


def test_jax_arrays_are_written_too(tmp_path):
  weights = make_weights()
  params = {path: jax.numpy.asarray(x) for path, x in weights.params.items()}
  weights.params.update(params)
  save_weights(weights, str(tmp_path / "x.safetensors"), "timm")
  found = load_weights(str(tmp_path / "x.safetensors"))
  check_params(found.params, {p: np.asarray(x) for p, x in params.items()})
