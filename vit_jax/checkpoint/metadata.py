# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Metadata of a checkpoint, with a digest, and the names of its arrays."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax

from vit_jax.checkpoint.checksums import describe
from vit_jax.config import ConfigError
from vit_jax.sharding import get_path
from vit_jax.storage.files import to_json
from vit_jax.train_state import NonFinite, TrainState

# Goes up when an older vit_jax could not read what is written. A change that
# raises it adds to `open_metadata` how the format before is read.
FORMAT = 1

# Format 1 has names of its own for `train_state.NonFinite` and its fields.
NONFINITE = "health"
FIELDS = {"skipped": "passed"}


class DamagedError(Exception):
  """The content of a checkpoint differs from what was written."""


def to_tree(state: TrainState) -> dict[str, Any]:
  """Converts a state, or its shapes, to the tree that a checkpoint holds."""
  tree = {x.name: getattr(state, x.name) for x in dataclasses.fields(state)}
  nonfinite = tree.pop("nonfinite")
  tree[NONFINITE] = {
    FIELDS.get(x.name, x.name): getattr(nonfinite, x.name)
    for x in dataclasses.fields(nonfinite)
  }
  return tree


def from_tree(tree: Mapping[str, Any]) -> TrainState:
  """Converts the tree that a checkpoint holds back to a state."""
  fields = dict(tree)
  values = fields.pop(NONFINITE)
  nonfinite = NonFinite(
    **{
      x.name: values[FIELDS.get(x.name, x.name)]
      for x in dataclasses.fields(NonFinite)
    }
  )
  return TrainState(**fields, nonfinite=nonfinite)


def seal(metadata: Mapping[str, Any]) -> dict[str, Any]:
  """Returns metadata as JSON has it, with its digest.

  Numbers that are not finite, which JSON does not have, become null.
  """
  cleaned = json.loads(to_json(metadata))
  text = json.dumps(cleaned, sort_keys=True)
  return {"vit_jax": cleaned, "sha256": _digest(text)}


def open_metadata(sealed: Any) -> dict[str, Any] | None:
  """Checks sealed metadata and returns it, or None if there is none.

  Raises:
    DamagedError: if it does not match its digest, or is malformed.
    ConfigError: if it is of a later format.
  """
  if not isinstance(sealed, Mapping) or "vit_jax" not in sealed:
    return None
  metadata = sealed["vit_jax"]
  text = json.dumps(metadata, sort_keys=True)
  matches = sealed.get("sha256") == _digest(text)
  if not matches or not isinstance(metadata, Mapping):
    raise DamagedError("its metadata differs from what was written")
  kinds = {"format": int, "step": int, "checksums": Mapping}
  more = metadata.keys() & {"config", "data", "versions", "sums", "scores"}
  kinds |= dict.fromkeys(more, Mapping)
  if not all(isinstance(metadata.get(key), x) for key, x in kinds.items()):
    raise DamagedError("its metadata is malformed")
  if metadata["format"] > FORMAT:
    raise ConfigError(
      f"a checkpoint of format {metadata['format']} comes from a newer "
      f"vit_jax; this one reads formats up to {FORMAT}: upgrade it"
    )
  return dict(metadata)


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()


def compare(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
  """Compares descriptions of arrays by path, each as in the metadata.

  Raises:
    DamagedError: the arrays that differ.
  """
  wrong = sorted(path for path in found if found[path] != expected.get(path))
  if wrong:
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    raise DamagedError(f"array {wrong[0]}{more} differs from what was written")


def check_fit(abstract_state: TrainState, metadata: Mapping[str, Any]) -> None:
  """Refuses a checkpoint whose arrays are not those of the state.

  Raises:
    ConfigError: the arrays that differ.
  """
  leaves = jax.tree_util.tree_leaves_with_path(to_tree(abstract_state))
  wanted = {get_path(keys): describe(leaf) for keys, leaf in leaves}
  there = {path: x.split()[0] for path, x in metadata["checksums"].items()}
  lines = [
    f"  {sign} {path} {shapes[path]}"
    for path in sorted(wanted.keys() | there.keys())
    if wanted.get(path) != there.get(path)
    for sign, shapes in (("-", there), ("+", wanted))
    if path in shapes
  ]
  if lines:
    lines[10:] = [f"  and {len(lines) - 10} more"] if len(lines) > 10 else []
    raise ConfigError(
      f"the checkpoint of step {metadata['step']} does not fit the state of "
      f"this config:\n"
      + "\n".join(lines)
      + "\n  other versions of packages may be the reason; config.json has the "
      "run's"
    )
