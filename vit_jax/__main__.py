# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Lists what can be run: python -m vit_jax

Each verb is python -m vit_jax.VERB, and --help tells its flags.
"""

import ast
import pathlib
import sys

from vit_jax.config import BAD_CONFIG, nearest

PACKAGE = pathlib.Path(__file__).parent


def list_verbs() -> dict[str, str]:
  """Lists verb -> the first line of its docstring, without importing any."""
  verbs = {}
  for path in sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("*/__main__.py")]):
    tree = ast.parse(path.read_text())
    if path.parent == PACKAGE and (
      path.name.startswith("__") or "__main__" not in path.read_text()
    ):
      continue
    name = path.parent.name if path.name == "__main__.py" else path.stem
    verbs[name] = (ast.get_docstring(tree) or "").partition("\n")[0]
  return dict(sorted(verbs.items()))


def main(argv: list[str] | None = None) -> None:
  """Prints the verbs, one line each."""
  argv = sys.argv[1:] if argv is None else argv
  verbs = list_verbs()
  if argv and argv[0] not in ("-h", "--help"):
    name = argv[0]
    hint = (
      f"python -m vit_jax.{name}" if name in verbs else nearest(name, verbs)
    )
    print(f"error: a verb follows a dot: {hint}", file=sys.stderr)
    sys.exit(BAD_CONFIG)
  print(f"{__doc__.strip()}\n")
  width = max(map(len, verbs))
  for name, line in verbs.items():
    print(f"  {name:{width}}  {line}")


if __name__ == "__main__":
  main()
