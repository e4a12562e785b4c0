# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a caller of `train` is told while it trains."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.config.errors import ConfigError, quote


class Callback:
  """Told of rows, evaluations and saves of a run; a subclass has what it wants.

  Each method may return True: the run ends after the next step at the latest,
  as if that were its last, with its checkpoint, evaluations and result. The
  same call of `train` goes on from there. On several hosts each calls its own,
  with the same values but for speeds, and one that returns True is enough; a
  run begins only if all hosts have some, or none has. What a method raises ends
  the run where it is; its last checkpoint is kept.
  """

  def on_log(self, step: int, values: Mapping[str, float]) -> bool | None:
    """Takes a row of training, after train.log_every steps: loss and others."""

  def on_evaluation(
    self, step: int, name: str, values: Mapping[str, float]
  ) -> bool | None:
    """Takes the values of an evaluation, a section of evals."""

  def on_save(self, step: int, path: str) -> bool | None:
    """Takes the directory of a checkpoint, which is still being written."""


class Callbacks:
  """The callbacks of a run, and whether one of them has asked it to end."""

  def __init__(self, callbacks: Sequence[Callback]):
    """Calls nothing yet.

    Args:
      callbacks: called in this order.

    Raises:
      ConfigError: for what is no callback.
    """
    check_callbacks(callbacks)
    self._callbacks = tuple(callbacks)
    self._called = self._stop = False

  def __bool__(self) -> bool:
    return bool(self._callbacks)

  def call(self, method: str, *arguments: Any) -> None:
    """Calls a method of every callback."""
    for callback in self._callbacks:
      self._called = True
      # Its own: what it does to a dictionary changes neither run nor others.
      own = [dict(x) if isinstance(x, Mapping) else x for x in arguments]
      answer = getattr(callback, method)(*own)
      if answer is True or str(getattr(answer, "dtype", "")) == "bool":
        self._stop |= bool(answer)  # NumPy's comparisons answer likewise.

  def take_answer(self) -> bool | None:
    """Whether one has asked to end; None if none was called since the last."""
    called, self._called = self._called, False
    return self._stop if called else None


def check_callbacks(callbacks: Any) -> None:
  """Raises ConfigError unless these are a list of what a `Callback` is."""
  if not isinstance(callbacks, Sequence):
    raise ConfigError(
      f"callbacks={quote(callbacks)} is no list: give [callback]"
    )
  for callback in callbacks:
    if isinstance(callback, type):
      name = callback.__name__
      raise ConfigError(f"callbacks has the class {name}: give {name}(), one")
    for method in ("on_log", "on_evaluation", "on_save"):
      if not callable(getattr(callback, method, None)):
        raise ConfigError(
          f"callbacks has {quote(callback)}, which has no method {method}: "
          f"derive its class from vit_jax.Callback"
        )
