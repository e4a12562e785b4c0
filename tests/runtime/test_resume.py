# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""With which config a run resumes, and which files of it are believed."""

import json

import pytest
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.metrics.rows import parse_row
from vit_jax.runtime.resume import check_config, load_result
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


@pytest.mark.parametrize("digest, found", [("ab", True), (None, False)])
def test_a_result_without_its_digest_is_none(tmp_path, digest, found):
  result = {"steps": 3} | ({"params_sha256": digest} if digest else {})
  (tmp_path / "config.json").write_text(json.dumps({"evals": {}}))
  (tmp_path / "result.json").write_text(json.dumps(result))
  read = load_result(epath.Path(tmp_path), {"evals": {}}, 3)
  assert (read is not None) == found


def test_a_row_has_a_number_of_its_step():
  assert parse_row(b'{"step": 1}') == {"step": 1}
  assert parse_row(b'{"step": true}') is None
