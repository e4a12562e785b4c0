# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a run that are gone, or were edited."""

from collections.abc import Mapping
from typing import Any

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.config.errors import counted
from vit_jax.metrics.writer import MetricWriter
from vit_jax.runtime.record import Record
from vit_jax.runtime.resume import flatten
from vit_jax.runtime.workdir import (
  compute_config_digest,
  save_config,
  writing,
)
from vit_jax.storage.files import write_json
from vit_jax.storage.untrusted import load_json

SHOWN = 5  # Keys of an edited config.


def describe_edits(
  workdir: epath.Path, config: Mapping[str, Any]
) -> str | None:
  """Describes what differs in a config.json that is not as it was written.

  Args:
    workdir: directory of the run.
    config: config of the run.

  Returns:
    A line; None if the file is as a run has written it, is not there, or is of
    a version that left no digest in it.
  """
  path = workdir / "config.json"
  if not path.exists():
    return None
  try:
    found = load_json(path)
  except ConfigError as error:
    return f"{error}; it is written again"
  if not isinstance(found, dict):
    return f"{path} is not a config; it is written again"
  digest = found.pop("sha256", None)
  if digest is None or digest == compute_config_digest(found):
    return None
  for name in ("versions", "hardware"):
    found.pop(name, None)
  then, now = dict(flatten(found)), dict(flatten(config))
  wrong = [
    f"{key}={then[key]!r}" if key in then else f"{key} is missing"
    for key in sorted(then.keys() | now.keys())
    if key not in then or key not in now or then[key] != now[key]
  ]
  if len(wrong) > SHOWN:
    wrong[SHOWN:] = [f"and {len(wrong) - SHOWN} more"]
  differs = ", ".join(wrong) or "versions or layout"
  return (
    f"{path} was edited ({differs}); it changes nothing in the run, and is "
    f"written again as the run has it"
  )


def find_hardware(workdir: epath.Path) -> dict[str, Any]:
  """Finds what config.json says of the hardware, which no checkpoint records.

  Returns:
    {"hardware": ...}, or nothing if the file does not say it.
  """
  try:
    found = load_json(workdir / "config.json")
  except ConfigError:
    return {}
  if not isinstance(found, dict) or "hardware" not in found:
    return {}
  return {"hardware": found["hardware"]}


def describe_lost_rows(
  writer: MetricWriter, workdir: epath.Path, step: int
) -> str:
  """Describes a metrics.jsonl that has no row of the steps before."""
  again = "none of them is known elsewhere"
  if writer.restored:
    again = (
      f"the checkpoint's record has brought back {writer.restored} of "
      f"evaluations"
    )
  return (
    f"{workdir / 'metrics.jsonl'} has no row of the {step:,} steps so far: "
    f"{again}, and the rest is lost"
  )


def describe_new_start(workdir: epath.Path, dropped: int) -> str:
  """Describes a start from the first step where a run has left rows."""
  return (
    f"there is no checkpoint in {workdir / 'checkpoints'}: the run starts from "
    f"its first step, and the {counted(dropped, 'row')} of the run before "
    f"{'is' if dropped == 1 else 'are'} dropped"
  )


def restore_files(
  workdir: epath.Path,
  config: Mapping[str, Any],
  manifest: Mapping[str, Any],
  record: Record,
  step: int,
) -> list[str]:
  """Writes again what a finished run lacks; returns a line for each file.

  Args:
    workdir: directory of the run.
    config: config of the run, without versions.
    manifest: content of manifest.json.
    record: that of the last checkpoint.
    step: the last one.

  Raises:
    ConfigError: if the rows cannot be read.
    RunError: if the disk is full or lost.
  """
  lines = []
  with writing(workdir, "the run is finished; the same command tries again"):
    if edits := describe_edits(workdir, config):
      kept = find_hardware(workdir)
      save_config(workdir, {**config, **kept}, record.versions)
      lines.append(edits)
    path = workdir / "manifest.json"
    try:
      there = isinstance(load_json(path), dict)
    except ConfigError:
      there = False
    if not there:
      write_json(path, manifest)
      lines.append(f"{path} was missing or damaged, and is written again")
  if not (workdir / "metrics.jsonl").exists():
    writer = MetricWriter(workdir, step, known=record.list_rows())
    writer.close()
    if writer.empty:
      lines.append(describe_lost_rows(writer, workdir, step))
  return lines
