# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights & Biases, as one of the loggers of a run."""

import netrc
import os
import secrets
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from vit_jax.config.errors import shorten
from vit_jax.storage.files import write_json
from vit_jax.storage.paths import is_local
from vit_jax.storage.untrusted import load_json


class WandB:
  """Writes to one run of wandb, whose id the workdir keeps.

  wandb's own variables decide the rest: WANDB_PROJECT, WANDB_ENTITY, and with
  WANDB_MODE=offline nothing leaves the machine. So it is where nobody has
  logged in, for wandb would ask for a key on the terminal.

  Attributes:
    note: where it writes, for people.
  """

  def __init__(self, workdir: str, config: Mapping[str, Any], start_step: int):
    """Begins the run, or goes on with that of the workdir.

    Of a run that was killed it keeps what it has of the steps after
    `start_step`, and takes them from no other: they are the same.
    """
    import wandb

    del start_step
    path = epath.Path(workdir)
    chosen = {"WANDB_MODE", "WANDB_DISABLED"} & os.environ.keys()
    offline = not chosen and not has_key(wandb.Settings().base_url)

    def init(**more: Any) -> Any:
      return wandb.init(
        project=os.environ.get("WANDB_PROJECT", "vit_jax"),
        name=os.environ.get("WANDB_NAME", path.name),
        id=load_id(path),
        resume="allow",
        dir=workdir if is_local(path) else None,
        config=dict(config),
        # It would print between the lines of progress.
        settings=wandb.Settings(console="off", silent=True),
        **more,
      )

    self._wandb, why = wandb, "wandb is offline"
    try:
      self._run = init(mode="offline" if offline else None)
    except wandb.errors.Error as error:
      why = f"wandb cannot be reached ({shorten(str(error))})"
      wandb.teardown()  # It keeps hold of the id.
      self._run = init(mode="offline")
    if self._run.offline:
      place = os.path.dirname(self._run.dir)
      self.note = f"{why}: wandb sync {place} sends what it writes"
    else:
      self.note = f"wandb: {self._run.url}"

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    if step >= self._run.step:  # Else it has them, and would only warn.
      self._run.log(dict(values), step=step)

  def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    found = {name: self._wandb.Image(x) for name, x in images.items()}
    self._log_late(step, found)

  def histograms(self, step: int, values: Mapping[str, Any]) -> None:
    found = {
      name: self._wandb.Histogram(np_histogram=x) for name, x in values.items()
    }
    self._log_late(step, found)

  def _log_late(self, step: int, values: Mapping[str, Any]) -> None:
    """Logs what may come after rows of later steps: wandb goes no step back."""
    self._run.log(dict(values), step=max(step, self._run.step))

  def close(self) -> None:
    self._run.finish()


def load_id(workdir: epath.Path) -> str:
  """Reads the id of a workdir's run; makes one where there is none."""
  path = workdir / "wandb.json"
  if not path.exists():
    write_json(path, {"id": secrets.token_hex(4)})
  return str(load_json(path)["id"])


def has_key(url: str) -> bool:
  """Returns whether wandb finds a key without asking for one.

  Args:
    url: of its server.
  """
  if {"WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"} & os.environ.keys():
    return True
  host = urllib.parse.urlsplit(os.environ.get("WANDB_BASE_URL", url)).hostname
  try:
    found = netrc.netrc(os.environ.get("NETRC"))
  except (OSError, netrc.NetrcParseError):
    return False
  return found.authenticators(host or "") is not None
