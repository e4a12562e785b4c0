# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Detection of accelerators, and diagnosis of why jax does not use them."""

import glob
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Collection
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.devices.host_memory import keep_memory, share_heap

# With these libtpu asks no metadata server, locks no device and logs nothing.
WITHOUT_TPU = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "TPU_LOG_DIR": "disabled",
}

PLUGINS = ("libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin")


def find_installed(names: Collection[str]) -> dict[str, str]:
  """Finds the versions of installed packages, without importing them."""
  versions = {}
  for name in names:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return versions


# Share of a GPU's memory that jax takes; its own default is three quarters.
GPU_SHARE = "0.92"


def has_tpu() -> bool:
  """Returns whether this machine seems to have TPUs, even if jax sees none."""
  # Google's PCI vendor id on an accelerator, or the driver's device files.
  for path in glob.glob("/sys/bus/pci/devices/*/vendor"):
    with open(path) as vendor:
      if vendor.read().strip() == "0x1ae0" and glob.glob("/dev/vfio/[0-9]*"):
        return True
  return bool(glob.glob("/dev/accel[0-9]*"))


def has_gpu() -> bool:
  """Returns whether this machine seems to have an NVIDIA GPU, as `has_tpu`."""
  return bool(glob.glob("/dev/nvidia[0-9]*") or shutil.which("nvidia-smi"))


def has_plugins() -> bool:
  """Returns whether jax would find an accelerator's plugin beside libtpu."""
  return bool(
    importlib.util.find_spec("jax_plugins")
    or importlib.metadata.entry_points(group="jax_plugins")
    or os.environ.get("PJRT_NAMES_AND_LIBRARY_PATHS")
  )


def expects_cpu() -> bool:
  """Returns whether jax, which may not be imported yet, will run on a CPU."""
  asked = os.environ.get("JAX_PLATFORMS")
  return asked == "cpu" or not (has_tpu() or has_gpu())


def prepare_memory() -> None:
  """Prepares a process that will train for `start_backend`, before NumPy."""
  if expects_cpu():
    share_heap()


def explain(backend: str, installed: Collection[str]) -> str:
  """Explains why jax uses its backend, with a remedy if it is the CPU.

  Args:
    backend: "tpu", "gpu", "cpu", or "none" if jax did not start.
    installed: names of the installed PLUGINS.
  """
  if backend not in ("cpu", "none"):
    return f"jax uses the {backend.upper()}."
  chosen = os.environ.get("JAX_PLATFORMS", "")
  if chosen.split(",")[0] == "cpu":
    return (
      "jax runs on the CPU because JAX_PLATFORMS=cpu is set: unset it to use "
      "an accelerator."
    )
  if has_tpu():
    if "libtpu" not in installed:
      return (
        "There is a TPU here, but libtpu is not installed: "
        "pip install 'vit_jax[tpu]'."
      )
    return (
      "There is a TPU here and libtpu is installed, but jax could not start "
      "it: most likely another process uses it. Find that process, and end it: "
      "ls -l /proc/*/fd 2>/dev/null | grep -E '/dev/(accel|vfio)'."
    )
  if has_gpu():
    if not any("cuda" in name for name in installed):
      return (
        "There is an NVIDIA GPU here, but jax's CUDA plugin is not installed: "
        "pip install 'vit_jax[cuda]'."
      )
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
      return "The GPU is hidden: CUDA_VISIBLE_DEVICES is empty; unset it."
    return (
      "There is an NVIDIA GPU here and jax's CUDA plugin is installed, but jax "
      "could not start it: compare the plugin's CUDA version with the driver's "
      "(nvidia-smi), and the plugin's own version with jaxlib's above."
    )
  if backend == "none":
    return (
      f"JAX_PLATFORMS={chosen} asks for an accelerator that is not on this "
      f"machine: unset it to run on the CPU."
    )
  return "No accelerator was found on this machine: jax runs on the CPU."


def start_backend(keep: bool = False) -> str:
  """Starts jax; returns its platform: "tpu", "gpu" or "cpu".

  Args:
    keep: whether this process keeps memory that it frees, if that platform is
      the CPU: it will train, or compute many batches.

  Raises:
    ConfigError: if jax cannot start the platform that JAX_PLATFORMS asks for;
      with the likely cause.
  """
  import jax

  settings: Any = jax.config
  # Where libtpu is installed only to plan with, jax starts it all the same; it
  # logs errors, and its profiler may not fit this jaxlib and end the process.
  # jax sets this variable if it has found no TPU either.
  if not has_tpu() and os.environ.get("TPU_SKIP_MDS_QUERY") == "1":
    for name, value in WITHOUT_TPU.items():
      os.environ.setdefault(name, value)
    if not settings.jax_platforms and not has_plugins():
      settings.update("jax_platforms", "cpu")
  os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", GPU_SHARE)
  if keep and (settings.jax_platforms == "cpu" or expects_cpu()):
    keep_memory()  # Before jax has threads.
  try:
    return jax.default_backend()
  except (RuntimeError, AssertionError) as error:
    raise ConfigError(
      f"jax cannot start: {str(error) or type(error).__name__}\n"
      f"  {explain('none', find_installed(PLUGINS))}"
    ) from error
