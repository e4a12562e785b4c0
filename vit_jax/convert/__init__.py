# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading and writing weights of other projects, and loading models."""

from vit_jax.convert.files import CheckpointError as CheckpointError
from vit_jax.convert.weights import Weights as Weights
from vit_jax.convert.weights import load_weights as load_weights
from vit_jax.convert.writing import save_weights as save_weights
