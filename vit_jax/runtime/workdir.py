# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The working directory of a run: opening it, and its config and manifest."""

import collections
import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import platform
import shlex
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from etils import epath

from vit_jax.config import ConfigError, RunError
from vit_jax.devices.detection import PLUGINS, find_installed
from vit_jax.devices.machine import count_cores
from vit_jax.hosts.coordination import Hosts
from vit_jax.storage.files import to_json, write_json, write_text
from vit_jax.storage.paths import check_directory, check_text, expand

PROGRAMS = ("vit-jax", "vit_jax")  # A script, and python -m.
PACKAGES = (
  *("vit_jax", "jax", "jaxlib", "flax", "optax"),
  *("orbax-checkpoint", "grain", *PLUGINS),
)


def collect_versions() -> dict[str, str]:
  """Collects the versions of Python and of the installed PACKAGES."""
  return {"python": platform.python_version(), **find_installed(PACKAGES)}


def collect_hardware() -> dict[str, Any]:
  """Collects what a run trains on."""
  kinds = collections.Counter(x.device_kind for x in jax.devices())
  return {
    "devices": ", ".join(f"{count} x {kind}" for kind, count in kinds.items()),
    "hosts": jax.process_count(),
    "cores_per_host": count_cores(),
  }


def find_command() -> str | None:
  """Finds the shell command that has started this process.

  Returns:
    Of `python -m vit_jax.main` or `vit-jax main`; None of a process that is
    started otherwise, as a notebook's or a study's.
  """
  words = sys.orig_argv
  for place, (word, verb) in enumerate(itertools.pairwise(words)):
    if (word, verb) == ("-m", "vit_jax.main"):
      return shlex.join(["python", *words[place:]])
    if pathlib.PurePath(word).stem in PROGRAMS and verb == "main":
      return shlex.join(["vit-jax", *words[place + 1 :]])
  return None


def open_workdir(name: str, hosts: Hosts, seconds: float) -> epath.Path:
  """Creates the directory of a run, local or on an object store.

  Args:
    name: path as the user gave it.
    hosts: hosts of the run; all of them must see the same directory.
    seconds: time within which a file of one host must appear to the others.

  Raises:
    ConfigError: if the name is empty or no path to save to, the directory
      cannot be written, or a host does not see what host 0 writes.
  """
  if not name:
    raise ConfigError("--workdir is empty: say where to keep the run")
  path = expand(name)
  check_letters(path, name)
  check_directory(path, f"--workdir={name}")
  probe, token = path / f".probe_{hosts.index}", uuid.uuid4().hex

  with explained(name):
    path.mkdir(parents=True, exist_ok=True)
    write_text(probe, token)
  token = hosts.gather(token)[0]
  with explained(name):
    sees = hosts.index == 0 or wait_for(path / ".probe_0", token, seconds)
  seen = hosts.gather(sees)
  with explained(name):
    probe.unlink()
  blind = [index for index, sees in enumerate(seen) if not sees]
  if blind:
    raise ConfigError(
      f"--workdir is not shared: {hosts.describe(blind)} cannot see what "
      f"{hosts.describe([0])} writes; here it is {path}\n"
      f"  give every host the same directory on a disk that all of them mount, "
      f"or on an object store"
    )
  return path


def check_letters(path: epath.Path, name: str) -> None:
  """Checks that what is saved below a path can be written and read back.

  Args:
    path: the path, absolute.
    name: as the user gave it.

  Raises:
    ConfigError: for the letters that Orbax would take for a pattern, and bytes
      that are no letters, which it cannot take at all.
  """
  check_text(path, f"--workdir={name}")
  odd = sorted(set("[]\\") & set(os.fspath(path)))
  if odd:
    raise ConfigError(
      f"--workdir={name}: nothing can be read back from a path with "
      f"{' and '.join(odd)}: choose another name"
    )


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
  """Turns errors of a workdir into a ConfigError."""
  try:
    yield
  except ConfigError:
    raise
  except Exception as error:  # Clients of stores have errors of their own.
    hint = ""
    if isinstance(error, ImportError):
      hint = "\n  gs:// needs: pip install 'vit_jax[gcs]'"
    raise ConfigError(
      f"--workdir={name} cannot be used: {str(error) or repr(error)}{hint}"
    ) from None


def wait_for(path: epath.Path, text: str, seconds: float) -> bool:
  """Waits for a file of another host; returns whether it appeared in time."""
  until = time.monotonic() + seconds
  while True:
    try:
      if path.read_text() == text:
        return True
    except FileNotFoundError:
      pass
    if time.monotonic() > until:
      return False
    time.sleep(0.1)


@contextlib.contextmanager
def writing(workdir: epath.Path, kept: str) -> Iterator[None]:
  """Turns errors of writing to a workdir into one RunError.

  Args:
    workdir: directory of the run.
    kept: what is not lost, and how to continue; for the message.
  """
  try:
    yield
  except Exception as error:  # Clients of stores have errors of their own.
    raise RunError(
      f"{workdir} cannot be written: {str(error) or repr(error)}\n"
      f"  {kept}, once there is room and the disk is back"
    ) from error


def compute_config_digest(content: Mapping[str, Any]) -> str:
  """Computes the digest of config.json, without the digest itself."""
  text = json.dumps(json.loads(to_json(content)), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def save_config(
  workdir: epath.Path, config: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
  """Writes config.json, with a digest that tells whether it was edited."""
  content = {**config, "versions": versions}
  digest = compute_config_digest(content)
  write_json(workdir / "config.json", {**content, "sha256": digest})


def write_config(
  workdir: epath.Path, config: Mapping[str, Any], manifest: Mapping[str, Any]
) -> None:
  """Writes config.json and manifest.json; removes the result of an earlier run.

  The result goes first: a run that is cut short from here on has none.

  Raises:
    RunError: if the disk is full or lost.
  """
  with writing(workdir, "the same command starts or continues the run"):
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "result.json").unlink(missing_ok=True)
    recorded = {**config, "hardware": collect_hardware()}
    save_config(workdir, recorded, collect_versions())
    write_json(workdir / "manifest.json", manifest)
