# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Compiling a candidate of a sweep in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

# Outcomes of a candidate, beside failures of the compiler.
FITS, NO_ROOM = "fits", "out of memory"
LATE = "not compiled within the budget"


def compile_apart(arguments: Sequence[str], seconds: float) -> dict[str, Any]:
  """Plans a candidate in a process of its own, which may fail or be slow.

  Args:
    arguments: arguments of `python -m vit_jax.plan`.
    seconds: time after which the process is ended.

  Returns:
    A dictionary of `outcome`, which is FITS, NO_ROOM, LATE or the compiler's
    failure, and `plan`, the plan as JSON, if there is one.
  """
  command = [sys.executable, "-m", "vit_jax.plan", *arguments, "--json"]
  try:
    done = subprocess.run(
      command, capture_output=True, text=True, timeout=seconds
    )
  except subprocess.TimeoutExpired:
    return {"outcome": LATE}
  if done.returncode:
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {"outcome": f"failed: {last[:200]}"}
  plan = json.loads(done.stdout.splitlines()[-1])
  return {"outcome": FITS if plan["fits"] else NO_ROOM, "plan": plan}
