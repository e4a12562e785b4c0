# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of training states, written and read with Orbax.

The directory of a step appears once it is complete. It holds the state, whose
step is the position in the data and in every random stream, and metadata: the
config, the data and a checksum of every array. A state is used only if it
matches its metadata.
"""

from vit_jax.checkpoint.checkpointer import Checkpointer
from vit_jax.checkpoint.directory import CheckpointOptions
from vit_jax.checkpoint.parameters import save_params
from vit_jax.checkpoint.reading import load_params

__all__ = ["CheckpointOptions", "Checkpointer", "load_params", "save_params"]
