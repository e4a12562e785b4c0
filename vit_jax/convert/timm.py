# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The config.json of timm, read and written."""

import re
from collections.abc import Mapping
from typing import Any

from vit_jax import models
from vit_jax.convert import pixels
from vit_jax.convert.files import CheckpointError
from vit_jax.data.preprocess import Preprocess

Manifest = dict[str, Any]

# timm's architectures that approximate GELU with tanh, by name.
_TANH = re.compile(
  r"vit_(base_patch32|large_patch16(?=.*_512)|so400m_patch16|giantopt_patch16)"
  r"_siglip.*"
)
# The number of heads of architectures, where their width does not tell it.
_HEADS = {
  r"vit_base_patch16_gap_224": 16,
  r"vit_wee_.*": 4,
  r"vit_little_.*": 5,
  r"(vit|deit3)_mediumd?_.*": 8,
  r"vit_betwixt_.*": 10,
  r"vit_(so150m|base_patch\d+_plus)_.*": 14,
  r"vit_giantopt_.*": 16,
  r"vit_giant_.*_(dinov2|tipsv2)": 24,
}


# Values of model_args that change what a model computes and show in no array.
_FIXED: dict[str, tuple] = {
  "act_layer": (None, "gelu", "gelu_tanh"),
  "norm_layer": (None, "layernorm"),
  "global_pool": (None, "token", "avg", "map"),
  "pool_include_prefix": (None, False),
}


# timm's global_pool -> ours.
_POOLS = {"token": "token", "avg": "gap", "map": "map"}


def read_timm(config: dict[str, Any]) -> Manifest:
  """A manifest from config.json of timm.

  Raises:
    CheckpointError: naming the keys that no model or pixels here honour.
  """
  cfg = config.get("pretrained_cfg", config)
  name = str(config.get("architecture", ""))
  arguments = config.get("model_args") or {}
  for key, values in _FIXED.items():
    if arguments.get(key) not in values:
      raise CheckpointError(
        f"config.json has model_args.{key}={arguments[key]!r}, and the models "
        f"here have {' or '.join(repr(x) for x in values if x is not None)}"
      )
  fields: dict[str, Any] = {}
  manifest: Manifest = {"model": fields}
  if config.get("num_classes"):
    manifest["num_classes"] = int(config["num_classes"])
  pool = arguments.get("global_pool") or config.get("global_pool")
  if pool in _POOLS:
    fields["pool"] = _POOLS[pool]
  usual = (k for pattern, k in _HEADS.items() if re.fullmatch(pattern, name))
  heads = arguments.get("num_heads", next(usual, None))
  if heads:
    fields["num_heads"] = int(heads)
  act = arguments.get("act_layer")
  if act == "gelu_tanh" or (act is None and _TANH.fullmatch(name)):
    fields["gelu"] = "tanh"
  elif act == "gelu":
    fields["gelu"] = "exact"
  if "input_size" in cfg:
    manifest["preprocess"] = pixels.read_timm(cfg)
  names = config.get("label_names") or cfg.get("label_names")
  if isinstance(names, list):
    manifest["class_names"] = [str(label) for label in names]
  return manifest


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

# An architecture with SwiGLU, which is no argument of others.
_SWIGLU = "vit_giant_patch14_dinov2"
# What can be written without a config.json.
_ALONE = "name a file, *.safetensors, to write the arrays alone"


# Constants of timm's classes, which no config.json of its changes.
CONSTANTS: dict[str, Any] = {
  "layer_norm_eps": 1e-6,
  "group_norm_eps": 1e-5,
  "std_conv_eps": 1e-8,
  "std_conv_eps_in": "variance",
}
# Those that only a stem of convolutions uses.
STEM = ("group_norm_eps", "std_conv_eps", "std_conv_eps_in")


def find_constants(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Finds the constants of timm's that differ from a model's fields."""
  unused = STEM if fields.get("stem") is None else ()
  return {
    name: value
    for name, value in CONSTANTS.items()
    if name not in unused and fields[name] != value
  }


def describe_constants(fields: Mapping[str, Any]) -> list[str]:
  """The line on what timm computes otherwise from a file, if anything."""
  found = find_constants(fields).items()
  theirs = ", ".join(f"{name}={value}" for name, value in found)
  ours = ", ".join(f"{name}={fields[name]}" for name, _ in found)
  return (
    [f"timm computes with {theirs}, whatever a file says, not with {ours}"]
    if found
    else []
  )


def make_timm(
  variant: str,
  fields: dict[str, Any],
  num_classes: int,
  manifest: Manifest,
  preprocess: Preprocess,
) -> dict[str, dict[str, Any]]:
  """Makes the files that timm's `local-dir:` reads: name -> content.

  A model without a name of timm's is one of its architectures with arguments.

  Raises:
    CheckpointError: for a stem, an epsilon, or a pooling beside SwiGLU that
      timm does not have.
  """
  constants = find_constants(fields)
  if constants:
    lines = "".join(f"\n  {name}={fields[name]!r}" for name in constants)
    flags = " ".join(f"--{name}={value}" for name, value in constants.items())
    raise CheckpointError(
      f"timm's config.json has no place for what this model computes with:"
      f"{lines}\n  {flags} takes timm's constants, and so changes the logits; "
      f"the format vit_jax can hold them: give a directory, without --to"
    )
  if fields["swiglu"] and fields["pool"] == "map":
    raise CheckpointError(
      f"timm's models with SwiGLU have another MLP in their attention pooling, "
      f"so there is no config.json to write; {_ALONE}"
    )
  height, width = preprocess.size
  base, _, _ = variant.partition("/")
  _, row = models.get_row(variant)
  same = row.items() <= fields.items()
  hybrid = fields["stem"] is not None
  name = _TIMM_HYBRIDS.get(variant) if hybrid else _TIMM.get(base)
  if hybrid and (name is None or not same):
    raise CheckpointError(
      f"timm has no architecture of the stem {fields['stem']} in this size, so "
      f"there is no config.json to write; {_ALONE}"
    )
  pool = {own: name for name, own in _POOLS.items()}[fields["pool"]]
  arguments = {
    "img_size": [height, width],
    "in_chans": preprocess.channels,
    "num_classes": num_classes,
    "class_token": pool == "token",
    "global_pool": pool,
    "fc_norm": fields["fc_norm"],
  }
  first = "patch_embed.proj"
  if hybrid:
    stem = ".stem" if fields["stem"] else ""
    first = f"patch_embed.backbone{stem}.conv"
  else:
    arguments["patch_size"] = fields["patch_size"]
  if not hybrid and (not same or name is None or fields["swiglu"]):
    name = _SWIGLU if fields["swiglu"] else _TIMM["B"]
    hidden = fields["mlp_dim"] * (2 if fields["swiglu"] else 1)
    arguments |= {
      "embed_dim": fields["width"],
      "depth": fields["depth"],
      "num_heads": fields["num_heads"],
      # timm cuts off what follows the point of their product.
      "mlp_ratio": (hidden + 0.5) / fields["width"],
      "init_values": None,
    }
  if fields["registers"]:
    arguments["reg_tokens"] = fields["registers"]
    arguments["no_embed_class"] = pool != "token"
  if fields["layer_scale"]:
    arguments["init_values"] = fields["layer_scale"]
  if fields["qk_norm"]:
    arguments["qk_norm"] = True
  if fields["gelu"] == "tanh" and not fields["swiglu"]:
    arguments["act_layer"] = "gelu_tanh"
  suffix = "" if name == _SWIGLU else "_224"
  config = {
    "architecture": f"{name}{suffix}",
    "num_classes": num_classes,
    "num_features": fields["width"],
    "global_pool": pool,
    "pretrained_cfg": {
      "fixed_input_size": True,
      **pixels.make_timm_pixels(preprocess),
      "num_classes": num_classes,
      "first_conv": first,
      "classifier": "head",
    },
    "model_args": arguments,
  }
  if manifest.get("class_names"):
    config["label_names"] = manifest["class_names"]
  return {"config.json": config}
