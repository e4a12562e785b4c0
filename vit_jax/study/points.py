# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Points of a study of the paper: what is varied, and what was measured."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.checkpoint.directory import list_steps
from vit_jax.config import ConfigError
from vit_jax.metrics.rows import read_rows
from vit_jax.storage.untrusted import load_json
from vit_jax.study.runs import Run
from vit_jax.study.seeds import make_run

LEVEL = 0.05  # How often equal points are told apart.
LISTED = 3  # Points that are worse than the best, named in a sentence.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
  """One setting of what a study varies; it is trained once per seed.

  Attributes:
    name: of its directory, and for people.
    flags: flags of vit_jax.main that set it.
    arguments: arguments of the recipe that set it, likewise.
    fields: column of the table -> value here; None if it has no row.
    paper: what the paper measured for it, if it did.
    after: name of the point from whose parameters it starts, of the same seed.
    metric: name under which its accuracy stands in the row of that point.
  """

  name: str
  flags: Sequence[str] = ()
  arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  fields: Mapping[str, Any] | None = None
  paper: float | None = None
  after: str | None = None
  metric: str | None = None

  def make_run(
    self, recipe: str, workdir: epath.Path, flags: Sequence[str], seed: int
  ) -> Run:
    """Makes the run of a seed; arguments as of `make_runs`."""
    recipe = ",".join(
      [recipe, *(f"{k}={x}" for k, x in self.arguments.items())]
    )
    name, after = f"{self.name}/seed_{seed}", None
    flags = [*self.flags, *flags]
    if self.after is not None:
      after = f"{self.after}/seed_{seed}"
      init = find_init(workdir / name, after) or workdir / after
      flags.append(f"--config.init={init}")
    run = make_run(name, recipe, workdir / name, flags, seed)
    return dataclasses.replace(run, after=after)


def make_runs(
  points: Iterable[Point],
  recipe: str,
  workdir: epath.Path,
  flags: Sequence[str],
  seeds: Sequence[int],
) -> list[Run]:
  """Makes the runs of all points: seed by seed, so that a part says much.

  Args:
    points: points of the study.
    recipe: recipe of all runs, with arguments.
    workdir: directory of the study.
    flags: flags of vit_jax.main for every run; they come after a point's.
    seeds: seeds of the runs.
  """
  return [
    point.make_run(recipe, workdir, flags, seed)
    for seed, point in itertools.product(seeds, points)
  ]


def find_init(workdir: epath.Path, after: str) -> str | None:
  """Finds what a run started from, if that was in a directory since moved.

  A run with another config than that of its checkpoints is refused.

  Args:
    workdir: of the run.
    after: name of the run of the study that it starts from.

  Returns:
    None if it has yet to begin, or started from something else.
  """
  begun = (workdir / "result.json").exists() or list_steps(
    workdir / "checkpoints"
  )
  if not begun:
    return None
  try:
    init = load_json(workdir / "config.json")["init"]
  except (ConfigError, KeyError, TypeError):  # The run says what is wrong.
    return None
  moved = isinstance(init, str) and init.endswith(f"/{after}")
  return init if moved else None


def read_values(run: Run, result: Mapping[str, Any]) -> dict[str, float]:
  """Reads what the evaluations of a run's last step found.

  Returns:
    "EVALUATION/METRIC" -> value, as in metrics.jsonl; what is no number there,
    or cannot be read, is left out.
  """
  try:
    rows = read_rows(run.workdir)
  except ConfigError:  # All is lost; other runs are not.
    rows = []
  return {
    key: x
    for row in rows
    if row["step"] == result["steps"]
    for key, x in row.items()
    if "/" in key and type(x) in (int, float)
  }


def find_lost(
  points: Iterable[Point],
  values: Mapping[str, Mapping[str, float]],
  metrics: Mapping[str, str],
) -> dict[str, list[str]]:
  """Finds what finished runs should have measured, and no file of theirs has.

  Arguments are those of `summarize`.

  Returns:
    Name of a run -> keys of its values that are missing.
  """
  points = list(points)
  lent = {point.metric for point in points if point.metric}
  wanted = {}
  for point in points:
    if point.metric:
      wanted[point.name] = [metrics[point.metric]]
    elif point.fields is not None:
      wanted[point.name] = [x for k, x in metrics.items() if k not in lent]
  lost = {
    name: [
      key
      for key in wanted.get(name.rpartition("/seed_")[0], ())
      if key not in x
    ]
    for name, x in values.items()
  }
  return {name: keys for name, keys in lost.items() if keys}


def summarize(
  points: Iterable[Point],
  values: Mapping[str, Mapping[str, float]],
  metrics: Mapping[str, str],
) -> list[dict[str, Any]]:
  """Summarizes each point that has a row over its seeds.

  Args:
    points: points of the study.
    values: name of a run, POINT/seed_N -> values as of `read_values`.
    metrics: name -> the key of these values that has it; where the name is the
      `metric` of points, the values are those of their runs.

  Returns:
    A row a point: its `name`, `fields`, `paper` and `values`, name of a metric
    -> `mean`, `stdev` (of a sample; None for one seed), number of `seeds` and
    the values `by_seed`.
    A point, or a metric, that no run has measured is left out.
  """
  points, rows = list(points), []
  others = {(x.after, x.metric): x.name for x in points if x.metric}
  lent = {metric for _, metric in others}
  for point in points:
    found = {}
    for name, key in metrics.items():
      of = others.get((point.name, name)) if name in lent else point.name
      by_seed = {
        run.rpartition("/seed_")[2]: x[key]
        for run, x in values.items()
        if run.rpartition("/seed_")[0] == of and key in x
      }
      numbers = list(by_seed.values())
      if numbers:
        found[name] = {
          "mean": statistics.mean(numbers),
          "stdev": statistics.stdev(numbers) if len(numbers) > 1 else None,
          "seeds": len(numbers),
          "by_seed": by_seed,
        }
    if found and point.fields is not None:
      rows.append(
        {
          "name": point.name,
          "fields": dict(point.fields),
          "paper": point.paper,
          "values": found,
        }
      )
  return rows


def is_apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
  """Whether two means differ by Welch's t-test, of two sides at 5 %.

  Never for a point of one seed, whose error is not known.
  """
  # One function of a package that is slow to import.
  from scipy.special import stdtrit

  if a["stdev"] is None or b["stdev"] is None:
    return False
  difference = abs(a["mean"] - b["mean"])
  squares = [x["stdev"] ** 2 / x["seeds"] for x in (a, b)]
  if not any(squares):
    return difference > 0
  parts = (
    s**2 / (x["seeds"] - 1) for s, x in zip(squares, (a, b), strict=True)
  )
  freedom = sum(squares) ** 2 / sum(parts)
  limit = float(stdtrit(freedom, 1 - LEVEL / 2))
  return difference > limit * math.sqrt(sum(squares))


def find_frontier(
  points: Sequence[tuple[float, float]],
) -> list[int]:
  """Finds the points that nothing of the same or a lower cost beats.

  Args:
    points: cost and value; the larger the value the better.

  Returns:
    Their indices, by cost.
  """
  order = sorted(
    range(len(points)), key=lambda i: (points[i][0], -points[i][1])
  )
  found, best = [], -math.inf
  for i in order:
    if points[i][1] > best:
      best = points[i][1]
      found.append(i)
  return found


def describe_order(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
  """Says which point is best, and which of the others are surely worse.

  Args:
    rows: as of `summarize`.
    metric: name of the metric; the larger the better.
  """
  found = [
    (x["name"], x["values"][metric]) for x in rows if metric in x["values"]
  ]
  found.sort(key=lambda pair: -pair[1]["mean"])
  if not found:
    return "nothing is measured."
  (name, best), *others = found
  text = f"Best is {name} with {format_value(best)}"
  if not others:
    return f"{text}."
  if max(x["seeds"] for _, x in found) < 2:
    if level := [name for name, x in others if x["mean"] == best["mean"]]:
      text = f"Best are {', '.join([name, *level])} with {format_value(best)}"
    return f"{text}; with one seed no difference can be told from chance."
  worse = [pair for pair in others if is_apart(best, pair[1])]
  level = [
    name if x["stdev"] is not None else f"{name} (of one seed)"
    for name, x in others
    if not is_apart(best, x)
  ]
  if best["stdev"] is None:
    text += " of one seed"
  if level:
    text += (
      f"; not told apart from it (Welch's t-test, 5 %): {', '.join(level)}"
    )
  if worse:
    shown = worse if len(worse) <= LISTED + 1 else worse[:LISTED]
    listed = [f"{name} {format_value(x)}" for name, x in shown]
    if rest := len(worse) - len(shown):
      listed.append(f"and {rest} more, down to {format_value(worse[-1][1])}")
    text += f"; worse: {', '.join(listed)}"
  return f"{text}."


def format_value(value: Mapping[str, Any] | None) -> str:
  """Formats a mean in percent with its standard deviation; "-" for None."""
  if value is None:
    return "-"
  text = f"{100 * value['mean']:.2f}"
  if value["stdev"] is not None:
    text += f" ± {100 * value['stdev']:.2f}"
  return text
