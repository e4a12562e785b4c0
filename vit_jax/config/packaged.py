# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The recipes that come with the package, which are found by name."""

import functools
import pathlib

PACKAGE = pathlib.Path(__file__).parent.parent
# In a wheel they lie within the package, in a checkout beside it. The directory
# above is put on sys.path, for recipes import their neighbours from `configs`:
# in a wheel it holds nothing else that could be imported by mistake.
INSTALLED = PACKAGE / "recipes" / "configs"
CHECKOUT = PACKAGE.parent / "configs"


def find_directory() -> pathlib.Path:
  """The directory of the recipes."""
  return INSTALLED if INSTALLED.is_dir() else CHECKOUT


@functools.cache
def list_recipes() -> dict[str, pathlib.Path]:
  """Lists name -> file of the recipes, without running any."""
  return {
    path.stem: path
    for path in sorted(find_directory().glob("*.py"))
    if "\ndef get_config(" in path.read_text()
  }
