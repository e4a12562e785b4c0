# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Profiles of training steps, as TensorBoard shows them (train.profile)."""

import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.storage.paths import is_local

STEP = "train"  # Name of a step in a profile.


def is_libtpu_loaded() -> bool:
  """Returns whether this process has loaded libtpu."""
  try:
    return "libtpu" in pathlib.Path("/proc/self/maps").read_text()
  except OSError:  # Not Linux, where there is no libtpu.
    return False


def check_profiler() -> None:
  """Refuses to profile where jax's profiler would end the process.

  Where libtpu is installed jax may load it without a TPU, and its profiler is
  made for another release of jaxlib, as often as not.

  Raises:
    ConfigError: with the remedy.
  """
  platform = jax.default_backend()
  if platform != "tpu" and is_libtpu_loaded():
    others = "cpu" if platform == "cpu" else "cuda,cpu"
    raise ConfigError(
      f"libtpu is loaded but there is no TPU, and a profile could end this "
      f"process: set JAX_PLATFORMS={others}, or uninstall libtpu"
    )


def make_options() -> Any:
  """Options of a profile: no event for every call of a Python function."""
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  return options


class StepProfile:
  """Profiles a range of a run's steps on this host.

  `begin` comes before a step and `end` after it. Both return whether the time
  until now is to be left out of the run's speed: a profile takes seconds to
  start and to write. Steps that are traced are a little slower, too.
  """

  def __init__(
    self,
    steps: range | None,
    workdir: epath.Path,
    *,
    flush: Callable[[], None],
    say: Callable[[str], None],
  ):
    """Starts nothing yet.

    Args:
      steps: numbers of the steps, from 1; None profiles nothing.
      workdir: directory of the run; on a store the profile is copied there.
      flush: waits until all steps so far are done.
      say: gets a line.

    Raises:
      ConfigError: if jax cannot profile on this machine.
    """
    if steps is not None:
      check_profiler()
    self._steps, self._flush, self._say = steps or range(0), flush, say
    self._target = workdir / "profile"
    if jax.process_count() > 1:  # Hosts may share a name, as on one machine.
      self._target /= f"host_{jax.process_index()}"
    self._directory: str | None = None
    self._first = 0
    self._annotation: Any = None

  def begin(self, step: int) -> bool:
    """Names a step that is profiled; starts the profile before the first."""
    if step not in self._steps:
      if self._steps and step >= self._steps.stop:
        last, self._steps = self._steps[-1], range(0)
        self._say(f"train.profile: step {last} is over, so nothing is traced")
      return False
    started = self._directory is None
    if started:
      self._flush()
      self._start(step)
    self._annotation = jax.profiler.StepTraceAnnotation(STEP, step_num=step)
    self._annotation.__enter__()
    return started

  def end(self, step: int) -> bool:
    """Ends a step; after the last one writes the profile."""
    if self._annotation is None:
      return False
    self._annotation.__exit__(None, None, None)
    self._annotation = None
    if step + 1 in self._steps:
      return False
    self._flush()
    self._stop(step)
    return True

  def close(self) -> None:
    """Writes what there is, if the run ends within the steps."""
    if self._directory is not None:
      self._stop(None)

  def _start(self, step: int) -> None:
    local = is_local(os.fspath(self._target))
    self._directory = os.fspath(self._target) if local else tempfile.mkdtemp()
    self._first = step
    jax.profiler.start_trace(self._directory, profiler_options=make_options())

  def _stop(self, step: int | None) -> None:
    directory, self._directory = self._directory, None
    assert directory is not None
    self._steps = range(0)  # A run that goes back profiles them once.
    try:
      jax.profiler.stop_trace()
      self._copy(pathlib.Path(directory))
    except Exception as error:  # Clients of stores have errors of their own.
      self._say(f"the profile cannot be written to {self._target}: {error}")
      return
    last = "the end" if step is None else step
    self._say(
      f"profile of steps {self._first} to {last}: tensorboard "
      f"--logdir={self._target}; the images/s of these steps are traced ones"
    )

  def _copy(self, directory: pathlib.Path) -> None:
    """Copies a profile from a temporary directory to a store."""
    if os.fspath(directory) == os.fspath(self._target):
      return
    for path in directory.rglob("*"):
      if path.is_file():
        target = self._target / path.relative_to(directory).as_posix()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
