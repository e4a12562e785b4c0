# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What "auto" became, and why."""

from typing import Any, NamedTuple


class Choice(NamedTuple):
  """The value that a key with "auto" got.

  Attributes:
    key: the key, as "data.workers".
    value: its value.
    reason: why, in a few words.
  """

  key: str
  value: Any
  reason: str

  def __str__(self) -> str:
    return f"{self.key}={self.value}: {self.reason}"
