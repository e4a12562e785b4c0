# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Coordination of the hosts of a run: rendezvous, agreement and comparison.

A host is one process of the run. Hosts talk through the key-value store of
jax's coordination service, which host 0 runs. It works before any of them has
touched a device.
"""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import jax

# jax has no public way to the key-value store; Orbax takes this one too.
from jax._src import distributed

from vit_jax.config import WATCHDOG, ConfigError, Seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeouts:
  """The `hosts` section of a config.

  Attributes:
    initialization_timeout: seconds for all hosts to arrive.
    heartbeat_timeout: seconds without a heartbeat after which a host is lost.
    progress_timeout: seconds after which a step, a read, a save or a batch of
      an evaluation counts as stuck; six times as many before the first step,
      when folders are listed and programs compiled. None: no limit.
    preemption_notice: "gce" asks Google's metadata server whether this spot VM
      is about to be preempted, and then saves and ends. None: does not ask.
  """

  initialization_timeout: Seconds = 300.0
  heartbeat_timeout: Seconds = 60.0
  progress_timeout: Seconds | None = 600.0
  preemption_notice: Literal["gce"] | None = None


@contextlib.contextmanager
def arrival_deadline(seconds: float) -> Iterator[None]:
  """Wraps jax.distributed.initialize, which aborts if a host does not arrive.

  After `seconds` it ends the process with a message and exit status 43, so that
  it is restarted: the next time all hosts may arrive.
  """
  timer = threading.Timer(seconds, _give_up, [seconds])
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def _give_up(seconds: float) -> None:
  """Ends this process, which waits for hosts that do not arrive."""
  state = distributed.global_state
  found = f"this is host {state.process_id}"
  if state.process_id == 0:
    found += f", at {state.coordinator_address}"
  elif is_coordinator_reachable():
    found += ", and host 0 answers"
  else:
    found += f", and host 0 does not answer at {state.coordinator_address}"
  print(
    f"error: not all of the {state.num_processes} hosts of this run arrived "
    f"within {seconds:g} s: {found}\n"
    f"  start the same command on every host, and read the output of the "
    f"missing ones; --config.hosts.initialization_timeout=SECONDS waits longer",
    file=sys.stderr,
    flush=True,
  )
  if state.process_id == 0:
    time.sleep(2)  # The others check whether it answers.
  os._exit(WATCHDOG)


def is_coordinator_reachable() -> bool:
  """Returns whether the coordination service of host 0 accepts connections."""
  host, _, port = distributed.global_state.coordinator_address.rpartition(":")
  try:
    socket.create_connection((host.strip("[]"), int(port)), 5).close()
  except OSError:
    return False
  return True


class Hosts:
  """The hosts of a run, as seen by one of them.

  Attributes:
    index: index of this host.
    count: number of hosts.
    client: client of the key-value store; None if there is only one host.
    prefix: prefix of this run's keys in the store.
    names: machine names by index; empty strings until `exchange_names`.
  """

  _runs = itertools.count()

  def __init__(self):
    """Describes the hosts that this process has joined; see `start`."""
    state = distributed.global_state
    self.index, self.count = state.process_id, state.num_processes
    self.client = state.client
    self.prefix = f"vit_jax/{next(self._runs)}"
    self.names = [""] * self.count
    self._gathered = itertools.count()
    self._settled = {}

  def exchange_names(self) -> None:
    """Learns the machine names of all hosts, for messages."""
    self.names = self.gather(socket.gethostname())

  def gather(self, value: Any, name: str | None = None) -> list[Any]:
    """Collects one value from every host, by index; waits for all of them.

    Args:
      value: value of this host; JSON-serializable.
      name: unique name of this exchange, needed outside of the main thread. On
        the main thread all hosts exchange values in the same order: None
        numbers them.
    """
    if self.count == 1:
      return [value]
    key = f"{self.prefix}/gather/{name or next(self._gathered)}"
    self.client.key_value_set(f"{key}/{self.index}", json.dumps(value))
    if self.index == 0:
      values = [self._get(f"{key}/{index}") for index in range(self.count)]
      self.client.key_value_set(f"{key}/all", f"[{','.join(values)}]")
    return json.loads(self._get(f"{key}/all"))

  def set_once(self, question: str, answer: Any) -> Any:
    """Answers a question for all hosts; returns the answer that came first.

    Args:
      question: name of the question.
      answer: answer of this host; JSON-serializable.
    """
    if self.count == 1:
      return self._settled.setdefault(question, answer)
    key = f"{self.prefix}/settled/{question}"
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # It exists.
      self.client.key_value_set(key, json.dumps(answer))
    return self.wait_for(question)

  def wait_for(self, question: str) -> Any:
    """Waits until one of several hosts answers a question; returns it."""
    return json.loads(self._get(f"{self.prefix}/settled/{question}"))

  def _get(self, key: str) -> str:
    # Short waits, so that Ctrl-C can interrupt them; the watchdog ends them.
    while True:
      try:
        return self.client.blocking_key_value_get(key, 1000)
      except jax.errors.JaxRuntimeError as error:
        if "DEADLINE_EXCEEDED" not in str(error):
          raise

  def compare(self, facts: Mapping[str, Any]) -> None:
    """Checks that all hosts have the same facts.

    Args:
      facts: name -> value; JSON-serializable.

    Raises:
      ConfigError: on every host, listing each fact that differs by host.
    """
    text = json.dumps(facts, sort_keys=True)
    if len(set(self.gather(hashlib.sha256(text.encode()).hexdigest()))) == 1:
      return
    all_facts = self.gather(facts)
    lines = []
    for fact in sorted(set().union(*all_facts)):
      holders = collections.defaultdict(list)
      for index, theirs in enumerate(all_facts):
        value = repr(theirs[fact]) if fact in theirs else "missing"
        holders[value].append(index)
      if len(holders) > 1:
        found = (f"{x} on {self.describe(on)}" for x, on in holders.items())
        lines.append(f"  {fact}: {'; '.join(found)}")
    raise ConfigError(
      "the hosts of this run differ:\n"
      + "\n".join(lines)
      + "\n  give every host the same command, packages and data"
    )

  def describe(self, indices: Sequence[int]) -> str:
    """Formats hosts by index and name, as "host 0 (a) and host 1 (b)"."""
    shown = [
      f"host {i} ({self.names[i]})" if self.names[i] else f"host {i}"
      for i in indices
    ]
    if len(shown) > 4:
      shown[3:] = [f"{len(shown) - 3} others"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
