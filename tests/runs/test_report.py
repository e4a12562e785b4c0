# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run ends with its page, and never because of it."""

import json

import PIL.Image
import pytest

from tests.support.runs import make_config
from vit_jax.plots import report
from vit_jax.train import train


@pytest.fixture
def reported(data_dir):
  """The config of a short run that writes its page."""
  config = make_config(data_dir)
  config["train"] |= dict(steps=2, report=True)
  config["evals"] = {"test": dict(split="test[:16]", batch_size=16)}
  return config


def test_a_run_ends_with_its_page(reported, tmp_path, capsys):
  result = train(reported, str(tmp_path))
  text = (tmp_path / "report.html").read_text()
  assert f"{100 * result['accuracy']:.2f} %" in text
  assert text.count("data:image/png;base64,") >= 6
  examples = PIL.Image.open(tmp_path / "examples.png")
  assert examples.size == (6 * 160 + 5 * 6, 2 * 160 + 6)
  assert "Images as the model saw them" in text
  hardware = json.loads((tmp_path / "config.json").read_text())["hardware"]
  assert hardware["hosts"] == 1 and hardware["devices"] == "8 x cpu"
  assert "8 x cpu" in text
  said = capsys.readouterr().err.splitlines()
  assert said[-1] == f"report: {tmp_path / 'report.html'}"


def test_a_page_that_fails_is_a_line(reported, tmp_path, capsys, monkeypatch):
  def fail(*_, **__):
    raise ZeroDivisionError("no luck")

  monkeypatch.setattr(report, "draw_curves", fail)
  train(reported, str(tmp_path))
  assert (tmp_path / "result.json").exists()
  assert not (tmp_path / "report.html").exists()
  lines = capsys.readouterr().err.splitlines()
  (line,) = (x for x in lines if "report.html" in x)
  assert "no luck" in line and "python -m vit_jax.report" in line


def test_a_run_that_wants_no_page_writes_none(reported, tmp_path):
  reported["train"]["report"] = False
  train(reported, str(tmp_path))
  assert not (tmp_path / "report.html").exists()
