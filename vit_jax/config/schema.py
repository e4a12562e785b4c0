# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Strict checks of configs: every key is a parameter of one constructor.

The keys of a config section are the keyword-only parameters of the constructor
that the section is passed to; their annotations are the allowed types. What
code passes in (a model, a number of classes) is positional and cannot be set in
a config. A nested section is a parameter annotated with a dataclass.
"""

import dataclasses
import difflib
import inspect
import itertools
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from vit_jax.config.errors import ConfigError, quote, shorten

MAX_CHOICES = 40  # That a message lists.


class Interval:
  """An interval such as "[0, 1)", in the annotation of a key's type."""

  def __init__(self, text: str):
    self.text = text
    low, high = text[1:-1].split(",")
    self._low, self._high = float(low), float(high)

  def __repr__(self) -> str:  # In the signature that help() shows.
    return self.text

  def __contains__(self, value: int | float) -> bool:
    above = value > self._low or (self.text[0] == "[" and value == self._low)
    below = value < self._high or (self.text[-1] == "]" and value == self._high)
    return above and below


MAX_PATCHES = 1 << 20  # Of an image.

# Devices count steps and sizes in 32 bits; examples are counted by hosts.
Count = Annotated[int, Interval("[1, 2e9]")]
Natural = Annotated[int, Interval("[0, 2e9]")]
Examples = Annotated[int, Interval("[1, 1e15]")]
# Processes or threads of a host.
Parallel = Annotated[int, Interval("[0, 1024]")]
Positive = Annotated[float, Interval("(0, inf)")]
# Timers end after weeks, and the clocks of jax count in 32 bits.
Seconds = Annotated[float, Interval("(0, 1e6]")]
NotNegative = Annotated[float, Interval("[0, inf)")]
Seed = Annotated[int, Interval("[0, 4294967296)")]
Rate = Annotated[float, Interval("[0, 1)")]
Share = Annotated[float, Interval("(0, 1]")]
Part = Annotated[float, Interval("[0, 1]")]


def _compare(one: str, other: str) -> float:
  """Returns how alike two names are, as difflib's own matches are sorted."""
  return difflib.SequenceMatcher(None, one, other).ratio()


def nearest(
  name: Any,
  choices: Iterable[Any],
  prefix: str = "",
  elsewhere: Mapping[str, str] = types.MappingProxyType({}),
) -> str:
  """Returns a clause that names the nearest choice, or all if none is near.

  Of very many it names the first ones, and of equally near ones the first.

  Args:
    name: what was given.
    choices: what could have been.
    prefix: put before the choices in the clause.
    elsewhere: lower-case names that may be meant, too -> what the clause calls
      them. One that is the very name goes first, others last.
  """
  choices = sorted(map(str, choices))
  own = {x.lower(): prefix + x for x in choices}
  near = quote(name)[:100].strip("'").lower()  # Its time is quadratic.
  # Among many something is always near.
  for names, cutoff in ((elsewhere, 1.0), (own, 0.55), (elsewhere, 0.8)):
    if close := difflib.get_close_matches(near, names, n=9, cutoff=cutoff):
      best = min(close, key=lambda x: (-_compare(x, near), x))
      return f"did you mean {names[best]!r}?"
  within = [name for name in own if near in name] if len(near) > 2 else []
  if within:
    return f"did you mean {own[min(within, key=len)]!r}?"
  names = ", ".join(prefix + choice for choice in choices[:MAX_CHOICES])
  if more := len(choices[MAX_CHOICES:]):
    names += f" and {more} more"
  return f"choose from: {names or 'nothing, it takes no keys'}"


def get(table: Mapping[str, Any], name: str, what: str) -> Any:
  """Looks a name up in a table; a ConfigError tells the nearest name."""
  if not isinstance(name, str) or name not in table:
    raise ConfigError(f"unknown {what} {quote(name)}: {nearest(name, table)}")
  return table[name]


def check_multiple(name: str, value: int, divisor: int, what: str) -> list[str]:
  """Returns an error with the nearest multiples, if the value is none."""
  if value % divisor == 0:
    return []
  below = value // divisor * divisor
  near = [str(n) for n in (below, below + divisor) if n]
  return [
    f"{name}={value} is not a multiple of {divisor}, {what}: take "
    f"{' or '.join(near)}"
  ]


def check_distinct(key: str, values: Sequence[Any] | None) -> list[str]:
  """Returns an error if a key of an evaluation has no value, or one twice."""
  if values is None:
    return []
  named = f"{key}={quote(values)} of an evaluation"
  if not values:
    return [f"{named}: give at least one, or leave it out"]
  twice = (x for x in values if values.count(x) > 1)
  return [f"{named} has {quote(x)} twice: once will do" for x in twice][:1]


def check_image_size(height: int, width: int, patch: int) -> list[str]:
  """Returns an error for each side of the images that patches do not divide."""
  count = (height // patch) * (width // patch)
  if count > MAX_PATCHES:  # XLA would end the process at some number.
    return [
      f"data.size={height if height == width else (height, width)} makes "
      f"{count:,} patches of an image, and {MAX_PATCHES:,} are the most: take "
      f"smaller images or larger patches"
    ]
  if height == width:
    return check_multiple("data.size", height, patch, "the patch size")
  return [
    error
    for side, value in (("height", height), ("width", width))
    for error in check_multiple(
      f"data.size={height, width}: {side}", value, patch, "the patch size"
    )
  ]


def parameters(constructor: Callable) -> dict[str, inspect.Parameter]:
  """Returns the keyword-only parameters of a constructor, with their types."""
  signature = inspect.signature(constructor, eval_str=True)
  return {
    name: parameter
    for name, parameter in signature.parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
  }


class Unused:
  """Type of a key that has no effect with another's value, and may be off.

  A command line can change a recipe's key, and not remove it: None does that.
  """

  def __init__(self, choice: str, off: Any = None):
    """Takes the other key with its value, and what is as good as None."""
    self.choice, self.off = choice, off


def allow_unset(
  given: Mapping[str, Any],
  allowed: Mapping[str, inspect.Parameter],
  others: Iterable[Mapping[str, inspect.Parameter]],
  choice: str,
) -> dict[str, inspect.Parameter]:
  """Adds the keys that are given and that only other choices have: `Unused`.

  Args:
    given: keys and values of a section.
    allowed: the keys that its choice has.
    others: those of every choice; taken only where a key needs them.
    choice: the key that decides, with its value.
  """
  unknown = [key for key in given if key not in allowed]
  known = {key for keys in others for key in keys} if unknown else set()
  keyword = inspect.Parameter.KEYWORD_ONLY
  return {**allowed} | {
    key: inspect.Parameter(key, keyword, annotation=Unused(choice))
    for key in unknown
    if key in known
  }


def fits(value: Any, annotation: Any) -> bool:
  """Returns whether a plain config value has an annotated type.

  An int is a float, a list is a tuple, True is not a number. None is "none"
  where that is one of the names: a command line has one word for both.
  """
  origin = typing.get_origin(annotation)
  args = typing.get_args(annotation)
  if annotation is Any:
    return True
  if origin is Annotated:
    return fits(value, args[0]) and all(value in bounds for bounds in args[1:])
  if origin is typing.Literal:
    return value in args or (value is None and "none" in args)
  if origin in (typing.Union, types.UnionType):
    return any(fits(value, arg) for arg in args)
  if annotation is None or annotation is type(None):
    return value is None
  if origin is tuple:
    if not isinstance(value, tuple | list):
      return False
    if args[-1] is Ellipsis:
      return all(fits(v, args[0]) for v in value)
    return len(value) == len(args) and all(map(fits, value, args))
  if origin in (dict, Mapping):
    return isinstance(value, Mapping)
  if origin is Sequence:
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return is_list and all(fits(x, args[0]) for x in value)
  if origin is Callable:
    return callable(value)
  if isinstance(value, bool):
    return annotation is bool
  if annotation is float:
    # JSON can hold whole numbers that are beyond every float.
    whole = isinstance(value, int) and abs(value) <= sys.float_info.max
    return whole or isinstance(value, float)
  return isinstance(value, annotation)


def normalize(value: Any, annotation: Any) -> Any:
  """Converts a value that fits to its annotated type: 1 to 1.0, [] to ()."""
  args = typing.get_args(annotation)
  if typing.get_origin(annotation) is typing.Literal:
    return "none" if value is None else value
  if typing.get_origin(annotation) is Annotated:
    return normalize(value, args[0])
  if typing.get_origin(annotation) in (typing.Union, types.UnionType):
    return normalize(value, next(arg for arg in args if fits(value, arg)))
  if isinstance(value, list | tuple):
    kinds = itertools.cycle(arg for arg in args if arg is not Ellipsis)
    return tuple(
      normalize(v, kind) for v, kind in zip(value, kinds, strict=False)
    )
  return float(value) if annotation is float else value


def describe(annotation: Any) -> str:
  """Describes an annotated type in words that a user can act on."""
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin is Annotated:
    return f"{describe(args[0])} in {args[1].text}"
  if origin is typing.Literal:
    names = ", ".join(map(repr, args))
    return f"one of {names}" if len(args) > 1 else names
  if origin in (typing.Union, types.UnionType):
    also = {Any} | ({str} if os.PathLike in args else set())
    return " or ".join(describe(x) for x in args if x not in also)
  if annotation in (None, type(None)):
    return "None"
  if origin is Sequence:
    one = describe(args[0])
    return "a list of " + ("paths" if one == "a path" else one)
  if origin is Callable:
    return "a function"
  if annotation is os.PathLike:
    return "a path"
  if origin is tuple and args[-1] is Ellipsis:
    return f"({describe(args[0])}, ...)"
  if origin is tuple:
    return f"({', '.join(map(describe, args))})"
  return getattr(annotation, "__name__", str(annotation))


def check(
  section: str,
  given: Mapping[str, Any],
  allowed: Mapping[str, inspect.Parameter],
  errors: list[str],
  elsewhere: Mapping[str, str] = types.MappingProxyType({}),
) -> dict[str, Any]:
  """Checks one section and fills in its defaults.

  Args:
    section: dotted name of the section, for messages.
    given: keys and values from the config.
    allowed: parameters of its constructor, from `parameters`.
    errors: messages are appended here, so that all are reported at once.
    elsewhere: as of `nearest`, the keys of other sections.

  Returns:
    Every allowed key with its value, given or default, as plain Python, but
    those that are `Unused`.
  """
  # Not those that this section could have with other values.
  others = {
    name: full
    for name, full in elsewhere.items()
    if not full.startswith(f"{section}.") or full.split(".")[1] in allowed
  }
  for key in given:
    if key not in allowed:
      hint = nearest(key, allowed, f"{section}.", others)
      name = shorten(f"{section}.{key}")
      errors.append(f"unknown config key '{name}'; {hint}")
  resolved = {}
  for key, parameter in allowed.items():
    name, annotation = f"{section}.{key}", parameter.annotation
    if isinstance(annotation, Unused):
      if given[key] not in (None, annotation.off):
        errors.append(
          f"{name}={quote(given[key])} has no effect with {annotation.choice}: "
          f"leave it out, or set it to {annotation.off}"
        )
      continue
    if key in given:
      value = given[key]
    elif parameter.default is not inspect.Parameter.empty:
      value = parameter.default
    else:
      errors.append(f"{name} is missing: it must be {describe(annotation)}")
      continue
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
      if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
      if isinstance(value, Mapping):
        resolved[key] = check(name, value, parameters(annotation), errors)
        continue
      errors.append(f"{name}={quote(value)} must be a section of keys")
      continue
    if value == "" and typing.get_origin(annotation) is not typing.Literal:
      errors.append(f"{name} is empty: give it a value, or leave it out")
      continue
    if not fits(value, annotation):
      hint = ""
      if typing.get_origin(annotation) is typing.Literal:
        hint = f"; {nearest(value, typing.get_args(annotation))}"
      errors.append(
        f"{name}={quote(value)} ({type(value).__name__}) must be "
        f"{describe(annotation)}{hint}"
      )
      continue
    resolved[key] = normalize(value, annotation)
  return resolved


def raise_all(errors: list[str]) -> None:
  """Raises one ConfigError with all the messages, if there are any."""
  if errors:
    raise ConfigError("\n".join(errors))
