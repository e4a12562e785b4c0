# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a workdir holds of a run, read while it goes on or after its end."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.metrics.rows import read_rows
from vit_jax.plots.curves import Curve
from vit_jax.storage.paths import describe_runs, locate
from vit_jax.storage.untrusted import load_json

# What config.json records beside the sections of the config.
RECORDED = ("versions", "hardware", "sha256")
# Of result.json.
NUMBERS = (
  *("accuracy", "correct", "total", "loss", "map", "miou", "pixel_accuracy"),
  *("steps", "train_images", "parameters", "start_step", "seconds"),
)
EXAMPLES = "examples.png"  # Written by a run at its end.


@dataclasses.dataclass(frozen=True)
class RunFiles:
  """A run, as its workdir tells it.

  Attributes:
    path: of the workdir, as it was given.
    name: the last part of its path, or the last ones, as of `find_name`.
    config: sections of keys.
    versions: of Python and of packages.
    hardware: what it ran on last; empty for runs of earlier versions.
    rows: those of metrics.jsonl.
    result: content of result.json; None until the run ends.
    manifest: content of manifest.json; empty if it is lost.
    examples: examples.png, images as the model saw them; None without.
  """

  path: str
  name: str
  config: Mapping[str, Any]
  versions: Mapping[str, str]
  hardware: Mapping[str, Any]
  rows: list[dict[str, Any]]
  result: Mapping[str, Any] | None
  manifest: Mapping[str, Any]
  examples: bytes | None

  @property
  def step(self) -> int:
    """The last step that is known of; 0 before the first row."""
    if self.result is not None:
      return int(self.result.get("steps", 0))
    return max((row["step"] for row in self.rows), default=0)

  @property
  def keys(self) -> dict[str, Any]:
    """Keys of the config -> value, as "train.steps"."""
    return dict(_flatten(self.config))

  @property
  def evaluations(self) -> list[str]:
    """Names of the metrics of evaluations that have a row, as "test/loss"."""
    names = dict.fromkeys(name for row in self.rows for name in row)
    other = ("spike/", "layers/")
    return [x for x in names if "/" in x and not x.startswith(other)]

  def get_curve(self, name: str) -> Curve:
    """Steps and values of a metric, without those that are not finite."""
    points = [
      (row["step"], float(row[name]))
      for row in self.rows
      if isinstance(row.get(name), int | float) and math.isfinite(row[name])
    ]
    return [x for x, _ in points], [y for _, y in points]


def _flatten(section: Mapping[str, Any], prefix: str = "") -> Any:
  """Yields the dotted keys of nested sections, and their values."""
  for name, value in section.items():
    if isinstance(value, Mapping) and value:
      yield from _flatten(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value


def find_name(path: str, others: Sequence[str] = ()) -> str:
  """The last parts of a path: as few as no other path ends in."""
  parts = path.rstrip("/").split("/")
  rest = [x.rstrip("/").split("/") for x in others if x != path]
  count = 1
  while count < len(parts) and any(x[-count:] == parts[-count:] for x in rest):
    count += 1
  return "/".join(parts[-count:]) or path


def read_run(path: str, others: Sequence[str] = ()) -> RunFiles:
  """Reads what a workdir holds.

  Args:
    path: of the workdir, local or gs://.
    others: paths of the runs beside it, which have other names.

  Raises:
    ConfigError: if there is no run, or its files cannot be read.
  """
  workdir = locate(path)
  try:
    found = {
      name: load_json(workdir / f"{name}.json")
      for name in ("config", "result", "manifest")
      if (workdir / f"{name}.json").exists()
    }
    pictures = workdir / EXAMPLES
    examples = pictures.read_bytes() if pictures.exists() else None
  except OSError as error:
    raise ConfigError(f"{path} cannot be read: {error}") from error
  if "config" not in found:
    why = "holds no run: it has no config.json; give the --workdir of one"
    raise ConfigError(f"{path} {describe_runs(workdir) or why}")
  for name, content in found.items():
    if not isinstance(content, dict):
      raise ConfigError(f"{path}/{name}.json is not an object of names")
  for name in NUMBERS:
    value = found.get("result", {}).get(name, 0)
    if type(value) not in (int, float):
      raise ConfigError(f"{path}/result.json: {name}={value!r} is no number")
  config = found["config"]
  if not isinstance(config.get("train"), dict):
    raise ConfigError(
      f"{path}/config.json is not that of a run: it has no train section; give "
      f"the --workdir of one"
    )
  versions, hardware = (
    x if isinstance(x := config.get(name), dict) else {}
    for name in ("versions", "hardware")
  )
  return RunFiles(
    path=path,
    name=find_name(path, others),
    config={k: x for k, x in config.items() if k not in RECORDED},
    versions=versions,
    hardware=hardware,
    rows=read_rows(workdir),
    result=found.get("result"),
    manifest=found.get("manifest", {}),
    examples=examples,
  )
