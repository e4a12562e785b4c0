# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a config several times and compares.

python -m vit_jax.study seeds --workdir=DIR --config=FILE [--seeds=0,1,2,3,4]
[any flag of vit_jax.main]

A study that is cut short goes on when it is asked for again; DIR/study.json
says what the table says.
"""

import signal
import statistics
import subprocess
import sys
from typing import Any

from etils import epath

from vit_jax.command_line import make_parser
from vit_jax.metrics import read_json, write_json


def run_seeds(
  seeds: list[int], workdir: epath.Path, flags: list[str]
) -> dict[int, dict[str, Any]]:
  """Trains once a seed, each in a process of its own; seed -> result.json."""
  results = {}
  for seed in seeds:
    run = workdir / f"seed_{seed}"
    command = [sys.executable, "-m", "vit_jax.main", f"--workdir={run}"]
    command += [*flags, f"--config.train.seed={seed}"]
    print(f"seed {seed}: {run}", file=sys.stderr, flush=True)
    status = wait(subprocess.Popen(command))
    if status:
      sys.exit(status)
    results[seed] = read_json(run / "result.json")
  return results


def wait(process: subprocess.Popen) -> int:
  """The status of a process that ends in its own time.

  Ctrl-C reaches it as well, SIGTERM is passed on, and it may have to save.
  """
  signal.signal(signal.SIGTERM, lambda *_: process.terminate())
  while True:
    try:
      return process.wait()
    except KeyboardInterrupt:
      continue


def summarize(results: dict[int, dict[str, Any]]) -> dict[str, Any]:
  """Mean, spread and worst accuracy over the runs."""
  accuracies = [result["accuracy"] for result in results.values()]
  spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
  return {
    "runs": results,
    "mean": statistics.mean(accuracies),
    "stdev": spread,
    "worst": min(accuracies),
  }


def format_table(summary: dict[str, Any]) -> str:
  """The study for people."""
  lines = ["seed  accuracy  correct/total  loss    seconds"]
  for seed, result in summary["runs"].items():
    counted = f"{result['correct']}/{result['total']}"
    lines.append(
      f"{seed:4}  {result['accuracy']:8.2%}  {counted:>13}  "
      f"{result['loss']:.4f}  {result['seconds']:7.1f}"
    )
  lines.append(
    f"mean {summary['mean']:.2%}, standard deviation {summary['stdev']:.2%}, "
    f"worst {summary['worst']:.2%}"
  )
  return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("vit_jax.study", __doc__)
  parser.add_argument("name", choices=["seeds"], help="which study")
  parser.add_argument("--workdir", required=True, help="where runs are kept")
  parser.add_argument("--seeds", default="0,1,2,3,4", help="comma-separated")
  arguments, flags = parser.parse_known_args(argv)
  try:
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
  except ValueError:
    parser.error(f"--seeds={arguments.seeds} must be integers, as 0,1,2")
  if any(flag.startswith("--config.train.seed=") for flag in flags):
    parser.error("--config.train.seed is what is studied: use --seeds")
  if not arguments.workdir:
    parser.error("--workdir is empty")
  workdir = epath.Path(arguments.workdir)
  summary = summarize(run_seeds(seeds, workdir, flags))
  write_json(workdir / "study.json", summary)
  print(format_table(summary))


if __name__ == "__main__":
  main()
