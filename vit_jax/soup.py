# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Averages the weights of several runs or checkpoints: a model soup.

  python -m vit_jax.soup runs/a runs/b runs/c --out=runs/soup
  python -m vit_jax.soup runs/a/checkpoints/* --out=runs/soup
  python -m vit_jax.soup runs/* --out=runs/soup --greedy --split='train[90%:]'

Fine-tuned from one start, with other learning rates, seeds or augmentations,
models often average to a better one, at the cost of one (Wortsman et al., 2022,
arXiv 2203.05482). The uniform soup has all of them. The greedy soup tries them
from the best on, and keeps those that do not lower the accuracy on a split: one
that you did not train on, and do not report. DIR is as of a run: it is
evaluated, converted and started from like one. soup.json in it has what is in
the average, and the accuracies.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.config.command_line import make_parser, reported
from vit_jax.config.weight_options import (
  add_data_options,
  add_options,
  read_options,
  renaming,
)
from vit_jax.devices.detection import start_backend
from vit_jax.metrics.progress import Progress, shown
from vit_jax.runtime.compilation_cache import use_cache
from vit_jax.storage.files import to_json, write_json
from vit_jax.storage.paths import expand, is_local, locate
from vit_jax.storage.untrusted import load_json

# Options of `trained.open_trained` that are about images.
IMAGES = ("data", "data_dir", "split", "batch_size", "max_unreadable", "dtype")


def soup(
  paths: Sequence[str],
  out: str,
  *,
  greedy: bool = False,
  overwrite: bool = False,
  progress: Progress | None = None,
  **options: Any,
) -> dict[str, Any]:
  """Averages weights and writes them as a run's.

  Args:
    paths: runs or weights, see `vit_jax.load`.
    out: directory to write to.
    greedy: keep only those that do not lower the accuracy on `split`.
    overwrite: allows to replace a soup, or converted weights, in `out`.
    progress: where it is shown; None is nowhere.
    **options: for `greedy`, `data`, `data_dir`, `split`, `batch_size`,
      `max_unreadable` and `dtype`, see `trained.open_trained`; others see
      `vit_jax.load`.

  Returns:
    Content of soup.json.

  Raises:
    ConfigError: for fewer than two weights, the same twice, or some that do not
      fit each other; without a split for `greedy`; if `out` cannot be written,
      or would replace one of them.
  """
  check(paths, out, greedy, options)
  # Late: jax must not start before a message about bad arguments.
  from vit_jax.convert.averaging import Average
  from vit_jax.convert.load import load_as
  from vit_jax.convert.weights import OURS
  from vit_jax.convert.writing import SOUP, check_target, save_weights

  check_target(out, OURS, overwrite=overwrite)
  progress = progress or Progress(enabled=False)
  reading = {k: x for k, x in options.items() if k not in IMAGES}
  found: dict[str, Any] = {"greedy": greedy, "weights": list(paths)}
  seen: dict[str, str] = {}
  # Without a name: nothing of it stays, however this ends.
  with tempfile.TemporaryFile(dir=find_disk(out)) as file:
    average = Average(file)
    if greedy:
      found |= choose(paths, average, progress, options, reading)
    else:
      for path in paths:
        progress.say(f"adding {path}")
        weights = load_as(path, **reading)
        check_new(path, weights, seen)
        average.add(weights)
        del weights  # Before the next are read.
      found["ingredients"] = list(paths)
    mean = average.get()
  save_weights(mean, out, OURS, overwrite=overwrite)
  write_json(locate(out) / SOUP, found)
  return found


def find_disk(out: str) -> str | None:
  """A directory on the disk that `out` will be on; None for a store."""
  if not is_local(out):
    return None
  there = os.path.abspath(locate(out))
  while not os.path.isdir(there):
    there = os.path.dirname(there)
  return there


def check(
  paths: Sequence[str], out: str, greedy: bool, options: dict[str, Any]
) -> None:
  """Raises ConfigError for arguments that make no average."""
  if len(paths) < 2:
    raise ConfigError("a soup is of several: give two runs or weights or more")
  if len({*paths}) < len(paths):
    twice = next(x for x in paths if paths.count(x) > 1)
    raise ConfigError(f"{twice} is given twice: an average has it once")
  for path in paths:
    if not locate(path).exists():
      raise ConfigError(
        f"there is no {path}: give the path of a run or weights"
      )
    if expand(out) in (expand(path), *expand(path).parents):
      raise ConfigError(
        f"--out={out} would replace {path}, which is to be averaged: name "
        f"another directory"
      )
  if greedy and not options.get("split"):
    raise ConfigError(
      "--greedy chooses by the accuracy on a split: give --split=SPLIT, images "
      "that were not trained on and are not those you report, as 'train[90%:]'"
    )
  if not greedy and options.get("split"):
    raise ConfigError(
      "--split is for --greedy; the average is evaluated by python -m "
      "vit_jax.evaluate"
    )


def check_new(path: str, weights: Any, seen: dict[str, str]) -> None:
  """Raises ConfigError for weights that were read by another path.

  As of a run and its last checkpoint: they would count twice.

  Args:
    path: of the weights.
    weights: the weights.
    seen: digest -> path of those before; these are added.
  """
  from vit_jax.train_state import compute_digest

  other = seen.setdefault(compute_digest(weights.params), path)
  if other != path:
    raise ConfigError(
      f"{path} has the same weights as {other}: leave one of them out, as an "
      f"average has each once"
    )


def choose(
  paths: Sequence[str],
  average: Any,
  progress: Progress,
  options: dict[str, Any],
  reading: dict[str, Any],
) -> dict[str, Any]:
  """Fills an average with the greedy soup (recipe 1 of the paper).

  Each of the weights is read twice, so that two models are in memory at most.

  Returns:
    What soup.json has of it.
  """
  from vit_jax.convert.classes import match_classes
  from vit_jax.convert.load import load_as
  from vit_jax.trained import open_trained, place_weights

  first = open_trained(paths[0], **options)
  evaluator = first.make_evaluator("classification")

  def measure(weights: Any) -> float:
    matched, _ = match_classes(weights, weights.class_names, first.info)
    _, state, _ = place_weights(matched)
    return dict(evaluator.run(state))["accuracy"]

  alone: dict[str, float] = {}
  seen: dict[str, str] = {}
  for path in paths:
    weights = load_as(path, **reading)
    check_new(path, weights, seen)
    alone[path] = measure(weights)
    progress.say(f"{path}: {alone[path]:.2%} on {first.split}")
  # Of equal ones the first given comes first.
  order = sorted(paths, key=lambda path: -alone[path])
  kept: list[str] = []
  best = 0.0
  for path in order:
    weights = load_as(path, **reading)
    accuracy = measure(average.get(weights)) if kept else alone[path]
    if kept and accuracy < best:
      progress.say(f"without {path}: it would be {accuracy:.2%}")
      continue
    average.add(weights)
    kept.append(path)
    best = accuracy
    progress.say(f"with {path}: {best:.2%}, {len(kept)} averaged")
  return {
    "data": first.data.source,
    "split": first.split,
    "images": first.count(first.split),
    "accuracy_alone": alone,
    "ingredients": kept,
    "accuracy": best,
  }


def describe_starts(paths: Sequence[str]) -> str | None:
  """Says so if runs did not start from the same weights; None if they may have.

  Args:
    paths: what is averaged.
  """
  starts = set()
  for path in paths:
    file = locate(path) / "config.json"
    if not file.exists():  # No run.
      return None
    try:
      config = load_json(file)
      starts.add(str(config["init"] or f"seed {config['train']['seed']}"))
    except (ConfigError, LookupError, TypeError):  # Nothing to be said of it.
      return None
  if len(starts) < 2:
    return None
  return (
    f"these runs did not start from the same weights "
    f"({', '.join(sorted(starts))}), and averages of such runs are usually as "
    f"good as chance: evaluate it"
  )


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("soup", __doc__)
  parser.add_argument(
    "weights", metavar="RUN", nargs="+", help="runs, checkpoints or weights"
  )
  parser.add_argument(
    "--out", metavar="DIR", required=True, help="directory to write to"
  )
  parser.add_argument(
    "--greedy",
    action="store_true",
    help="keep only those that do not lower the accuracy on --split",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace what is in DIR"
  )
  parser.add_argument(
    "--json", action="store_true", help="print a last line of JSON"
  )
  add_data_options(parser)
  add_options(parser)
  arguments = parser.parse_args(argv)
  with reported(), renaming():
    options = read_options(arguments)
    check(arguments.weights, arguments.out, arguments.greedy, options)
    use_cache(start_backend(keep=True))
    with shown() as progress:
      found = soup(
        arguments.weights,
        arguments.out,
        greedy=arguments.greedy,
        overwrite=arguments.overwrite,
        progress=progress,
        **options,
      )
    used, of = len(found["ingredients"]), len(found["weights"])
    stream = sys.stderr if arguments.json else sys.stdout
    if arguments.greedy:
      best = max(found["accuracy_alone"].values())
      print(
        f"accuracy {found['accuracy']:.2%} on {found['split']}; the best alone "
        f"{best:.2%}",
        file=stream,
      )
    print(f"{arguments.out}: the average of {used} of {of}", file=stream)
    from vit_jax.convert.segmentation import describe_left

    notes = filter(None, map(describe_left, found["ingredients"]))
    for note in (next(notes, None), describe_starts(found["ingredients"])):
      if note:
        print(f"note: {note}", file=stream)
    if arguments.json:
      print(to_json(found))


if __name__ == "__main__":
  main()
