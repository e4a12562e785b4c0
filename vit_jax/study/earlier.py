# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the directory of a study has of earlier, checked before it begins."""

import os
from collections.abc import Sequence

from etils import epath

from vit_jax.checkpoint.directory import list_steps
from vit_jax.config import ConfigError
from vit_jax.runtime.resume import check_config
from vit_jax.runtime.workdir import compute_config_digest, explained
from vit_jax.storage.untrusted import load_json
from vit_jax.study.runs import Run

# Whose study.json named no study in earlier versions.
UNNAMED = ("seeds", "sweep")


def check_workdir(
  workdir: epath.Path, name: str, scale: str | None = None
) -> None:
  """Checks that the results of another study will not be overwritten.

  Args:
    workdir: directory of the study.
    name: of the study.
    scale: of the study, if it has scales.

  Raises:
    ConfigError: if it has those of another, or of another scale, or is that of
      a run, or its store does not answer.
  """
  path = workdir / "study.json"
  with explained(os.fspath(workdir)):
    there = path.exists()
    if not there and (workdir / "config.json").exists():
      raise ConfigError(
        f"--workdir={workdir} is that of a run: use another for the study"
      )
  try:
    found = load_json(path) if there else None
  except ConfigError:  # It is damaged, and will be made anew.
    return
  if not isinstance(found, dict):
    return
  of = found.get("study", name if name in UNNAMED else "of another kind")
  if of != name:
    raise ConfigError(
      f"--workdir={workdir} has the results of the study {of}: use another "
      f"--workdir"
    )
  if scale and found.get("scale", scale) != scale:
    raise ConfigError(
      f"--workdir={workdir} has the results of --scale={found['scale']}: use "
      f"another --workdir"
    )


def check_begun(runs: Sequence[Run], flags: Sequence[str]) -> None:
  """Checks that runs which began before have the same config now.

  Args:
    runs: runs of the study.
    flags: flags of vit_jax.main for every run.

  Raises:
    ConfigError: the keys that differ, of the first run that has another.
  """
  for run in runs:
    if not list_steps(run.workdir / "checkpoints"):
      continue  # It begins anew.
    try:
      recorded = load_json(run.workdir / "config.json")
    except ConfigError:  # The run says what is wrong.
      continue
    if not isinstance(recorded, dict):
      continue
    # One that was edited says nothing; the run writes it again.
    digest = recorded.pop("sha256", None)
    if digest in (None, compute_config_digest(recorded)):
      for key in ("versions", "hardware"):
        recorded.pop(key, None)
      try:
        check_config(recorded, run.load_config(), "--extend" in flags)
      except ConfigError as error:
        raise ConfigError(f"{run.name}: {error}") from error
