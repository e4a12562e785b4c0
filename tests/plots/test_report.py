# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a run, of what its workdir holds."""

import dataclasses
import json

import pytest

from vit_jax import report
from vit_jax.config import ConfigError
from vit_jax.plots.curves import POINTS, draw_curves, thin
from vit_jax.plots.page import Section
from vit_jax.plots.report import make_report, save_report
from vit_jax.plots.run_files import read_run


def write_run(workdir, *, rows=(), result=None, **keys):
  """A workdir with these files."""
  workdir.mkdir()
  config = {
    "model": {"variant": "mu/4"},
    "train": {"steps": 40, "augment": {}} | keys,
    "versions": {"jax": "0.9.1"},
    "hardware": {"devices": "8 x TPU v5 lite", "hosts": 2},
    "sha256": "0123",
  }
  (workdir / "config.json").write_text(json.dumps(config))
  lines = "".join(json.dumps(row) + "\n" for row in rows)
  (workdir / "metrics.jsonl").write_text(lines)
  if result is not None:
    (workdir / "result.json").write_text(json.dumps(result))
  return str(workdir)


ROWS = [
  {"step": 10, "loss": 2.0, "lr": 0.1, "grad_norm": 1.5, "data_wait": 0.25},
  {"step": 20, "loss": None, "lr": 0.05, "grad_norm": 0.5, "data_wait": 0},
  {"step": 20, "test/accuracy": 0.5, "test/correct": 5, "test/total": 10},
  {"step": 20, "spike/level": 3.0},
  {"step": 40, "test/accuracy": 0.7, "test/correct": 7, "test/total": 10},
  {"step": 40, "test/accuracy_top5": 0.95},
]


def test_a_segmentation_begins_with_its_mean_iou(tmp_path):
  result = {"miou": 0.71239, "pixel_accuracy": 0.9, "loss": 0.5, "steps": 40}
  rows = [{"step": 20, "pixel_accuracy": 0.8125}]
  rows += [{"step": 40, "test/miou": 0.65625, "test/iou_a_cat": 0.34375}]
  path = write_run(tmp_path / "pixels", rows=rows, result=result)
  config = json.loads((tmp_path / "pixels/config.json").read_text())
  config["objective"] = {"name": "segmentation"}
  (tmp_path / "pixels/config.json").write_text(json.dumps(config))
  manifest = json.dumps({"num_classes": 0})
  (tmp_path / "pixels/manifest.json").write_text(manifest)
  page = make_report([read_run(path)]).render()
  page = page.replace("\N{NO-BREAK SPACE}", " ")
  assert page.index("71.24 %") < page.index("90.00 %") < page.index("Training")
  assert "<strong>Pixel accuracy.</strong> At the end 81.25 %." in page
  for share in ("65.62 % (step 40)", "34.38 % (step 40)"):
    assert share in page
  assert f"vit_jax.predict {path} IMAGE ... --masks=DIR" in page


def test_a_run_is_read_as_it_is(tmp_path):
  path = write_run(tmp_path / "a", rows=ROWS)
  run = read_run(path)
  assert run.name == "a" and run.step == 40 and run.result is None
  assert run.keys == {
    "model.variant": "mu/4",
    "train.steps": 40,
    "train.augment": {},
  }
  assert run.get_curve("loss") == ([10], [2.0])  # Not that which is no number.
  assert run.get_curve("lr") == ([10, 20], [0.1, 0.05])
  assert run.evaluations == [
    f"test/{x}" for x in ("accuracy", "correct", "total", "accuracy_top5")
  ]
  assert run.hardware["hosts"] == 2 and run.versions == {"jax": "0.9.1"}


def test_the_page_of_a_run_has_its_curves_and_results(tmp_path, drawn):
  result = {"accuracy": 0.7, "correct": 7, "total": 10, "loss": 0.5}
  result |= {"steps": 40, "seconds": 125.0, "train_images": 1437}
  result |= {"parameters": 136_778, "start_step": 20}
  result |= {"finished": "2026-11-29 11:20:05+00:00", "command": "python x"}
  keys = {"batch_size": 128}
  path = write_run(tmp_path / "a", rows=ROWS, result=result, **keys)
  page = make_report([read_run(path)])
  assert page.lead == f"{path}: done after 40 steps on 2026-11-29"
  assert page.sections[-1].commands[0] == "python x"
  (axes,) = drawn()  # The last curve, in percent.
  assert axes.get_ylabel() == "test/accuracy (%)"
  assert axes.lines[0].get_xydata().tolist() == [[20, 50], [40, 70]]
  assert dict(page.facts) == {
    "accuracy": "70.00 %",
    "correct": "7 / 10",
    "95 % interval": "39.68 to 89.22 %",
    "loss": "0.5000 nats",
    "training images": "1,437",
    "steps": "40",
    "batch": "128",
    "time since step 20": "2m05s",
    "model": "mu/4",
    "parameters": "136,778",
  }
  sections = {section.title: section for section in page.sections}
  titles = [figure.title for figure in sections["Training"].figures]
  assert titles == [
    "Loss.",
    "Learning rate.",
    "Gradient norm.",
    "Wait for data.",
  ]
  rows = sections["Evaluations"].tables[0].rows
  assert ["test/accuracy", "70.00 % (step 40)"] in rows
  assert ["test/correct", "7 (step 40)"] in rows
  assert ["test/accuracy_top5", "95.00 % (step 40)"] in rows
  rows = sections["Versions and hardware"].tables[0].rows
  assert ["devices", "8 x TPU v5 lite"] in rows and ["jax", "0.9.1"] in rows
  text = page.render()
  assert "spike" not in text and 'href="http' not in text
  assert "--config=RECIPE" not in text  # It is done.


def test_a_run_without_rows_has_a_page_without_empty_sections(tmp_path):
  page = make_report([read_run(write_run(tmp_path / "a"))])
  text = page.render()
  assert "no step is reported yet" in text and "--config=RECIPE" in text
  assert "Training" not in text and "Evaluations" not in text
  assert "<img" not in text and "train.steps" in text


def test_a_run_that_goes_on_says_how_far_it_is(tmp_path):
  path = write_run(tmp_path / "a", rows=ROWS[:2])
  text = make_report([read_run(path)]).render()
  assert "step 20 of 40, without a result yet" in text


def test_runs_are_compared_by_what_differs(tmp_path, drawn):
  one = write_run(tmp_path / "one", rows=ROWS, seed=1)
  two = write_run(tmp_path / "two", rows=ROWS[:1], seed=2, lr=0.5)
  page = make_report([read_run(one), read_run(two)])
  sections = {section.title: section for section in page.sections}
  differ, everything = sections["Config"].tables
  assert differ.header == ["key", "one", "two"]
  assert differ.rows == [["train.seed", "1", "2"], ["train.lr", "–", "0.5"]]
  assert everything.folded and len(everything.rows) == 5
  loss = sections["Training"].figures[0]
  assert loss.caption == "At the end one 2, two 2."
  rows = sections["Evaluations"].tables[0].rows
  assert ["test/total", "10 (step 40)", "–"] in rows
  assert ["steps", "40", "10"] in sections["Result"].tables[0].rows


def test_runs_of_one_name_have_more_of_their_paths(tmp_path, drawn):
  """As those of a study, whose directories are POINT/seed_N."""
  names = ["deep/seed_0", "deep/seed_1", "wide/seed_0"]
  paths = []
  for number, name in enumerate(names, 1):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    rows = [{"step": 10, "loss": number}, {"step": 10, "test/total": number}]
    paths.append(write_run(tmp_path / name, rows=rows))
  out = tmp_path / "all.html"
  save_report(paths, out)
  text = out.read_text()
  assert "<title>deep/seed_0, seed_1, wide/seed_0</title>" in text
  assert "At the end deep/seed_0 1, seed_1 2, wide/seed_0 3." in text
  assert text.count(">deep/seed_0</th>") == text.count(">seed_1</th>") > 0
  assert ">seed_0</th>" not in text
  legend = drawn()[0].get_legend()
  shown = [x.get_text() for x in legend.get_texts()]
  assert shown == ["deep/seed_0", "seed_1", "wide/seed_0"]


def test_a_run_has_its_name_and_its_colour_in_every_figure(tmp_path, drawn):
  """Also where others have no such metric, as runs without labels."""
  rows = [{"step": 10, "loss": 1.0}]
  one, two = (
    read_run(write_run(tmp_path / name, rows=rows)) for name in ("one", "two")
  )

  def draw(*runs):
    """The caption of the last figure, and name -> colour of its lines."""
    figure = make_report(runs).sections[1].figures[-1]
    (axes,) = drawn()
    names = [x.get_text() for x in axes.get_legend().get_texts()]
    colours = [x.get_color() for x in axes.lines]
    return figure.caption, dict(zip(names, colours, strict=True))

  _, colours = draw(one, two)
  labelled = dataclasses.replace(two, rows=[{"step": 10, "accuracy": 0.25}])
  caption, found = draw(one, labelled)
  assert caption == "At the end two 25 %."
  assert found == {"two": colours["two"]}
  assert colours["one"] != colours["two"]


def test_every_run_is_in_the_legend(drawn):
  """A name that begins with an underscore is one that matplotlib leaves out."""
  names = ["_x", "y", "__z$1$"]
  draw_curves({name: ([1, 2], [3.0, 4.0]) for name in names}, "loss (nats)")
  (axes,) = drawn()
  legend = axes.get_legend()
  shown = [text.get_text() for text in legend.get_texts()]
  assert shown == ["_x", "y", r"__z\$1\$"]
  lines = [line.get_color() for line in axes.lines]
  assert [line.get_color() for line in legend.get_lines()] == lines


def test_further_sections_follow_the_curves(tmp_path):
  run = read_run(write_run(tmp_path / "a", rows=ROWS))
  page = make_report([run], [Section(title="Mistakes", notes=["one"])])
  titles = [section.title for section in page.sections]
  assert titles.index("Mistakes") == titles.index("Evaluations") + 1


def test_the_page_is_written_beside_the_run(tmp_path, capsys):
  path = write_run(tmp_path / "a", rows=ROWS)
  for _ in range(2):  # While it goes on it is made again.
    report.main([path])
    assert capsys.readouterr().out.strip() == f"{path}/report.html"
  assert "<!doctype html>" in (tmp_path / "a" / "report.html").read_text()
  other = write_run(tmp_path / "b")
  again = f"{tmp_path}/../{tmp_path.name}/a/"  # One of them.
  report.main([path, other, path, again, f"--out={tmp_path}/ab.html"])
  text = (tmp_path / "ab.html").read_text()
  assert "<title>a, b</title>" in text


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["{root}/none"], "holds no run"),
    (["{root}/study"], "study holds 1 run, and is none itself: give one, as"),
    (["{root}/broken"], "broken/config.json cannot be read"),
    (["{root}/list"], "is not an object"),
    (["{root}/foreign"], "is not that of a run: it has no train section"),
    (["{root}/odd"], "odd/result.json: loss='low' is no number"),
    (["{root}/a", "--out={root}/a.txt"], "must end in .html"),
    (["{root}/a", "--out={root}/none/a.html"], "cannot be written"),
  ],
)
def test_mistakes_end_in_one_message(tmp_path, capsys, arguments, message):
  write_run(tmp_path / "a")
  write_run(tmp_path / "odd", result={"loss": "low"})
  for name, text in (
    *(("broken", "{"), ("list", "[]")),
    ("foreign", '{"model_type": "vit"}'),
  ):
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(text)
  (tmp_path / "study" / "lr_1" / "seed_0" / "checkpoints").mkdir(parents=True)
  with pytest.raises(SystemExit) as caught:
    report.main([x.format(root=tmp_path) for x in arguments])
  assert caught.value.code == 2
  assert message in capsys.readouterr().err


def test_a_missing_run_is_a_config_error(tmp_path):
  with pytest.raises(ConfigError, match="holds no run"):
    save_report([str(tmp_path)])


def test_long_curves_are_thinned():
  steps = list(range(10 * POINTS + 7))
  found, values = thin((steps, [float(x) for x in steps]))
  assert len(found) <= POINTS + 1 and found == values
  assert found[0] == 0 and found[-1] == steps[-1]
  assert thin(([1, 2], [3.0, 4.0])) == ([1, 2], [3.0, 4.0])


@pytest.mark.parametrize("steps", [(2,), (1, 2, 3), (1000, 2000)])
def test_steps_are_counted_once_beside_their_axis(steps, drawn):
  draw_curves({"a": (steps, [1.0] * len(steps))}, "loss (nats)")
  (axes,) = drawn()
  ticks = [x.get_text() for x in axes.get_xticklabels()]
  assert len(ticks) == len(set(ticks))
