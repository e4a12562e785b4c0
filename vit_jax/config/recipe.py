# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes: loading one, and overriding single keys of it."""

import ast
import importlib.util
import inspect
import numbers
import os
import pathlib
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import RequiredValueError

from vit_jax.config.errors import ConfigError, quote, shorten, shorten_words
from vit_jax.config.packaged import find_directory, list_recipes
from vit_jax.config.schema import nearest, raise_all


class Missing:
  """A required placeholder that has no value yet."""


def load_recipe(argument: str) -> tuple[types.ModuleType, str]:
  """Imports the file of a recipe.

  Args:
    argument: RECIPE[:key=value,...], where RECIPE is a file, or the name of a
      recipe that comes with the package, as digits.

  Returns:
    The module, and the text of the recipe's own arguments.

  Raises:
    ConfigError: if the file does not exist, fails by itself, or is not a
      recipe.
  """
  given = f"recipe {shorten(argument)}"
  if "://" in argument:
    raise ConfigError(
      f"{given}: a recipe is a Python file on a disk: download it first, and "
      f"give its path"
    )
  name, _, text = argument.partition(":")
  try:
    path = pathlib.Path(name).expanduser().absolute()
    exists, is_directory = path.is_file(), path.is_dir()
  except (OSError, RuntimeError, ValueError) as error:  # Too long; ~nouser.
    raise ConfigError(f"{given}: {describe_error(error)}") from error
  recipes = list_recipes()
  if not exists and name in recipes:
    path = recipes[name]
  elif is_directory:
    raise ConfigError(
      f"{given}: {shorten(str(path))} is a directory: give a recipe, a Python "
      f"file"
    )
  elif not exists and path.stem in recipes:
    raise ConfigError(
      f"{given}: {shorten(str(path))} does not exist; the package's recipe "
      f"is {path.stem}: --config={path.stem}"
    )
  elif not exists:
    raise ConfigError(
      f"{given}: {shorten(str(path))} does not exist, and no recipe of the "
      f"package has that name: {nearest(path.stem, recipes)}"
    )
  # A config may import its neighbours, from wherever the command is run.
  sys.path.insert(0, os.fspath(path.parent.parent))
  # And a copy of a recipe those of the package, unless it has others.
  if importlib.util.find_spec("configs") is None:
    sys.path.append(os.fspath(find_directory().parent))
  spec = importlib.util.spec_from_file_location("config", path)
  if spec is None or spec.loader is None:
    raise ConfigError(f"{given}: {path} is not a Python file")
  module = importlib.util.module_from_spec(spec)
  run_recipe(path, spec.loader.exec_module, module)
  if not callable(getattr(module, "get_config", None)):
    raise ConfigError(f"{given}: {path} does not define get_config()")
  return module, text


def get_config(name: str | os.PathLike, **arguments: Any) -> ConfigDict:
  """Builds the config of a recipe.

  >>> config = get_config("finetune", model="Ti/16", dataset="cifar10")
  >>> config.train.steps = 100

  Args:
    name: of a recipe that comes with the package, or the path of its file; its
      arguments may follow, as of --config: "finetune:model=B/16".
    **arguments: the recipe's own, each given once; what is no argument is a key
      of the config.

  Returns:
    Sections of keys, not yet checked; `vit_jax.train` takes it.

  Raises:
    ConfigError: if there is no such recipe, or it does not take an argument.
  """
  name, colon, inside = str(name).partition(":")
  known = {part.partition("=")[0] for part in inside.split(",")}
  parts, errors = [inside] if inside else [], []
  for key, value in arguments.items():
    if key in known:
      errors.append(f"{key} is given in the name, too: give it once")
    elif not isinstance(value, str | numbers.Number):
      errors.append(
        f"{key}={quote(value)} must be a word or a number; what is more than "
        f"that is a key of the config: config.SECTION.KEY = ..."
      )
    value = int(value) if isinstance(value, bool) else value
    parts.append(f"{key}={value}")
  raise_all([f"vit_jax.get_config({quote(name)}): {x}" for x in errors])
  text = ",".join(parts)
  return ConfigDict(call_recipe(f"{name}:{text}" if text else name))


def run_recipe(path: pathlib.Path, act: Callable, *arguments: Any) -> Any:
  """Runs a part of a recipe; its errors are told with file, line and cause.

  Raises:
    ConfigError: if the part fails, or would end this process.
  """
  try:
    return act(*arguments)
  except SystemExit as error:
    cause = f"it calls sys.exit({quote(error.code)}); a recipe returns a config"
    raise ConfigError(f"{find_place(path, error)}: {cause}") from error
  except Exception as error:
    cause = describe_error(error)
    raise ConfigError(f"{find_place(path, error)}: {cause}") from error


def find_place(path: pathlib.Path, error: BaseException) -> str:
  """Finds FILE:LINE of an error: in the recipe, or a neighbour it imports."""
  if isinstance(error, SyntaxError) and error.filename:
    return f"{error.filename}:{error.lineno}"
  place = str(path)
  for frame in traceback.extract_tb(error.__traceback__):
    if pathlib.Path(frame.filename).parent == path.parent:
      place = f"{frame.filename}:{frame.lineno}"
  return place


def describe_error(error: BaseException) -> str:
  """Describes the cause of another's error in one short line."""
  text = error.msg if isinstance(error, SyntaxError) else str(error)
  text = shorten(shorten_words(text), 500)  # A recipe may list what it knows.
  if isinstance(error, SyntaxError):
    return f"not valid Python: {text}"
  if isinstance(error, ModuleNotFoundError):
    return f"it imports {error.name!r}, which is not installed"
  if isinstance(error, OSError) and error.strerror:
    name = f": {quote(error.filename)}" if error.filename else ""
    return f"{error.strerror}{name}"
  if isinstance(error, ValueError | ImportError) and text:
    return text
  if isinstance(error, RuntimeError) and "home directory" in text:
    return "there is no user of that name, whose ~ would be a directory"
  name = type(error).__name__
  return f"it raises {name}: {text}" if text else f"it raises {name}"


def load_config(
  argument: str | None,
  overrides: Sequence[str],
  default: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Loads a recipe and replaces single keys.

  Args:
    argument: RECIPE[:key=value,...]; what follows the colon goes to the
      recipe's `get_config`.
    overrides: each of the form --config.SECTION.KEY=VALUE.
    default: the recipe where `argument` is None.

  Returns:
    Sections of keys as plain dictionaries, not yet checked.

  Raises:
    ConfigError: if the file does not exist, fails, does not take an argument,
      returns no config, or an override has another form.
  """
  if argument is None:
    config = to_plain(default or {})
  else:
    config = call_recipe(argument)
  for override in overrides:
    key, equals, value = override.partition("=")
    *sections, last = key.removeprefix("--config.").split(".")
    if not equals or not all((*sections, last)):
      raise ConfigError(
        f"{quote(override)} does not have the form --config.SECTION.KEY=VALUE"
      )
    section: Any = config
    for part in sections:
      section = section.setdefault(part, {})
      if not isinstance(section, dict):
        raise ConfigError(
          f"{quote(override)}: {shorten(part)} is a key, not a section"
        )
    section[last] = parse_value(value)
  missing = list(list_missing(config))
  if missing:
    raise ConfigError(
      f"the recipe leaves {', '.join(missing)} open: set "
      + " ".join(f"--config.{name}=..." for name in missing)
    )
  return config


def call_recipe(argument: str) -> dict[str, Any]:
  """Loads a recipe and calls its `get_config`; see `load_config`."""
  module, text = load_recipe(argument)
  path, given = pathlib.Path(str(module.__file__)), [text] if text else []
  try:
    inspect.signature(module.get_config).bind(*given)
  except (TypeError, ValueError) as error:
    needs = "takes no argument" if text else "needs an argument, RECIPE:TEXT"
    raise ConfigError(
      f"recipe {shorten(argument)}: get_config() {needs} ({error})"
    ) from error
  try:
    returned = run_recipe(path, module.get_config, *given)
  except ConfigError as error:
    cause = error.__cause__
    if not text or not isinstance(cause, ValueError):
      raise
    # What a recipe says of its arguments is of the argument, not of a line.
    given_text = f"recipe {shorten(argument)}"
    raise ConfigError(f"{given_text}: {describe_error(cause)}") from cause
  if not isinstance(returned, ConfigDict | Mapping):
    raise ConfigError(
      f"{path}: get_config() returns {quote(returned)}, not a dictionary of "
      f"sections"
    )
  return run_recipe(path, to_plain, returned)


def to_plain(config: Any, depth: int = 0) -> Any:
  """Converts a config to plain dictionaries; open placeholders are Missing."""
  if depth > 20:
    raise ValueError("its sections are nested too deeply, or in themselves")
  if isinstance(config, FieldReference):
    try:
      config = config.get()
    except RequiredValueError:
      return Missing
  if isinstance(config, ConfigDict):
    config = dict(config.iteritems(preserve_field_references=True))
  if isinstance(config, Mapping):
    for key in config:
      if not isinstance(key, str):
        raise ValueError(f"the key {quote(key)} of its config is not a string")
    return {key: to_plain(x, depth + 1) for key, x in config.items()}
  return config


def list_missing(config: Mapping[str, Any], prefix: str = "") -> Any:
  """Yields SECTION.KEY of what is Missing."""
  for key, value in config.items():
    if value is Missing:
      yield f"{prefix}{key}"
    elif isinstance(value, Mapping):
      yield from list_missing(value, f"{prefix}{key}.")


def parse_value(text: str) -> Any:
  """Parses a Python literal, true, false or none; else returns the string."""
  text = {"true": "True", "false": "False", "none": "None"}.get(text, text)
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
    return text  # Python's parser has each of these for some text.
