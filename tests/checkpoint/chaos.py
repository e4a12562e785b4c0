# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Restores, says which step it found, and saves one after another for ever.

python -m tests.checkpoint.chaos DIR, to be killed.
"""

import sys

import jax
import numpy as np
from etils import epath

from vit_jax.checkpoint import Checkpointer, CheckpointOptions
from vit_jax.train_state import TrainState

WRONG = 9  # Exit status after a state that was never saved.


def make_state(step):
  """Four megabytes that tell the step."""
  params = {
    name: np.full((512, 512), step * (index + 1), np.float32)
    for index, name in enumerate("abcd")
  }
  count = np.int32(step)
  state = TrainState(
    step=count, params=params, opt_state=(count,), ema=None, aux={}
  )
  return jax.device_put(state, jax.devices()[0])


def main(directory):
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
    make_state(0),
  )
  with Checkpointer(directory, CheckpointOptions(keep=2)) as checkpointer:
    state = checkpointer.restore(abstract)
    step = 0 if state is None else int(state.step)
    if step and not jax.tree.all(
      jax.tree.map(lambda a, b: bool((a == b).all()), state, make_state(step))
    ):
      sys.exit(WRONG)
    print("restored", step, flush=True)
    while True:
      step += 1
      state = make_state(step)
      print("saving", step, flush=True)
      checkpointer.save(step, state)
      checkpointer.wait()
      print("saved", step, flush=True)


if __name__ == "__main__":
  jax.config.update("jax_platforms", "cpu")
  main(epath.Path(sys.argv[1]))
