# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Device specs: peak FLOP/s and memory of accelerators by jax's name for them.

From the vendors' data sheets: dense bfloat16 matrix products, and the nominal
memory, of which programs get a little less.
"""

import re
from typing import Any, NamedTuple


class DeviceSpec(NamedTuple):
  """One device as jax counts them: half a chip of TPU v2, v3 and v7x.

  Attributes:
    peak_flops: bfloat16 FLOP/s; a multiply-add counts as two.
    memory: memory in bytes.
  """

  peak_flops: float
  memory: int


GIB = 2**30

# Pattern of `device_kind` -> spec; the first match wins.
SPECS = {
  r"TPU v2": DeviceSpec(22.5e12, 8 * GIB),
  r"TPU v3": DeviceSpec(61.5e12, 16 * GIB),
  r"TPU v4": DeviceSpec(275e12, 32 * GIB),
  r"TPU v5 lite|TPU v5e": DeviceSpec(197e12, 16 * GIB),
  r"TPU v5p?": DeviceSpec(459e12, 95 * GIB),
  r"TPU v6 lite|TPU v6e": DeviceSpec(918e12, 32 * GIB),
  r"TPU7x": DeviceSpec(1153.5e12, 96 * GIB),
  r"NVIDIA A100.*40GB": DeviceSpec(312e12, 40 * GIB),
  r"NVIDIA A100.*80GB.*": DeviceSpec(312e12, 80 * GIB),
  r"NVIDIA A10G": DeviceSpec(70e12, 24 * GIB),
  r"NVIDIA L4": DeviceSpec(121e12, 24 * GIB),
  r"NVIDIA L40S": DeviceSpec(362e12, 48 * GIB),
  r"NVIDIA H100 PCIe": DeviceSpec(756e12, 80 * GIB),
  r"NVIDIA H100.*": DeviceSpec(989e12, 80 * GIB),
  r"NVIDIA H200.*": DeviceSpec(989e12, 141 * GIB),
  r"NVIDIA B200": DeviceSpec(2250e12, 180 * GIB),
}


def get_device_spec(device: Any) -> DeviceSpec | None:
  """Looks up the spec of a jax device; None if it is not in the table."""
  for pattern, spec in SPECS.items():
    if re.fullmatch(pattern, device.device_kind):
      return spec
  return None
