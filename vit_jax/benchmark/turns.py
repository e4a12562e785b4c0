# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that are compared take turns on one device, in own processes.

A machine's speed drifts, so two programs are timed in turns. Each is compiled
once, in a process that holds the device's memory that it needs and no more; if
the memory does not bear both, every turn is a process that ends after it.
"""

import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from vit_jax.benchmark.timing import Spread, make_spread
from vit_jax.config import ConfigError, RunError
from vit_jax.data.workers import shielding
from vit_jax.devices.fitting import format_bytes

OURS, THEIRS = "vit_jax", "timm"
# Both sides of a comparison allocate what they need, when they need it.
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

# Maker, arguments -> a subject with `facts` and `time()`.
Side = tuple[Callable[..., Any], tuple[Any, ...]]


class OutOfMemoryError(ConfigError):
  """What is measured does not fit into the memory of the device."""


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Times of our program and a peer's, taken in turns.

  Attributes:
    facts: of ours, with the versions of both.
    peer: facts of the peer's.
    rounds: number of turns of each.
    seconds: program -> seconds of every repeat of every turn.
    ratio: our speed over the peer's, by turn.
  """

  facts: dict[str, Any]
  peer: dict[str, Any]
  rounds: int
  seconds: dict[str, Spread]
  ratio: Spread

  def to_json(self) -> dict[str, Any]:
    """The ratio and the peer as JSON."""
    return {
      "rounds": self.rounds,
      "peer": self.peer,
      "ratio": self.ratio.to_json(),
    }

  def describe(self) -> list[str]:
    """Lines on the ratio and the peer."""
    median, spread = self.ratio.format(".3f")
    peer = self.peer
    how = "torch.compile" if peer["compiled"] else "not compiled"
    parts = [how, peer["dtype"], peer.get("optimizer")]
    if peer.get("memory"):
      parts.append(f"{format_bytes(peer['memory'])} at most")
    return [
      f"{OURS} has {median} of {THEIRS}'s speed ({spread} by turn)",
      f"{peer['model']}: {', '.join(filter(None, parts))}",
      *filter(None, [peer["note"]]),
    ]


class Worker:
  """A process that makes a subject and times it when it is asked to.

  Attributes:
    facts: what the subject says about itself.
  """

  def __init__(self, name: str, make: Callable[..., Any], *arguments: Any):
    """Starts the process, and waits until the subject is compiled.

    Args:
      name: who works there, for messages.
      make: function of a module, (*arguments) -> subject.
      *arguments: plain values.
    """
    context = multiprocessing.get_context("spawn")
    self._name = name
    self._pipe, other = context.Pipe()
    self._process = context.Process(
      target=_serve, args=(other, make, arguments)
    )
    with shielding():  # Ctrl-C reaches the parent, which ends this one.
      self._process.start()
    other.close()
    try:
      self.facts = self._receive()
    except BaseException:
      self.close()
      raise

  def time(self) -> list[float]:
    """Lets the subject take its turn; returns seconds for each repeat."""
    self._pipe.send(True)
    seconds, self.facts = self._receive()
    return seconds

  def close(self) -> None:
    """Ends the process, which gives the device's memory back."""
    self._pipe.close()
    self._process.join(10)  # It ends where it waits for its next turn.
    if self._process.is_alive():
      self._process.terminate()
      self._process.join()

  def _receive(self) -> Any:
    try:
      found = self._pipe.recv()
    except EOFError:
      self._process.join()
      raise RunError(
        f"the process of {self._name} ended with status "
        f"{self._process.exitcode}; its last lines are above"
      ) from None
    if isinstance(found, Exception):
      raise found
    return found


def _serve(pipe: Any, make: Callable[..., Any], arguments: Any) -> None:
  """The main function of a worker's process."""
  os.dup2(2, 1)  # Standard output is the report's.
  try:
    subject = make(*arguments)
    pipe.send(subject.facts)
    while pipe.recv():
      pipe.send((subject.time(), subject.facts))
  except (ConfigError, RunError) as error:
    pipe.send(error)
  except EOFError:
    pass  # The parent closed the pipe.


def compare(
  ours: Side, theirs: Side, rounds: int, say: Callable[[str], None]
) -> Comparison:
  """Times our program and timm's in turns; arguments as of `take_turns`."""
  facts, times = take_turns({OURS: ours, THEIRS: theirs}, rounds, say)
  medians = [
    [statistics.median(turn) for turn in times[name]] for name in times
  ]
  # The task was for the peer alone.
  kept = {key: x for key, x in facts[OURS].items() if key != "task"}
  machine = kept["machine"]
  versions = machine["versions"] | facts[THEIRS]["versions"]
  return Comparison(
    facts=kept | {"machine": machine | {"versions": versions}},
    peer=facts[THEIRS],
    rounds=rounds,
    seconds={
      name: make_spread(list(itertools.chain.from_iterable(turns)))
      for name, turns in times.items()
    },
    ratio=make_spread([b / a for a, b in zip(*medians, strict=True)]),
  )


def take_turns(
  sides: Mapping[str, Side], rounds: int, say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, list[list[float]]]]:
  """Times programs in turns: A, B, A, B, ...

  Args:
    sides: name -> what makes its subject. The makers of all but the first get
      the facts of the first as a further argument.
    rounds: number of turns of each.
    say: gets a line for each turn.

  Returns:
    name -> facts, and name -> for each round the seconds of every repeat.

  Raises:
    OutOfMemoryError: if one of them does not fit alone.
  """
  for name, value in SHARED.items():
    os.environ.setdefault(name, value)
  try:
    return _play(sides, rounds, say, keep=True)
  except OutOfMemoryError as error:
    say(f"{error}\n  so they do not stay there together: one at a time")
  return _play(sides, rounds, say, keep=False)


def _play(
  sides: Mapping[str, Side],
  rounds: int,
  say: Callable[[str], None],
  *,
  keep: bool,
) -> tuple[dict[str, Any], dict[str, list[list[float]]]]:
  """As `take_turns`; `keep` keeps the processes from round to round."""
  first = next(iter(sides))
  facts: dict[str, Any] = {}
  times: dict[str, list[list[float]]] = {name: [] for name in sides}
  workers: dict[str, Worker] = {}
  with contextlib.ExitStack() as stack:
    for turn in range(1, rounds + 1):
      for name, (make, arguments) in sides.items():
        if name not in workers:
          say(f"{name}: compiling")
          known = () if name == first else (facts[first],)
          workers[name] = Worker(name, make, *arguments, *known)
          stack.callback(workers[name].close)
          facts[name] = workers[name].facts
        seconds = workers[name].time()
        facts[name] = workers[name].facts
        times[name].append(seconds)
        say(
          f"{name}: {1e3 * statistics.median(seconds):,.1f} ms, "
          f"turn {turn} of {rounds}"
        )
        if not keep:
          workers.pop(name).close()
  return facts, times
