# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Flags that choose a part of what a study trains, by name."""

from collections.abc import Iterable

from vit_jax.config import ConfigError, nearest


def parse_names(flag: str, text: str, choices: Iterable[str]) -> list[str]:
  """Parses the value of a flag, as "mae,dino".

  Raises:
    ConfigError: for an unknown name, with the nearest; for one that is there
      twice, as one of the two may be another's.
  """
  choices, names = list(choices), text.split(",")
  for i, name in enumerate(names):
    if name not in choices:
      raise ConfigError(f"{flag}={text}: {name!r}: {nearest(name, choices)}")
    if name in names[:i]:
      raise ConfigError(f"{flag}={text} has {name} twice: name each once")
  return names
