# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Metadata beside weights, in JSON: our manifest.json, and the config.json of
Hugging Face and timm.

A manifest is a dictionary of `model` (fields), `num_classes`, `class_names`,
`cross_entropy` and `preprocess`; as read it has `source`, too, the path of its
file. Any of these may be missing from a file that we did not write.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.convert.files import CheckpointError
from vit_jax.data.preprocess import Preprocess
from vit_jax.storage import untrusted

Manifest = dict[str, Any]

MANIFEST = "manifest.json"

GELU = {
  "gelu": "exact",
  "gelu_python": "exact",
  "gelu_new": "tanh",
  "gelu_fast": "tanh",
  "gelu_pytorch_tanh": "tanh",
}
# Key of config.json -> our field; arrays must agree.
SHAPES = {
  "hidden_size": "width",
  "num_hidden_layers": "depth",
  "intermediate_size": "mlp_dim",
  "patch_size": "patch_size",
}
HIDDEN_ACT = {"exact": "gelu", "tanh": "gelu_pytorch_tanh"}


def make_manifest_path(path: epath.Path) -> epath.Path:
  """Path of the manifest beside a weight file, e.g. B_16.npz.json."""
  return path.parent / f"{path.name}.json"


def make_manifest(
  model: Mapping[str, Any],
  num_classes: int,
  class_names: Sequence[str],
  cross_entropy: str,
  preprocess: Preprocess,
) -> Manifest:
  """Makes the content of manifest.json: what parameters alone do not determine.

  Args:
    model: variant and fields.
    num_classes: Y; 0 without a head.
    class_names: one per class, or none.
    cross_entropy: "softmax" or "sigmoid", what turns logits into probabilities.
    preprocess: makes the model's input.
  """
  return {
    "model": dict(model),
    "num_classes": num_classes,
    "class_names": list(class_names),
    "cross_entropy": cross_entropy,
    "preprocess": preprocess.to_json(),
  }


def load_json(path: epath.Path) -> dict[str, Any]:
  """Reads a JSON object.

  Raises:
    CheckpointError: if the file cannot be read or holds another value.
  """
  try:
    value = untrusted.load_json(path)
  except ConfigError as error:
    raise CheckpointError(str(error)) from error
  if not isinstance(value, dict):
    raise CheckpointError(f"{path} must hold a JSON object")
  return value


def load_manifest(path: epath.Path) -> Manifest:
  """Reads the metadata beside a weight file, unchecked; empty if there is none.

  Raises:
    CheckpointError: if it cannot be read.
  """
  manifest = make_manifest_path(path)
  if manifest.exists():
    return load_json(manifest) | {"source": str(manifest)}
  config = path.parent / "config.json"
  if path.name.endswith(".safetensors") and config.exists():
    found = load_json(config)
    try:
      if "pretrained_cfg" in found or "architecture" in found:
        return _from_timm(found) | {"source": str(config)}
      if found.get("model_type") == "vit":
        processor = path.parent / "preprocessor_config.json"
        more = load_json(processor) if processor.exists() else {}
        found = _from_hugging_face(found, more)
        return found | {"source": str(config)}
    except CheckpointError:
      raise
    except Exception as error:  # Untrusted values can cause any error.
      raise CheckpointError(f"{config} is malformed: {error!r}") from error
  return {}


def _from_hugging_face(config: dict, processor: dict) -> Manifest:
  """A manifest from the config.json and processor config of transformers."""
  act = config.get("hidden_act", "gelu")
  if act not in GELU:
    raise CheckpointError(
      f"config.json has unknown hidden_act={act!r}; choose from: "
      f"{', '.join(GELU)}"
    )
  size = config.get("image_size", 224)
  height, width = size if isinstance(size, list) else (size, size)
  labels = config.get("id2label") or {}
  names = [labels[key] for key in sorted(labels, key=int)]
  kinds = config.get("architectures") or []
  classes = None
  if labels and "ViTForImageClassification" in kinds:
    classes = len(names)
  if all(name == f"LABEL_{i}" for i, name in enumerate(names)) or not classes:
    names = []
  shapes = {
    field: int(config[key]) for key, field in SHAPES.items() if key in config
  }
  return {
    "model": {
      "num_heads": int(config.get("num_attention_heads", 12)),
      "gelu": GELU[act],
      "layer_norm_eps": float(config.get("layer_norm_eps", 1e-12)),
      **shapes,
    },
    "num_classes": classes,
    "class_names": names,
    "preprocess": {
      "height": int(height),
      "width": int(width),
      "channels": int(config.get("num_channels", 3)),
      "mean": processor.get("image_mean"),
      "std": processor.get("image_std"),
    },
  }


# timm's architectures that approximate GELU with tanh, by name.
_TANH = re.compile(
  r"vit_(base_patch32|large_patch16(?=.*_512)|so400m_patch16|giantopt_patch16)"
  r"_siglip.*"
)
# Architectures whose number of heads is unusual for their width.
_HEADS = {"vit_base_patch16_gap_224": 16}


def _from_timm(config: dict) -> Manifest:
  """A manifest from config.json of timm."""
  cfg = config.get("pretrained_cfg", config)
  name = str(config.get("architecture", ""))
  arguments = config.get("model_args") or {}
  fields: dict[str, Any] = {}
  manifest: Manifest = {"model": fields}
  if config.get("num_classes"):
    manifest["num_classes"] = int(config["num_classes"])
  if config.get("global_pool") == "avg":
    fields["pool"] = "gap"
  heads = arguments.get("num_heads", _HEADS.get(name))
  if heads:
    fields["num_heads"] = int(heads)
  if arguments.get("act_layer") == "gelu_tanh" or _TANH.fullmatch(name):
    fields["gelu"] = "tanh"
  if "input_size" in cfg:
    channels, height, width = map(int, cfg["input_size"])
    manifest["preprocess"] = {
      "height": height,
      "width": width,
      "channels": channels,
      "mean": cfg.get("mean"),
      "std": cfg.get("std"),
      "crop": float(cfg.get("crop_pct", 1.0)),
    }
  names = config.get("label_names") or cfg.get("label_names")
  if isinstance(names, list):
    manifest["class_names"] = [str(label) for label in names]
  return manifest


def make_hugging_face(
  fields: dict[str, Any], num_classes: int, manifest: Manifest
) -> dict[str, dict[str, Any]]:
  """Makes the files that transformers reads beside weights: name -> content."""
  preprocess = manifest["preprocess"]
  size = [preprocess["height"], preprocess["width"]]
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
    "image_size": size[0] if size[0] == size[1] else size,
    "patch_size": fields["patch_size"],
    "num_channels": preprocess["channels"],
    "qkv_bias": True,
  }
  if num_classes:
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    config["label2id"] = {name: i for i, name in enumerate(names)}
  processor = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": size[0], "width": size[1]},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": preprocess["mean"],
    "image_std": preprocess["std"],
    "resample": 2,
  }
  return {"config.json": config, "preprocessor_config.json": processor}


# Our size -> timm's architecture; other patch sizes are arguments of it.
_TIMM = {
  "Ti": "vit_tiny_patch16",
  "S": "vit_small_patch16",
  "B": "vit_base_patch16",
  "L": "vit_large_patch16",
  "H": "vit_huge_patch14",
  "g": "vit_giant_patch14",
  "G": "vit_gigantic_patch14",
}
_TIMM_HYBRIDS = {
  "R+Ti/16": "vit_tiny_r_s16_p8",
  "R26+S/32": "vit_small_r26_s32",
  "R26+B/32": "vit_base_r26_s32",
  "R50+B/16": "vit_base_r50_s16",
  "R50+L/32": "vit_large_r50_s32",
}
_TIMM_POOLS = {"token": "token", "gap": "avg", "map": "map"}


def make_timm(
  variant: str, fields: dict[str, Any], num_classes: int, manifest: Manifest
) -> dict[str, dict[str, Any]]:
  """Makes the files that timm's `local-dir:` reads: name -> content.

  There are none for a model that is not one of timm's architectures; such a
  model loads with `create_model(...).load_state_dict`.
  """
  preprocess = manifest["preprocess"]
  height, width = preprocess["height"], preprocess["width"]
  base, _, patch = variant.partition("/")
  name = _TIMM_HYBRIDS.get(variant, _TIMM.get(base))
  _, row = models.get_row(variant)
  same = name is not None and row.items() <= fields.items()
  if not same or fields["swiglu"]:
    return {}
  pool = _TIMM_POOLS[fields["pool"]]
  arguments = {
    "img_size": [height, width],
    "in_chans": preprocess["channels"],
    "num_classes": num_classes,
    "class_token": pool == "token",
    "global_pool": pool,
    "fc_norm": fields["fc_norm"],
  }
  first = "patch_embed.proj"
  if base in _TIMM:
    arguments["patch_size"] = int(patch)
  else:
    stem = ".stem" if fields["stem"] else ""
    first = f"patch_embed.backbone{stem}.conv"
  if fields["registers"]:
    arguments["reg_tokens"] = fields["registers"]
    arguments["no_embed_class"] = pool != "token"
  if fields["layer_scale"]:
    arguments["init_values"] = fields["layer_scale"]
  if fields["qk_norm"]:
    arguments["qk_norm"] = True
  if fields["gelu"] == "tanh":
    arguments["act_layer"] = "gelu_tanh"
  config = {
    "architecture": f"{name}_224",
    "num_classes": num_classes,
    "num_features": fields["width"],
    "global_pool": pool,
    "pretrained_cfg": {
      "input_size": [preprocess["channels"], height, width],
      "fixed_input_size": True,
      "interpolation": "bicubic",
      "crop_pct": preprocess.get("crop") or 1.0,
      "mean": preprocess["mean"],
      "std": preprocess["std"],
      "num_classes": num_classes,
      "first_conv": first,
      "classifier": "head",
    },
    "model_args": arguments,
  }
  if manifest.get("class_names"):
    config["label_names"] = manifest["class_names"]
  return {"config.json": config}
