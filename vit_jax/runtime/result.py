# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run has found."""

from collections.abc import Mapping
from typing import Any

from vit_jax.metrics.rows import read_rows
from vit_jax.storage.paths import locate


class Result(dict[str, Any]):
  """The content of result.json, with names for what every run has.

  A dictionary, as the file has it, which also has the metrics of the first
  evaluation that are no attributes here.

  Attributes:
    workdir: directory of the run.
  """

  def __init__(self, values: Mapping[str, Any], workdir: str):
    super().__init__(values)
    self.workdir = workdir

  @property
  def accuracy(self) -> float | None:
    """Share of images of the first evaluation that are right, if it has it."""
    return self.get("accuracy")

  @property
  def loss(self) -> float | None:
    """Loss of that evaluation, if it has one."""
    return self.get("loss")

  @property
  def steps(self) -> int:
    """Number of steps after which the run ended."""
    return self["steps"]

  @property
  def seconds(self) -> float:
    """Seconds that the call took which ended the run."""
    return self["seconds"]

  @property
  def params_sha256(self) -> str:
    """Digest of the parameters."""
    return self["params_sha256"]

  def read_rows(self) -> list[dict[str, Any]]:
    """Reads the rows of metrics.jsonl, as `pandas.DataFrame` takes them.

    Raises:
      ConfigError: if they cannot be read.
    """
    return read_rows(locate(self.workdir))

  def __repr__(self) -> str:
    found = ", ".join(f"{key}={x!r}" for key, x in self.items())
    return f"Result({found}, workdir={self.workdir!r})"
