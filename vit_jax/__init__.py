# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vision Transformers in JAX and Flax.

  load(path)                        model and preprocess of trained weights
  get_config(name, **arguments)     the config of a recipe
  train(config, workdir)            trains it; the same call resumes
  evaluate(path, data=SOURCE)       figures on a data set
  predict(path, images)             classes of photographs
  features(path, data=SOURCE)       what the head reads, as arrays
  analyze(path, images)             what the model attends to, and has learned

Importing the package imports nothing else; what it offers does when it is used.
docs/python.md shows all of it.
"""

import importlib
import os
import signal
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Name -> the module that has it, imported when it is asked for.
LAZY = {
  "load": "vit_jax.convert.load",
  "get_config": "vit_jax.config.recipe",
  "Callback": "vit_jax.runtime.callbacks",
  "Result": "vit_jax.runtime.result",
}
VERBS = ("analyze", "evaluate", "features", "predict", "train")

__all__ = ["__version__", *LAZY, *VERBS]

if TYPE_CHECKING:
  from vit_jax.analyze import analyze as analyze
  from vit_jax.config.recipe import get_config as get_config
  from vit_jax.convert.load import load as load
  from vit_jax.evaluate import evaluate as evaluate
  from vit_jax.features import features as features
  from vit_jax.predict import predict as predict
  from vit_jax.runtime.callbacks import Callback as Callback
  from vit_jax.runtime.result import Result as Result
  from vit_jax.train import train as train


def check(function: Any) -> Any:
  """What is offered of a function: its arguments are checked."""
  return importlib.import_module("vit_jax.config.arguments").checked(function)


class Verb(types.ModuleType):
  """The module of a verb, which is called as its function of that name is.

  `python -m vit_jax.predict` needs a module of the name that
  `vit_jax.predict(...)` has.
  """

  def __call__(self, *arguments: Any, **options: Any) -> Any:
    return check(self.__wrapped__)(*arguments, **options)

  @property
  def __wrapped__(self) -> Any:  # What inspect and IPython show of it.
    return getattr(self, self.__name__.rpartition(".")[2])


class Package(types.ModuleType):
  """This package: the import system sets the modules of verbs in it."""

  def __setattr__(self, name: str, value: Any) -> None:
    if name in VERBS and isinstance(value, types.ModuleType):
      value.__class__ = Verb
    super().__setattr__(name, value)


sys.modules[__name__].__class__ = Package


def leave(*_: Any) -> None:
  """Ends a program on Ctrl-C at once; a handler of SIGINT."""
  os.write(2, b"interrupted\n")
  os._exit(130)


def watch_interrupts() -> None:
  """Lets Ctrl-C end this program, which imports a verb for seconds.

  An exception then is a traceback, or lost in callbacks of jax.
  `config.command_line.reported` takes over, once there is work to end.
  """
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, leave)


# While Python looks for the verb that `python -m vit_jax.VERB` names.
if sys.argv[:1] == ["-m"]:
  watch_interrupts()
  if "vit_jax.train" in sys.orig_argv:  # A function, which would do nothing.
    print(
      "error: vit_jax.train is a function of Python: python -m vit_jax.main is "
      "the command that trains",
      file=sys.stderr,
    )
    sys.exit(2)


def __getattr__(name: str) -> Any:
  """What the package offers, imported when it is asked for."""
  if name in LAZY:
    found = getattr(importlib.import_module(LAZY[name]), name)
    return found if isinstance(found, type) else check(found)
  if name in VERBS:
    return importlib.import_module(f"vit_jax.{name}")
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
