# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Start of a process: quiets libraries and joins the other hosts of a run."""

import math
import os
import signal
import sys
from typing import Any

from absl import logging

from vit_jax.config import WATCHDOG, ConfigError
from vit_jax.devices import detection


def start(timeouts: Any = None) -> None:
  """Quiets libraries, and joins the other processes of a multi-host run.

  The environment describes them: TPU pods, Slurm and Open MPI set it, anything
  else must set JAX_COORDINATOR_ADDRESS (host:port of the first process),
  JAX_NUM_PROCESSES and JAX_PROCESS_ID. If the other processes cannot be joined
  now, this one exits with status 43, so that it is restarted.

  Args:
    timeouts: a `Timeouts`; None for its defaults.

  Raises:
    ConfigError: if the environment does not describe the other processes.
  """
  import jax

  from vit_jax.hosts import coordination

  logging.set_verbosity(logging.WARNING)
  environment = os.environ
  slurm = "SLURM_STEP_NODELIST" in environment  # Set by srun alone.
  launched = (
    "JAX_COORDINATOR_ADDRESS" in environment
    or (slurm and int(environment.get("SLURM_NTASKS", 1)) > 1)
    or int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
    or "MEGASCALE_COORDINATOR_ADDRESS" in environment
  )
  if not launched and not detection.has_tpu():
    return

  def get(name):
    return int(environment[name]) if name in environment else None

  timeouts = timeouts or coordination.Timeouts()
  handler = signal.getsignal(signal.SIGTERM)
  try:
    with coordination.arrival_deadline(timeouts.initialization_timeout):
      jax.distributed.initialize(
        environment.get("JAX_COORDINATOR_ADDRESS"),
        num_processes=get("JAX_NUM_PROCESSES"),
        process_id=get("JAX_PROCESS_ID"),
        # jax aborts without naming a host, so it must time out after us.
        initialization_timeout=math.ceil(timeouts.initialization_timeout) + 60,
        heartbeat_timeout_seconds=math.ceil(3 * timeouts.heartbeat_timeout),
      )
    # jax has installed one of its own, behind Python's back.
    signal.signal(signal.SIGTERM, handler)
  except (ValueError, IndexError, RuntimeError) as error:
    # A TPU outside of a pod, as in Colab: there are no other processes.
    if not launched:
      return
    text = f"this process cannot join the others of its run: {error}\n"
    if isinstance(error, RuntimeError):  # It may pass, so a restart helps.
      hint = "run the same command again once the port of host 0 is free"
      print(f"error: {text}  {hint}", file=sys.stderr, flush=True)
      os._exit(WATCHDOG)  # A clean exit of jax would wait for the others.
    raise ConfigError(
      f"{text}  outside of TPU pods, Slurm and Open MPI, set "
      f"JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and "
      f"JAX_PROCESS_ID"
    ) from error
