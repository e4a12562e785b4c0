# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import io

import numpy as np
import PIL.Image
import pytest
from etils import epath

from tests.metrics.samples import load_events, read_events
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


def test_tensorboards_own_reader_finds_everything(tmp_path):
  """Of two starts, the second of which goes on after step 1."""
  rng = np.random.default_rng(0)
  picture = rng.integers(0, 256, (5, 7, 3), np.uint8)
  values = rng.normal(size=1000)
  counts, edges = np.histogram(values, 30)
  log = tensorboard.TensorBoard(epath.Path(tmp_path), 0)
  log.scalars(1, {"loss": 0.5, "test/accuracy": 0.25})
  log.scalars(2, {"loss": 9.0})
  log.images(2, {"examples": 255 - picture})
  log.flush()
  log = tensorboard.TensorBoard(epath.Path(tmp_path), 1)
  log.scalars(2, {"loss": 0.125})
  log.images(2, {"examples": picture, "evaluation/confusion": picture})
  log.histograms(2, {"weights/head": (counts, edges)})
  log.flush()
  found = load_events(tmp_path)
  tags = found.Tags()
  assert tags["scalars"] == ["loss", "test/accuracy"]
  assert tags["images"] == ["examples", "evaluation/confusion"]
  assert tags["histograms"] == ["weights/head"]
  scalars = [(x.step, x.value) for x in found.Scalars("loss")]
  assert scalars == [(1, 0.5), (2, 0.125)]
  (image,) = found.Images("examples")
  assert (image.step, image.width, image.height) == (2, 7, 5)
  pixels = PIL.Image.open(io.BytesIO(image.encoded_image_string))
  np.testing.assert_array_equal(np.asarray(pixels), picture)
  (event,) = found.Histograms("weights/head")
  histogram = event.histogram_value
  assert (event.step, histogram.num) == (2, 1000)
  assert (histogram.min, histogram.max) == (values.min(), values.max())
  np.testing.assert_array_equal(histogram.bucket, counts)
  np.testing.assert_array_equal(histogram.bucket_limit, edges[1:])
  # The sum is that of the bins' middles: at most half a bin off each.
  width = edges[1] - edges[0]
  assert histogram.sum == pytest.approx(values.sum(), abs=500 * width)
