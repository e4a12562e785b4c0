# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""transformers reads what we write, and we what transformers writes."""

import json

import numpy as np
import pytest

from tests.judges import (
  CLASSES,
  OTHER_SIZE,
  check,
  make_images,
  make_weights,
  randomize,
  resize,
)
from vit_jax.convert import load_weights, save_weights

pytestmark = pytest.mark.judges

FIELDS = dict(gelu="exact", layer_norm_eps=1e-12)
TINY = dict(hidden_size=192, num_attention_heads=3, intermediate_size=768)


@pytest.fixture(scope="session")
def load(transformers):
  """Loads a directory strictly, as one of transformers' classes."""

  def load(directory, kind="ViTForImageClassification"):
    model, found = getattr(transformers, kind).from_pretrained(
      str(directory), output_loading_info=True
    )
    assert not any(found.values()), found
    return model.eval()

  return load


@pytest.fixture(scope="session")
def judge(torch):
  """(model, images [B H W c]) -> what it says of them."""

  def judge(model, images, **options):
    return model(torch.from_numpy(np.moveaxis(images, -1, 1)), **options)

  return judge


@pytest.mark.parametrize(
  "variant, short",
  [("Ti/16", {}), ("S/32", {}), ("B/16", {}), ("L/16", dict(depth=4))],
)
def test_directories_that_we_write(load, judge, tmp_path, variant, short):
  weights = make_weights(variant, **FIELDS, **short)
  save_weights(weights, str(tmp_path / "model"), "hugging_face")
  model = load(tmp_path / "model")
  images = make_images()
  check(weights, images, judge(model, images).logits)

  images = make_images(OTHER_SIZE)
  judged = judge(model, images, interpolate_pos_encoding=True)
  check(resize(weights, OTHER_SIZE, "bicubic"), images, judged.logits)


def test_a_model_in_several_files(load, judge, tmp_path):
  weights = make_weights("Ti/16", depth=3, **FIELDS)
  ours, theirs = tmp_path / "ours", tmp_path / "theirs"
  save_weights(weights, str(ours), "hugging_face", shard_size=2_000_000)
  model = load(ours)
  images = make_images()
  check(weights, images, judge(model, images).logits)
  model.save_pretrained(theirs, max_shard_size=2_000_000)
  # The same model in as many files, which both read.
  index = "model.safetensors.index.json"
  stated = [json.loads((x / index).read_text()) for x in (ours, theirs)]
  sizes = [found["metadata"]["total_size"] for found in stated]
  names = [len(found["weight_map"]) for found in stated]
  assert sizes[0] == sizes[1] and names[0] == names[1]
  assert len(list(ours.glob("*.safetensors"))) > 2
  found = load_weights(str(theirs))
  assert found.params.keys() == weights.params.keys()
  for path, array in weights.params.items():
    np.testing.assert_array_equal(found.params[path], array)


def test_a_model_unlike_the_usual(load, judge, tmp_path):
  size = (96, 64)
  fields = dict(depth=2, mlp_dim=200, gelu="tanh", layer_norm_eps=1e-3)
  weights = make_weights("Ti/8", size, 1, num_classes=3, **fields)
  save_weights(weights, str(tmp_path / "model"), "hugging_face")
  images = make_images(size, 1)
  judged = judge(load(tmp_path / "model"), images).logits
  check(weights, images, judged)


def test_a_model_without_a_head(load, judge, tmp_path):
  weights = make_weights(
    "Ti/16", num_classes=0, depth=2, representation_size=192, **FIELDS
  )
  save_weights(weights, str(tmp_path / "model"), "hugging_face")
  model = load(tmp_path / "model", "ViTModel")
  images = make_images()
  check(weights, images, judge(model, images).pooler_output)


@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
@pytest.mark.parametrize("names", ["as saved", "of the modules"])
def test_what_transformers_writes(transformers, judge, tmp_path, act, names):
  from safetensors.torch import save_file

  config = transformers.ViTConfig(
    num_hidden_layers=3,
    hidden_act=act,
    layer_norm_eps=1e-4,
    num_labels=CLASSES,
    **TINY,
  )
  model = transformers.ViTForImageClassification(config).eval()
  randomize(model)
  model.save_pretrained(tmp_path)
  if names != "as saved":
    state = model.state_dict()
    assert "vit.layers.0.attention.q_proj.weight" in state
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
  weights = load_weights(str(tmp_path))
  assert weights.fields["gelu"] == ("exact" if act == "gelu" else "tanh")
  images = make_images()
  check(weights, images, judge(model, images).logits)
