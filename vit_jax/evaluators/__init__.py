# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluators: `run(state) -> iterator of (name, value)`."""

from vit_jax.evaluators.classification import Classification

EVALUATORS = {"classification": Classification}
