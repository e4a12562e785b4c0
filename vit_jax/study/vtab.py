# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `vtab`: the 19 tasks of VTAB-1k, and their means by group.

Tasks whose data are not prepared are named, with the command that prepares
them; a run that fails is recorded with its reason, and the others go on. Means
are over the tasks that have a score, and so are those of the paper beside them.
"""

import argparse
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.config import ConfigError, raise_all
from vit_jax.config.recipe import load_config
from vit_jax.convert.published import describe_download
from vit_jax.convert.transfer import find_source
from vit_jax.data import sources
from vit_jax.data.catalogue import get_instructions
from vit_jax.data.vtab import TASKS
from vit_jax.plots.studies import draw_scores
from vit_jax.sections import resolve
from vit_jax.storage.paths import locate
from vit_jax.study import paper, seeds, table
from vit_jax.study.earlier import check_begun
from vit_jax.study.names import parse_names
from vit_jax.study.runs import Failures, Results, list_failures, train_all
from vit_jax.study.runs import save as save_files

SEEDS = (0,)
FILE = "vtab.json"
RECIPE = "vtab"

# VTAB's own (Zhai et al., 2019, section 2).
GROUPS = {
  "natural": tuple(TASKS)[:7],
  "specialised": tuple(TASKS)[7:11],
  "structured": tuple(TASKS)[11:],
}


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that only this study has."""
  parser.add_argument(
    "--model", default="B/16", help="as of the recipe (default: B/16)"
  )
  parser.add_argument(
    "--init", metavar="FILE", help="weights to start from; none is from scratch"
  )
  parser.add_argument(
    "--tasks", metavar="TASK,TASK", help="default: all that are prepared"
  )
  parser.add_argument(
    "--dev",
    action="store_true",
    help="train on 800 images and score on the other 200, to choose "
    "hyper-parameters; in a directory of their own",
  )
  parser.add_argument(
    "--data_dir", metavar="DIR", help="where the sets are prepared"
  )


def list_tasks(text: str | None) -> list[str]:
  """Lists the tasks that --tasks names, in VTAB's order; None is all."""
  if text is None:
    return list(TASKS)
  names = parse_names("--tasks", text, TASKS)
  return [task for task in TASKS if task in names]


def make_recipe(recipe: str, task: str, model: str, dev: bool) -> str:
  """Adds a task's arguments to the recipe of all tasks."""
  if ":" in recipe:
    raise ConfigError(
      f"--config={recipe}: leave its arguments out: --model, --tasks and --dev "
      f"set them"
    )
  return f"{recipe}:task={task},model={model}" + (",dev=1" if dev else "")


def find_missing(tasks: Sequence[str], data_dir: str | None) -> dict[str, str]:
  """Finds the tasks whose data are not prepared, and how to prepare them.

  Raises:
    ConfigError: for all sets that are prepared, but too small or of other
      features.
  """
  missing: dict[str, str] = {}
  errors: list[str] = []
  for task in tasks:
    name = sources.find_dataset(f"vtab:{task}")
    if sources.find_directory(name, data_dir) is None:
      more = f" --data_dir={data_dir}" if data_dir else ""
      missing[task] = get_instructions(name) + more
      continue
    try:
      sources.load_info(f"vtab:{task}", data_dir)
    except sources.DataError as error:
      errors.append(str(error))
  raise_all(list(dict.fromkeys(errors)))
  return missing


def run(
  recipe: str,
  workdir: epath.Path,
  flags: Sequence[str],
  chosen: Sequence[int],
  *,
  model: str = "B/16",
  init: str | None = None,
  tasks: str | None = None,
  dev: bool = False,
  data_dir: str | None = None,
) -> dict[str, Any]:
  """Trains every task that is prepared, once per seed.

  The study's file is written after every run.

  Args:
    recipe: FILE, whose arguments are those of configs/vtab.py.
    workdir: directory of the study; each run has a directory in it.
    flags: flags of vit_jax.main for every run.
    chosen: seeds.
    model, init, tasks, dev, data_dir: see `add_flags`.

  Returns:
    Content of vtab.json, see `summarize`.

  Raises:
    ConfigError: before anything is trained, if no task is prepared, or not all
      that --tasks names; for a set that cannot be used; for a bad config, and
      for another one than runs that are there.
  """
  flags = list(flags)
  if init is not None:
    flags.append(f"--config.init={init}")
  if data_dir is not None:
    flags.append(f"--config.data.dir={data_dir}")
  wanted = list_tasks(tasks)
  overrides = [flag for flag in flags if flag.startswith("--config.")]
  recipes = {task: make_recipe(recipe, task, model, dev) for task in wanted}
  for found in recipes.values():
    config = resolve(load_config(found, overrides))
  init = config["init"]
  if init is not None:
    source = find_source(init, config["transfer"]["directory"])
    if not locate(source).exists():
      hint = describe_download(source)
      raise ConfigError(
        f"init={init} does not exist: give weights or a run{hint}"
      )
  missing = find_missing(wanted, config["data"]["dir"])
  if missing and (tasks is not None or len(missing) == len(wanted)):
    raise ConfigError("\n".join(describe_missing(missing)))
  directory = workdir / "dev" if dev else workdir
  runs = [
    seeds.make_run(
      f"{task}/seed_{seed}",
      recipes[task],
      directory / task / f"seed_{seed}",
      flags,
      seed,
    )
    for task in wanted
    if task not in missing
    for seed in chosen
  ]
  check_begun(runs, flags)
  about = {
    "study": "vtab",
    "model": config["model"]["variant"],
    "init": init,
    "dev": dev,
  }

  def note(results: Results, failed: Failures) -> None:
    found = summarize(about, results, failed, missing)
    save_files(found, directory, FILE)

  return summarize(about, *train_all(runs, note), missing)


def save(summary: Mapping[str, Any], workdir: epath.Path) -> None:
  """Writes vtab.json, its table vtab.md and its figure vtab.png."""
  directory = workdir / "dev" if summary["dev"] else workdir
  others: dict[str, str | bytes] = {
    "vtab.md": format_markdown(summary),
    "vtab.png": draw(summary),
  }
  save_files(summary, directory, FILE, others)


def summarize(
  about: Mapping[str, Any],
  results: Mapping[str, Mapping[str, Any]],
  failed: Mapping[str, Mapping[str, Any]],
  missing: Mapping[str, str],
) -> dict[str, Any]:
  """Computes the scores of a study.

  Args:
    about: model, init and dev.
    results: TASK/seed_N -> result.json.
    failed: TASK/seed_N -> status and reason.
    missing: task -> how to prepare it.

  Returns:
    These; `scores`, task -> `mean`, `stdev` and number of `seeds`; `groups`,
    group -> `mean` of its scores, number of `tasks` that have one, and `of`
    how many; and `paper`, the paper's accuracies by data of pre-training, with
    `groups` as here, over the same tasks.
  """
  scores = {}
  for task in TASKS:
    found = [
      result["accuracy"]
      for name, result in results.items()
      if name.partition("/")[0] == task
    ]
    if found:
      scores[task] = {
        "mean": statistics.mean(found),
        "stdev": statistics.stdev(found) if len(found) > 1 else 0.0,
        "seeds": len(found),
      }
  own = {task: score["mean"] for task, score in scores.items()}
  return {
    **about,
    "runs": dict(results),
    "failed": dict(failed),
    "missing": dict(missing),
    "scores": scores,
    "groups": compute_groups(own, own),
    "paper": {
      data: {"scores": found, "groups": compute_groups(found, own)}
      for data, found in paper.get_vtab(about["model"]).items()
    },
  }


def compute_groups(
  scores: Mapping[str, float], counted: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
  """Computes the mean of each group, and of all, over the tasks `counted`."""
  groups = {}
  for group, tasks in {**GROUPS, "all": tuple(TASKS)}.items():
    found = [scores[task] for task in tasks if task in counted]
    groups[group] = {
      "mean": statistics.mean(found) if found else None,
      "tasks": len(found),
      "of": len(tasks),
    }
  return groups


def make_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
  """Yields rows of text: what, its score, the paper's, and a remark."""
  papers = summary["paper"]
  yield ("", "score", *(f"paper, {data}" for data in papers), "")
  broken = {name.partition("/")[0] for name in summary["failed"]}
  for group, tasks in {**GROUPS, "all": ()}.items():
    found = summary["groups"][group]
    count, of = found["tasks"], found["of"]
    label = "mean of all" if group == "all" else f"mean, {group}"
    for task in tasks:
      score = summary["scores"].get(task)
      remark = "failed" if task in broken else ""
      if task in summary["missing"]:
        remark = "not prepared"
      if score and score["seeds"] > 1:
        spread = f"± {100 * score['stdev']:.2f}, {score['seeds']} seeds"
        remark = ", ".join(filter(None, (spread, remark)))
      yield (
        task,
        format_percent(score and score["mean"]),
        *(format_percent(x["scores"][task]) for x in papers.values()),
        remark,
      )
    yield (
      label,
      format_percent(found["mean"]),
      *(format_percent(x["groups"][group]["mean"]) for x in papers.values()),
      "" if count == of else f"over {count} of {of} tasks",
    )


def format_percent(value: float | None) -> str:
  """Formats a share; "-" where there is none."""
  return "-" if value is None else f"{100 * value:.2f}"


def describe_missing(missing: Mapping[str, str]) -> list[str]:
  """Lists the tasks that are not prepared, in lines."""
  if not missing:
    return []
  lines = [f"not prepared, {len(missing)} of {len(TASKS)} tasks:"]
  return lines + [f"  {task}: {how}" for task, how in missing.items()]


def describe_rest(summary: Mapping[str, Any]) -> list[str]:
  """Lists what has no score, and what the table needs to be understood."""
  lines = describe_missing(summary["missing"])
  lines += [f"failed: {line}" for line in list_failures(summary["failed"])]
  if not summary["paper"]:
    lines.append(
      f"the paper has VTAB by task of H/14 and L/16, not of {summary['model']}"
    )
  elif summary["groups"]["all"]["tasks"] < len(TASKS):
    lines.append("the paper's means are over the tasks that have a score here")
  if summary["dev"]:
    lines.append("scored on 200 of the training images: no score of VTAB")
  return lines


def describe(summary: Mapping[str, Any]) -> str:
  """Says what was trained, in a line."""
  begin = summary["init"]
  begin = "from scratch" if begin is None else f"from {os.fspath(begin)}"
  return f"VTAB-1k, {summary['model']} {begin}: accuracy in percent"


def format_table(summary: Mapping[str, Any]) -> str:
  """Formats the study for people."""
  rows = list(make_rows(summary))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [describe(summary)]
  for first, *rest in rows:
    cells = [f"{first:{widths[0]}}"]
    cells += [
      f"{x:>{width}}" for x, width in zip(rest[:-1], widths[1:-1], strict=True)
    ]
    lines.append("  ".join([*cells, rest[-1]]).rstrip())
  return "\n".join([*lines, *describe_rest(summary)])


def format_markdown(summary: Mapping[str, Any]) -> str:
  """Formats the study as a page of Markdown."""
  lines = [f"# {describe(summary)}", ""]
  lines += table.format_markdown(list(make_rows(summary)))
  lines += ["", "![scores](vtab.png)", ""]
  return "\n".join([*lines, *map(to_item, describe_rest(summary)), ""])


def to_item(line: str) -> str:
  """An item of a list in Markdown; what is indented is below another."""
  return f"  - {line[2:]}" if line.startswith("  ") else f"- {line}"


def draw(summary: Mapping[str, Any]) -> bytes:
  """Draws the scores of all tasks, with the paper's beside them."""
  scores = summary["scores"]
  series = {summary["model"]: {x: y["mean"] for x, y in scores.items()}}
  for data, found in summary["paper"].items():
    series[f"paper, {summary['model']}, {data}"] = found["scores"]
  of = "200 training images" if summary["dev"] else "the test images"
  return draw_scores(GROUPS, series, f"accuracy on {of} (%)")
