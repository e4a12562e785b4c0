# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Resuming: what may differ between a run and its continuation."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from vit_jax import optim
from vit_jax.config import ConfigError
from vit_jax.data import sources
from vit_jax.data.views import ONE
from vit_jax.storage.untrusted import load_json

# Keys that may change: where a run runs, how a step is fitted into a machine,
# what is watched and the response to non-finite values, but nothing that a step
# computes. A teacher may be moved; its digest may not change. Older runs
# recorded train.max_passed.
FREE = re.compile(
  r"(evals|checkpoint|mesh|hosts|versions)\..*"
  r"|train\.(accumulate|log_every|loggers|layers_every|profile|allow_cpu)"
  r"|train\.(nonfinite|report|max_skipped_steps|max_passed|stop_by|patience)"
  r"|data\.(dir|workers|threads|max_unreadable)"
  r"|model\.(remat|unroll|attention)"
  r"|objective\.teacher"
)
# The length changes the learning rate, so it must be asked for (--extend).
LENGTH = re.compile(r"train\.(steps|epochs|examples)")
# Said of a run whose config does not say how images were resized.
OLDER = (
  "\n  an older version began it. With the values above (-) it goes on, but "
  "images of which one side grows are resized in another way, and boxes of "
  "very long images are others; otherwise go on with that version, or start "
  "from its weights with --config.init=PATH"
)
# Keys that may differ between the hosts of a run.
LOCAL = re.compile(r"data\.(dir|workers|threads)")


def flatten(
  config: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
  """Yields (SECTION.KEY, value) of a config, values as JSON has them."""
  for key, value in config.items():
    if isinstance(value, Mapping):
      yield from flatten(value, f"{prefix}{key}.")
    else:
      yield f"{prefix}{key}", json.loads(json.dumps(value))


def add_unrecorded(then: dict[str, Any]) -> None:
  """Adds to a recorded config what its version did without having a key for it.

  Otherwise the defaults of keys that came later would change a run silently.

  Args:
    then: SECTION.KEY -> value.
  """
  if "data.resize" not in then:
    then["data.resize"] = "area"
    if then.get("data.crop") == "inception":
      then["data.crop"] = "random_resized"
  then.setdefault("data.augment.randaugment_like", "pillow")
  then.setdefault("data.eval_rounding", "big_vision")
  for key, value in flatten({"data": {"views": dataclasses.asdict(ONE)}}):
    then.setdefault(key, value)
  if then.get("optim.name") == "adafactor":
    then.setdefault("optim.clip_update", 1.0)
  if then.get("optim.schedule") == "rsqrt" and "optim.shift" not in then:
    # It began to fall at the timescale, and its cool-down was a straight line.
    same = then.get("optim.warmup_steps") == then.get("optim.timescale")
    cools = any(then.get(f"optim.cooldown_{unit}") for unit in optim.LENGTHS)
    earlier = "of an earlier version, which cannot go on; use --config.init"
    then["optim.shift"] = 0 if same and not cools else earlier


def check_config(
  before: Mapping[str, Any], config: Mapping[str, Any], extend: bool
) -> None:
  """Refuses to resume a run under another config.

  Args:
    before: config that the checkpoint was saved under.
    config: resolved config of this run.
    extend: whether the length of the run may change.

  Raises:
    ConfigError: the keys that differ and may not.
  """
  then, now = dict(flatten(before)), dict(flatten(config))
  older = "data.resize" not in then
  add_unrecorded(then)
  lines, length = [], False
  for key in sorted(then.keys() | now.keys()):
    if FREE.fullmatch(key) or then.get(key) == now.get(key):
      continue
    if LENGTH.fullmatch(key):
      length = True
      if extend:
        continue
    lines += [
      f"  {sign} {key}={values[key]!r}"
      for sign, values in (("-", then), ("+", now))
      if key in values
    ]
  if lines:
    raise ConfigError(
      "--workdir holds a run of another config:\n"
      + "\n".join(lines)
      + "\n  use the config of that run, or another --workdir"
      + (OLDER if older else "")
      + ("; --extend changes its length" if length else "")
    )


def check_metadata(
  metadata: Mapping[str, Any], *, now: Mapping[str, Any], extend: bool
) -> None:
  """Refuses to resume from a checkpoint of another config or other data.

  Args:
    metadata: metadata of the checkpoint.
    now: the same of this run.
    extend: whether the length of the run may change.

  Raises:
    ConfigError: what differs.
  """
  if "config" not in metadata:
    raise ConfigError(
      "--workdir holds weights, not a run: start from them, in another "
      "--workdir, with --config.init=PATH"
    )
  check_config(metadata["config"], now["config"], extend)
  lines = sources.describe_changes(metadata.get("data", {}), now["data"])
  if lines:
    raise ConfigError(
      f"the data differ from those of step {metadata['step']}:\n"
      + "".join(f"  {line}\n" for line in lines)
      + "  put them back, or start another run from this one's weights with "
      "--config.init=PATH"
    )


def load_result(
  workdir: epath.Path, config: Mapping[str, Any], steps: int
) -> dict[str, Any] | None:
  """Loads the result of a run that ended after `steps` steps.

  Returns:
    The content of result.json; None if it does not exist, is damaged, or is of
    other evaluations: the checkpoint can then be evaluated again.
  """
  try:
    recorded = load_json(workdir / "config.json")
    result = load_json(workdir / "result.json")
  except ConfigError:
    return None
  if not isinstance(recorded, dict) or not isinstance(result, dict):
    return None
  then, now = (
    dict(flatten({"evals": x.get("evals")})) for x in (recorded, config)
  )
  whole = isinstance(result.get("params_sha256"), str)
  same = then == now and result.get("steps") == steps
  return result if whole and same else None
