# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""TensorBoard event files.

The thread of tensorboardX's own writer ends at the first error and then blocks
its callers, so only its messages and checksums are used here. Events are made,
and tensorboardX is imported, in the thread that writes them: it brings a client
of Google's storage along, and PyTorch where that is installed.
"""

import functools
import io
import math
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import PIL.Image
from etils import epath
from jaxtyping import UInt8

from vit_jax.storage.append_log import AppendLog

# Counts [n], and edges [n + 1].
Histogram = tuple[np.ndarray, np.ndarray]

VERSION = "brain.Event:2"  # In the first event of a file.


def frame(event: Any) -> bytes:
  """Frames an event: its length, the event, and a checksum of each."""
  from tensorboardX.record_writer import masked_crc32c

  data = event.SerializeToString()
  length = struct.pack("<Q", len(data))
  checksums = (struct.pack("<I", masked_crc32c(x)) for x in (length, data))
  return length + next(checksums) + data + next(checksums)


def make_event(now: float, step: int, values: Mapping[str, Any]) -> bytes:
  """Makes an event of one step.

  Args:
    now: its time.
    step: its number.
    values: tag -> the fields of its value.
  """
  from tensorboardX.proto.event_pb2 import Event
  from tensorboardX.proto.summary_pb2 import Summary

  summary = Summary(
    value=[Summary.Value(tag=tag, **x) for tag, x in values.items()]
  )
  return frame(Event(wall_time=now, step=step, summary=summary))


def make_scalars(now: float, step: int, values: Mapping[str, float]) -> bytes:
  """Makes the event of a row; values that are not finite are left out."""
  finite = {name: x for name, x in values.items() if math.isfinite(x)}
  fields = {name: {"simple_value": x} for name, x in finite.items()}
  return make_event(now, step, fields)


def make_images(
  now: float, step: int, images: Mapping[str, UInt8[np.ndarray, "H W 3"]]
) -> bytes:
  """Makes the event of pictures, which are PNGs there."""
  from tensorboardX.proto.summary_pb2 import Summary

  def encode(image: np.ndarray) -> Any:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "PNG")
    height, width, channels = image.shape
    return Summary.Image(
      height=height,
      width=width,
      colorspace=channels,
      encoded_image_string=file.getvalue(),
    )

  fields = {name: {"image": encode(x)} for name, x in images.items()}
  return make_event(now, step, fields)


def make_histograms(
  now: float, step: int, values: Mapping[str, Histogram]
) -> bytes:
  """Makes the event of histograms; sums are those of the bins' middles."""
  from tensorboardX.proto.summary_pb2 import HistogramProto

  def encode(counts: np.ndarray, edges: np.ndarray) -> Any:
    middles = (edges[1:] + edges[:-1]) / 2
    return HistogramProto(
      min=edges[0],
      max=edges[-1],
      num=counts.sum(),
      sum=(counts * middles).sum(),
      sum_squares=(counts * middles**2).sum(),
      bucket_limit=edges[1:].tolist(),
      bucket=counts.tolist(),
    )

  found = {name: {"histo": encode(*x)} for name, x in values.items()}
  return make_event(now, step, found)


def make_header(now: float, step: int) -> bytes:
  """Makes the events that a file begins with: its version, and a start.

  Args:
    now: time of the start.
    step: the first step that the file has rows of.
  """
  from tensorboardX.proto.event_pb2 import Event, SessionLog

  version = Event(wall_time=now, step=step, file_version=VERSION)
  log = SessionLog(status=SessionLog.START)
  return frame(version) + frame(
    Event(wall_time=now, step=step, session_log=log)
  )


class TensorBoard(AppendLog):
  """The event file of one start of a run.

  TensorBoard reads files and their parts in the order of their names. It drops
  what an earlier file has of the steps after this start.
  """

  def __init__(self, directory: epath.Path, start_step: int):
    """Writes nothing yet.

    Args:
      directory: where event files are written.
      start_step: number of steps done before.
    """
    self._began, self._first = time.time(), start_step + 1
    self._has_header = False
    name = f"events.out.tfevents.{int(self._began):010d}.{socket.gethostname()}"
    name += f".after_step_{start_step}"
    super().__init__(
      lambda part: directory / (f"{name}.{part:06d}" if part else name)
    )

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Takes a row."""
    self._add(make_scalars, step, values)

  def images(
    self, step: int, images: Mapping[str, UInt8[np.ndarray, "H W 3"]]
  ) -> None:
    """Takes pictures by name."""
    self._add(make_images, step, images)

  def histograms(self, step: int, values: Mapping[str, Histogram]) -> None:
    """Takes histograms by name."""
    self._add(make_histograms, step, values)

  def close(self) -> None:
    """Nothing is open."""

  def _add(self, make: Callable[..., bytes], *arguments: Any) -> None:
    """Takes an event, to be made; the first brings the header of the file."""
    if not self._has_header:
      self.add(functools.partial(make_header, self._began, self._first))
      self._has_header = True
    self.add(functools.partial(make, time.time(), *arguments))
