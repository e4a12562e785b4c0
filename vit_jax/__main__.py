# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a verb: vit-jax VERB [flags], which is python -m vit_jax.VERB [flags]

VERB --help tells its flags. Completion by the Tab key, with the extra
vit_jax[completion]: eval "$(register-python-argcomplete vit-jax)"
"""

import ast
import os
import pathlib
import runpy
import sys

import vit_jax
from vit_jax.config import BAD_CONFIG, nearest
from vit_jax.config.command_line import complete, make_parser
from vit_jax.config.packaged import list_recipes

PACKAGE = pathlib.Path(__file__).parent


def find_verbs() -> dict[str, pathlib.Path]:
  """Finds verb -> its file, without importing any."""
  paths = {path.stem: path for path in PACKAGE.glob("[!_]*.py")}
  paths |= {path.parent.name: path for path in PACKAGE.glob("*/__main__.py")}
  return {
    name: path
    for name, path in sorted(paths.items())
    if '__name__ == "__main__"' in path.read_text()
  }


def summarize(path: pathlib.Path) -> str:
  """The first line of a file's docstring."""
  return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[
    0
  ]


def run(verb: str, argv: list[str]) -> None:
  """Runs a verb as `python -m vit_jax.VERB` does: it is `__main__` then."""
  vit_jax.watch_interrupts()
  sys.argv = [verb, *argv]
  runpy.run_module(f"vit_jax.{verb}", run_name="__main__", alter_sys=True)


def complete_line() -> None:
  """Completes a verb, or what follows one; for argcomplete, which asks."""
  words = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split(" ")
  verbs = find_verbs()
  if len(words) > 2 and words[1] in verbs:
    os.environ["_ARGCOMPLETE"] = "2"  # The words before the flags.
    run(words[1], [])
  parser = make_parser("VERB", __doc__)
  parser.add_argument("verb", choices=list(verbs))
  complete(parser)


def main(argv: list[str] | None = None) -> None:
  """Runs a verb, or lists all, one line each, and the recipes."""
  if "_ARGCOMPLETE" in os.environ:
    complete_line()
  argv = sys.argv[1:] if argv is None else argv
  verbs = find_verbs()
  if argv and argv[0] in verbs:
    return run(argv[0], argv[1:])
  if argv and argv[0] not in ("-h", "--help"):
    print(
      f"error: no verb {argv[0]}: {nearest(argv[0], verbs)}", file=sys.stderr
    )
    sys.exit(BAD_CONFIG)
  print(f"{__doc__.strip()}\n")
  width = max(map(len, verbs))
  for name, path in verbs.items():
    print(f"  {name:{width}}  {summarize(path)}")
  print(f"\nRecipes, as --config=digits: {', '.join(list_recipes())}")


if __name__ == "__main__":
  main()
