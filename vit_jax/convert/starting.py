# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run starts from: the encoder of other weights, and what fits of what
its objective trains beside it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn

from vit_jax import sharding
from vit_jax.config import ConfigError
from vit_jax.convert import segmentation
from vit_jax.convert.initialize import Report, initialize
from vit_jax.convert.table import Arrays
from vit_jax.convert.transfer import Transfer, find_source, load_source
from vit_jax.convert.weights import flatten


def start(
  config: Mapping[str, Any],
  transfer: Transfer,
  model: nn.Module,
  shape: tuple[int, int, int],
  params: Any,
  names: Sequence[str],
) -> tuple[Arrays, Report]:
  """Takes the parameters that the config's `init` gives.

  Args:
    config: resolved config.
    transfer: its transfer section.
    model: the encoder.
    shape: (H, W, c) of its images.
    params: the run's parameters, abstract.
    names: of the classes; empty if unknown.

  Returns:
    Path -> array, without what is initialised anew; and what was done.

  Raises:
    ConfigError: if they cannot be read or do not fit the model.
  """
  init, objective = config["init"], config["objective"]["name"]
  of_encoder = transfer
  if objective == segmentation.NAME:  # Its head is not the encoder's.
    of_encoder = dataclasses.replace(transfer, head="auto")
  try:
    source = load_source(init, transfer)
  except ConfigError as error:
    raise ConfigError(f"--config.init: {error}") from error
  height, width, channels = shape
  taken, report = initialize(
    source, model, (height, width), channels, of_encoder, names
  )
  if objective == segmentation.NAME:
    head, note = segmentation.take_head(
      find_source(init, transfer.directory),
      {path: leaf.shape for path, leaf in flatten(params).items()},
      transfer.head,
      names,
    )
    taken |= head
    report.notes.append(note)
  elif objective in sharding.OWN:
    why = "as weights have the encoder of a run alone"
    report.notes.append(f"new: all of {objective}/, {why}")
  return taken, report
