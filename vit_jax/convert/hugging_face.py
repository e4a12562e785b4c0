# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The config.json and preprocessor_config.json of transformers' ViTs."""

from collections.abc import Mapping
from typing import Any

from vit_jax.convert.files import CheckpointError
from vit_jax.convert.pixels import make_processor, read_processor
from vit_jax.data.preprocess import Preprocess

Manifest = dict[str, Any]

GELU = {
  "gelu": "exact",
  "gelu_python": "exact",
  "gelu_new": "tanh",
  "gelu_fast": "tanh",
  "gelu_pytorch_tanh": "tanh",
}
HIDDEN_ACT = {"exact": "gelu", "tanh": "gelu_pytorch_tanh"}
# Key of config.json -> our field; arrays must agree.
SHAPES = {
  "hidden_size": "width",
  "num_hidden_layers": "depth",
  "intermediate_size": "mlp_dim",
  "patch_size": "patch_size",
}
SINGLE = "single_label_classification"
# problem_type -> what turns logits into probabilities.
LOSSES = {
  None: "softmax",
  SINGLE: "softmax",
  "multi_label_classification": "sigmoid",
}
# Keys that change what a model computes -> the only value that ours has.
FIXED = {"pooler_act": "tanh", "qkv_bias": True}


def read_hugging_face(
  config: Mapping[str, Any], processor: Mapping[str, Any]
) -> Manifest:
  """A manifest from the two files; the second is empty if there is none.

  A field that they do not state is left out, for the format's default.

  Raises:
    CheckpointError: naming the keys that no model or pixels here honour.
  """
  act = config.get("hidden_act", "gelu")
  if act not in GELU:
    raise CheckpointError(
      f"config.json has unknown hidden_act={act!r}; choose from: "
      f"{', '.join(GELU)}"
    )
  for key, value in FIXED.items():
    if config.get(key, value) != value:
      raise CheckpointError(
        f"config.json has {key}={config[key]!r}, and the models here are those "
        f"with {key}={value!r}"
      )
  problem = config.get("problem_type")
  if problem not in LOSSES:
    raise CheckpointError(
      f"config.json has problem_type={problem!r}, and the models here "
      f"classify: choose from {', '.join(filter(None, LOSSES))}"
    )
  fields: dict[str, Any] = {
    "num_heads": int(config.get("num_attention_heads", 12)),
    **{f: int(config[key]) for key, f in SHAPES.items() if key in config},
  }
  if "hidden_act" in config:
    fields["gelu"] = GELU[act]
  if "layer_norm_eps" in config:
    fields["layer_norm_eps"] = float(config["layer_norm_eps"])
  names, classes = _read_labels(config)
  size = config.get("image_size", 224)
  height, width = map(int, size if isinstance(size, list) else (size, size))
  channels = int(config.get("num_channels", 3))
  return {
    "model": fields,
    "num_classes": classes,
    "class_names": names,
    # Its pipelines take a single label for a sigmoid, whatever is stated.
    "cross_entropy": "sigmoid" if classes == 1 else LOSSES[problem],
    "preprocess": read_processor(processor, (height, width), channels),
  }


def _read_labels(config: Mapping[str, Any]) -> tuple[list[str], int | None]:
  """Names of the classes, none if they are placeholders; and their number."""
  labels = config.get("id2label") or {}
  if "ViTForImageClassification" not in (config.get("architectures") or []):
    return [], None
  if not labels:
    return [], None
  names = [labels[key] for key in sorted(labels, key=int)]
  if all(name == f"LABEL_{i}" for i, name in enumerate(names)):
    return [], len(names)
  return names, len(names)


def make_hugging_face(
  fields: Mapping[str, Any],
  num_classes: int,
  manifest: Manifest,
  preprocess: Preprocess,
) -> dict[str, dict[str, Any]]:
  """Makes the files that transformers reads beside weights: name -> content.

  Raises:
    CheckpointError: if they have no place for the pre-processing.
  """
  height, width = preprocess.size
  names = manifest.get("class_names") or [
    f"LABEL_{i}" for i in range(num_classes)
  ]
  kind = "ViTForImageClassification" if num_classes else "ViTModel"
  config = {
    "architectures": [kind],
    "model_type": "vit",
    "hidden_size": fields["width"],
    "num_hidden_layers": fields["depth"],
    "num_attention_heads": fields["num_heads"],
    "intermediate_size": fields["mlp_dim"],
    "hidden_act": HIDDEN_ACT[fields["gelu"]],
    "layer_norm_eps": fields["layer_norm_eps"],
    "image_size": height if height == width else [height, width],
    "patch_size": fields["patch_size"],
    "num_channels": preprocess.channels,
    "qkv_bias": True,
  }
  if fields.get("representation_size"):
    config["pooler_output_size"] = fields["representation_size"]
  if num_classes:
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    config["label2id"] = {name: i for i, name in enumerate(names)}
    problem = {x: key for key, x in LOSSES.items()}[
      manifest.get("cross_entropy", "softmax")
    ]
    # transformers refuses to read that of a softmax beside one class.
    if num_classes > 1 or problem != SINGLE:
      config["problem_type"] = problem
  return {
    "config.json": config,
    "preprocessor_config.json": make_processor(preprocess),
  }
