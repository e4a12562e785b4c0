# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The examples of CONTRIBUTING.md run as they stand there."""

import importlib
import re
import sys

import pytest

from tests.support import ROOT, build
from vit_jax import models
from vit_jax.data import sources
from vit_jax.evaluators import EVALUATORS
from vit_jax.objectives import OBJECTIVES
from vit_jax.train_step import trace


@pytest.fixture
def load(tmp_path, monkeypatch):
  """A function path -> module, of the example that the page names so."""
  text = (ROOT / "CONTRIBUTING.md").read_text()
  monkeypatch.syspath_prepend(tmp_path)

  def load(path):
    code = re.search(rf"`{path}`.*?```python\n(.*?)```", text, re.DOTALL)[1]
    *_, room, file = path.split("/")
    package = tmp_path / f"example_{room}"  # TFDS wants builders in packages.
    package.mkdir()
    (package / "__init__.py").touch()
    (package / file).write_text(code)
    return importlib.import_module(f"{package.name}.{file[:-3]}")

  yield load
  for name in [x for x in sys.modules if x.startswith("example_")]:
    del sys.modules[name]


def test_a_model_an_objective_and_an_evaluator(config, load, monkeypatch):
  linear = load("vit_jax/models/linear.py").Linear
  monkeypatch.setattr(models, "get_row", lambda variant: (linear, {}))
  focal = load("vit_jax/objectives/focal.py").Focal
  monkeypatch.setitem(OBJECTIVES, "focal", focal)
  confidence = load("vit_jax/evaluators/confidence.py").Confidence
  monkeypatch.setitem(EVALUATORS, "confidence", confidence)
  config["model"] = dict(variant="Linear")
  config["objective"] = dict(name="focal", gamma=1.0)
  config["evals"] = {"test": dict(kind="confidence", split="test[:40]")}
  exp = build(config)
  metrics = trace(exp.train_step, exp.mesh, *exp.abstract_inputs).out_info[1]
  assert {"loss", "accuracy"} <= metrics.keys()
  # Logits of a new head are zero, so ten classes are equally likely.
  values = dict(exp.evaluators["test"].run(exp.make_state()))
  assert values == {"confidence": pytest.approx(0.1, abs=1e-6)}


def test_a_data_set(load, monkeypatch, tmp_path):
  path = "vit_jax/data/patches/patches_dataset_builder.py"
  module = load(path)
  monkeypatch.setitem(sources.BUILDERS, "patches", module.__name__)
  data_dir = str(tmp_path / "data")
  sources.make_builder("patches", data_dir).download_and_prepare()
  train = sources.open_source("tfds:patches", "train", data_dir)
  assert len(train) == 416
  assert {train[i]["label"] for i in range(416)} == {0, 1}
