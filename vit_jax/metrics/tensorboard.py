# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""TensorBoard event files.

The thread of tensorboardX's own writer ends at the first error and then blocks
its callers, so only its messages and checksums are used here. It is imported
with the first row, long after the first step: it brings a client of Google's
storage along, and PyTorch where that is installed.
"""

import math
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from etils import epath

from vit_jax.storage.append_log import AppendLog

VERSION = "brain.Event:2"  # In the first event of a file.


def frame(event: Any) -> bytes:
  """Frames an event: its length, the event, and a checksum of each."""
  from tensorboardX.record_writer import masked_crc32c

  data = event.SerializeToString()
  length = struct.pack("<Q", len(data))
  checksums = (struct.pack("<I", masked_crc32c(x)) for x in (length, data))
  return length + next(checksums) + data + next(checksums)


def make_scalars(step: int, values: Mapping[str, float]) -> bytes:
  """Makes the event of a row; values that are not finite are left out."""
  from tensorboardX.proto.event_pb2 import Event
  from tensorboardX.proto.summary_pb2 import Summary

  summary = Summary(
    value=[
      Summary.Value(tag=name, simple_value=value)
      for name, value in values.items()
      if math.isfinite(value)
    ]
  )
  return frame(Event(wall_time=time.time(), step=step, summary=summary))


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


class EventLog(AppendLog):
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

  def add_row(self, step: int, values: Mapping[str, float]) -> None:
    """Takes a row; the first brings the header of the file."""
    if not self._has_header:
      self.add(make_header(self._began, self._first))
      self._has_header = True
    self.add(make_scalars(step, values))
