# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of manifests, which are untrusted and may have been edited."""

from collections.abc import Mapping
from typing import Any

from etils import epath

from vit_jax import models
from vit_jax.config import ConfigError, Natural, check, fits
from vit_jax.convert.fields import EXAMPLES, KINDS, Fields, get_kind
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.manifest import MANIFEST, Manifest, load_json
from vit_jax.data.preprocess import Preprocess
from vit_jax.storage.paths import expand


def check_fields(
  given: Mapping[str, Any], kind: str | None, errors: list[str]
) -> Fields:
  """Checks fields of a model; returns the valid ones in plain Python.

  Args:
    given: name -> value; may include `variant`.
    kind: kind of model; None if it is the variant's.
    errors: messages are appended here.
  """
  variant = given.get("variant")
  try:
    allowed = models.parameters(variant or EXAMPLES[kind or "vit"])
    if variant is not None and kind not in (None, get_kind(str(variant))):
      errors.append(f"model.variant={variant!r} is not a {KINDS[kind]}")
      return {}
  except ConfigError as error:
    errors.append(str(error))
    return {}
  if variant is None:
    del allowed["variant"]
    given = {key: x for key, x in given.items() if key != "variant"}
  checked = check("model", given, allowed, errors)
  return {key: checked[key] for key in given if key in checked}


def check_overrides(overrides: Mapping[str, Any], kind: str) -> dict[str, Any]:
  """Checks the caller's fields of a model.

  Raises:
    CheckpointError: for unknown fields and values of a wrong type.
  """
  errors: list[str] = []
  if "adapter" in overrides:
    errors.append("adapter is for training: weights have it added to them")
  fields = check_fields(overrides, kind, errors)
  if errors:
    raise CheckpointError("\n".join(errors))
  return fields


def check_manifest(manifest: Manifest, kind: str | None = None) -> Manifest:
  """Checks a manifest; returns it in plain Python.

  Unknown keys are left out, but unknown fields of a model are errors.

  Args:
    manifest: as read, with its source if it is not empty.
    kind: kind of model, if arrays determine the rest; None if the manifest has
      to be complete.

  Returns:
    A manifest with all keys, None where nothing is stated; its preprocess
    section is a `Preprocess`.

  Raises:
    CheckpointError: naming the source and every key that is wrong.
  """
  errors: list[str] = []
  checked: Manifest = {"source": manifest.get("source", "")}
  for key in ("model", "preprocess"):
    section = manifest.get(key)
    if section is None and kind is not None:
      checked[key] = {} if key == "model" else None
    elif not isinstance(section, Mapping):
      errors.append(f"{key}={section!r} must be a section of keys")
    elif key == "preprocess":
      try:
        checked[key] = Preprocess.from_json(section)
      except ConfigError as error:
        errors += str(error).splitlines()
    elif kind is None and not section.get("variant"):
      errors.append("model.variant is missing")
    else:
      checked[key] = check_fields(section, kind, errors)
  loss = manifest.get("cross_entropy", "softmax")
  if loss not in ("softmax", "sigmoid"):
    errors.append(f"cross_entropy={loss!r} must be 'softmax' or 'sigmoid'")
  checked["cross_entropy"] = loss
  classes, names = (
    manifest.get("num_classes"),
    manifest.get("class_names") or (),
  )
  if fits(classes, Natural) or (classes is None and kind is not None):
    checked["num_classes"] = classes
  else:
    errors.append(f"num_classes={classes!r} must be an int in [0, inf)")
  if not fits(names, tuple[str, ...]):
    errors.append("class_names must be a list of strings")
  elif names and fits(classes, Natural) and len(names) != classes:
    errors.append(
      f"class_names has {len(names)} entries, and num_classes is {classes}"
    )
  else:
    checked["class_names"] = tuple(names)
  if errors:
    lines = "\n".join(f"  {error}" for error in errors)
    raise CheckpointError(f"{checked['source']} is invalid:\n{lines}")
  return checked


def load_run_manifest(
  location: epath.Path,
) -> tuple[epath.Path, str | None, Manifest]:
  """Finds a run, a checkpoint of it if that is named, and its manifest.

  Raises:
    CheckpointError: if the manifest is missing, with the remedy, or invalid.
  """
  run, step = expand(location), None  # Orbax takes no relative path.
  inside = run.parent.name == "checkpoints"
  if inside and not (run / MANIFEST).exists():
    run, step = run.parent.parent, run.name
  path = run / MANIFEST
  if not path.exists():
    again = "put it back, or convert the weights again"
    if (run / "config.json").exists():
      again = (
        f"the command that trained the run, python -m vit_jax.main "
        f"--workdir={run} ..., writes it again, also when the run is finished"
      )
    raise CheckpointError(
      f"{path} is missing: it has the class names, the model and the "
      f"pre-processing; {again}"
    )
  return run, step, check_manifest(load_json(path) | {"source": str(path)})


def describe_unfinished(location: epath.Path) -> str | None:
  """Says how far a run is that has not ended; None of anything else."""
  steps = location / "checkpoints"
  if (location / "result.json").exists() or not steps.is_dir():
    return None
  if not (location / "config.json").exists():  # A soup, or converted weights.
    return None
  saved = [int(x.name) for x in steps.iterdir() if x.name.isdecimal()]
  if not saved:
    return None
  return f"{location} has not ended: its weights are those of step {max(saved)}"


def check_agreement(
  manifest: Manifest, determined: Fields, num_classes: int, channels: int
) -> None:
  """Compares a manifest with the arrays beside it.

  Args:
    manifest: checked; or overrides of the caller, as a manifest.
    determined: fields that the arrays determine.
    num_classes: Y of the arrays.
    channels: c of the arrays.

  Raises:
    CheckpointError: listing all differences.
  """
  stated = dict(manifest["model"])
  variant = stated.pop("variant", None)
  if variant is not None:
    stated = models.get_row(variant)[1] | stated
    # A variant states its defaults, too.
    for name, parameter in models.parameters(variant).items():
      stated.setdefault(name, parameter.default)
  pairs = [
    (f"model.{name}", stated[name], value)
    for name, value in determined.items()
    if name in stated and name != "layer_scale"
  ]
  if determined.get("layer_scale") is None and stated.get("layer_scale"):
    pairs.append(("model.layer_scale", stated["layer_scale"], None))
  if manifest["num_classes"] is not None:
    pairs.append(("num_classes", manifest["num_classes"], num_classes))
  if manifest["preprocess"]:
    channels_there = manifest["preprocess"].channels
    pairs.append(("preprocess.channels", channels_there, channels))
  lines = [
    f"  {name}={theirs!r}, but the arrays show {ours!r}"
    for name, theirs, ours in pairs
    if theirs != ours
  ]
  if lines:
    raise CheckpointError(
      f"{manifest['source']} does not fit the arrays:\n" + "\n".join(lines)
    )
