# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""TensorBoard event files.

The thread of tensorboardX's own writer ends at the first error and then blocks
its callers, so only its messages and checksums are used here.
"""

import math
import socket
import struct
import time
from collections.abc import Mapping

from etils import epath
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from vit_jax.storage.append_log import AppendLog

VERSION = "brain.Event:2"  # In the first event of a file.


def frame(event: Event) -> bytes:
  """Frames an event: its length, the event, and a checksum of each."""
  data = event.SerializeToString()
  length = struct.pack("<Q", len(data))
  checksums = (struct.pack("<I", masked_crc32c(x)) for x in (length, data))
  return length + next(checksums) + data + next(checksums)


def make_scalars(step: int, values: Mapping[str, float]) -> bytes:
  """Makes the event of a row; values that are not finite are left out."""
  summary = Summary(
    value=[
      Summary.Value(tag=name, simple_value=value)
      for name, value in values.items()
      if math.isfinite(value)
    ]
  )
  return frame(Event(wall_time=time.time(), step=step, summary=summary))


def make_log(directory: epath.Path, start_step: int) -> AppendLog:
  """Makes the event file of one start of a run.

  TensorBoard reads files and their parts in the order of their names. It drops
  what an earlier file has of the steps after this start.

  Args:
    directory: where event files are written.
    start_step: number of steps done before.
  """
  now = time.time()
  name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}"
  name += f".after_step_{start_step}"
  events = AppendLog(
    lambda part: directory / (f"{name}.{part:06d}" if part else name)
  )
  first = start_step + 1
  version = Event(wall_time=now, step=first, file_version=VERSION)
  log = SessionLog(status=SessionLog.START)
  session = Event(wall_time=now, step=first, session_log=log)
  events.add(frame(version) + frame(session))
  return events
