# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run of an earlier version did has no default of a later key."""

import pytest

from vit_jax.config import ConfigError
from vit_jax.runtime.resume import check_config
from vit_jax.sections import resolve

LENGTH = dict(warmup_steps=100, timescale=100)


@pytest.fixture
def resolved(config):
  """(keys of the optim section) -> a resolved config, as plain dictionaries."""

  def get(**keys):
    given = config | {"optim": dict(lr=0.1) | keys}
    return {
      k: dict(x) if k == "optim" else x for k, x in resolve(given).items()
    }

  return get


def test_adafactor_clipped_its_updates(resolved):
  before = resolved(name="adafactor")
  del before["optim"]["clip_update"]
  check_config(before, resolved(name="adafactor", clip_update=1.0), False)
  with pytest.raises(ConfigError, match=r"- optim.clip_update=1.0\n.*=None"):
    check_config(before, resolved(name="adafactor"), False)
  check_config(resolved(name="adafactor"), resolved(name="adafactor"), False)
  check_config(resolved(), resolved(), False)


@pytest.mark.parametrize(
  ("keys", "goes_on"),
  [
    (LENGTH, True),
    (LENGTH | dict(warmup_steps=10), False),
    (LENGTH | dict(cooldown_steps=10), False),
    (LENGTH | dict(cooldown_epochs=1.0), False),
  ],
)
def test_rsqrt_was_another_where_the_warm_up_was_not_the_timescale(
  resolved, keys, goes_on
):
  before, now = (resolved(schedule="rsqrt", **keys) for _ in range(2))
  check_config(before, now, False)
  del before["optim"]["shift"]
  if goes_on:
    check_config(before, now, False)
  else:
    with pytest.raises(ConfigError, match="- optim.shift='of an earlier"):
      check_config(before, now, False)
