# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Metadata beside weights, in JSON: our manifest.json, and the config.json of
Hugging Face and timm.

A manifest is a dictionary of `model` (fields), `num_classes`, `class_names`,
`cross_entropy` and `preprocess`; as read it has `source`, too, the path of its
file. Any of these may be missing from a file that we did not write.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.hugging_face import read_hugging_face
from vit_jax.convert.timm import read_timm
from vit_jax.data.preprocess import Preprocess
from vit_jax.storage import untrusted

Manifest = dict[str, Any]

MANIFEST = "manifest.json"


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
  stated = _load_config(path)
  if not manifest.exists():
    return stated
  own = load_json(manifest)
  changed = _find_changes(own, stated)
  if changed:
    raise CheckpointError(
      f"{manifest} and {stated['source']} differ in {', '.join(changed)}: "
      f"another program has written here since the former was made; remove "
      f"{manifest.name} to read what the other says"
    )
  return own | {"source": str(manifest)}


def _find_changes(own: Manifest, stated: Manifest) -> list[str]:
  """Finds what the config.json of others states otherwise than our manifest."""
  found = []
  for section, names in (("model", None), ("preprocess", ("mean", "std"))):
    ours, theirs = own.get(section), stated.get(section)
    if not isinstance(ours, Mapping) or not theirs:
      continue
    found += [
      f"{section}.{name}"
      for name in (names or theirs)
      if name in ours
      and name in theirs
      and _to_list(ours[name]) != _to_list(theirs[name])
    ]
  ours, theirs = own.get("class_names"), stated.get("class_names")
  if theirs and isinstance(ours, list) and ours != list(theirs):
    found.append("class_names")
  return found


def _to_list(value: Any) -> Any:
  """JSON has lists, not tuples."""
  return list(value) if isinstance(value, tuple) else value


def _load_config(path: epath.Path) -> Manifest:
  """Reads the config.json beside .safetensors; empty if there is none.

  Raises:
    CheckpointError: if it cannot be read.
  """
  config = path.parent / "config.json"
  if path.name.endswith(".safetensors") and config.exists():
    found = load_json(config)
    try:
      if "pretrained_cfg" in found or "architecture" in found:
        return read_timm(found) | {"source": str(config)}
      if found.get("model_type") in ("vit", "vit_mae"):
        processor = path.parent / "preprocessor_config.json"
        more = load_json(processor) if processor.exists() else {}
        found = read_hugging_face(found, more)
        return found | {"source": str(config)}
    except CheckpointError:
      raise
    except Exception as error:  # Untrusted values can cause any error.
      raise CheckpointError(f"{config} is malformed: {error!r}") from error
  return {}
