# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a bug report needs: python -m vit_jax.doctor [--json]

Versions, devices, memory, and whether jax found an accelerator; where it did
not, why that is likely.
"""

import glob
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from typing import Any

from vit_jax.command_line import make_parser

PACKAGES = (
  "vit_jax",
  "jax",
  "jaxlib",
  "libtpu",
  "jax-cuda12-plugin",
  "jax-cuda13-plugin",
  "flax",
  "optax",
  "orbax-checkpoint",
  "grain",
  "tensorflow-datasets",
  "ml_collections",
  "clu",
  "numpy",
  "tensorflow",
)
VARIABLES = ("JAX_", "XLA_", "TPU_", "LIBTPU_", "CUDA_VISIBLE_DEVICES", "TFDS_")


def get_versions() -> dict[str, str]:
  """Installed versions, without importing anything."""
  versions = {}
  for name in PACKAGES:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return versions


def get_devices() -> list[dict[str, Any]]:
  """Devices of this process, with their memory in bytes where it is known."""
  import jax

  found = []
  for device in jax.local_devices():
    memory = device.memory_stats() or {}
    found.append(
      {
        "kind": device.device_kind,
        "platform": device.platform,
        "memory_bytes": memory.get("bytes_limit"),
        "in_use_bytes": memory.get("bytes_in_use"),
      }
    )
  return found


def has_tpu() -> bool:
  """Whether this machine seems to have TPU chips, whatever jax sees."""
  # Google's PCI vendor id on an accelerator, or the driver's own device files.
  for path in glob.glob("/sys/bus/pci/devices/*/vendor"):
    with open(path) as vendor:
      if vendor.read().strip() == "0x1ae0" and glob.glob("/dev/vfio/[0-9]*"):
        return True
  return bool(glob.glob("/dev/accel[0-9]*"))


def has_gpu() -> bool:
  """Whether this machine seems to have an NVIDIA GPU, whatever jax sees."""
  return bool(glob.glob("/dev/nvidia[0-9]*") or shutil.which("nvidia-smi"))


def explain(backend: str, versions: dict[str, str]) -> str:
  """Why jax runs on what it runs on, as far as can be told."""
  if backend != "cpu":
    return f"jax uses the {backend.upper()}."
  chosen = os.environ.get("JAX_PLATFORMS", "")
  if chosen.split(",")[0] == "cpu":
    return (
      "jax runs on the CPU because JAX_PLATFORMS=cpu is set: unset it to use "
      "an accelerator."
    )
  if has_tpu():
    if "libtpu" not in versions:
      return (
        "There is a TPU here, but libtpu is not installed: "
        "pip install 'vit_jax[tpu]'."
      )
    return (
      "There is a TPU here and libtpu is installed, but jax could not start "
      "it: most likely another process holds the chips (see: ls -l "
      "/proc/*/fd 2>/dev/null | grep -E '/dev/(accel|vfio)'). End it first."
    )
  if has_gpu():
    if not any("cuda" in name for name in versions):
      return (
        "There is an NVIDIA GPU here, but jax's CUDA plugin is not installed: "
        "pip install 'vit_jax[cuda]'."
      )
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
      return "The GPU is hidden: CUDA_VISIBLE_DEVICES is empty; unset it."
    return (
      "There is an NVIDIA GPU here and jax's CUDA plugin is installed, but jax "
      "could not start it: compare the driver's CUDA version (nvidia-smi) with "
      "the plugin's, and its version with jaxlib's above."
    )
  return "No accelerator was found on this machine: jax runs on the CPU."


def examine() -> dict[str, Any]:
  """Everything that the report says."""
  # jax adds to the environment as it starts, so the user's is read before.
  environment = {
    key: value
    for key, value in sorted(os.environ.items())
    if key.startswith(VARIABLES)
  }
  import jax

  versions = get_versions()
  backend = jax.default_backend()
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  return {
    "python": platform.python_version(),
    "system": platform.platform(),
    "cores": os.cpu_count(),
    "memory_bytes": memory,
    "versions": versions,
    "environment": environment,
    "backend": backend,
    "processes": jax.process_count(),
    "devices": get_devices(),
    "diagnosis": explain(backend, versions),
  }


def format_bytes(size: int | None) -> str:
  """Bytes in GiB; a CPU device has none of its own to report."""
  return "the host's" if size is None else f"{size / 2**30:.1f} GiB"


def format_report(report: dict[str, Any]) -> str:
  """The report for people, ready to paste."""
  lines = [
    f"python {report['python']} on {report['system']}",
    f"{report['cores']} cores, {format_bytes(report['memory_bytes'])} memory",
    "",
  ]
  lines += [f"{name:20} {v}" for name, v in report["versions"].items()]
  lines.append("")
  lines += [f"{key}={value}" for key, value in report["environment"].items()]
  for device in report["devices"]:
    memory = format_bytes(device["memory_bytes"])
    lines.append(
      f"device: {device['kind']} ({device['platform']}), memory {memory}"
    )
  if "tensorflow" in report["versions"]:
    lines.append(
      "TensorFlow is installed; vit_jax never imports it to train, but other "
      "code that does will take the GPU's memory."
    )
  lines += ["", report["diagnosis"]]
  return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("vit_jax.doctor", __doc__)
  parser.add_argument("--json", action="store_true", help="for programs")
  arguments = parser.parse_args(argv)
  if importlib.util.find_spec("jax") is None:
    print("error: jax is not installed: pip install vit_jax", file=sys.stderr)
    sys.exit(1)
  report = examine()
  print(json.dumps(report) if arguments.json else format_report(report))


if __name__ == "__main__":
  main()
