# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run of every checkpoint format: each can be continued."""

import copy
import json
import pathlib
import shutil

import numpy as np
import pytest

import vit_jax
from tests.checkpoint.fixture import CONFIG, IMAGES, compute_state_digests
from vit_jax.checkpoint.metadata import FORMAT
from vit_jax.train import train

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


def test_every_format_has_a_fixture():
  names = sorted(path.name for path in FIXTURES.iterdir())
  assert names == sorted(f"format_{i}" for i in range(1, FORMAT + 1))


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_a_run_of_an_earlier_version_continues(tmp_path, number, capsys):
  workdir = tmp_path / "run"
  shutil.copytree(FIXTURES / f"format_{number}", workdir)
  expected = json.loads((workdir / "expected.json").read_text())
  # To the bit.
  found = compute_state_digests(workdir, CONFIG)
  assert found == {name: expected[name] for name in found}
  # Another version of XLA may add up in another order.
  model, _ = vit_jax.load(workdir)
  np.testing.assert_allclose(model(IMAGES), expected["logits"], atol=1e-5)
  rows = (workdir / "metrics.jsonl").read_text()
  config = copy.deepcopy(CONFIG)
  config["train"]["steps"] = 5
  config["data"]["resize"] = "area"  # What it did without recording it.
  result = train(config, str(workdir), extend=True)
  assert "resuming after step 3" in capsys.readouterr().err
  assert result["steps"] == 5 and result["total"] == 16
  assert (workdir / "metrics.jsonl").read_text().startswith(rows)
