# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
from etils import epath

from tests.metrics.samples import read_events
from vit_jax.metrics import tensorboard


def compute_crc32c(data):
  """Bit by bit, with the polynomial of Castagnoli, reflected (RFC 3720)."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
  return crc ^ 0xFFFFFFFF


def mask(crc):
  """As event files have it: turned right by 15 bits, plus a constant."""
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_events_are_what_tensorboard_reads(tmp_path):
  """Names in order, and both checksums of every event."""
  assert compute_crc32c(b"123456789") == 0xE3069283
  log = tensorboard.TensorBoard(epath.Path(tmp_path), 41)
  log.scalars(42, {"loss": 0.5, "nan": float("nan")})
  log.flush()
  [path] = tmp_path.iterdir()
  assert path.name.startswith("events.out.tfevents.")
  assert path.name.endswith(".after_step_41")
  assert list(read_events(tmp_path)) == [(42, "START", 0.0), (42, "loss", 0.5)]
  data, events = path.read_bytes(), 0
  while data:
    length, data = data[:8], data[8:]
    size = int.from_bytes(length, "little")
    for part, start in ((length, 0), (data[4 : 4 + size], 4 + size)):
      found = int.from_bytes(data[start : start + 4], "little")
      assert found == mask(compute_crc32c(part))
    data, events = data[8 + size :], events + 1
  assert events == 3
