# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of what `vit_jax` offers, checked before anything is read.

Commands call the same functions with flags, which argparse has checked.
"""

import functools
import importlib
import inspect
import numbers
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vit_jax.config.errors import quote
from vit_jax.config.schema import describe, fits, nearest, raise_all

MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

# Function -> what lists the parameters that its `**options` may have, by their
# names; it is imported once some are given.
OPTIONS = {
  **dict.fromkeys(
    ("load", "predict", "analyze"), "vit_jax.convert.load.list_options"
  ),
  **dict.fromkeys(("evaluate", "features"), "vit_jax.trained.list_options"),
}


@functools.cache
def checked(function: Callable) -> Callable:
  """Makes of a function one that turns bad arguments into a ConfigError.

  Types are those of the signature's annotations. NumPy's numbers become
  Python's, and paths strings.
  """

  @functools.wraps(function)
  def call(*arguments: Any, **options: Any) -> Any:
    values = [simplify(x) for x in arguments]
    named = {key: simplify(x) for key, x in options.items()}
    check_call(function, values, named)
    return function(*values, **named)

  return call


def simplify(value: Any) -> Any:
  """Makes Python's numbers of NumPy's, and strings of paths."""
  if isinstance(value, numbers.Number) and hasattr(value, "item"):
    return value.item()
  return os.fspath(value) if isinstance(value, os.PathLike) else value


def check_call(
  function: Callable, arguments: Sequence[Any], options: Mapping[str, Any]
) -> None:
  """Raises a ConfigError that names all that is wrong with a call."""
  name = f"vit_jax.{function.__name__}"
  signature = inspect.signature(function, eval_str=True)
  own = {x.name: x for x in signature.parameters.values() if x.kind not in MANY}
  ordered = [x for x in own.values() if x.kind is not x.KEYWORD_ONLY]
  given = dict(zip((x.name for x in ordered), arguments, strict=False))
  errors: list[str] = []
  if more := arguments[len(ordered) :]:
    named = next((x for x in own if own[x] not in ordered), "NAME")
    errors.append(
      f"{name} takes {' and '.join(x.name for x in ordered)} without a name: "
      f"give {quote(more[0])} its name, as {named}={quote(more[0])}"
    )
  errors += [f"{name} is given {x} twice" for x in given if x in options]
  given |= options
  allowed, others = own, [key for key in options if key not in own]
  rest = OPTIONS.get(function.__name__, "")
  if others and rest:
    module, _, listing = rest.rpartition(".")
    allowed = getattr(importlib.import_module(module), listing)() | own
  if rest or len(own) == len(signature.parameters):
    errors += [
      f"{name} takes no {quote(key)[1:-1]}: {nearest(key, allowed)}"
      for key in others
      if key not in allowed
    ]
  errors += [
    f"{name} needs {x.name}: {describe(x.annotation)}"
    for x in own.values()
    if x.default is x.empty and x.name not in given
  ]
  for key, value in given.items():
    if key in allowed:
      errors += check_value(name, key, value, allowed[key].annotation)
  raise_all(errors)


def check_value(name: str, key: str, value: Any, annotation: Any) -> list[str]:
  """Returns an error if a value does not have an annotated type."""
  if fits(value, annotation):
    if value == "" and "a path" in describe(annotation):
      return [f"{name}: {key} is empty: give a path"]
    return []
  place = f"{key}={quote(value)}"
  if isinstance(value, list | tuple):  # Which of them is it?
    for kind in typing.get_args(annotation):
      if typing.get_origin(kind) is Sequence:
        annotation = kind
    if typing.get_origin(annotation) is Sequence:
      (element,) = typing.get_args(annotation)
      wrong = next(i for i, x in enumerate(value) if not fits(x, element))
      place, value = f"{key}[{wrong}]={quote(value[wrong])}", value[wrong]
      annotation = element
  text = f"{name}: {place} ({type(value).__name__}) must be "
  text += describe(annotation)
  if typing.get_origin(annotation) is typing.Literal:
    text += f"; {nearest(value, typing.get_args(annotation))}"
  if isinstance(value, str) and fits({}, annotation):
    text += f": vit_jax.get_config({quote(value)}) makes one of a recipe"
  return [text]
