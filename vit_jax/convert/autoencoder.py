# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Masked autoencoders with their decoder, as transformers has them (vit_mae).

`load_weights` reads the encoder of such a directory, as of any; here the
decoder comes along, to see what it fills in or to train on.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from vit_jax.checkpoint import load_params
from vit_jax.convert.files import WHOLE, CheckpointError, open_arrays
from vit_jax.convert.formats import get_format
from vit_jax.convert.hugging_face import make_hugging_face
from vit_jax.convert.lazy import load
from vit_jax.convert.manifest import load_json
from vit_jax.convert.npz import ATTENTION, POSITION, STACK
from vit_jax.convert.storing import write_safetensors
from vit_jax.convert.table import Arrays, Row, read_rows, write_rows
from vit_jax.convert.torch_names import (
  OUT_OF_HEADS,
  make_dense,
  make_norm,
  make_projections,
)
from vit_jax.convert.weights import Weights, flatten, is_run, load_weights
from vit_jax.convert.writing import to_format
from vit_jax.models.autoencoder import make_positions
from vit_jax.models.position import PositionEmbedding
from vit_jax.objectives.mae import MAE, NAME
from vit_jax.storage.files import write_json
from vit_jax.storage.paths import locate

_LAYER, _BLOCK = "decoder.decoder_layers.{i}", f"{NAME}/{STACK}"
_ATTENTION = f"{_BLOCK}/{ATTENTION}_0"

DECODER = (
  Row("decoder.mask_token", f"{NAME}/mask"),
  *make_dense("decoder.decoder_embed", f"{NAME}/embed"),
  *(
    row
    for name in ("query", "key", "value")
    for row in make_projections(
      f"{_LAYER}.attention.attention.{name}", _ATTENTION, name
    )
  ),
  *make_dense(
    f"{_LAYER}.attention.output.dense", f"{_ATTENTION}/out", OUT_OF_HEADS
  ),
  *make_dense(f"{_LAYER}.intermediate.dense", f"{_BLOCK}/MlpBlock_0/Dense_0"),
  *make_dense(f"{_LAYER}.output.dense", f"{_BLOCK}/MlpBlock_0/Dense_1"),
  *make_norm(f"{_LAYER}.layernorm_before", f"{_BLOCK}/LayerNorm_0"),
  *make_norm(f"{_LAYER}.layernorm_after", f"{_BLOCK}/LayerNorm_1"),
  *make_norm("decoder.decoder_norm", f"{NAME}/Transformer/encoder_norm"),
  *make_dense("decoder.decoder_pred", f"{NAME}/head"),
)
POSITIONS = "decoder.decoder_pos_embed"
# A name that transformers 5 writes -> that of published files.
_RENAMED = re.compile(r"^decoder\.decoder_encoder\.layer\.")
FIXED = 1e-5  # How far the positions of a file may be from those computed.


@dataclasses.dataclass(frozen=True)
class Autoencoder:
  """An encoder with the decoder that it was trained with.

  Attributes:
    weights: the encoder, with all that is needed to use it.
    objective: of its model and decoder; `reconstruct` shows what it fills in.
    params: of both, as nested dictionaries.
  """

  weights: Weights
  objective: MAE
  params: Any


def load_autoencoder(path: str) -> Autoencoder:
  """Reads the directory of a run of objective.name=mae, or of transformers.

  Raises:
    CheckpointError: if it is neither, or its arrays do not fit.
  """
  location, weights = locate(path), load_weights(path)
  if is_run(location):
    section = dict(load_json(location / "config.json")["objective"])
    if section.pop("name") != NAME:
      raise CheckpointError(f"{path} is no run of objective.name={NAME!r}")
    objective = MAE(weights.model, **section)
    tree = load_params(location / "checkpoints")
    own = {k: x for k, x in flatten(tree).items() if k.startswith(NAME)}
  else:
    config = load_json(location / "config.json")
    objective = MAE(
      weights.model,
      rate=float(config.get("mask_ratio", 0.75)),
      normalise=bool(config.get("norm_pix_loss", False)),
      decoder_width=int(config.get("decoder_hidden_size", 512)),
      decoder_depth=int(config.get("decoder_num_hidden_layers", 8)),
      decoder_heads=int(config.get("decoder_num_attention_heads", 16)),
    )
    own = _read_decoder(_read(location), objective, weights)
  tree = unflatten_dict(dict(weights.params) | own, sep="/")
  return Autoencoder(weights, objective, tree)


def _read(location: Any) -> Arrays:
  """Reads the decoder's arrays, float32 and by their published names."""
  with open_arrays(location) as arrays:
    return {
      _RENAMED.sub("decoder.decoder_layers.", name): load(x).astype(np.float32)
      for name, x in arrays.items()
      if name.startswith("decoder.")
    }


def _read_decoder(arrays: Arrays, objective: MAE, weights: Weights) -> Arrays:
  """Converts a decoder; its positions must be those that are computed."""
  arrays = dict(arrays)
  positions = arrays.pop(POSITIONS, None)
  layout = weights.model.make_layout(*weights.size)
  own = np.asarray(make_positions(layout, objective.decoder_width))
  if positions is not None and (
    positions.shape != own.shape or np.abs(positions - own).max() > FIXED
  ):
    raise CheckpointError(
      f"{weights.source}: {POSITIONS} is not the fixed sines and cosines "
      f"that the decoder here has"
    )
  found = read_rows(DECODER, arrays, objective.decoder_heads)
  if found.left or found.odd or not found.whole:
    raise CheckpointError(
      f"{weights.source}: its decoder cannot be read: "
      f"{', '.join([*found.left, *found.odd][:4]) or 'it has none'}"
    )
  return found.load(arrays, objective.decoder_heads)


def save_autoencoder(found: Autoencoder, directory: str) -> None:
  """Writes a new directory that transformers reads as ViTMAEForPreTraining.

  Raises:
    CheckpointError: if its format cannot express the model, or the directory is
      there already.
  """
  if locate(directory).exists():
    raise CheckpointError(f"{directory} is there already: name a new directory")
  weights, objective = _spell_positions(found.weights), found.objective
  layout = weights.model.make_layout(*weights.size)
  own = {
    path: np.asarray(x)
    for path, x in flatten(found.params).items()
    if path.startswith(f"{NAME}/")
  }
  makers, left = write_rows(DECODER, own, objective.decoder_heads)
  if left:
    raise CheckpointError(f"{weights.source}: {left[0]} has no place there")
  width = objective.decoder_width
  written: dict[str, Any] = {name: make() for name, make in makers.items()}
  written[POSITIONS] = np.asarray(make_positions(layout, width))
  written |= to_format(weights, get_format("hugging_face"))
  sides: Mapping[str, Any] = make_hugging_face(
    weights.all_fields, 0, weights.manifest, weights.preprocess
  )
  sides["config.json"].update(
    architectures=["ViTMAEForPreTraining"],
    model_type="vit_mae",
    mask_ratio=objective.rate,
    norm_pix_loss=objective.normalise,
    decoder_hidden_size=width,
    decoder_intermediate_size=4 * width,
    decoder_num_hidden_layers=objective.decoder_depth,
    decoder_num_attention_heads=objective.decoder_heads,
  )
  location = locate(directory)
  location.mkdir(parents=True)
  arrays = {k: np.asarray(load(x), np.float32) for k, x in written.items()}
  for name, content in sides.items():
    write_json(location / name, json.loads(json.dumps(content)))
  write_safetensors(location / WHOLE, arrays, {"format": "pt"})


def _spell_positions(weights: Weights) -> Weights:
  """Weights whose fixed positions are an array, as of a learned embedding."""
  if weights.all_fields["position"] != "sincos_2d":
    return weights
  model = weights.model
  module = PositionEmbedding(
    "sincos_2d", model.make_layout(*weights.size), model.width
  )
  positions = np.asarray(module.apply({}), np.float32)
  return dataclasses.replace(
    weights,
    params={**weights.params, POSITION: positions},
    fields={**weights.fields, "position": "learned_1d"},
  )
