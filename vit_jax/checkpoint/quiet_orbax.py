# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Orbax, imported where it is needed, and without what it says of an error."""

import asyncio
import functools
import os
from collections.abc import Coroutine
from typing import Any

import absl.logging


@functools.cache
def get_orbax() -> Any:
  """Imports Orbax, which a run needs after its first step only.

  What Orbax raises is told by who called it. It would also log each error with
  a traceback, and give up its other reads where one fails: one damaged file
  then prints a traceback for every array, from Python's event loop.
  """
  absl.logging.get_absl_logger().addFilter(
    lambda record: f"{os.sep}orbax{os.sep}" not in record.pathname
  )
  from orbax.checkpoint import v1
  from orbax.checkpoint._src import asyncio_utils  # There is no public one.

  run = asyncio_utils.run_sync
  asyncio_utils.run_sync = lambda coroutine: run(ending_all(coroutine))
  return v1


async def ending_all(coroutine: Coroutine) -> Any:
  """Awaits a coroutine; if it fails, waits for the tasks that it leaves, too.

  Their loop is closed after that, and TensorStore, which reads on even if they
  are cancelled, would call into it.
  """
  try:
    return await coroutine
  except Exception:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*left, return_exceptions=True)
    # Those that had failed already are taken note of once the loop goes on.
    await asyncio.sleep(0)
    raise
