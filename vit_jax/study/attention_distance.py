# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `attention_distance`: how far heads look, over the training of one
model (ViT paper, figure 7 right)."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.config.recipe import load_config
from vit_jax.data.sources import load_info
from vit_jax.optim import LENGTHS, count_steps
from vit_jax.plots.studies import draw_distances, draw_points
from vit_jax.sections import resolve
from vit_jax.study.paper_study import PaperStudy
from vit_jax.study.points import Point

IMAGES = 128  # As in the paper.
CHECKPOINTS = 10
KEPT = 100  # Checkpoints; more than there will be.


def make_points(scale: str) -> list[Point]:
  """One model, of which all checkpoints are kept."""
  del scale
  flags = (f"--config.checkpoint.keep={KEPT}",)
  return [Point(name="vit", flags=flags, fields={"model": "ViT"})]


def find_every(recipe: str, flags: Sequence[str]) -> int:
  """Finds the steps between checkpoints of which a run has CHECKPOINTS.

  Args:
    recipe: recipe of the run, with arguments.
    flags: flags of vit_jax.main.
  """
  own = [flag for flag in flags if flag.startswith("--config.")]
  config = resolve(load_config(recipe, own))
  data, train = config["data"], config["train"]
  steps = count_steps(
    {unit: train[unit] for unit in LENGTHS},
    load_info(data["source"], data["dir"]).count(data["train"]),
    train["batch_size"],
  )
  # Without a length the run is refused.
  return max(1, math.ceil((steps or 0) / CHECKPOINTS))


def choose_alike(
  distances: Mapping[str, Mapping[str, Any]],
) -> dict[str, Mapping[str, Any]]:
  """Chooses the runs whose checkpoints are of the same steps as most have.

  Args:
    distances: name of a run -> as of `measure`.
  """
  steps = [tuple(x["steps"]) for x in distances.values()]
  most = max(steps, key=steps.count, default=())
  return {k: x for k, x in distances.items() if tuple(x["steps"]) == most}


def measure(workdir: epath.Path) -> dict[str, Any]:
  """Measures mean attention distances at each checkpoint of a run.

  Args:
    workdir: of the run.

  Returns:
    `steps` [S]; `pixels` [S L K], the means over IMAGES images of the split
    that the run evaluates; and `uniform`, what attention to all tokens alike
    has.
  """
  import jax

  from vit_jax.analysis.attention import (
    compute_distances,
    compute_mean_distance,
  )
  from vit_jax.analysis.explain import choose_batch_size
  from vit_jax.checkpoint.directory import list_steps
  from vit_jax.evaluators.split import map_split
  from vit_jax.trained import open_trained

  steps = list_steps(workdir / "checkpoints")
  if not steps:
    raise ConfigError(
      f"{workdir} has no checkpoint to measure: remove it, and train it again"
    )
  pixels: list[Any] = []
  step: Any = None
  uniform = 0.0
  for number in steps:
    trained = open_trained(str(workdir / "checkpoints" / str(number)))
    module: Any = trained.objective.model
    size = trained.weights.preprocess.size
    layout = module.make_layout(*size)
    if step is None:  # It is compiled once.
      patches = 1 - layout.prefix / layout.tokens  # A share of the tokens.
      distances = compute_distances(layout, module.stride)
      uniform = patches * float(distances.mean())
      prepare = trained.data.prepare

      @jax.jit
      def step(params, batch, module=module, layout=layout, prepare=prepare):
        _, found = module.apply(
          {"params": params}, prepare(batch)["image"], intermediates=True
        )
        distances = compute_mean_distance(
          found["attention"], layout, module.stride
        )
        return distances, batch["mask"]

    results, _ = map_split(
      step,
      *(trained.state.params, trained.data, trained.mesh),
      trained.weights.preprocess.channels,
      split=trained.split,
      batch_size=choose_batch_size(module, size) * trained.mesh.size,
      limit=IMAGES,
      mark=lambda: None,
    )
    found = np.concatenate([x[mask] for x, mask in results])
    pixels.append(found.mean(axis=0).round(4).tolist())
  return {"steps": steps, "pixels": pixels, "uniform": uniform}


class AttentionDistance(PaperStudy):
  """The study; `run` measures after training, and the table is of layers."""

  def list_points(
    self, recipe: str, scale: str, flags: Sequence[str]
  ) -> list[Point]:
    """The model, with checkpoints all along its training."""
    every = f"--config.checkpoint.every={find_every(recipe, flags)}"
    return [
      dataclasses.replace(point, flags=(*point.flags, every))
      for point in self.make_points(scale)
    ]

  def run(
    self,
    recipe: str,
    workdir: epath.Path,
    flags: Sequence[str],
    seeds: Sequence[int],
    **options: Any,
  ) -> dict[str, Any]:
    """Trains the model once per seed, and measures its checkpoints.

    Arguments and errors are those of `PaperStudy.run`, and so is what it
    returns, with `distances`: name of a run -> as of `measure`.
    """
    summary = super().run(recipe, workdir, flags, seeds, **options)
    found = {name: measure(workdir / name) for name in summary["runs"]}
    # Distances are of checkpoints, whatever metrics.jsonl lacks.
    return {**summary, "distances": found, "lost": {}}

  def draw_summary(self, summary: Mapping[str, Any]) -> bytes:
    """Draws the distances of all layers over steps."""
    return draw_distances(list(choose_alike(summary["distances"]).values()))

  def make_table(self, summary: Mapping[str, Any]) -> list[list[str]]:
    """Makes a row a step, of the means over heads and seeds by layer."""
    runs = list(choose_alike(summary["distances"]).values())
    if not runs:
      return [["step"]]
    layers = range(len(runs[0]["pixels"][0]))
    made = [["step", *(f"layer {i + 1}" for i in layers)]]
    for row, step in enumerate(runs[0]["steps"]):
      of = [x["pixels"][row] for x in runs]
      cells = [
        format_pixels([statistics.mean(x[layer]) for x in of])
        for layer in layers
      ]
      made.append([f"{step:,}", *cells])
    return made

  def explain(self, summary: Mapping[str, Any]) -> list[str]:
    """Says what the paper found, and what the heads do here at the end."""
    texts = [f"The paper ({self.source}): {self.found}"]
    alike = choose_alike(summary["distances"])
    runs = list(alike.values())
    if runs:
      last = np.asarray([run["pixels"][-1] for run in runs])
      heads = [
        f"layer {i + 1} from {x.min():.1f} to {x.max():.1f}"
        for i, x in enumerate(last.mean(axis=0))
      ]
      texts.append(
        f"Here, in pixels, {summary['config']}: attention to all tokens alike "
        f"has {runs[0]['uniform']:.1f}; at the end the heads of "
        + ", of ".join(heads)
        + "."
      )
    else:
      texts.append("Here nothing is measured.")
    texts += [
      f"Left out: {name} has checkpoints of the steps "
      f"{', '.join(map(str, x['steps']))}, and the table has others: "
      f"checkpoints were lost, or it was interrupted between two; remove its "
      f"directory, and the same command trains it again"
      for name, x in summary["distances"].items()
      if name not in alike
    ]
    return [*texts, *self.explain_failures(summary)]


def format_pixels(values: Sequence[float]) -> str:
  """Formats the mean of seeds, with the standard deviation of several."""
  text = f"{statistics.mean(values):.2f}"
  if len(values) > 1:
    text += f" ± {statistics.stdev(values):.2f}"
  return text


STUDY = AttentionDistance(
  name="attention_distance",
  source="section 4.5, figure 7 right",
  asks="How far the heads of a ViT look",
  found="already in the lowest layers some heads attend to most of the image, "
  "while others look near, as convolutions do; the distance grows with depth. "
  "It is of trained models; over training it has no numbers.",
  columns=("step",),
  make_points=make_points,
  draw=draw_points,
  unit="distances in pixels",
)
