# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run ends with its page, and never because of it."""

import copy
import csv
import json

import numpy as np
import PIL.Image
import pytest
from etils import epath

import vit_jax
from tests.support.runs import make_config
from vit_jax import examination
from vit_jax.analysis.rollout import compute_rollout, read_rollout
from vit_jax.config import ConfigError
from vit_jax.data import sources
from vit_jax.evaluators.classification import Classification
from vit_jax.hosts.preemption import Preemption
from vit_jax.plots import report
from vit_jax.plots.examined import load_mistakes, make_sections
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
  text = text.replace("\N{NO-BREAK SPACE}", " ")
  assert f"{100 * result['accuracy']:.2f} %" in text
  assert text.count("data:image/png;base64,") >= 6
  examples = PIL.Image.open(tmp_path / "examples.png")
  assert examples.size == (6 * 160 + 5 * 6, 2 * 160 + 6)
  assert "Images as the model saw them" in text
  hardware = json.loads((tmp_path / "config.json").read_text())["hardware"]
  assert hardware["hosts"] == 1 and hardware["devices"] == "1 x cpu"
  assert "1 x cpu" in text
  said = capsys.readouterr().err.splitlines()
  assert said[-1] == f"report: {tmp_path / 'report.html'}"
  for title in ("Classes", "Worst mistakes", "Images as the model saw them"):
    assert f">{title}<" in text


def test_what_a_run_examines_is_what_it_scored(reported, tmp_path):
  result = train(reported, str(tmp_path))
  found = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
  for key in ("accuracy", "correct", "total"):
    assert found[key] == result[key]
  text = (tmp_path / "evaluation" / "predictions.csv").read_text()
  rows = list(csv.DictReader(text.splitlines()))
  wrong = [row for row in rows if row["label"] != row["prediction"]]
  assert len(rows) == 16 and len(rows) - len(wrong) == result["correct"]
  worst = sorted(wrong, key=lambda row: -float(row["probability"]))[:12]
  mistakes = load_mistakes(epath.Path(tmp_path) / "evaluation")
  for row, caption in zip(worst, mistakes.captions, strict=True):
    assert caption.startswith(
      f"{row['label_class']} taken for {row['prediction_class']} ("
    )
  # Pixels and rollout again, of the file and through the library.
  model, preprocess = vit_jax.load(tmp_path)
  data = reported["data"]
  source = sources.open_source(data["source"], "test[:16]", data["dir"])
  indices = [int(x.rpartition(" ")[2]) for x in mistakes.captions]
  inputs = preprocess([source[i]["image"] for i in indices])
  pixels = np.rint((inputs + 1) * 127.5).astype(np.uint8)
  np.testing.assert_array_equal(
    np.stack(mistakes.images), np.repeat(pixels, 3, axis=-1)
  )
  _, between = model(inputs, intermediates=True)
  expected = read_rollout(
    compute_rollout(between["attention"]), model.module.make_layout(8, 8)
  )
  np.testing.assert_allclose(
    np.stack(mistakes.maps), expected, rtol=1e-5, atol=1e-6
  )


def test_what_another_end_left_is_not_shown(reported, tmp_path):
  train(reported, str(tmp_path))
  assert len(make_sections(epath.Path(tmp_path), 2)) == 2
  assert not make_sections(epath.Path(tmp_path), 3)
  (tmp_path / "evaluation" / "mistakes.npz").write_bytes(b"no zip")
  with pytest.raises(ConfigError, match="evaluation is damaged"):
    make_sections(epath.Path(tmp_path), 2)


def test_a_page_that_fails_is_a_line(reported, tmp_path, capsys, monkeypatch):
  def fail(*_, **__):
    raise ZeroDivisionError("no luck")

  monkeypatch.setattr(report, "draw_curves", fail)
  train(reported, str(tmp_path))
  assert (tmp_path / "result.json").exists()
  assert not (tmp_path / "report.html").exists()
  lines = capsys.readouterr().err.splitlines()
  (line,) = (x for x in lines if "report.html is not written" in x)
  assert "no luck" in line and "python -m vit_jax.report" in line


def test_a_run_that_wants_no_page_writes_none(reported, tmp_path):
  reported["train"]["report"] = False
  train(reported, str(tmp_path))
  assert not (tmp_path / "report.html").exists()


def test_an_examination_that_fails_costs_its_sections(
  reported, tmp_path, capsys, monkeypatch
):
  def fail(*_):
    raise ZeroDivisionError("no luck")

  train(reported, str(tmp_path))
  reported["train"]["steps"] = 4
  monkeypatch.setattr(examination, "examine", fail)
  train(reported, str(tmp_path), extend=True)
  text = (tmp_path / "report.html").read_text()
  assert "done after 4 steps" in text and ">Classes<" not in text
  lines = capsys.readouterr().err.splitlines()
  (line,) = (x for x in lines if "evaluation is not written" in x)
  assert "no luck" in line and "python -m vit_jax.evaluate" in line


def test_mistakes_are_seen_with_the_parameters_that_made_them(
  reported, tmp_path
):
  def find(name, **keys):
    run = copy.deepcopy(reported)
    run["optim"] |= keys
    run["evals"]["test"]["params"] = "raw"
    train(run, str(tmp_path / name))
    return load_mistakes(epath.Path(tmp_path) / name / "evaluation")

  averaged, plain = find("a", ema=0.9), find("b", ema=0.0)
  assert averaged.captions == plain.captions
  np.testing.assert_array_equal(averaged.maps, plain.maps)


def test_a_stop_ends_the_examination_of_a_run_that_is_done(
  reported, tmp_path, monkeypatch
):
  """Which also shows that the watchdog hears of every batch of it."""
  preemption = Preemption()
  score, marks = Classification.score, []

  def stop_then_score(self, state, top, mark):
    preemption.request_stop("a test")

    def count():
      marks.append(1)
      mark()

    return score(self, state, top, count)

  monkeypatch.setattr(Classification, "score", stop_then_score)
  result = train(reported, str(tmp_path), preemption=preemption)
  assert marks and result["total"] == 16
  assert (tmp_path / "result.json").exists()
  assert not (tmp_path / "evaluation" / "evaluation.json").exists()
  assert not (tmp_path / "report.html").exists()
  assert train(reported, str(tmp_path)) == result


def test_a_mistake_that_cannot_be_read_is_black(reported, tmp_path):
  for label, shade in (("a", 60), ("b", 200)):
    for i in range(20):
      folder = tmp_path / "photos" / ("test" if i < 4 else "train") / label
      folder.mkdir(parents=True, exist_ok=True)
      noise = np.random.default_rng(i).integers(0, 40, (8, 8, 1), np.uint8)
      PIL.Image.fromarray((noise + shade)[..., 0]).save(folder / f"{i}.png")
  reported["data"] |= dict(source=f"folder:{tmp_path / 'photos'}", size=8)
  reported["data"] |= dict(max_unreadable=1.0)
  reported["evals"]["test"]["split"] = "test"
  for label in "ab":  # Black is one class, so that one of them is a mistake.
    file = tmp_path / "photos" / "test" / label / "0.png"
    file.write_bytes(file.read_bytes()[:60])
  train(reported, str(tmp_path / "run"))
  found = load_mistakes(epath.Path(tmp_path) / "run" / "evaluation")
  (i,) = (i for i, x in enumerate(found.captions) if "cannot be read" in x)
  assert "0.png" in found.captions[i] and not found.images[i].any()
