# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Studies of the ViT paper: one runner for all; they differ in their points."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.study import cost, table
from vit_jax.study.earlier import check_begun, check_workdir
from vit_jax.study.needs import check_flags, check_recipe, check_sources
from vit_jax.study.points import (
  Point,
  describe_order,
  find_lost,
  format_value,
  make_runs,
  read_values,
  summarize,
)
from vit_jax.study.runs import (
  Failures,
  Results,
  find_result,
  list_failures,
  save,
  train_all,
)

COMPUTE, IMAGES = "training FLOPs", "images"  # The fields that are counted.
SCALES = ("digits", "laptop", "card", "pod")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperStudy:
  """A study of the paper; an instance is what `vit_jax.study` calls a study.

  Attributes:
    name: of the command.
    source: where the paper has it.
    asks: what is compared, as a title.
    found: what the paper found, in a sentence.
    columns: names of the fields of its points, as the table has them;
      every point with a row also has COMPUTE and IMAGES.
    make_points: scale -> the points.
    draw: (rows, metric) -> the figure as a PNG, with rows as of `summarize`
      that have the metric.
    compare: (rows, metric) -> what the points say, in sentences.
    unit: of the numbers in the table.
    SEEDS: default seeds.
    RECIPE: recipe of its runs, which takes `scale` and `dataset`.
  """

  name: str
  source: str
  asks: str
  found: str
  columns: Sequence[str]
  make_points: Callable[[str], Sequence[Point]]
  draw: Callable[[Sequence[Mapping[str, Any]], str], bytes]
  compare: Callable[[Sequence[Mapping[str, Any]], str], str] = describe_order
  unit: str = "accuracies in percent"
  SEEDS: Sequence[int] = (0, 1, 2)
  RECIPE: str = "study"

  def add_flags(self, parser: argparse.ArgumentParser) -> None:
    """Adds the flags of these studies."""
    parser.add_argument(
      "--scale",
      choices=SCALES,
      default="digits",
      help="model and data, see configs/study.py (default: digits)",
    )
    parser.add_argument(
      "--data", metavar="SOURCE", help="data of another source than the scale's"
    )
    parser.add_argument(
      "--yes",
      action="store_true",
      help="begin without asking, however long it takes",
    )

  def run(
    self,
    recipe: str,
    workdir: epath.Path,
    flags: Sequence[str],
    seeds: Sequence[int],
    *,
    scale: str = "digits",
    data: str | None = None,
    yes: bool = False,
  ) -> dict[str, Any]:
    """Trains every point once per seed; study.json is written after each run.

    Several machines may do so with one workdir: each takes the runs that nobody
    has, and waits for the others' at the end.

    Args:
      recipe: a recipe that takes the arguments scale and dataset.
      workdir: directory of the study; each run has a directory in it.
      flags: flags of vit_jax.main for every run.
      seeds: seeds of the runs.
      scale, data, yes: see `add_flags`.

    Returns:
      Content of study.json: `study`, `scale`, `config` (how it is trained, in
      words), `metrics` with the one that is compared first, `points` as of
      `summarize`, `runs`, `failed`, and `lost` as of `find_lost`.

    Raises:
      ConfigError: before anything is trained, for a bad config, missing data,
        a directory of another study or of other runs, or a long study that
        nobody agreed to.
    """
    if ":" in recipe:
      raise ConfigError(
        f"--config={recipe}: leave its arguments out: --scale and --data set "
        f"them"
      )
    if scale == "laptop" and data is None:
      raise ConfigError(
        "--scale=laptop trains on photographs of yours: give "
        "--data=folder:DIRECTORY, small ones of a few classes, as CIFAR-10's"
      )
    check_workdir(workdir, self.name, scale)
    given = f"scale={scale}" + (f",dataset={data}" if data else "")
    if recipe != self.RECIPE:
      check_recipe(recipe, given, self.name, self.RECIPE)
    recipe += f":{given}"
    points = self.list_points(recipe, scale, flags)
    if any(point.after for point in points) and any(
      flag.startswith("--config.init=") for flag in flags
    ):
      raise ConfigError(
        f"--config.init is set by the study {self.name}, whose runs start from "
        f"one another: leave it out"
      )
    phases = [(x.after is None, x.arguments.get("phase")) for x in points]
    plain = make_runs(points, recipe, workdir, (), (0,))
    check_flags(self.name, plain, phases, flags)
    runs = make_runs(points, recipe, workdir, flags, seeds)
    configs = [run.load_config() for run in runs[: len(points)]]
    check_begun(runs, flags)
    metrics = list_metrics(points, configs)
    left = [run for run in runs if find_result(run) is None]
    wanted = [run.load_config() for run in left]
    check_sources(left, wanted)
    cpu = all(config["train"]["allow_cpu"] for config in wanted)
    estimated = cost.estimate(configs, cpu or "--allow_cpu" in flags)
    costs = {
      point.name: found for point, found in zip(points, estimated, strict=True)
    }
    points = [
      dataclasses.replace(
        point,
        fields={
          **point.fields,
          IMAGES: costs[point.name].images,
          COMPUTE: costs[point.name].flops,
        },
      )
      if point.fields is not None
      else point
      for point in points
    ]
    total = sum(costs[run.name.rpartition("/")[0]].seconds for run in left)
    cost.confirm(total, len(left), yes)
    about = {
      "study": self.name,
      "scale": scale,
      "config": describe(points, configs, costs, len(seeds)),
      "metrics": metrics,
    }

    of = {run.name: run for run in runs}
    values: dict[str, dict[str, float]] = {}

    def conclude(results: Results, failed: Failures) -> dict[str, Any]:
      for name in results.keys() - values.keys():
        values[name] = read_values(of[name], results[name])
      rows = summarize(points, values, metrics)
      return {
        **about,
        "points": rows,
        "runs": results,
        "failed": failed,
        "lost": find_lost(points, values, metrics),
      }

    def note(results: Results, failed: Failures) -> None:
      save(conclude(results, failed), workdir)

    if not (workdir / "study.json").exists():
      note({}, {})  # From here on the directory is of this study.
    return conclude(*train_all(runs, note))

  def list_points(
    self, recipe: str, scale: str, flags: Sequence[str]
  ) -> Sequence[Point]:
    """Lists the points; a study may fit them to the length of its runs.

    Args:
      recipe: recipe of all runs, with arguments.
      scale: of the study.
      flags: flags of vit_jax.main for every run.
    """
    del recipe, flags
    return self.make_points(scale)

  def save(self, summary: Mapping[str, Any], workdir: epath.Path) -> None:
    """Writes study.json, its page study.md and its figure study.png."""
    files: dict[str, str | bytes] = {}
    lines = [f"# {self.asks}", "", f"The numbers are {self.unit}.", ""]
    lines += [*table.format_markdown(self.make_table(summary)), ""]
    lines += [x for text in self.explain(summary) for x in (text, "")]
    if summary["points"]:
      files["study.png"] = self.draw_summary(summary)
      lines += [f"![{self.asks}](study.png)", ""]
    files["study.md"] = "\n".join(lines)
    save(summary, workdir, others=files)
    print(f"page: {workdir / 'study.md'}", file=sys.stderr, flush=True)

  def draw_summary(self, summary: Mapping[str, Any]) -> bytes:
    """Draws the figure, a PNG."""
    metric = list_measured(summary)[0]
    rows = [row for row in summary["points"] if metric in row["values"]]
    return self.draw(rows, metric)

  def make_table(self, summary: Mapping[str, Any]) -> list[list[str]]:
    """Makes the rows of the table; its numbers are percent."""
    rows, metrics = summary["points"], list(summary["metrics"])
    paper = any(row["paper"] is not None for row in rows)
    head = [*self.columns, *metrics, *(["the paper"] if paper else [])]
    made = [head]
    for row in rows:
      cells = [format_field(row["fields"], column) for column in self.columns]
      cells += [format_value(row["values"].get(name)) for name in metrics]
      if paper:
        number = row["paper"]
        cells.append("-" if number is None else f"{100 * number:.2f}")
      made.append(cells)
    return made

  def explain(self, summary: Mapping[str, Any]) -> list[str]:
    """Says what the paper found, what this has, and at what scale."""
    rows, (metric, *others) = summary["points"], list_measured(summary)
    return [
      f"The paper ({self.source}): {self.found}",
      f"Here, by {metric} in percent, {summary['config']}: "
      + self.compare(rows, metric),
      *(f"By {name}: {self.compare(rows, name)}" for name in others),
      *self.explain_failures(summary),
    ]

  def explain_failures(self, summary: Mapping[str, Any]) -> list[str]:
    """Names the runs that failed, with their reasons, and what is lost."""
    lines = [f"Failed: {line}" for line in list_failures(summary["failed"])]
    if lines:
      lines.append(
        "The same command tries these again; one whose directory is removed "
        "begins anew."
      )
    return lines + [
      f"Left out: {name} is finished, but its metrics.jsonl has no "
      f"{' and no '.join(keys)} of its last step, or null for what was not "
      f"finite; remove its result.json, and the same command evaluates its "
      f"last checkpoint again, or trains it again if it has none"
      for name, keys in summary["lost"].items()
    ]

  def format_table(self, summary: Mapping[str, Any]) -> str:
    """Formats the study for people."""
    lines = [f"{self.asks} ({self.unit})"]
    lines += table.format_text(self.make_table(summary), len(self.columns))
    return "\n".join([*lines, "", *self.explain(summary)])


def format_field(fields: Mapping[str, Any], column: str) -> str:
  """Formats a field of a point for the table."""
  value = fields[column]
  if column == COMPUTE:  # The numbers of a column are of one width.
    return f"{value:.2e}"
  return f"{value:.3g}" if isinstance(value, float) else str(value)


def list_measured(summary: Mapping[str, Any]) -> list[str]:
  """Lists the metrics that any point has; the first if none has any."""
  metrics = list(summary["metrics"])
  found = [
    metric
    for metric in metrics
    if any(metric in row["values"] for row in summary["points"])
  ]
  return found or metrics[:1]


def list_metrics(
  points: Sequence[Point], configs: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
  """Lists what points are compared by: name -> its key in metrics.jsonl.

  What other runs found for them first, then the few-shot probe, where there is
  one.

  Args:
    points: points of the study.
    configs: of each.

  Raises:
    ConfigError: if an evaluation is of another kind.
  """
  pairs = list(zip(points, configs, strict=True))
  found = {
    point.metric: f"{find_evaluation(config, 'classification')}/accuracy"
    for point, config in pairs
    if point.metric
  }
  config = next(x for point, x in pairs if point.fields is not None)
  if name := find_evaluation(config, "fewshot"):
    shots = config["evals"][name]["shots"][0]
    found[f"{shots}-shot"] = f"{name}/accuracy_{shots}shot"
  if name := find_evaluation(config, "classification"):
    found["accuracy"] = f"{name}/accuracy"
  if not found or "None/accuracy" in found.values():
    raise ConfigError(
      "runs are compared by an evaluation of the kind classification: leave "
      "out the flag --config.evals.NAME.kind"
    )
  return found


def find_evaluation(config: Mapping[str, Any], kind: str) -> str | None:
  """Finds the name of the first evaluation of a kind."""
  names = (k for k, x in config["evals"].items() if x["kind"] == kind)
  return next(names, None)


def describe(
  points: Sequence[Point],
  configs: Sequence[Mapping[str, Any]],
  costs: Mapping[str, cost.Cost],
  seeds: int,
) -> str:
  """Says how points are trained, in a clause.

  Args:
    points: points of the study.
    configs: of each.
    costs: of each, by name.
    seeds: number of seeds.
  """
  pairs = list(zip(points, configs, strict=True))
  rows = [x for point, x in pairs if point.fields is not None]
  lengths = [describe_lengths(rows)]
  if others := [x for point, x in pairs if point.fields is None]:
    tuned = any(x.after for x in points if x.fields is not None)
    lengths.insert(0 if tuned else 1, describe_lengths(others))
  variants = dict.fromkeys(x["model"]["variant"] for x in rows)
  changed = any(is_resized(x["model"]) for x in rows)
  counts = [
    costs[point.name].parameters for point in points if point.fields is not None
  ]
  sizes = dict.fromkeys(f"{n:,}" for n in (min(counts), max(counts)))
  pixels = dict.fromkeys(str(x["data"]["size"]) for x in rows)
  times = f"{seeds} seeds (± their standard deviation)"
  return (
    f"{' and '.join(variants)}{' of other sizes' if changed else ''}, "
    f"{' to '.join(sizes)} parameters, at {' or '.join(pixels)} px on "
    f"{rows[0]['data']['source']}, {', then '.join(lengths)}, "
    f"{times if seeds > 1 else 'one seed'}"
  )


def describe_lengths(configs: Sequence[Mapping[str, Any]]) -> str:
  """Says how long runs train: the lengths of all, the batch of the first."""
  train = configs[0]["train"]
  units = ("steps", "epochs", "examples")
  unit = next(x for x in units if train.get(x) is not None)
  lengths = dict.fromkeys(x["train"][unit] for x in configs)
  if len(lengths) > 1:
    lengths.pop(1, None)  # Of an encoder that stays at random.
  text = " or ".join(f"{length:,}" for length in lengths)
  return f"{text} {unit} of batch {train['batch_size']}"


def is_resized(model: Mapping[str, Any]) -> bool:
  """Returns whether a model is not of the size that its variant has."""
  named = models.get_row(model["variant"])[1]
  return any(model[key] != value for key, value in named.items())
