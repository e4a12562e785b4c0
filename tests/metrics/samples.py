# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading back the event files that a run writes for TensorBoard."""

from tensorboard.backend.event_processing import event_accumulator
from tensorboardX.proto import event_pb2

from vit_jax.metrics import read_rows


def read_events(directory):
  """Yields (step, tag, value) of the scalars of every event file."""
  for path in sorted(directory.glob("events.out.tfevents.*")):
    data = path.read_bytes()
    while data:
      size = int.from_bytes(data[:8], "little")
      event = event_pb2.Event.FromString(data[12 : 12 + size])
      if event.session_log.status and event.step > 1:
        yield event.step, "START", 0.0
      yield from (
        (event.step, value.tag, value.simple_value)
        for value in event.summary.value
      )
      data = data[12 + size + 4 :]


def load_events(directory):
  """TensorBoard's own reader of a directory, which has read it."""
  kinds = event_accumulator.DEFAULT_SIZE_GUIDANCE
  found = event_accumulator.EventAccumulator(
    str(directory), dict.fromkeys(kinds, 0)
  )
  return found.Reload()


def list_steps(workdir):
  return [row["step"] for row in read_rows(workdir)]
