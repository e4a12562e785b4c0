# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run takes over from the run that it starts from, beside arrays."""

from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.config.frozen import FrozenDict
from vit_jax.config.recipe import to_plain
from vit_jax.convert.files import resolve
from vit_jax.convert.initialize import SILENT
from vit_jax.convert.manifest import load_json
from vit_jax.convert.manifest_checks import load_run_manifest
from vit_jax.convert.published import parse_name
from vit_jax.convert.weights import is_run
from vit_jax.storage.paths import locate


def inherit(
  config: Mapping[str, Any] | ConfigDict, workdir: str | None
) -> Mapping[str, Any]:
  """Takes fields that no array shows from the run that a config starts from.

  Only what the config leaves open is taken. A run that resumes takes them from
  its own config.json, as the run that it started from may be gone; if that file
  is damaged, from there all the same, and what differs from its checkpoint is
  refused later.

  Args:
    config: as a recipe gives it; a resolved one is returned as it is.
    workdir: directory of the run.

  Raises:
    ConfigError: if a manifest that is there cannot be read.
  """
  if isinstance(config, ConfigDict):
    config = to_plain(config)
  init, model = config.get("init"), config.get("model")
  if isinstance(config, FrozenDict) or not (init and isinstance(init, str)):
    return config
  if not isinstance(model, Mapping):
    return config
  stated: Mapping[str, Any] = {}
  before = None if workdir is None else load_recorded(locate(workdir))
  if before is not None:
    if before.get("init") == init and isinstance(before.get("model"), Mapping):
      stated = before["model"]
  elif parse_name(init) is None:
    location = locate(init)
    if is_run(location):
      stated = load_run_manifest(location)[2]["model"]
  try:
    allowed = models.parameters(model.get("variant"))
  except ConfigError:  # Reported with all other errors of the config.
    return config
  taken = {
    name: stated[name]
    for name in SILENT
    if name in stated and name in allowed and name not in model
  }
  return {**config, "model": {**model, **taken}}


def load_recorded(workdir: epath.Path) -> dict[str, Any] | None:
  """Loads the config.json of a run; None if it is missing or damaged."""
  path = workdir / "config.json"
  try:
    return load_json(path) if path.exists() else None
  except ConfigError:  # The run says so, and writes it again.
    return None


def check_source(config: Mapping[str, Any], workdir: str) -> None:
  """Checks that there is what a run starts from, before its data are listed.

  A run that resumes needs it no more.

  Args:
    config: resolved config.
    workdir: directory of the run.

  Raises:
    ConfigError: if it is missing, with the command that downloads it.
  """
  init = config["init"]
  if not init or parse_name(init) is not None:
    return
  if (locate(workdir) / "config.json").exists() or is_run(locate(init)):
    return
  try:
    resolve(init)
  except ConfigError as error:
    raise ConfigError(f"--config.init: {error}") from error
