# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study of learning without labels, on runs of a stand-in."""

import json
import math

import pytest

from tests.support import ROOT
from vit_jax.config import ConfigError
from vit_jax.config.recipe import load_config
from vit_jax.models import make_model
from vit_jax.sections import resolve
from vit_jax.study import without_labels
from vit_jax.study.__main__ import main
from vit_jax.study.without_labels import ENCODERS, STUDY, compare, make_points


def test_differences_are_of_runs_of_one_seed():
  """By hand, with 12.7062 of a table of Student's t, one degree of freedom."""
  found = compare({"0": 0.5, "1": 0.7, "2": 0.9}, {"1": 0.4, "0": 0.4})
  assert found.mean == pytest.approx(0.2)  # Of 0.1 and 0.3.
  half = 12.7062047 * 0.1 * math.sqrt(2) / math.sqrt(2)
  assert found.high - found.mean == pytest.approx(half, rel=1e-7)
  assert found.mean - found.low == pytest.approx(half, rel=1e-7)
  # Of five seeds, 2.7764.
  values = {str(i): 0.1 * i for i in range(5)}
  found = compare(values, dict.fromkeys(values, 0.0))
  half = 2.77644511 * 0.1 * math.sqrt(2.5) / math.sqrt(5)
  assert found.high - found.mean == pytest.approx(half, rel=1e-7)
  assert compare({"0": 1.0}, {"0": 1.0, "1": 2.0}) is None


def test_what_has_nothing_to_be_compared_with_is_said():
  value = dict(mean=0.5, stdev=0.1, seeds=2, by_seed={"0": 0.4, "1": 0.6})
  rows = [{"name": x, "values": {"m": value}} for x in ("mae", "none")]
  about = {"config": "", "metrics": {"m": ""}, "failed": {}, "lost": {}}
  without = STUDY.explain({**about, "points": rows[:1]})
  assert without[1:] == [
    "There is no encoder at random, so that nothing can be compared."
  ]
  assert "By m: MAE +0.00" in STUDY.explain({**about, "points": rows})[1]


def test_the_page_has_each_difference(score, tmp_path, data_dir, capsys):
  """Point i has 0.5 + i / 100 and 0.002 more in the second seed."""
  score(STUDY)
  flags = [f"--workdir={tmp_path}", "--seeds=0,1", "--yes"]
  main(["without_labels", *flags, f"--config.data.dir={data_dir}"])
  text = " ".join(capsys.readouterr().out.split())
  # Pre-trained are the points 0, 2 ... 8, fine-tuned, by halves, 1, 3 ... 9.
  assert "masked patch prediction 25.55 ± 0.07 50.10 ± 0.14" in text
  assert "at random 29.55 ± 0.07 58.10 ± 0.14" in text
  for gain, metric in ((1, "5-shot"), (0.5, "fine-tuned")):
    listed = "; ".join(
      f"{label} {x:+.2f} [{x:+.2f}, {x:+.2f}], worse"
      for i, label in enumerate(ENCODERS.values())
      if (x := 2 * gain * (i - 4))
    )
    assert f"By {metric}: {listed}." in text
  found = json.loads((tmp_path / "study.json").read_text())
  values = found["points"][4]["values"]
  assert values["5-shot"]["by_seed"] == {"0": 0.58, "1": 0.582}
  assert "px on tfds:digits, 300 steps of batch 128, then 100" in text
  assert (tmp_path / "study.png").stat().st_size > 1000


def test_the_figure_has_the_names_of_the_table(monkeypatch):
  def draw(rows, metric):
    assert metric == "m"
    return ";".join(row["name"] for row in rows).encode()

  monkeypatch.setattr(without_labels, "draw_points", draw)
  points = [x for x in make_points("digits") if x.fields]
  rows = [{"name": x.name, "fields": x.fields} for x in points]
  assert STUDY.draw(rows, "m").decode() == ";".join(ENCODERS.values())


def test_the_flag_for_its_steps_is_named(tmp_path, capsys):
  flags = [f"--workdir={tmp_path}", "--config.train.steps=20"]
  with pytest.raises(SystemExit) as caught:
    main(["without_labels", *flags])
  assert caught.value.code == 2 and "--steps=N" in capsys.readouterr().err


@pytest.mark.parametrize("scale", ["digits", "laptop", "card", "pod"])
def test_all_have_one_encoder(scale, monkeypatch):
  monkeypatch.chdir(ROOT)
  found = set()
  for objective in ENCODERS:
    for phase in ("pretrain", "finetune"):
      recipe = f"without_labels:{objective=!s},{phase=!s},{scale=!s}"
      config = resolve(load_config(recipe, []))
      size = config["data"]["size"]
      assert make_model(10, **config["model"]).find_errors(size, size) == []
      found.add(json.dumps(config["model"], default=dict, sort_keys=True))
  assert len(found) == 1


def test_a_wrong_objective_is_named(monkeypatch):
  monkeypatch.chdir(ROOT)
  with pytest.raises(ConfigError, match="objective=simclr"):
    load_config("without_labels:objective=simclr", [])


def test_some_objectives_for_other_steps(score, tmp_path, data_dir, capsys):
  """The encoder at random, and what is fine-tuned, have their own steps."""
  score(STUDY)
  flags = [f"--workdir={tmp_path}", "--seeds=0", "--objectives=dino", "--yes"]
  flags += ["--steps=700", f"--config.data.dir={data_dir}"]
  main(["without_labels", *flags])
  found = json.loads((tmp_path / "study.json").read_text())
  assert [x["name"] for x in found["points"]] == ["dino", "none"]
  said = capsys.readouterr().out
  assert "700 steps" in said and said.endswith(
    "With one seed no difference can be told from chance.\n"
  )
  points = make_points("digits", ["dino", "none"], 700)
  assert [x.arguments.get("steps") for x in points] == [700, None, None, None]
  config = load_config("without_labels:objective=dino,steps=700", [])
  assert config["train"]["steps"] == 700
  with pytest.raises(SystemExit):
    main(["without_labels", "--workdir=x", "--objectives=dinno"])
  assert "did you mean 'dino'" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    main(["without_labels", "--workdir=x", "--objectives=mae,mae"])
  assert "has mae twice: name each once" in capsys.readouterr().err
