# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the page of a run, or compares several, while they train or after.

  python -m vit_jax.report runs/pets                 runs/pets/report.html
  python -m vit_jax.report runs/a runs/b --out=ab.html

RUN is the directory of a run. The page is one file, with its curves, results,
config, versions and hardware; it needs nothing but itself. A run writes it at
its end.
"""

import argparse

from vit_jax.config import ConfigError
from vit_jax.config.command_line import make_parser, reported

OUT = "report.html"


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("report", __doc__)
  parser.add_argument(
    "runs", metavar="RUN", nargs="+", help="directories of runs"
  )
  parser.add_argument(
    "--out",
    metavar="FILE",
    type=name_page,
    help=f"page to write (default: {OUT} in the run, or here for several)",
  )
  arguments = parser.parse_args(argv)
  with reported():
    from vit_jax.plots.report import save_report
    from vit_jax.storage.paths import expand

    # One run, however often and in whatever way it is given, is one.
    runs = list({expand(path): path for path in arguments.runs}.values())
    out = arguments.out or (None if len(runs) == 1 else OUT)
    try:
      print(save_report(runs, out))
    except OSError as error:
      name = out or f"{OUT} in {runs[0]}"
      raise ConfigError(f"{name} cannot be written: {error}") from error


def name_page(text: str) -> str:
  """Parses the name of a page, for argparse."""
  if not text.endswith((".html", ".htm")):
    raise argparse.ArgumentTypeError(f"{text} must end in .html")
  return text


if __name__ == "__main__":
  main()
