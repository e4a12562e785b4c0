# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Looks into the layers of a run (train.layers_every)."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vit_jax.metrics.loggers import parse_names
from vit_jax.metrics.writer import MetricWriter
from vit_jax.optim import layers


class LayerLog:
  """Norms, learning rates and histograms by layer, for the loggers.

  Norms are of the step that was taken and come with its metrics; histograms are
  a program of their own, which runs behind the step.
  """

  def __init__(self, exp: Any, writer: MetricWriter):
    """Compiles nothing yet.

    Args:
      exp: an `Experiment`.
      writer: takes the rows, and gives the histograms to the loggers.
    """
    self._every, self._mesh = exp.train.layers_every, exp.mesh
    self._writer = writer
    # On every process alike: all of them compute.
    named = parse_names(exp.train.loggers)
    self._drawn = any(name != "csv" for name in named)
    params = exp.abstract_state.params
    self._names = layers.list_layers(params)
    self._rates = layers.compute_rates(exp.optim, params)
    self._histograms = layers.Histograms(params)
    self._shown = 0

  def take(
    self, step: int, params: Any, metrics: Mapping[str, Any]
  ) -> tuple[Mapping[str, Any], Any]:
    """Takes the norms out of a step's metrics.

    Returns:
      The other metrics; and the arrays of a look where one is due, on the
      devices, or None.
    """
    if self._every is None:
      return metrics, None
    metrics = dict(metrics)
    norms = metrics.pop("layers")
    if step % self._every:
      return metrics, None
    return metrics, (norms, self._dispatch(params))

  def show(self, step: int, look: Any, rate: float) -> None:
    """Writes a look: a row, and histograms.

    Args:
      step: its step.
      look: from `take`, on the host.
      rate: learning rate, which each layer has a multiple of.
    """
    (grads, updates, params), histograms = look
    row = {}
    for i, name in enumerate(self._names):
      row[f"layers/grad_norm/{name}"] = float(grads[i])
      row[f"layers/param_norm/{name}"] = float(params[i])
      if params[i] > 0:
        row[f"layers/update_ratio/{name}"] = float(updates[i] / params[i])
      if name in self._rates:
        row[f"layers/lr/{name}"] = rate * self._rates[name]
    self._writer.write(step, dict(sorted(row.items())))
    if histograms is not None:
      self._show_histograms(step, histograms)

  def show_end(self, step: int, params: Any) -> None:
    """Shows the histograms of the last step, if they were not."""
    if self._drawn and step != self._shown:
      self._show_histograms(step, jax.device_get(self._dispatch(params)))

  def _dispatch(self, params: Any) -> Any:
    if not self._drawn:
      return None
    with jax.set_mesh(self._mesh):
      return self._histograms.dispatch(params)

  def _show_histograms(self, step: int, histograms: Any) -> None:
    made = self._histograms.finish(histograms)
    found = {
      # Of weights that are all the same, as zeros, the edges are one.
      f"weights/{name}": (counts, edges)
      for name, counts, edges in zip(self._names, *made, strict=True)
      if np.isfinite(edges).all() and edges[0] < edges[-1]
    }
    self._writer.histograms(step, found)
    self._shown = step
