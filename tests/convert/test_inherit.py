# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run that starts from a run takes what no array shows from its manifest."""

import json
import shutil

import pytest

from tests.support.weights import make_tiny_weights
from vit_jax.config import ConfigError
from vit_jax.config.frozen import FrozenDict
from vit_jax.convert import save_weights
from vit_jax.convert.inherit import check_source, inherit
from vit_jax.convert.initialize import initialize
from vit_jax.convert.transfer import Transfer
from vit_jax.convert.weights import load_weights
from vit_jax.models import make_model

MODEL = dict(variant="mu/2")


@pytest.fixture
def source(tmp_path):
  """A run with another GELU and epsilon than the defaults."""
  weights = make_tiny_weights(gelu="exact", layer_norm_eps=1e-5)
  save_weights(weights, str(tmp_path / "source"))
  return str(tmp_path / "source")


def test_what_the_config_leaves_open_is_the_manifests(source, tmp_path):
  config = dict(init=source, model=MODEL)
  found = inherit(config, str(tmp_path / "run"))
  assert found["model"]["gelu"] == "exact"
  assert found["model"]["layer_norm_eps"] == 1e-5
  assert config["model"] == MODEL  # The caller's is left alone.
  asked = dict(init=source, model=MODEL | dict(gelu="tanh"))
  assert inherit(asked, None)["model"]["gelu"] == "tanh"


def test_the_report_says_what_was_taken(source):
  fields = dict(depth=2, dtype="float32", gelu="exact", layer_norm_eps=1e-5)
  model = make_model(5, variant="mu/2", **fields)
  _, report = initialize(load_weights(source), model, (8, 8), 3, Transfer())
  assert not report.warnings
  assert "as its manifest says: model.gelu='exact'" in str(report)
  assert "as its manifest says: model.layer_norm_eps=1e-05" in str(report)


def test_a_run_that_resumes_does_not_need_its_source(source, tmp_path):
  config = dict(init=source, model=MODEL)
  recorded = inherit(config, None)
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "config.json").write_text(json.dumps(recorded))
  shutil.rmtree(source)
  assert inherit(config, str(tmp_path / "run")) == recorded
  assert inherit(config, None) == config
  check_source(config, str(tmp_path / "run"))
  with pytest.raises(ConfigError, match="source: No such file or directory"):
    check_source(config, str(tmp_path / "other"))


def test_a_published_file_that_is_missing_names_its_download(tmp_path):
  path = tmp_path / "augreg-b16-i21k.npz"
  with pytest.raises(ConfigError, match=r"--config\.init: .*\n.*--download="):
    check_source(dict(init=str(path)), str(tmp_path))
  for name in (None, "augreg:B/16"):
    check_source(dict(init=name), str(tmp_path))


def test_other_sources_and_bad_ones(source, tmp_path):
  for config in (
    dict(model=MODEL),
    dict(init="augreg:B/16", model=MODEL),
    dict(init="", model=MODEL),
    dict(init="a.npz", model=MODEL),
    dict(init=source, model=dict(variant="no such")),
    dict(init=source, model=3),
  ):
    assert inherit(config, None) == config
  resolved = FrozenDict(dict(init=source, model=MODEL))
  assert inherit(resolved, None) is resolved
  (tmp_path / "source" / "manifest.json").write_text("{}")
  with pytest.raises(ConfigError, match="manifest.json"):
    inherit(dict(init=source, model=MODEL), None)
