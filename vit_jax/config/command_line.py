# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Command lines: the parser of every verb, and errors as one message."""

import _thread
import argparse
import codecs
import contextlib
import io
import logging
import math
import os
import pathlib
import re
import signal
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NoReturn

import vit_jax
from vit_jax.config.errors import (
  BAD_CONFIG,
  INTERRUPTED,
  UNREAD,
  ConfigError,
  RunError,
  quote,
  shorten_words,
)
from vit_jax.config.packaged import list_recipes
from vit_jax.config.schema import nearest

CONFIG = "RECIPE[:KEY=VALUE,...]"
PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


class Parser(argparse.ArgumentParser):
  """A parser whose errors are as short as all others.

  One without a value, as a shell makes of --to=$DIR, is an error: it
  would be taken for the default.
  """

  def parse_args(self, args=None, namespace=None):
    complete(self)
    return super().parse_args(args, namespace)

  def parse_known_args(self, args=None, namespace=None):
    found, others = super().parse_known_args(args, namespace)
    for action in self._actions:
      value = getattr(found, action.dest, None)
      if value == "" != action.default:
        name, *_ = *action.option_strings, action.metavar or action.dest
        rest = ", or leave it out" if action.option_strings else ""
        self.error(f"{name} is empty: give it a value{rest}")
    return found, others

  def _check_value(self, action, value):
    """Names the nearest choice of one that is not there, as of a flag."""
    if action.choices is not None and value not in action.choices:
      hint = nearest(value, action.choices)
      message = f"invalid choice: {quote(value)}; {hint}"
      raise argparse.ArgumentError(action, message)

  def format_help(self) -> str:
    return spell(super().format_help())

  def error(self, message: str) -> NoReturn:
    super().error(spell(shorten_words(message)))


def spell(text: str) -> str:
  """Names verbs as they were started: after vit-jax, or python -m."""
  started = next((x for x in sys.orig_argv[1:] if not x.startswith("-")), "")
  if pathlib.PurePath(started).stem != "vit-jax":
    return text
  return re.sub(r"python -m vit_jax\.(\w+)", r"vit-jax \1", text)


def complete(parser: argparse.ArgumentParser) -> None:
  """Answers a shell that asks for completions, at the Tab key, and ends."""
  if "_ARGCOMPLETE" not in os.environ:
    return
  import argcomplete

  for action in parser._actions:
    if action.metavar == CONFIG:
      vars(action)["completer"] = lambda prefix, **_: [
        *list_recipes(),
        *argcomplete.completers.FilesCompleter("py")(prefix),
      ]
  argcomplete.autocomplete(parser)


def make_parser(verb: str, doc: str) -> argparse.ArgumentParser:
  """Makes the parser of `python -m vit_jax.VERB`, or `vit-jax VERB`.

  Args:
    verb: name of the module below vit_jax.
    doc: the module's docstring.
  """
  return Parser(
    prog=spell(f"python -m vit_jax.{verb}"),
    description=doc,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )


def positive(text: str) -> int:
  """Parses an int that is at least 1, for argparse."""
  with contextlib.suppress(ValueError):
    if (value := int(text)) >= 1:
      return value
  raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1 on")


def duration(text: str) -> float:
  """Parses seconds above 0, for argparse."""
  with contextlib.suppress(ValueError):
    if 0 < (value := float(text)) < math.inf:
      return value
  raise argparse.ArgumentTypeError(f"{text!r} must be seconds, above 0")


def parse(
  parser: argparse.ArgumentParser,
  argv: Sequence[str] | None,
  *,
  required: Collection[str] = (),
  passed_on: Collection[str] = (),
) -> tuple[argparse.Namespace, list[str]]:
  """Parses the flags of a verb that takes a config.

  Args:
    parser: from `make_parser`.
    argv: arguments; None is those of the process.
    required: names of flags that must be given.
    passed_on: flags that are returned with the overrides.

  Returns:
    The parsed flags, and the overrides --config.SECTION.KEY=VALUE.

  Raises:
    ConfigError: for an unknown flag, with the nearest, or a missing one.
  """
  complete(parser)
  arguments, others = parser.parse_known_args(argv)
  known = [flag for action in parser._actions for flag in action.option_strings]
  # Without dashes, lest --lr be near --help.
  flags = [x[2:] for x in (*known, *passed_on) if x.startswith("--")]
  for other in others:
    if other not in passed_on and not other.startswith("--config."):
      hint = nearest(other.partition("=")[0].lstrip("-"), flags, "--")
      if not hint.startswith("did you mean"):
        hint += "; a key of the config is --config.SECTION.KEY=VALUE"
      raise ConfigError(f"unknown flag {quote(other)}; {hint}")
  for name in required:
    if not getattr(arguments, name):
      raise ConfigError(f"--{name} is missing: set --{name}=...")
  return arguments, others


def insist(lost: Any) -> None:
  """Raises KeyboardInterrupt again where it was lost; a `sys.unraisablehook`.

  As in what jax calls whenever Python collects garbage, which may not raise.
  """
  if lost.exc_type is not KeyboardInterrupt:
    return sys.__unraisablehook__(lost)

  def interrupt() -> None:
    time.sleep(0.01)  # Until the callback has ended.
    _thread.interrupt_main()

  _thread.start_new_thread(interrupt, ())


@contextlib.contextmanager
def reported() -> Iterator[None]:
  """Turns a ConfigError into one message and status 2, a RunError into 1.

  Ctrl-C is one line, and status 130.
  If the output's reader has ended, as `| head` does, it ends quietly. Warnings
  are lines like any other. Names that are printed may be of any bytes.
  """
  if isinstance(sys.stdout, io.TextIOWrapper):
    # Another encoding may lack a letter, which is then escaped.
    bytes_stay = codecs.lookup(sys.stdout.encoding).name == "utf-8"
    sys.stdout.reconfigure(
      errors="surrogateescape" if bytes_stay else "backslashreplace"
    )
  logging.basicConfig(format="%(message)s")  # Else of what imports first.
  before = warnings.formatwarning, sys.unraisablehook

  def show(message, category, filename, *rest):
    if filename.startswith(PACKAGE):  # Ours.
      return f"{message}\n"
    return before[0](message, category, filename, *rest)

  warnings.formatwarning, sys.unraisablehook = show, insist
  if signal.getsignal(signal.SIGINT) is vit_jax.leave:
    # From here on there is something to put in order first.
    signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    yield
    sys.stdout.flush()
  except BrokenPipeError:
    # Python would write once more at its end, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(UNREAD)
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(INTERRUPTED)
  except (ConfigError, RunError) as error:
    print(f"error: {spell(shorten_words(str(error)))}", file=sys.stderr)
    sys.exit(BAD_CONFIG if isinstance(error, ConfigError) else 1)
  finally:
    warnings.formatwarning, sys.unraisablehook = before
