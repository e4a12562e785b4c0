# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Describes this installation for a bug report.

  python -m vit_jax.doctor [--json]

Prints versions, devices and memory, and whether jax found an accelerator; if it
did not, the likely reason.
"""

import importlib.util
import json
import os
import platform
import sys
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.config.command_line import make_parser, reported
from vit_jax.devices import detection

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


def describe_devices() -> list[dict[str, Any]]:
  """Describes the devices of this process, with memory in bytes or None."""
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


def examine() -> dict[str, Any]:
  """Collects the content of the report."""
  # Before jax starts, which adds variables of its own.
  environment = {
    key: value
    for key, value in sorted(os.environ.items())
    if key.startswith(VARIABLES)
  }
  versions = detection.find_installed(PACKAGES)
  failure = None
  try:
    backend, devices = detection.start_backend(), describe_devices()
  except ConfigError as error:
    backend, devices, failure = "none", [], str(error).splitlines()[0]
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  return {
    "python": platform.python_version(),
    "system": platform.platform(),
    "cores": os.cpu_count(),
    "memory_bytes": memory,
    "versions": versions,
    "environment": environment,
    "backend": backend,
    "devices": devices,
    "failure": failure,
    "diagnosis": detection.explain(backend, versions),
  }


def format_bytes(size: int | None) -> str:
  """Formats bytes as GiB; a CPU device has no memory of its own."""
  return "the host's" if size is None else f"{size / 2**30:.1f} GiB"


def format_report(report: dict[str, Any]) -> str:
  """Formats the report as text, ready to paste."""
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
      "TensorFlow is installed: vit_jax does not import it for training, but "
      "other code that does takes the GPU's memory"
    )
  lines += ["", *filter(None, (report["failure"], report["diagnosis"]))]
  return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("doctor", __doc__)
  parser.add_argument("--json", action="store_true", help="print JSON")
  arguments = parser.parse_args(argv)
  if importlib.util.find_spec("jax") is None:
    print("error: jax is not installed: pip install vit_jax", file=sys.stderr)
    sys.exit(1)
  with reported():
    report = examine()
    print(json.dumps(report) if arguments.json else format_report(report))


if __name__ == "__main__":
  main()
