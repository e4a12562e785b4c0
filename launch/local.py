# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes of one run on this machine.

  python launch/local.py -n 2 -- python -m vit_jax.main --config=FILE ...

Each process gets JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID,
its share of the machine's GPUs, and "[i] " before every line that it writes.
SIGTERM and Ctrl-C go to all of them; closing the terminal sends SIGTERM to all.
When one fails, the others have --grace seconds to end by themselves.

Exit status: 0 if all ended with 0; 42 if all others ended with 42 (asked to
stop, and saved: the same command continues); otherwise that of the first that
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
POLL = 0.05  # Seconds between two checks of which processes have ended.
KILL_AFTER = 10.0  # Seconds from SIGTERM to SIGKILL.


def parse(
  argv: Sequence[str], gpus: int
) -> tuple[argparse.Namespace, list[str]]:
  """Parses the flags; everything after -- is the command.

  Bad usage ends the program with one message and status 2.

  Args:
    argv: the arguments, without the program's name.
    gpus: number of GPUs to divide among the processes.
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
    help="K virtual CPU devices for each process, instead of accelerators",
  )
  parser.add_argument(
    "--grace",
    type=float,
    # Longer than the heartbeat_timeout (60) after which a run names lost hosts.
    default=90,
    metavar="SECONDS",
    help="time for the others to end by themselves once one has failed "
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
    parser.error(f"unknown flag {unknown[0]}: put the command after --")
  if shutil.which(command[0]) is None:
    parser.error(
      f"{command[0]}: command not found: activate its environment, or give "
      f"its path"
    )
  if flags.devices is None and gpus % flags.n:
    parser.error(
      f"{flags.n} processes cannot share {gpus} GPUs evenly: take another -n, "
      f"or set CUDA_VISIBLE_DEVICES to the GPUs that each of them may use"
    )
  return flags, command


def count_gpus(environment: Mapping[str, str]) -> int:
  """Counts the GPUs to divide: 0 if CUDA_VISIBLE_DEVICES is set already."""
  if "CUDA_VISIBLE_DEVICES" in environment:
    return 0
  return len(glob.glob("/dev/nvidia[0-9]*"))


def find_port() -> int:
  """Returns a port of this machine that is free now."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return free.getsockname()[1]


def make_environments(
  n: int, devices: int | None, gpus: int, port: int
) -> list[dict[str, str]]:
  """Makes the environment variables that are added for each process.

  Args:
    n: number of processes.
    devices: virtual CPU devices of each; None for the machine's own devices.
    gpus: number of GPUs to divide, a multiple of `n`; may be 0.
    port: port of the coordinator, which runs in the first process.
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
  """One stream of a process, forwarded in whole lines with a prefix.

  A carriage return ends a line too, so a progress line that is rewritten in
  place becomes one line for each update, and processes do not overwrite each
  other's.
  """

  def __init__(self, pipe: io.FileIO, out: TextIO, prefix: str):
    os.set_blocking(pipe.fileno(), False)
    self.pipe, self._out, self._prefix = pipe, out, prefix
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    self._decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
    self._rest = ""

  def pass_on(self) -> bytes | None:
    """Forwards the lines that have arrived.

    Returns:
      The bytes read: b"" at the end of the stream, None if there are none yet.
    """
    data = self.pipe.read(1 << 16)
    if data:
      self._write(self._decoder.decode(data))
    return data

  def finish(self) -> None:
    """Forwards the rest, and ends an unfinished last line."""
    while self.pass_on():
      pass
    self._write(self._decoder.decode(b"", final=True))
    if self._rest:
      self._write("\n")
    self.pipe.close()

  def _write(self, text: str) -> None:
    *lines, self._rest = (self._rest + text).split("\n")
    # A carriage return is preceded by an empty line.
    whole = [f"{self._prefix}{line}\n" for line in lines if line]
    write(self._out, "".join(whole))


class Processes:
  """The processes of one run, from their start to their end."""

  def __init__(self, command: list[str], own: list[dict[str, str]]):
    """Starts the processes, each in a process group of its own.

    A terminal sends Ctrl-C to a whole group, so each process gets it once, from
    here.

    Args:
      command: command of every process.
      own: environment variables to add for each process.
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
    """Indices of the processes that have not ended."""
    return [i for i in range(len(self._processes)) if i not in self.ended]

  def watch(self) -> None:
    """Forwards output, and records which processes have ended."""
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
    """Sends a signal to the processes that still run.

    Only SIGKILL goes to their children too: a process that is asked to stop
    stops them itself, and needs them for its save.
    """
    send = os.killpg if number == signal.SIGKILL else os.kill
    for i in self.running:
      with contextlib.suppress(ProcessLookupError):
        send(self._processes[i].pid, number)


def write(out: TextIO, text: str) -> None:
  """Writes and flushes; after the first failure all output is dropped.

  Ctrl-C ends the `tee` behind a pipe too, and a terminal can be closed: the
  processes must be able to save all the same.
  """
  try:
    out.write(text)
    out.flush()
  except OSError as error:
    with open(os.devnull, "wb") as nowhere:
      os.dup2(nowhere.fileno(), out.fileno())
    say(f"{error.strerror}: further output to {out.name} is dropped")


def say(text: str) -> None:
  """Prints a message of this program."""
  write(sys.stderr, f"local.py: {text}\n")


def choose_status(ended: Sequence[int]) -> int:
  """The status of a run, from its processes' in the order in which they end."""
  failed = [status for status in ended if status]
  others = [status for status in failed if status != PREEMPTED]
  return (others or failed or [0])[0]


def run(command: list[str], own: list[dict[str, str]], grace: float) -> int:
  """Runs the processes to their end.

  Args:
    command: command of every process.
    own: environment variables to add for each process.
    grace: seconds from the first failure until the others are ended.

  Returns:
    The exit status of the run.
  """
  asked = collections.deque()
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: asked.append(number))
  if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # Set by nohup.
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
        say(f"sending {number.name} to the processes that still run")
        processes.send(number)
  finally:
    processes.send(signal.SIGKILL)
  return choose_status(list(processes.ended.values()))


def main(argv: Sequence[str]) -> int:
  """The command line; returns the exit status."""
  gpus = count_gpus(os.environ)
  flags, command = parse(argv, gpus)
  own = make_environments(flags.n, flags.devices, gpus, find_port())
  return run(command, own, flags.grace)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
