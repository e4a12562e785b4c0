# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A dictionary that cannot be changed: the form of a resolved config."""

from collections.abc import Mapping
from typing import Any, NoReturn


class FrozenDict(dict):
  """A dict that raises TypeError when it is changed, at any depth."""

  def __init__(self, values: Mapping[str, Any]):
    super().__init__({key: freeze(value) for key, value in values.items()})

  def _refuse(self, *_: Any, **__: Any) -> NoReturn:
    raise TypeError(
      "a resolved config cannot be changed; build another: {**config, ...}"
    )

  __setitem__ = __delitem__ = __ior__ = _refuse
  clear = pop = popitem = setdefault = update = _refuse

  def __reduce__(self):
    return FrozenDict, (dict(self),)

  def __deepcopy__(self, _: Any) -> dict[str, Any]:
    return thaw(self)


def freeze(value: Any) -> Any:
  """Returns the value, with every dictionary in it frozen."""
  return FrozenDict(value) if isinstance(value, Mapping) else value


def thaw(value: Any) -> Any:
  """Returns a copy of the value whose dictionaries can be changed."""
  if isinstance(value, Mapping):
    return {key: thaw(x) for key, x in value.items()}
  return value
