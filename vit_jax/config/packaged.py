# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The recipes that come with the package, which are found by name."""

import functools
import pathlib

PACKAGE = pathlib.Path(__file__).parent.parent
# In a wheel they lie within the package, in a checkout beside it. The directory
# above is put on sys.path, for recipes import their neighbours from `configs`:
# it holds nothing else that could be imported by mistake.
INSTALLED = PACKAGE / "recipes" / "configs"
CHECKOUT = PACKAGE.parent / "configs"


@functools.cache
def list_recipes() -> dict[str, pathlib.Path]:
  """Lists name -> file of the recipes, without running any."""
  directory = INSTALLED if INSTALLED.is_dir() else CHECKOUT
  return {
    path.stem: path
    for path in sorted(directory.glob("*.py"))
    if "\ndef get_config(" in path.read_text()
  }
