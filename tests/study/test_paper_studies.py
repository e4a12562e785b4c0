# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Studies of the paper: points, tables and figures, on runs of a stand-in.

`test_paper_runs.py` trains.
"""

import functools
import io
import json
import pathlib
import signal
import statistics
import types

import jax
import numpy as np
import PIL.Image
import pytest
import scipy.stats
from etils import epath

from tests.support import ROOT
from vit_jax import models
from vit_jax.config import ConfigError, RunError
from vit_jax.config.recipe import load_config
from vit_jax.experiment import Experiment
from vit_jax.sections import resolve
from vit_jax.study import (
  attention_distance,
  compute,
  cost,
  data_scale,
  paper_study,
  points,
  resolution,
  runs,
)
from vit_jax.study.__main__ import PAPER, main
from vit_jax.study.paper_study import SCALES
from vit_jax.study.points import (
  Point,
  describe_order,
  find_frontier,
  is_apart,
  summarize,
)


@pytest.mark.parametrize(
  "study",
  # The other reads checkpoints.
  [x.STUDY for x in PAPER if x is not attention_distance],
  ids=lambda x: x.name,
)
def test_a_study_ends_with_its_table(study, score, tmp_path, data_dir, capfd):
  scores = score(study)
  workdir = tmp_path / "study"
  flags = [f"--workdir={workdir}", "--seeds=0,1", "--yes"]
  main([study.name, *flags, f"--config.data.dir={data_dir}"])
  found = json.loads((workdir / "study.json").read_text())
  points = study.make_points("digits")
  made = [point for point in points if point.fields is not None]
  assert [x["name"] for x in found["points"]] == [x.name for x in made]
  assert found["failed"] == {} and [*found["runs"]] == [
    f"{point.name}/seed_{seed}" for seed in (0, 1) for point in points
  ]
  lines = capfd.readouterr().out.splitlines()
  page = (workdir / "study.md").read_text()
  about = f"{study.asks} (accuracies in percent)"
  assert lines[0] == about and "The numbers are accuracies in percent." in page
  assert "2 seeds (± their standard deviation)" in page
  for line, row, point in zip(lines[2:], found["points"], made, strict=False):
    for metric, value in row["values"].items():
      of = next((x for x in points if x.metric == metric), point)
      if of is not point:
        of = next(x for x in points if x.after == point.name)
      share = 1 if found["metrics"][metric].startswith("few/") else 1 / 2
      pair = [share * scores[f"{of.name}/seed_{seed}"] for seed in (0, 1)]
      assert value["mean"] == pytest.approx(statistics.mean(pair), abs=1e-12)
      assert value["stdev"] == pytest.approx(statistics.stdev(pair), abs=1e-12)
      # By hand: the mean is 50.1 % and 1 % more a point, or half of that.
      percent = share * (50.1 + points.index(of))
      cell = f"{percent:.2f} ± {0.14 if share == 1 else 0.07}"
      assert cell in line and cell in page
    if point.paper is not None:
      assert line.endswith(f"{100 * point.paper:.2f}")
    assert row["fields"]["training FLOPs"] > 0 < row["fields"]["images"]
  assert f"The paper ({study.source})" in page and "Best is" in page
  picture = PIL.Image.open(io.BytesIO((workdir / "study.png").read_bytes()))
  assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


@pytest.mark.parametrize("scale", SCALES)
def test_points_have_names_of_their_own(scale):
  for module in PAPER:
    names = [point.name for point in module.STUDY.make_points(scale)]
    assert len(set(names)) == len(names)
    assert len(names) >= 6 or module is attention_distance
    for name in names:
      assert pathlib.Path(name).name == name


@pytest.mark.parametrize("scale", SCALES)
def test_points_are_models_of_the_scale_s_images(scale, monkeypatch):
  monkeypatch.chdir(ROOT)
  for module in PAPER:
    for point in module.STUDY.make_points(scale):
      run = point.make_run(f"study:scale={scale}", epath.Path("x"), [], 0)
      config = resolve(load_config(run.recipe, run.flags))
      model = models.make_model(10, **config["model"])
      size = config["data"]["size"]
      assert model.find_errors(size, size) == [], point.name


def make_rows(*values):
  """Rows of (name, mean, stdev, seeds) of the metric "m"."""
  return [
    {"name": name, "values": {"m": dict(mean=m, stdev=s, seeds=n)}}
    for name, m, s, n in values
  ]


def test_only_what_is_apart_is_called_worse():
  """Of three seeds each: 2.776 sqrt(.01^2/3 + .01^2/3) is .02267."""
  rows = make_rows(
    ("a", 0.9, 0.01, 3), ("b", 0.8774, 0.01, 3), ("c", 0.8772, 0.01, 3)
  )
  assert describe_order(rows, "m") == (
    "Best is a with 90.00 ± 1.00; not told apart from it (Welch's "
    "t-test, 5 %): b; worse: c 87.72 ± 1.00."
  )
  a, b = (row["values"]["m"] for row in rows[:2])
  assert not is_apart(a, b)
  alone = make_rows(("a", 0.9, None, 1), ("b", 0.1, None, 1))
  assert describe_order(alone, "m") == (
    "Best is a with 90.00; with one seed no difference can be told from chance."
  )
  # Of which there is one seed is not told apart from any.
  mixed = make_rows(("a", 0.9, 0.01, 3), ("b", 0.1, None, 1))
  assert describe_order(mixed, "m") == (
    "Best is a with 90.00 ± 1.00; not told apart from it (Welch's "
    "t-test, 5 %): b (of one seed)."
  )
  mixed = make_rows(("a", 0.9, None, 1), ("b", 0.1, 0.01, 3))
  assert describe_order(mixed, "m") == (
    "Best is a with 90.00 of one seed; not told apart from it (Welch's "
    "t-test, 5 %): b."
  )
  assert describe_order([], "m") == "nothing is measured."


@pytest.mark.parametrize("seed", range(40))
def test_apart_is_what_scipy_calls_so(seed):
  rng = np.random.default_rng(seed)
  a, b = (
    rng.normal(0.02 * i, rng.choice([0.0, 0.01, 0.03]), rng.integers(2, 6))
    for i in (0, 1)
  )
  points = (
    dict(mean=float(x.mean()), stdev=float(x.std(ddof=1)), seeds=len(x))
    for x in (a, b)
  )
  constant = a.std() == b.std() == 0
  assert is_apart(*points) == (
    constant or scipy.stats.ttest_ind(a, b, equal_var=False).pvalue < 0.05
  )


def test_many_that_are_worse_are_counted():
  rows = make_rows(
    *((x, 0.9 - 0.1 * i, 0.0, 2) for i, x in enumerate("abcdef"))
  )
  assert describe_order(rows, "m") == (
    "Best is a with 90.00 ± 0.00; worse: b 80.00 ± 0.00, c 70.00 ± 0.00, d "
    "60.00 ± 0.00, and 2 more, down to 40.00 ± 0.00."
  )


def test_what_the_same_accuracy_costs():
  """Of ViTs the second is beaten by the first, which costs less."""
  means = dict(v1=0.5, v2=0.4, v3=0.8, r1=0.6, r2=0.85, r3=0.9)
  rows = [
    {
      "name": name,
      "fields": {
        "family": {"v": "ViT", "r": "ResNet"}[name[0]],
        "training FLOPs": 10.0 ** int(name[1]),
      },
      "values": {"m": dict(mean=mean, stdev=None, seeds=1)},
    }
    for name, mean in means.items()
  ]
  found = compute.find_frontiers(rows, "m")
  names = {k: [row["name"] for row in x] for k, x in found.items()}
  assert names == {"ViT": ["v1", "v3"], "ResNet": ["r1", "r2", "r3"]}
  assert compute.compare(rows, "m").startswith(
    "The least training FLOPs of each family for the 80.00% of the best ViT: "
    "v3 1.00e+03 (80.00), r2 1.00e+02 (85.00). Best is r3"
  )
  assert find_frontier([(2.0, 1.0), (1.0, 1.0), (1.0, 0.5), (3.0, 2.0)]) == [
    1,
    3,
  ]


def test_a_point_without_runs_is_left_out():
  made = [Point(name=name, fields={}) for name in ("a", "b-1", "b")]
  values = {"b/seed_0": {"x": 0.5}, "b-1/seed_0": {"y": 0.25}}
  assert summarize(made, values, {"m": "x"}) == [
    {
      "name": "b",
      "fields": {},
      "paper": None,
      "values": {"m": dict(mean=0.5, stdev=None, seeds=1, by_seed={"0": 0.5})},
    }
  ]


def test_what_a_finished_run_has_not_measured_is_found():
  made = [
    Point(name="a", fields={}),
    Point(name="a-tuned", after="a", metric="fine-tuned"),
    Point(name="before"),
  ]
  metrics = {"fine-tuned": "test/accuracy", "5-shot": "few/x"}
  values = {
    "a/seed_0": {"few/x": 0.5},
    "a/seed_1": {"test/accuracy": 0.5},
    "a-tuned/seed_0": {},
    "before/seed_0": {},
  }
  assert points.find_lost(made, values, metrics) == {
    "a/seed_1": ["few/x"],
    "a-tuned/seed_0": ["test/accuracy"],
  }


def test_a_run_is_read_at_its_last_step(tmp_path):
  rows = [
    {"step": 2, "a/x": 1.0},
    {"step": 4, "loss": 2.0},
    {"step": 4, "a/x": 3.0, "a/not_finite": None, "a/edited": "3"},
  ]
  text = "\n".join(map(json.dumps, rows))
  (tmp_path / "metrics.jsonl").write_text(text)
  run = runs.Run(name="r", recipe="", workdir=epath.Path(tmp_path))
  assert points.read_values(run, {"steps": 4}) == {"a/x": 3.0}
  (tmp_path / "metrics.jsonl").unlink()
  (tmp_path / "metrics.jsonl").mkdir()
  assert points.read_values(run, {"steps": 4}) == {}


def test_how_points_are_trained_is_said(monkeypatch):
  """The models by their size, as their names are those of larger ones."""
  monkeypatch.chdir(ROOT)

  def say(study, chosen, counts):
    made = study.make_points("digits")[chosen]
    made_runs = points.make_runs(
      made, "study:scale=digits", epath.Path("x"), [], [0]
    )
    pairs = zip(made, counts, strict=True)
    costs = {x.name: cost.Cost(1.0, 1.0, n, 1) for x, n in pairs}
    configs = [run.load_config() for run in made_runs]
    return paper_study.describe(made, configs, costs, 1)

  assert say(resolution.STUDY, slice(0, 3), (1, 2000, 3000)) == (
    "mu/4 of other sizes, 2,000 to 3,000 parameters, at 16 or 24 px on "
    "tfds:digits, 300 steps of batch 128, then 100 steps of batch 64, one seed"
  )
  assert (
    paper_study.describe_lengths(
      [{"train": dict(steps=None, epochs=None, examples=5000, batch_size=8)}]
    )
    == "5,000 examples of batch 8"
  )
  assert say(data_scale.STUDY, slice(6, 10), (2, 2, 9, 9)) == (
    "mu/4 and R50x1 of other sizes, 2 to 9 parameters, at 16 px on "
    "tfds:digits, 300 steps of batch 128, then 100 steps of batch 64, one seed"
  )


def test_what_failed_everywhere_is_not_drawn(tmp_path, capfd):
  """Nothing was fine-tuned; the rest is the page all the same."""
  value = dict(mean=0.5, stdev=None, seeds=1, by_seed={"0": 0.5})
  fields = {"model": "ViT", "percent of the images": 5, "images": 9}
  row = dict(name="vit", fields=fields, paper=None, values={"5-shot": value})
  summary = {
    "config": "so",
    "metrics": {"fine-tuned": "test/accuracy", "5-shot": "few/x"},
    "points": [row],
    "failed": {"vit-tuned/seed_0": {"status": 2, "reason": "no room"}},
    "lost": {"vit/seed_1": ["few/x"]},
  }
  data_scale.STUDY.save(summary, epath.Path(tmp_path))
  page = (tmp_path / "study.md").read_text()
  assert "Here, by 5-shot in percent, so: Best is vit with 50.00." in page
  assert "with status 2: no room" in page and "| - | 50.00 |" in page
  assert "vit/seed_1 is finished, but its metrics.jsonl has no few/x" in page
  said = capfd.readouterr().err.splitlines()
  assert said == [f"page: {tmp_path / 'study.md'}"]


def test_sizes_are_joined_where_nothing_is_interpolated(monkeypatch):
  """Where that run failed neither line begins there."""
  rows = [
    {"name": x.name, "fields": x.fields}
    for x in resolution.make_points("digits")[1:]
  ]
  drawn = []
  monkeypatch.setattr(
    resolution, "draw_lines", lambda rows, *_, **__: drawn.append(rows) or b""
  )
  resolution.draw(rows, "m")
  resolution.draw(rows[1:], "m")
  for found, first in zip(drawn, ([16], []), strict=True):
    for way in resolution.WAYS:
      fields = [x["fields"] for x in found if x["fields"]["positions"] == way]
      assert sorted(x["pixels"] for x in fields) == [*first, 24, 32]


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--scale=laptop"], "--data=folder:"),
    (["--config=configs/study.py:scale=pod"], "leave its arguments out"),
    (["--config.model.pool=gap"], "--config.model.pool is what the study"),
    (["optimizer", "--config.optim.name=sgd"], "is what the study optimizer"),
    (["optimizer", "--config.optim.lr=0.1"], "is what the study optimizer"),
    (["data_scale", "--config.data.train=train"], "is what the study"),
    (["resolution", "--config.data.size=32"], "is what the study"),
    (["--seeds=0,0"], "different whole numbers"),
    (
      ["data_scale", "--config.evals.test.kind=knn"],
      "the flag --config.evals.NAME.kind",
    ),
    (["data_scale", "--config.init=x"], "--config.init is set by the study"),
    (["--config=digits"], "needs a recipe that takes scale= and dataset="),
    # What all runs would fail of.
    (["--scale=card", "--yes"], "'tfds:imagenet2012' is not prepared"),
    (["--scale=card", "--yes", "--data=synthetic:9"], "found no accelerator"),
    (["--config.init=vit-b16-i21k.npz"], "--download=vit-b16-i21k --to="),
  ],
)
def test_what_cannot_be_compared_is_said(
  flags, words, tmp_path, capfd, data_dir
):
  where = [f"--workdir={tmp_path / 'study'}", f"--config.data.dir={data_dir}"]
  with pytest.raises(SystemExit) as caught:
    main(
      [*flags, *where] if flags[0][0] != "-" else ["pooling", *where, *flags]
    )
  assert caught.value.code == 2 and words in capfd.readouterr().err
  assert not (tmp_path / "study").exists()


def test_ten_checkpoints_of_any_length(monkeypatch):
  monkeypatch.chdir(ROOT)
  for flags, every in (
    ([], 30),
    (["--config.train.steps=50"], 5),
    (["--config.train.steps=55"], 6),
    (["--config.train.steps=3"], 1),
  ):
    assert attention_distance.find_every("study:scale=digits", flags) == every


def test_the_estimate_counts_evaluations(data_dir, monkeypatch):
  """In a process of its own where there may be an accelerator."""
  monkeypatch.chdir(ROOT)
  flags = [f"--config.data.dir={data_dir}", "--config.evals.test.every=70"]
  config = resolve(load_config("study", flags))
  # 360 images five times, as 300 steps are 4.3 times 70, and with the 1,437 of
  # train.
  assert cost.count_evaluated(Experiment(config)) == 5 * 360 + 360 + 1437
  (here,) = cost.estimate([config])
  jax.config.update("jax_platforms", None)
  try:
    (apart,) = cost.estimate([config])
  finally:
    jax.config.update("jax_platforms", "cpu")
  assert apart.flops == here.flops > 0


def test_an_estimate_that_is_killed_is_one_error(monkeypatch):
  die = functools.partial(signal.raise_signal, signal.SIGKILL)
  monkeypatch.setattr(cost, "follow_parent", die)
  jax.config.update("jax_platforms", None)
  try:
    with pytest.raises(RunError, match="was killed, as is done where memory"):
      cost.estimate([])
  finally:
    jax.config.update("jax_platforms", "cpu")


def test_what_takes_long_is_asked(monkeypatch, capsys):
  cost.confirm(3600.0, 2, yes=False)
  cost.confirm(1e6, 2, yes=True)
  assert "2 runs, about 1h00m" in capsys.readouterr().err
  for stdin in (None, io.StringIO()):
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(ConfigError, match="add --yes"):
      cost.confirm(3601.0, 2, yes=False)
  terminal = types.SimpleNamespace(isatty=lambda: True)
  monkeypatch.setattr("sys.stdin", terminal)
  for answer in ("y\n", "Yes \n"):
    terminal.readline = lambda answer=answer: answer
    cost.confirm(3601.0, 1, yes=False)
  asked = capsys.readouterr()
  assert "1 run, about 1h00m on this machine alone\nbegin? [y/N]" in asked.err
  assert asked.out == ""  # Of which the table may be wanted in a file.
  for answer in ("\n", ""):  # The other is Ctrl-D.
    terminal.readline = lambda answer=answer: answer
    with pytest.raises(ConfigError, match="nothing was begun"):
      cost.confirm(3601.0, 2, yes=False)
