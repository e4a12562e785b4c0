# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that are forked from one that has imported what they import.

The imports of a run are half of its processor time. A server has done them, and
has started nothing: no thread, no backend of jax. It is asked for a process and
forks it, which goes on as one that Python has just started, except that what it
imports is there.

Not for tests of imports, of Ctrl-C during them, or of memory.
"""

import collections
import contextlib
import ctypes
import importlib
import importlib.util
import inspect
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types

from tests.support import ROOT

# What a run imports; the rest, with little of its own, is imported by it.
PRELOADED = ("vit_jax.train", "vit_jax.examination", "vit_jax.evaluate")
# What may differ from one process of a server to the next: it is read when it
# is used. With anything else that differs, imports could, so it is another
# server's.
LATE = (
  "JAX_COORDINATOR_ADDRESS",
  "JAX_NUM_PROCESSES",
  "JAX_PROCESS_ID",
  "PYTEST_CURRENT_TEST",
)
KEPT = 3  # Servers, of 200 MB each.
ALONE = dict(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
SET_CHILD_SUBREAPER = 36  # Of prctl.h.


class Forked(subprocess.Popen):
  """A process of [sys.executable, "-m" or "-c", ...], forked where it can be.

  It is a child of this process, as others are.
  """

  def __init__(self, command, *, fresh=False, **options):
    """Starts it from the root of the project.

    Args:
      command: of Python, without it: "-m" or "-c" and what follows.
      fresh: start a new Python, which imports.
      **options: of subprocess.Popen.
    """
    self._fresh = fresh or sys.platform != "linux"
    super().__init__([sys.executable, *command], cwd=ROOT, **options)

  def _execute_child(self, *arguments):
    standard = super()._execute_child
    if self._fresh:
      return standard(*arguments)
    given = inspect.signature(standard).bind(*arguments).arguments
    _, *command = map(os.fspath, given["args"])
    assert command[0] in ("-m", "-c") and not given["preexec_fn"]
    assert not given["pass_fds"] and given.get("process_group", -1) == -1
    environment = dict(os.environ if given["env"] is None else given["env"])
    ends = [given[x] for x in ("p2cread", "c2pwrite", "errwrite")]
    try:
      self.pid = find_server(environment).fork(
        dict(
          command=command,
          late={x: environment[x] for x in LATE if x in environment},
          new_session=given["start_new_session"],
          ignored=[x for x in signal.valid_signals() if is_ignored(x)],
        ),
        [end if end >= 0 else i for i, end in enumerate(ends)],
      )
      self._child_created = True
    finally:
      names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite")
      names += ("errread", "errwrite")
      self._close_pipe_fds(*(given[name] for name in names))


def run(*command, **options):
  """Waits for such a process, and returns what `subprocess.run` does."""
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  with Forked(command, **pipes, **options) as process:
    said = process.communicate()
  return subprocess.CompletedProcess(command, process.returncode, *said)


def is_ignored(number):
  return signal.getsignal(number) == signal.SIG_IGN


class Server:
  """The process that others are forked from."""

  def __init__(self, environment):
    self._socket, theirs = socket.socketpair()
    with theirs:
      self._process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(theirs.fileno())],
        cwd=ROOT,
        env=environment | ALONE,
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
      )
    # As ALONE is only for the imports.
    self._send(environment)
    receive(self._socket, 1)

  def _send(self, value):
    data = json.dumps(value).encode()
    self._socket.sendall(len(data).to_bytes(8, "little") + data)

  def fork(self, request, ends):
    """Returns the number of a new process, with these standard streams."""
    with adopting():
      self._send(request)
      socket.send_fds(self._socket, [b"."], ends)
      if not (pid := int.from_bytes(receive(self._socket, 8), "little")):
        raise RuntimeError("the server has ended, and says above why")
      return pid

  def close(self):
    self._socket.close()
    self._process.wait()


_servers, _lock = collections.OrderedDict(), threading.Lock()


def find_server(environment):
  """The server of an environment, which is started if there is none."""
  fixed = {k: x for k, x in environment.items() if k not in LATE}
  key = frozenset(fixed.items())
  with _lock:
    if key not in _servers:
      while len(_servers) >= KEPT:
        _servers.popitem(last=False)[1].close()
      _servers[key] = Server(fixed)
    _servers.move_to_end(key)
    return _servers[key]


@contextlib.contextmanager
def adopting():
  """Lets this process be the parent of those that lose theirs meanwhile."""
  prctl = ctypes.CDLL(None).prctl
  with _lock:
    prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
      yield
    finally:
      prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def receive(connection, size):
  """Reads so many bytes; fewer if the other side is gone."""
  data = b""
  while len(data) < size and (more := connection.recv(size - len(data))):
    data += more
  return data


def receive_value(connection):
  size = int.from_bytes(receive(connection, 8), "little")
  return json.loads(receive(connection, size)) if size else None


def serve(connection):
  """Forks as it is asked to; returns in each new process, what it is to run."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Is for those that are forked.
  environment = receive_value(connection)
  for name in PRELOADED:
    importlib.import_module(name)
  keep_all_programs()
  connection.sendall(b".")
  while request := receive_value(connection):
    _, ends, _, _ = socket.recv_fds(connection, 1, 3)
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, "a process with threads cannot be forked"
    reading, writing = os.pipe()
    between = os.fork()
    if not between:
      # The parent of the new process ends at once: whoever asked adopts it.
      if pid := os.fork():
        os.write(writing, pid.to_bytes(8, "little"))
        os._exit(0)
      connection.close()
      os.close(reading)
      os.close(writing)
      become(request, ends, environment)
      return request["command"]
    os.waitpid(between, 0)
    connection.sendall(os.read(reading, 8))
    for end in (reading, writing, *ends):
      os.close(end)
  os._exit(0)


def keep_all_programs():
  """Lets every host write to the compilation cache what it has compiled.

  jax writes what the first has, as hosts would all write to one disk, and the
  other ones compile in every test again.
  """
  from jax._src import compiler

  first = types.SimpleNamespace(process_id=0)
  told = dict(distributed=types.SimpleNamespace(global_state=first))
  write = compiler._cache_write
  compiler._cache_write = types.FunctionType(
    write.__code__, {**vars(compiler), **told}, write.__name__
  )


def become(request, ends, environment):
  """Gives this process what a new one has."""
  if request["new_session"]:
    os.setsid()
  for i, end in enumerate(ends):
    os.dup2(end, i)
  for end in ends:
    os.close(end)
  for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
    stream = reopen(getattr(sys, name), mode)
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)
  os.environ.clear()
  os.environ |= environment | request["late"]
  tempfile.tempdir = None
  signal.signal(signal.SIGINT, signal.default_int_handler)
  signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Even of a server under nohup.
  for number in request["ignored"]:
    signal.signal(number, signal.SIG_IGN)


def reopen(stream, mode):
  """A standard stream as Python makes it for what its file now is."""
  direct = mode == "w" and bool(os.environ.get("PYTHONUNBUFFERED"))
  file = open(stream.fileno(), f"{mode}b", 0 if direct else -1, closefd=False)
  lines = file.isatty() or stream is sys.stderr
  return io.TextIOWrapper(
    file,
    stream.encoding,
    stream.errors,
    None if mode == "r" else "\n",
    line_buffering=lines and not direct,
    write_through=direct,
  )


def execute(kind, what, *arguments):
  """Runs a module or a text as `python -m` and `python -c` do."""
  main = types.ModuleType("__main__")
  if kind == "-c":
    sys.path[0] = ""
    sys.argv = ["-c", *arguments]
    code = compile(what, "<string>", "exec")
  else:
    for name in (what, f"{what}.__main__"):
      sys.modules.pop(name, None)
    spec = importlib.util.find_spec(what)
    if spec.submodule_search_locations is not None:
      spec = importlib.util.find_spec(f"{what}.__main__")
    main.__spec__, main.__file__ = spec, spec.origin
    main.__package__, main.__loader__ = spec.parent, spec.loader
    sys.argv = [spec.origin, *arguments]
    code = spec.loader.get_code(spec.name)
    if what.startswith("vit_jax."):
      sys.modules["vit_jax"].watch_interrupts()
  sys.modules["__main__"] = main
  exec(code, main.__dict__)


if __name__ == "__main__":
  command = serve(socket.socket(fileno=int(sys.argv[1])))
  execute(*command)
