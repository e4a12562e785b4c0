# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What accelerators can do at most, by the name that jax has for them.

From their makers' data sheets: dense products of bfloat16, and the memory that
is sold, of which a program gets a little less.
"""

import re
from typing import NamedTuple

import jax


class Chip(NamedTuple):
  """One device as jax counts them: of TPU v2, v3 and v7x half a chip.

  Attributes:
    peak_flops: bfloat16 FLOP/s, two a multiply-add.
    memory: bytes.
  """

  peak_flops: float
  memory: int


GIB = 2**30

# A pattern for `device_kind` -> chip; the first match wins.
CHIPS = {
  r"TPU v2": Chip(22.5e12, 8 * GIB),
  r"TPU v3": Chip(61.5e12, 16 * GIB),
  r"TPU v4": Chip(275e12, 32 * GIB),
  r"TPU v5 lite|TPU v5e": Chip(197e12, 16 * GIB),
  r"TPU v5p?": Chip(459e12, 95 * GIB),
  r"TPU v6 lite|TPU v6e": Chip(918e12, 32 * GIB),
  r"TPU7x": Chip(1153.5e12, 96 * GIB),
  r"NVIDIA A100.*40GB": Chip(312e12, 40 * GIB),
  r"NVIDIA A100.*80GB.*": Chip(312e12, 80 * GIB),
  r"NVIDIA A10G": Chip(70e12, 24 * GIB),
  r"NVIDIA L4": Chip(121e12, 24 * GIB),
  r"NVIDIA L40S": Chip(362e12, 48 * GIB),
  r"NVIDIA H100 PCIe": Chip(756e12, 80 * GIB),
  r"NVIDIA H100.*": Chip(989e12, 80 * GIB),
  r"NVIDIA H200.*": Chip(989e12, 141 * GIB),
  r"NVIDIA B200": Chip(2250e12, 180 * GIB),
}


def get_chip(device: jax.Device) -> Chip | None:
  """What a device can do; None for one that the table does not know."""
  for pattern, chip in CHIPS.items():
    if re.fullmatch(pattern, device.device_kind):
      return chip
  return None
