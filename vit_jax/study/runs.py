# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The runs of a study, each a process of `python -m vit_jax.main`.

A study decides which runs there are, by name; here they are trained, one after
another. A run that is finished is not trained again, and one that was cut short
is resumed: that is how vit_jax.main takes the same command.
"""

import codecs
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.config.errors import INTERRUPTED, PREEMPTED, shorten
from vit_jax.config.frozen import FrozenDict
from vit_jax.config.recipe import load_config
from vit_jax.convert.inherit import inherit
from vit_jax.runtime.lock import is_held
from vit_jax.runtime.workdir import compute_config_digest, writing
from vit_jax.sections import resolve
from vit_jax.storage.files import replacing, to_json
from vit_jax.storage.untrusted import load_json
from vit_jax.study.claims import claiming, tidy

MAIN = (sys.executable, "-m", "vit_jax.main")

Results = dict[str, Mapping[str, Any]]
Failures = dict[str, Mapping[str, Any]]

KEPT = 4000  # Characters of what a run said last, which tell why it failed.
POLL = 10.0  # Seconds between two looks at runs that others train.
LINGER = 5.0  # Seconds for what a run left behind to close its output.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """A run of a study.

  Attributes:
    name: for people, and in the study's file.
    recipe: FILE[:key=value,...].
    workdir: directory of the run.
    flags: further flags of vit_jax.main.
    after: name of the run of the study that has to end before, as this one
      starts from its parameters.
  """

  name: str
  recipe: str
  workdir: epath.Path
  flags: Sequence[str] = ()
  after: str | None = None

  def load_config(self) -> FrozenDict:
    """Loads its config; raises ConfigError as vit_jax.main does."""
    own = [flag for flag in self.flags if flag.startswith("--config.")]
    config: Mapping[str, Any] = load_config(self.recipe, own)
    try:
      config = inherit(config, os.fspath(self.workdir))
    except ConfigError:
      # What it starts from may have begun a moment ago, here or elsewhere, or
      # been killed then. If it is damaged, the run says so in its turn.
      if self.after is None:
        raise
    return resolve(config)


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended.

  Attributes:
    status: its exit status; 0 if it is finished.
    result: content of its result.json, if it is.
    reason: why it failed, in words, if it did.
  """

  status: int
  result: Mapping[str, Any] | None = None
  reason: str | None = None


def train(run: Run) -> Mapping[str, Any]:
  """Trains a run, unless it is finished, and returns its result.json.

  If it fails, this process ends with its exit status.
  """
  outcome = find_finished(run) or attempt(run)
  if outcome.result is None:
    sys.exit(outcome.status if outcome.status > 0 else 1)
  return outcome.result


def find_finished(run: Run, place: str = "") -> Outcome | None:
  """Finds the outcome of a run that is finished, and says so; else None."""
  if (result := find_result(run)) is None:
    return None
  print(f"{run.name}{place}: finished before", file=sys.stderr, flush=True)
  return Outcome(0, result)


def attempt(run: Run, place: str = "") -> Outcome:
  """Trains a run; a failure is an outcome like another.

  If it is asked to end, this process ends, too.

  Args:
    run: the run.
    place: of it among all runs, which is said with its name.
  """
  print(f"{run.name}{place}: {run.workdir}", file=sys.stderr, flush=True)
  command = [*MAIN, f"--config={run.recipe}", f"--workdir={run.workdir}"]
  status, asked, said = execute([*command, *run.flags])
  if asked or status in (PREEMPTED, INTERRUPTED):
    sys.exit(status if status > 0 else PREEMPTED)
  if status:
    return Outcome(status, reason=find_reason(status, said))
  return Outcome(0, load_json(run.workdir / "result.json"))


def find_result(run: Run) -> Mapping[str, Any] | None:
  """Finds the result of a run that is finished, with the very same config.

  So would vit_jax.main, once it has read the data and the checkpoint, which of
  many runs takes minutes.

  Returns:
    Content of result.json; None if vit_jax.main has to look.
  """
  try:
    result = load_json(run.workdir / "result.json")
    recorded = load_json(run.workdir / "config.json")
    config = run.load_config()
  except ConfigError:  # It is not there, or the run says what is wrong.
    return None
  if not (isinstance(recorded, dict) and isinstance(result, dict)):
    return None
  if not {"steps", "params_sha256"} <= result.keys():  # As vit_jax.main asks.
    return None
  rest = {name: recorded.get(name) for name in ("versions", "hardware")}
  same = recorded.get("sha256") == compute_config_digest({**config, **rest})
  return result if same else None


def train_all(
  runs: Iterable[Run], note: Callable[[Results, Failures], None]
) -> tuple[Results, Failures]:
  """Trains runs one after another; one that fails does not end the others.

  A run that another process trains, of this machine or another, is left until
  the end; then it is waited for, and continued if that process is lost. One
  that starts from another's parameters waits for that, and fails with it.

  Args:
    runs: the runs, each after the one that it starts from.
    note: is called after each with what there is so far.

  Returns:
    Name of a run -> result.json; name of a run -> its `status` and `reason`.
  """
  results: Results = {}
  failed: Failures = {}
  pending, waiting = list(runs), False
  places = {
    run.name: f" ({i} of {len(pending)})" for i, run in enumerate(pending, 1)
  }
  while pending:
    left = []
    for run in pending:
      if run.after in failed:
        first = failed[run.after]
        reason = f"{run.after}, which it starts from, failed: {first['reason']}"
        failed[run.name] = {"status": first["status"], "reason": reason}
        note(results, failed)
        continue
      ready = run.after is None or run.after in results
      place = places[run.name]
      outcome = find_finished(run, place) if ready else None
      if outcome is not None:
        tidy(run.workdir)  # Its study may have been killed, not it.
      elif ready:
        with claiming(run.workdir) as free:
          if free:  # Who had it before may have ended it.
            outcome = find_finished(run, place) or attempt(run, place)
      # Where no claim could be written two may have begun: one gave up.
      if outcome is None or (outcome.status and is_held(run.workdir)):
        left.append(run)
        continue
      if outcome.result is not None:
        results[run.name] = outcome.result
      else:
        failed[run.name] = {"status": outcome.status, "reason": outcome.reason}
      note(results, failed)
    if left and not waiting:
      waiting = True
      names = ", ".join(run.name for run in left)
      print(f"trained by others: {names}", file=sys.stderr, flush=True)
    if len(left) == len(pending):
      time.sleep(POLL)
    pending = left
  return results, failed


def find_reason(status: int, said: str) -> str:
  """Finds why a run failed, in what it said last."""
  if status < 0:
    name = signal.Signals(-status).name
    return f"it was killed by {name}, as is done where memory runs out"
  lines = [line.rstrip() for line in said.splitlines() if line.strip()]
  for i, line in enumerate(lines):
    if line.startswith("error: "):
      text = "; ".join([line.removeprefix("error: "), *lines[i + 1 :]])
      return shorten(text.replace(":; ", ": "), 500)
  return shorten(lines[-1] if lines else f"it ended with {status}", 500)


def list_failures(failed: Failures) -> list[str]:
  """Lists runs that failed, those with one reason in one line.

  A reason may name the directory of its run: that of several is the first's.
  """
  alike: dict[tuple[int, str], list[str]] = {}
  for name, x in failed.items():
    reason = x["reason"].replace(f"/{name}", "/")
    alike.setdefault((x["status"], reason), []).append(name)
  return [
    f"{', '.join(names)}, with status {status}: {failed[names[0]]['reason']}"
    for (status, _), names in alike.items()
  ]


@contextlib.contextmanager
def ending() -> Iterator[None]:
  """Ends this process with PREEMPTED upon SIGTERM, also between two runs."""

  def end(*_: Any) -> None:
    for child in multiprocessing.active_children():
      child.terminate()
    # An exception may come where Python ignores it, as in a weak reference.
    os._exit(PREEMPTED)

  before = signal.signal(signal.SIGTERM, end)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


def execute(command: Sequence[str]) -> tuple[int, bool, str]:
  """Runs a command to its end, and shows what it says on standard error.

  It is not cut short: Ctrl-C reaches it too and SIGTERM is passed on to it,
  upon which a run saves and ends.

  Returns:
    Its exit status, whether it was asked to end, and what it said last.
  """
  said = [""]
  # On a terminal it is to rewrite its line of progress as if it were alone.
  source, sink = open_terminal() if sys.stderr.isatty() else os.pipe()

  def echo() -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := _read(source):
      text = decoder.decode(data)
      with contextlib.suppress(OSError):  # Of a terminal that is closed.
        sys.stderr.write(text.replace("\r\n", "\n"))
        sys.stderr.flush()
      said[0] = (said[0] + text)[-KEPT:]

  process = subprocess.Popen(command, stderr=sink)
  os.close(sink)
  echoing = threading.Thread(target=echo, daemon=True)
  echoing.start()
  asked = False

  def pass_on(*_: Any) -> None:
    nonlocal asked
    asked = True
    process.terminate()

  before = signal.signal(signal.SIGTERM, pass_on)
  try:
    while True:
      try:
        status = process.wait()
        break
      except KeyboardInterrupt:
        asked = True
  finally:
    signal.signal(signal.SIGTERM, before)
  echoing.join(LINGER)
  if not echoing.is_alive():
    os.close(source)
  return status, asked, said[0]


def open_terminal() -> tuple[int, int]:
  """Opens a terminal of the size of standard error's: its two ends."""
  source, sink = os.openpty()
  with contextlib.suppress(termios.error, OSError, ValueError):
    size = termios.tcgetwinsize(sys.stderr.fileno())
    termios.tcsetwinsize(sink, size)
  return source, sink


def _read(source: int) -> bytes:
  """Reads what there is; nothing at the end."""
  try:
    return os.read(source, 65536)
  except OSError:  # Of a terminal that nobody writes to any more.
    return b""


def save(
  summary: Mapping[str, Any],
  workdir: epath.Path,
  name: str = "study.json",
  others: Mapping[str, str | bytes] | None = None,
) -> None:
  """Writes a study's files, each whole.

  Args:
    summary: content of the first.
    workdir: directory of them.
    name: of the first.
    others: name of each other -> its content.

  Raises:
    RunError: if the disk is full or lost.
  """
  kept = "finished runs stay, and the same command goes on"
  text = to_json(summary, indent=2) + "\n"
  with writing(workdir, kept):
    workdir.mkdir(parents=True, exist_ok=True)
    for file, content in {name: text, **(others or {})}.items():
      # Another process of the study may be writing it, too.
      with replacing(workdir / file, shared=True) as target:
        if isinstance(content, str):
          content = content.encode()
        target.write_bytes(content)
