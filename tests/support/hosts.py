# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Hosts that are threads of one process: what they agree on costs no start."""

import concurrent.futures
import threading
import time

import jax

from vit_jax.hosts.coordination import Hosts


class Store:
  """jax's key-value store, as far as Hosts asks it, in memory."""

  def __init__(self):
    self._values, self._changed = {}, threading.Condition()

  def key_value_set(self, key, value, allow_overwrite=False):
    with self._changed:
      if key in self._values and not allow_overwrite:
        raise jax.errors.JaxRuntimeError(f"ALREADY_EXISTS: {key}")
      self._values[key] = value
      self._changed.notify_all()

  def blocking_key_value_get(self, key, milliseconds):
    until = time.monotonic() + milliseconds / 1000
    with self._changed:
      while key not in self._values:
        if not self._changed.wait(until - time.monotonic()):
          raise jax.errors.JaxRuntimeError(f"DEADLINE_EXCEEDED: {key}")
      return self._values[key]


def run_together(count, work):
  """Lets each of so many hosts do the same, which may be to fail.

  Args:
    count: number of hosts.
    work: takes a Hosts that knows all names.

  Returns:
    What each host's work returned or raised.
  """
  client, everyone = Store(), [Hosts() for _ in range(count)]

  def run(index):
    hosts = everyone[index]
    hosts.index, hosts.count, hosts.client = index, count, client
    hosts.prefix = "test"
    try:
      hosts.exchange_names()
      return work(hosts)
    except Exception as error:
      return error

  with concurrent.futures.ThreadPoolExecutor(count) as pool:
    return list(pool.map(run, range(count), timeout=120))
