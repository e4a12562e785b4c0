# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The arguments of a recipe, which follow the colon in --config=FILE:..."""

import difflib
import re
import types

KEYS = (
  "what is no argument is a key of the config, as train.batch_size; "
  "docs/config_reference.md has all"
)


def parse(
  text: str, choices: dict[str, tuple] | None = None, **defaults
) -> types.SimpleNamespace:
  """Parses "key=value,key=value".

  A path may have commas: after a value that begins with folder: or images:,
  what has no equals sign belongs to it.

  Args:
    text: the arguments; "" leaves every default.
    choices: key -> allowed values, of keys with few of them.
    **defaults: default of every key, which also sets the key's type.

  Returns:
    A namespace of all keys.

  Raises:
    ValueError: for an unknown key, with the nearest known one; for a key given
      twice; for no value, or one of another type or outside the choices.
  """
  values = dict(defaults)
  parts: list[str] = []
  for part in filter(None, text.split(",")):
    if parts and re.search("=(folder|images):", parts[-1]) and "=" not in part:
      parts[-1] += f",{part}"
    else:
      parts.append(part)
  keys = [part.partition("=")[0] for part in parts]
  for part in parts:
    key, equals, value = part.partition("=")
    if key not in defaults or not equals:
      near = difflib.get_close_matches(key, defaults, n=1, cutoff=0.4)
      hint = f"did you mean {near[0]}=...? " if near else ""
      known = ", ".join(f"{k}={v}" for k, v in defaults.items())
      raise ValueError(
        f"unknown argument {part!r}; {hint}arguments: {known}; {KEYS}"
      )
    if keys.count(key) > 1:
      raise ValueError(f"argument {key} is given more than once")
    if not value:
      raise ValueError(
        f"argument {part!r} has no value: leave it out for "
        f"{defaults[key]!r}, which is used then"
      )
    kind = type(defaults[key])
    try:
      values[key] = kind(value)
    except ValueError:
      raise ValueError(f"argument {part!r} must be {kind.__name__}") from None
    allowed = (choices or {}).get(key)
    if allowed and values[key] not in allowed:
      raise ValueError(
        f"argument {part!r} must be one of {', '.join(map(str, allowed))}; "
        f"{KEYS}"
      )
  return types.SimpleNamespace(**values)


def parse_patch(model: str) -> int:
  """Parses P of a model's name, as 16 of "R50+B/16"; 1 for ResNets, as "R50x1".

  Raises:
    ValueError: if the text after the / is not a positive integer.
  """
  _, slash, patch = model.partition("/")
  if not slash:
    return 1
  if not patch.isdecimal() or int(patch) < 1:
    raise ValueError(
      f"model={model!r} has no patch size: set a name as B/16, R50+L/32 or "
      f"R50x1; `python -m vit_jax.models` lists them"
    )
  return int(patch)
