# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Errors that end a run in one message, and the exit statuses they lead to."""

import re

# Exit statuses, beside 0 (done) and 1 (error).
BAD_CONFIG, PREEMPTED, WATCHDOG, INTERRUPTED, UNREAD = 2, 42, 43, 130, 141


class ConfigError(ValueError):
  """A config or data set that cannot be trained as asked (exit status 2)."""


class RunError(RuntimeError):
  """A failure at run time that the config did not cause (exit status 1)."""


class NonFiniteError(RunError):
  """Values of a step are not finite; the state before it is saved."""


class Preempted(Exception):
  """The run was asked to end and has saved its progress (exit status 42)."""


def shorten(text: str, limit: int = 200) -> str:
  """Returns a text of at most `limit` characters, and how long it was."""
  text = " ".join(text.split())  # On one line.
  if len(text) <= limit:
    return text
  note = f"... ({len(text):,} characters)"
  return text[: limit - len(note)] + note


def shorten_words(text: str) -> str:
  """Shortens what is too long between two spaces, as a name that was given."""
  return re.sub(r"\S{201,}", lambda found: shorten(found[0]), text)


def counted(number: int, noun: str) -> str:
  """Returns a number and what it counts: "1 image", "1,797 images"."""
  plural = "es" if noun.endswith("s") else "s"
  return f"{number:,} {noun}{'' if number == 1 else plural}"


def quote(value: object) -> str:
  """Returns the repr of what a user gave, for a message."""
  try:
    return shorten(repr(value))
  except Exception:  # Python prints no whole number of thousands of digits.
    return f"a {type(value).__name__} that cannot be printed"
