# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""timm's programs: torch.compile, autocast and, to train, fused Adam.

The only place that imports torch and timm; it runs in a process of its own.
"""

import abc
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from vit_jax.benchmark.peer import PeerModel
from vit_jax.benchmark.timing import Schedule, time_groups
from vit_jax.benchmark.turns import OutOfMemoryError
from vit_jax.config import ConfigError

INSTALL = (
  "pip install 'vit_jax[judges]' && pip install --no-deps 'timm>=1.0.29,<1.1'"
)


class _AbsentClass(type):
  """The type of what an absent module has; its attributes are their names."""

  def __getattr__(cls, name: str) -> str:
    if name.startswith("__"):
      raise AttributeError(name)
    return f"{cls.__name__}.{name}"


class _Absent(types.ModuleType):
  """A module of torchvision where it is not installed.

  timm imports names of it for its data sets and transforms, which nothing here
  uses; its models need none of them.
  """

  __path__: list[str] = []

  def __getattr__(self, name: str) -> Any:
    if name.startswith("__"):
      raise AttributeError(name)
    return _AbsentClass(name, (), {})


class _AbsentFinder(importlib.abc.Loader):
  """Finds every module of torchvision, as an `_Absent`."""

  def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
    del path, target
    if name.partition(".")[0] != "torchvision":
      return None
    return importlib.machinery.ModuleSpec(name, self, is_package=True)

  def create_module(self, spec: Any) -> types.ModuleType:
    return _Absent(spec.name)

  def exec_module(self, module: types.ModuleType) -> None:
    del module


def check_installed() -> None:
  """Raises ConfigError if torch or timm is missing; imports neither."""
  missing = [x for x in ("torch", "timm") if not importlib.util.find_spec(x)]
  if missing:
    raise ConfigError(
      f"--against=timm needs {' and '.join(missing)}, not installed here: "
      f"{INSTALL}"
    )


def import_timm() -> tuple[Any, Any]:
  """Imports torch and timm; timm also where torchvision is missing.

  Raises:
    ConfigError: if one of them is not installed.
  """
  os.environ.setdefault("HF_HUB_OFFLINE", "1")
  check_installed()
  import torch

  if importlib.util.find_spec("torchvision"):
    import timm

    return torch, timm
  finder = _AbsentFinder()
  sys.meta_path.append(finder)
  try:
    import timm
  finally:
    # Other libraries ask whether torchvision is there.
    sys.meta_path.remove(finder)
    for name in [
      x for x in sys.modules if x.partition(".")[0] == "torchvision"
    ]:
      del sys.modules[name]
  return torch, timm


def make_model(timm: Any, task: PeerModel) -> tuple[Any, str]:
  """Makes timm's model of a task, and checks that it is the same model.

  Returns:
    The model, and its name.

  Raises:
    ConfigError: if it has another number of parameters.
  """
  # The fields say everything; a name that timm knows says it to people.
  known = timm.is_model(task.name)
  name = task.name if known else "vit_base_patch16_224"
  model = timm.create_model(name, pretrained=False, **task.fields)
  name = f"timm {name}" if known else "timm's VisionTransformer"
  found = sum(x.numel() for x in model.parameters())
  if found != task.parameters:
    raise ConfigError(
      f"--against=timm: {name} has {found:,} parameters, ours "
      f"{task.parameters:,}: not the same model"
    )
  return model, name


@contextlib.contextmanager
def explained(torch: Any, what: str) -> Iterator[None]:
  """Turns torch's out-of-memory error into one message."""
  try:
    yield
  except torch.OutOfMemoryError as error:
    line = str(error).partition("\n")[0]
    raise OutOfMemoryError(
      f"{what} does not fit into the memory of the device: {line}\n"
      f"  take a smaller --batch"
    ) from error


def get_device(torch: Any) -> Any:
  """The device that torch computes on."""
  return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TimmProgram(abc.ABC):
  """A compiled program of timm's, on data that lie on the device.

  Attributes:
    facts: what is timed, as JSON.
  """

  def __init__(self, task: Any, schedule: Schedule):
    """Makes the model and its input, and compiles the program.

    Args:
      task: model, batch_size and dtype.
      schedule: how often it is timed.

    Raises:
      ConfigError: without torch or timm, or if the models differ.
      OutOfMemoryError: if they do not fit.
    """
    self._torch, timm = import_timm()
    torch = self._torch
    self._task, self._schedule = task, schedule
    self._device = get_device(torch)
    torch.manual_seed(0)
    if hasattr(os, "sched_getaffinity"):
      torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_float32_matmul_precision("high")  # As jax on a GPU.
    model, name = make_model(timm, task.model)
    with self._explained():
      self._model = model.to(self._device)
      self._prepare()
    self._call, note = torch.compile(self._compute), None
    try:
      self.run(1)
    except OutOfMemoryError:
      raise
    except Exception as error:  # A compiler that is missing has many names.
      line = str(error).strip().partition("\n")[0]
      note = f"torch.compile was not used, it failed: {line}"
      self._call = self._compute
      self.run(1)
    on_gpu = self._device.type == "cuda"
    self.facts = {
      "model": name,
      "compiled": note is None,
      "note": note,
      "dtype": task.dtype,
      "device": torch.cuda.get_device_name() if on_gpu else "cpu",
      "versions": {"torch": torch.__version__, "timm": timm.__version__},
      **self._describe(),
    }

  def run(self, count: int) -> None:
    """Runs the program a number of times, and waits for it."""
    with self._explained():
      for _ in range(count):
        self._run_once()
      if self._device.type == "cuda":
        self._torch.cuda.synchronize()

  def time(self) -> list[float]:
    """Seconds a run, for each group; then gives its cached memory back."""
    found = time_groups(self.run, self._schedule)
    if self._device.type == "cuda":
      self.facts["memory"] = self._torch.cuda.max_memory_allocated()
      self._torch.cuda.empty_cache()
    return found

  @abc.abstractmethod
  def _prepare(self) -> None:
    """Makes what the program needs beside the model."""

  @abc.abstractmethod
  def _run_once(self) -> None:
    """Runs the program once."""

  @abc.abstractmethod
  def _compute(self, *inputs: Any) -> Any:
    """Computes what is compiled."""

  def _describe(self) -> dict[str, Any]:
    return {}

  def _make_images(self) -> np.ndarray:
    """Random images, uint8 [B c H W]."""
    model = self._task.model
    shape = (self._task.batch_size, model.channels, *model.size)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

  def _apply(self, images: Any) -> Any:
    """float32 logits of float32 images, computed in the task's dtype."""
    half = self._task.dtype == "bfloat16"
    bfloat16 = self._torch.bfloat16
    with self._torch.autocast(self._device.type, bfloat16, enabled=half):
      return self._model(images).float()

  def _explained(self) -> Any:
    return explained(self._torch, f"timm: a batch of {self._task.batch_size:,}")


class TimmForward(TimmProgram):
  """timm's forward pass on float32 images."""

  def _prepare(self) -> None:
    self._model.eval()
    images = self._make_images().astype(np.float32) / 127.5 - 1.0
    self._images = self._torch.from_numpy(images).to(self._device)

  def _run_once(self) -> None:
    with self._torch.inference_mode():
      self._call(self._images)

  def _compute(self, *inputs: Any) -> Any:
    return self._apply(*inputs)


class TimmStep(TimmProgram):
  """timm's training step on uint8 images."""

  def _prepare(self) -> None:
    torch, task = self._torch, self._task
    self._model.train()
    adam = torch.optim.AdamW if task.weight_decay else torch.optim.Adam
    self._optimizer = adam(
      self._model.parameters(),
      lr=task.lr,
      betas=(task.b1, task.b2),
      weight_decay=task.weight_decay,
      fused=True,
    )
    rng = np.random.default_rng(1)
    labels = rng.integers(0, task.model.classes, task.batch_size)
    self._images = torch.from_numpy(self._make_images()).to(self._device)
    self._labels = torch.from_numpy(labels).to(self._device)

  def _describe(self) -> dict[str, Any]:
    return {"optimizer": f"{type(self._optimizer).__name__}, fused"}

  def _run_once(self) -> None:
    self._optimizer.zero_grad(set_to_none=True)
    self._call(self._images, self._labels).backward()
    if self._task.clip_norm is not None:
      self._torch.nn.utils.clip_grad_norm_(
        self._model.parameters(), self._task.clip_norm
      )
    self._optimizer.step()

  def _compute(self, *inputs: Any) -> Any:
    """Mean loss of uint8 images and labels."""
    images, labels = inputs
    task, functional = self._task, self._torch.nn.functional
    logits = self._apply(images.to(self._torch.float32) / 127.5 - 1.0)
    smooth = task.label_smoothing
    if task.cross_entropy == "softmax":
      return functional.cross_entropy(logits, labels, label_smoothing=smooth)
    targets = functional.one_hot(labels, task.model.classes).float()
    targets = targets * (1 - smooth) + smooth / task.model.classes
    loss = functional.binary_cross_entropy_with_logits(
      logits, targets, reduction="sum"
    )
    return loss / len(labels)
