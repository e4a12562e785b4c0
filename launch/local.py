# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes of one run on this machine.

  python launch/local.py -n 2 -- python -m vit_jax.main --config=FILE ...

Each process gets JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID,
its share of the machine's GPUs, and "[i] " before every line that it writes.
SIGTERM and Ctrl-C go to all of them, and a terminal that is closed is a SIGTERM
to all. When one fails, the others have --grace seconds to end by themselves.

Exit status: 0 if all ended with 0; 42 if all that did not ended with 42 (asked
to end, and saved: the same command goes on); else that of the first that
failed, 128 + N if signal N ended it; 2 for bad usage.
"""

import argparse
import codecs
import collections
import contextlib
import glob
import io
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

PREEMPTED = 42
POLL = 0.05  # Seconds between two looks at who has ended.
KILL_AFTER = 10.0  # Seconds between SIGTERM and SIGKILL.


def parse(
  argv: Sequence[str], gpus: int
) -> tuple[argparse.Namespace, list[str]]:
  """Reads the flags; all that follows -- is the command.

  Bad usage ends the program with one message and status 2.

  Args:
    argv: without the program's name.
    gpus: to deal out to the processes.
  """
  parser = argparse.ArgumentParser(
    prog="local.py",
    usage="local.py -n N [--devices=K] [--grace=SECONDS] -- COMMAND ...",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument(
    "-n", type=int, required=True, metavar="N", help="processes"
  )
  parser.add_argument(
    "--devices",
    type=int,
    metavar="K",
    help="K virtual CPU devices a process, in place of accelerators",
  )
  parser.add_argument(
    "--grace",
    type=float,
    # Longer than the heartbeat_timeout (60) after which a run names the lost.
    default=90,
    metavar="SECONDS",
    help="for the others to end by themselves once one has failed "
    "(%(default)g)",
  )
  split = argv.index("--") if "--" in argv else len(argv)
  flags, unknown = parser.parse_known_args(argv[:split])
  command = list(argv[split + 1 :])
  if flags.n < 1:
    parser.error(f"-n {flags.n}: there must be at least one process")
  if flags.devices is not None and flags.devices < 1:
    parser.error(f"--devices={flags.devices}: there must be at least one")
  if not flags.grace >= 0:
    parser.error(f"--grace={flags.grace:g} must be seconds, 0 or more")
  if not command:
    parser.error("there is no command: put it after --")
  if unknown:
    parser.error(f"{unknown[0]} is no flag: what follows -- is the command")
  if shutil.which(command[0]) is None:
    parser.error(
      f"{command[0]}: command not found: activate its environment, or give "
      f"its path"
    )
  if flags.devices is None and gpus % flags.n:
    parser.error(
      f"{flags.n} processes can not share {gpus} GPUs evenly: take another "
      f"-n, or set CUDA_VISIBLE_DEVICES to what each of them may see"
    )
  return flags, command


def count_gpus(environment: Mapping[str, str]) -> int:
  """GPUs to deal out: none where somebody has said who sees which."""
  if "CUDA_VISIBLE_DEVICES" in environment:
    return 0
  return len(glob.glob("/dev/nvidia[0-9]*"))


def find_port() -> int:
  """A port of this machine that is free now."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return free.getsockname()[1]


def make_environments(
  n: int, devices: int | None, gpus: int, port: int
) -> list[dict[str, str]]:
  """What each process has in its environment beside that of this one.

  Args:
    n: processes.
    devices: virtual CPU devices of each, None for what the machine has.
    gpus: to deal out, a multiple of `n` that may be 0.
    port: where the first process listens.
  """
  environments = []
  for i in range(n):
    own = {
      "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
      "JAX_NUM_PROCESSES": str(n),
      "JAX_PROCESS_ID": str(i),
    }
    if devices is not None:
      own |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    elif gpus:
      share = range(i * gpus // n, (i + 1) * gpus // n)
      own["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, share))
    environments.append(own)
  return environments


class Lines:
  """One stream of a process, passed on in whole lines with a prefix.

  A carriage return ends a line too: what is to be rewritten in place becomes a
  line an update, and no process overwrites another's.
  """

  def __init__(self, pipe: io.FileIO, out: TextIO, prefix: str):
    os.set_blocking(pipe.fileno(), False)
    self.pipe, self._out, self._prefix = pipe, out, prefix
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    self._decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
    self._rest = ""

  def pass_on(self) -> bytes | None:
    """Writes the lines that have come.

    Returns:
      What was read: none at the end of the stream, None while nothing comes.
    """
    data = self.pipe.read(1 << 16)
    if data:
      self._write(self._decoder.decode(data))
    return data

  def finish(self) -> None:
    """Writes what is left, and ends a line that was not ended."""
    while self.pass_on():
      pass
    self._write(self._decoder.decode(b"", final=True))
    if self._rest:
      self._write("\n")
    self.pipe.close()

  def _write(self, text: str) -> None:
    *lines, self._rest = (self._rest + text).split("\n")
    # An empty line is what comes before a carriage return.
    whole = [f"{self._prefix}{line}\n" for line in lines if line]
    write(self._out, "".join(whole))


class Processes:
  """The processes of one run, from their start to their end."""

  def __init__(self, command: list[str], own: list[dict[str, str]]):
    """Starts them, each in a group of its own.

    A terminal sends Ctrl-C to a whole group: it comes once, from here.

    Args:
      command: of each.
      own: what each has in its environment beside ours.
    """
    self._processes, self._lines = [], []
    self._selector = selectors.DefaultSelector()
    self.ended = {}  # Index -> exit status, in the order of their ends.
    for i, environment in enumerate(own):
      process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        process_group=0,
      )
      lines = [
        Lines(process.stdout, sys.stdout, f"[{i}] "),
        Lines(process.stderr, sys.stderr, f"[{i}] "),
      ]
      for stream in lines:
        self._selector.register(stream.pipe, selectors.EVENT_READ, stream)
      self._processes.append(process)
      self._lines.append(lines)

  @property
  def running(self) -> list[int]:
    """Indices of those that have not ended."""
    return [i for i in range(len(self._processes)) if i not in self.ended]

  def watch(self) -> None:
    """Passes on what is written, and notices who has ended."""
    for key, _ in self._selector.select(POLL):
      if key.data.pass_on() == b"":
        self._selector.unregister(key.fileobj)
    for i in self.running:
      code = self._processes[i].poll()
      if code is None:
        continue
      for stream in self._lines[i]:
        if stream.pipe in self._selector.get_map():
          self._selector.unregister(stream.pipe)
        stream.finish()
      self.ended[i] = code if code >= 0 else 128 - code
      if code < 0:
        say(f"process {i} was ended by {signal.Signals(-code).name}")
      elif code > 0:
        say(f"process {i} ended with status {code}")

  def send(self, number: int) -> None:
    """Sends a signal to those that run.

    Only SIGKILL goes to what they have started too: asked to end, they do that
    themselves, and need their helpers for it.
    """
    send = os.killpg if number == signal.SIGKILL else os.kill
    for i in self.running:
      with contextlib.suppress(ProcessLookupError):
        send(self._processes[i].pid, number)


def write(out: TextIO, text: str) -> None:
  """Writes at once; from the first failure on to nowhere.

  Ctrl-C ends the `tee` behind a pipe too, and a terminal can be closed: the
  processes are to save all the same.
  """
  try:
    out.write(text)
    out.flush()
  except OSError as error:
    with open(os.devnull, "wb") as nowhere:
      os.dup2(nowhere.fileno(), out.fileno())
    say(f"{error.strerror}: what comes for {out.name} is dropped")


def say(text: str) -> None:
  """Says something of our own."""
  write(sys.stderr, f"local.py: {text}\n")


def get_status(ended: Sequence[int]) -> int:
  """The status of a run, from those of its processes in order of their ends."""
  failed = [status for status in ended if status]
  others = [status for status in failed if status != PREEMPTED]
  return (others or failed or [0])[0]


def run(command: list[str], own: list[dict[str, str]], grace: float) -> int:
  """Runs the processes to their end.

  Args:
    command: of each.
    own: what each has in its environment beside ours.
    grace: seconds from the first failure until the others are ended.

  Returns:
    The exit status of the run.
  """
  asked = collections.deque()
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: asked.append(number))
  if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # As nohup has it.
    signal.signal(signal.SIGHUP, lambda *_: asked.append(signal.SIGTERM))
  processes = Processes(command, own)
  deadlines = None
  try:
    while processes.running:
      while asked:
        processes.send(asked.popleft())
      processes.watch()
      now = time.monotonic()
      if deadlines is None and any(processes.ended.values()):
        deadlines = [(now + grace, signal.SIGTERM)]
        deadlines.append((now + grace + KILL_AFTER, signal.SIGKILL))
        if processes.running:
          say(f"the others have {grace:g} s to end")
      if deadlines and now >= deadlines[0][0] and processes.running:
        _, number = deadlines.pop(0)
        say(f"{number.name} to what still runs")
        processes.send(number)
  finally:
    processes.send(signal.SIGKILL)
  return get_status(list(processes.ended.values()))


def main(argv: Sequence[str]) -> int:
  """The command line; returns the exit status."""
  gpus = count_gpus(os.environ)
  flags, command = parse(argv, gpus)
  own = make_environments(flags.n, flags.devices, gpus, find_port())
  return run(command, own, flags.grace)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
