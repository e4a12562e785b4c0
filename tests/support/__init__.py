# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What several tests share; no test imports another."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]


def build(config, devices=None):
  """The Experiment of a config that is not resolved yet."""
  from vit_jax.experiment import Experiment
  from vit_jax.sections import resolve

  return Experiment(resolve(config), devices)


def lower(exp):
  """The training step of an Experiment, lowered."""
  from vit_jax.train_step import trace

  return trace(exp.train_step, exp.mesh, *exp.abstract_inputs).lower()
