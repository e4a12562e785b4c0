# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Loggers beside metrics.jsonl: which there are, and how a name becomes one.

`train.loggers` names them, separated by commas: tensorboard, csv, wandb, or the
import path of a class of the user's, as `package.module:Class`. Nothing of a
logger that is not named is imported.
"""

import contextlib
import functools
import importlib
import importlib.util
import json
import queue
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from etils import epath

from vit_jax.config.errors import quote, shorten
from vit_jax.config.schema import nearest
from vit_jax.metrics.tensorboard import Histogram
from vit_jax.metrics.wandb_log import WandB
from vit_jax.storage.files import to_json

BUILT_IN = ("tensorboard", "csv", "wandb")
PATH = re.compile(r"[^\W\d]\w*([.][^\W\d]\w*)*[.:][^\W\d]\w*")


class Logger(Protocol):
  """What receives the figures of a run.

  A class of the user's is made with the keywords `workdir` (a string), `config`
  (the resolved one, a dictionary) and `start_step`: values of the steps after
  it are written, also where a run that was killed has written them before. It
  has `scalars`; of the other methods it has those that it wants. All are called
  on one thread, in the order of what they log.
  """

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Takes a row: metric -> value; several rows may have one step."""

  def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Takes pictures: name -> uint8 [H W 3]."""

  def histograms(self, step: int, values: Mapping[str, Histogram]) -> None:
    """Takes histograms: name -> counts [n] and edges [n + 1]."""

  def close(self) -> None:
    """Takes the end of the run, however it ended."""


def parse_names(loggers: str | None) -> list[str]:
  """Splits the value of train.loggers."""
  return [] if loggers is None else [x.strip() for x in loggers.split(",")]


def find_name_errors(loggers: str | None) -> list[str]:
  """Finds what cannot be the name of a logger, without an import."""
  names, errors = parse_names(loggers), []
  for name in dict.fromkeys(names):
    if name not in BUILT_IN and not PATH.fullmatch(name):
      errors.append(
        f"train.loggers: unknown logger {quote(name)}: "
        f"{nearest(name, BUILT_IN)} A class of your own is named "
        f"package.module:Class"
      )
    if names.count(name) > 1:
      errors.append(f"train.loggers names {quote(name)} twice: once will do")
  return errors


def find_errors(loggers: str | None) -> list[str]:
  """Finds loggers that cannot be imported."""
  errors = []
  for name in parse_names(loggers):
    if name == "wandb" and importlib.util.find_spec("wandb") is None:
      errors.append(
        "train.loggers: wandb is not installed: pip install 'vit_jax[wandb]', "
        "or leave it out of train.loggers"
      )
    if name in BUILT_IN:
      continue
    try:
      found = load_class(name)
    except (Exception, SystemExit) as error:  # Any: it is the user's code.
      hint = ""
      if isinstance(error, ModuleNotFoundError):
        hint = "; PYTHONPATH=DIR names the directory that it is in"
      errors.append(
        f"train.loggers: {name} cannot be imported: {_describe(error)}{hint}"
      )
      continue
    if not callable(getattr(found, "scalars", None)):
      errors.append(
        f"train.loggers: {name} has no method scalars(step, values): docs/"
        f"running.md says what a logger is"
      )
  return errors


def load_class(name: str) -> Any:
  """Imports what package.module:Class, or package.module.Class, names."""
  module, _, attribute = name.replace(":", ".").rpartition(".")
  return getattr(importlib.import_module(module), attribute)


def make_foreign(
  name: str,
  workdir: epath.Path,
  config: Mapping[str, Any],
  start_step: int,
  warn: Callable[[str], None],
) -> "Background":
  """Makes a logger of other people's code, on a thread of its own."""

  def make() -> Any:
    found = WandB if name == "wandb" else load_class(name)
    plain = json.loads(to_json(config))  # And its own: it may change it.
    return found(workdir=str(workdir), config=plain, start_step=start_step)

  return Background(name, make, warn)


class Background:
  """A logger on a thread of its own, that can neither stop nor end a run.

  It is made with its first call. What it raises is said once. If it cannot be
  made it is off; otherwise its next calls are made all the same.

  Attributes:
    lost: number of calls that failed, or had no place.
    error: what it has raised last.
  """

  MAX_CALLS = 10_000
  SECONDS_TO_CLOSE = 30.0

  def __init__(
    self, name: str, make: Callable[[], Any], warn: Callable[[str], None]
  ):
    """Starts nothing yet.

    Args:
      name: for messages.
      make: makes the logger.
      warn: says something, once of each kind.
    """
    self.lost, self.error = 0, ""
    self._name, self._make, self._warn = name, make, warn
    self._calls: queue.Queue = queue.Queue(self.MAX_CALLS)
    self._thread: threading.Thread | None = None
    self._off = False

  @property
  def waiting(self) -> int:
    """Number of calls that were not made yet."""
    return self._calls.qsize()

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    self._put("scalars", step, dict(values))

  def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    self._put("images", step, dict(images))

  def histograms(self, step: int, values: Mapping[str, Histogram]) -> None:
    self._put("histograms", step, dict(values))

  def flush(self, durable: bool = False) -> None:
    """Waits for nothing: it may be slow."""

  def close(self) -> None:
    """Lets it end; one that does not is left behind."""
    if self._thread is None:
      return
    with contextlib.suppress(queue.Full):
      self._calls.put(None, timeout=self.SECONDS_TO_CLOSE)
      self._thread.join(self.SECONDS_TO_CLOSE)
    if self._thread.is_alive():
      self.error = self.error or "it did not end in time"
      self._warn(
        f"logger {self._name} has not ended within {self.SECONDS_TO_CLOSE:g} "
        f"s: the run ends without waiting for it"
      )
      with contextlib.suppress(queue.Empty):
        while self._calls.get_nowait() is not None:
          self.lost += 1
      self._calls.put(None)  # If it ever goes on, it ends.

  def _put(self, *call: Any) -> None:
    if self._thread is None:
      # Of a library that never returns a process does not wait at its end.
      self._thread = threading.Thread(
        target=self._work, name=f"logger {self._name}", daemon=True
      )
      self._thread.start()
    try:
      self._calls.put_nowait(call)
    except queue.Full:
      self.lost += 1
      self.error = self.error or "it is too slow"

  def _work(self) -> None:
    logger = None
    while (call := self._calls.get()) is not None:
      method, step, values = call
      if logger is None and not self._off:
        logger = self._try(self._make, "the run goes on without it")
        self._off = logger is None
        if isinstance(logger, WandB) and logger.note:
          self._warn(logger.note)
      if self._off:
        self.lost += 1
        continue
      again = f"({method} of step {step}); the run goes on, and tries it again"
      self._try(functools.partial(_call, logger, method, step, values), again)
    if logger is not None:
      self._try(functools.partial(_call, logger, "close"), "this was its close")

  def _try(self, act: Callable[[], Any], then: str) -> Any:
    """Calls other people's code; None if it raised, which is said once."""
    try:
      return act()
    except BaseException as error:  # Any: no signal comes to this thread.
      if act != self._make:
        self.lost += 1
      text = _describe(error)
      if not self.error:
        self._warn(f"logger {self._name}: {text}; {then}")
      self.error = text
    return None


def _call(logger: Any, method: str, *arguments: Any) -> None:
  """Calls a method of a logger that has it."""
  act = getattr(logger, method, None)
  if act is not None:
    act(*arguments)


def _describe(error: BaseException) -> str:
  try:
    text = str(error) or repr(error)
  except Exception:  # Any: it is the user's, too.
    text = "it cannot be printed"
  return shorten(f"{type(error).__name__}: {text}")
