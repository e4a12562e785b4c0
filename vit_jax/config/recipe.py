# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes: loading one, and overriding single keys of it."""

import ast
import importlib.util
import os
import pathlib
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from vit_jax.config.errors import ConfigError


def load_recipe(argument: str) -> tuple[types.ModuleType, str]:
  """Imports the file of a recipe.

  Args:
    argument: FILE[:key=value,...].

  Returns:
    The module, and the text of the recipe's own arguments.

  Raises:
    ConfigError: if the file does not exist or is not a recipe.
  """
  name, _, text = argument.partition(":")
  path = pathlib.Path(name).expanduser().absolute()
  if not path.is_file():
    raise ConfigError(f"--config={argument}: {path} does not exist")
  # A config may import its neighbours, from wherever the command is run.
  sys.path.insert(0, os.fspath(path.parent.parent))
  spec = importlib.util.spec_from_file_location("config", path)
  if spec is None or spec.loader is None:
    raise ConfigError(f"--config={argument}: {path} is not a Python file")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, "get_config"):
    raise ConfigError(
      f"--config={argument}: {path} does not define get_config()"
    )
  return module, text


def load_config(
  argument: str | None,
  overrides: Sequence[str],
  default: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Loads a recipe and replaces single keys.

  Args:
    argument: FILE[:key=value,...]; what follows the colon goes to the file's
      `get_config`.
    overrides: each of the form --config.SECTION.KEY=VALUE.
    default: the recipe where `argument` is None.

  Returns:
    Sections of keys as plain dictionaries, not yet checked.

  Raises:
    ConfigError: if the file does not exist, does not take an argument, or an
      override has another form.
  """
  config = default
  if argument is not None:
    module, text = load_recipe(argument)
    try:
      config = module.get_config(*([text] if text else []))
    except (TypeError, ValueError) as error:
      raise ConfigError(f"--config={argument}: {error}") from error
  config = ConfigDict(config).to_dict()
  for override in overrides:
    key, equals, value = override.partition("=")
    if not equals:
      raise ConfigError(
        f"{override!r} does not have the form --config.SECTION.KEY=VALUE"
      )
    *sections, last = key.removeprefix("--config.").split(".")
    section = config
    for part in sections:
      section = section.setdefault(part, {})
      if not isinstance(section, Mapping):
        raise ConfigError(f"{override!r}: {part} is a key, not a section")
    section[last] = parse_value(value)
  return config


def parse_value(text: str) -> Any:
  """Parses a Python literal, true, false or none; else returns the string."""
  text = {"true": "True", "false": "False", "none": "None"}.get(text, text)
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text
