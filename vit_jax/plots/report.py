# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a run, and of several beside one another."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

import vit_jax
from vit_jax.config.errors import counted
from vit_jax.metrics.classification import compute_wilson
from vit_jax.metrics.progress import format_duration
from vit_jax.plots.commands import list_commands
from vit_jax.plots.compared import compare
from vit_jax.plots.curves import draw_curves
from vit_jax.plots.examined import make_sections
from vit_jax.plots.page import Figure, Page, Section, Table
from vit_jax.plots.pictures import draw_grid, read_png, restore
from vit_jax.plots.run_files import EXAMPLES, RunFiles, read_run
from vit_jax.storage.files import replacing, write_text
from vit_jax.storage.paths import locate


class Quantity(NamedTuple):
  """What a metric of training is, and how it is drawn.

  Attributes:
    title: its name.
    label: its axis, with the unit; UNIT stands for that of the runs' losses.
    factor: from the metric to the unit.
    scale: "log" is drawn on a logarithmic axis, "zero" with zero on it.
    unit: follows a value, where the label alone does not say it.
  """

  title: str
  label: str
  factor: float = 1.0
  scale: str = ""
  unit: str = ""


CURVES = {
  "loss": Quantity("Loss", "training loss (UNIT)"),
  "accuracy": Quantity("Accuracy", "training accuracy (%)", 100.0),
  "pixel_accuracy": Quantity(
    "Pixel accuracy", "training pixel accuracy (%)", 100.0
  ),
  "lr": Quantity("Learning rate", "learning rate (no unit)", scale="zero"),
  "grad_norm": Quantity(
    "Gradient norm", "L2 norm of the gradient (no unit)", scale="log"
  ),
  "update_norm": Quantity(
    "Update norm", "L2 norm of the update (no unit)", scale="log"
  ),
  "images_per_second": Quantity(
    "Speed", "images per second", scale="zero", unit=" images/s"
  ),
  "data_wait": Quantity(
    "Wait for data", "time without a batch (%)", 100.0, "zero"
  ),
  "mfu": Quantity("Utilisation", "model FLOPs utilisation (%)", 100.0, "zero"),
}
# What makes training harder than an evaluation is: key -> its name.
HARDER = {
  "objective.label_smoothing": "label smoothing",
  "data.augment.mixup": "mixup",
  "data.augment.cutmix": "CutMix",
  "data.augment.randaugment": "RandAugment",
  "data.augment.erasing": "random erasing",
}
# What rows of evaluations count, and no curve shows.
COUNTS = ("correct", "total")
# How metrics that are shares begin, as accuracy_top5.
SHARE = ("accuracy", "patch_accuracy", "pixel_accuracy", "map", "miou", "iou_")


def make_report(runs: Sequence[RunFiles], more: Sequence[Section] = ()) -> Page:
  """Makes the page of a run, or of several.

  Args:
    runs: one run or more.
    more: further sections, which follow the curves: tables and pictures of an
      evaluation.
  """
  curves = _draw_training(runs)
  sections = [
    Section(title="Result", tables=_tabulate_results(runs)),
    Section(
      title="Training",
      text=_say_what_is_harder(runs[0]) if curves and len(runs) == 1 else "",
      figures=curves,
    ),
    Section(
      title="Evaluations",
      figures=_draw_evaluations(runs),
      tables=_tabulate_evaluations(runs),
    ),
    *more,
    _show_examples(runs),
    Section(title="Config", text=_say_keys(runs), tables=_tabulate_keys(runs)),
    Section(title="Versions and hardware", tables=_tabulate_versions(runs)),
    Section(
      title="Commands",
      text="Of the run itself; to use the model, look into it, and hand it on.",
      commands=list_commands(runs[0]) if len(runs) == 1 else [],
    ),
  ]
  title = ", ".join(run.name for run in runs)
  return Page(
    title=title if len(title) < 80 else f"{len(runs)} runs",
    lead="; ".join(_describe(run) for run in runs),
    facts=_list_facts(runs[0]) if len(runs) == 1 else [],
    sections=sections,
    foot=f"vit_jax {vit_jax.__version__}; python -m vit_jax.report makes this "
    f"page of what the workdir holds, at any time.",
  )


def save_report(paths: Sequence[str], out: Any = None) -> Any:
  """Writes the page of one run or several; returns where.

  Args:
    paths: workdirs, local or gs://.
    out: path of the page; None is report.html in the workdir.

  Raises:
    ConfigError: if there is no run.
    OSError: if the page cannot be written.
  """
  runs = [read_run(path, paths) for path in paths]
  more = []
  if len(runs) > 1:
    more = compare(runs)
  elif runs[0].result is not None:
    more = make_sections(locate(paths[0]), runs[0].step)
  page = make_report(runs, more)
  target = locate(paths[0]) / "report.html" if out is None else locate(out)
  write_text(target, page.render())
  return target


def save_examples(
  path: str, images: Float[np.ndarray, "B H W c"]
) -> UInt8[np.ndarray, "height width 3"]:
  """Keeps training images in a workdir, for its page.

  Args:
    path: of the workdir.
    images: of values in [-1, 1], from `analysis.examples.make_examples`.

  Returns:
    The picture that shows them.
  """
  half = (0.5,) * images.shape[-1]
  png = draw_grid([restore(image, half, half) for image in images])
  with replacing(locate(path) / EXAMPLES) as target:
    target.write_bytes(png)
  return read_png(png)


def _describe(run: RunFiles) -> str:
  """Where a run is, and how far."""
  steps = run.keys.get("train.steps")
  of = f" of {steps:,}" if isinstance(steps, int) else ""
  if run.result is not None:
    date = str(run.result.get("finished", "")).partition(" ")[0]
    on = f" on {date}" if date else ""
    return f"{run.path}: done after {counted(run.step, 'step')}{on}"
  if not run.rows:
    return f"{run.path}: no step is reported yet"
  return f"{run.path}: step {run.step:,}{of}, without a result yet"


def _list_facts(run: RunFiles) -> list[tuple[str, str]]:
  """What is read first."""
  facts, result = [], run.result or {}
  if "map" in result:
    facts.append(("mAP", f"{100 * result['map']:.2f} %"))
  if "accuracy" in result:
    facts.append(("accuracy", f"{100 * result['accuracy']:.2f} %"))
    if {"correct", "total"} <= result.keys():
      correct, total = result["correct"], result["total"]
      facts.append(("correct", f"{correct:,} / {total:,}"))
      if 0 <= correct <= total:  # A file may say anything.
        low, high = (100 * x for x in compute_wilson(correct, total))
        facts.append(("95 % interval", f"{low:.2f} to {high:.2f} %"))
  for name, key in (("mean IoU", "miou"), ("pixel accuracy", "pixel_accuracy")):
    if key in result:
      facts.append((name, f"{100 * result[key]:.2f} %"))
  if "loss" in result:
    facts.append(("loss", f"{result['loss']:.4f} {_get_unit(run)}".strip()))
  if "train_images" in result:
    facts.append(("training images", f"{result['train_images']:,}"))
  facts.append(("steps", f"{run.step:,}"))
  batch = run.keys.get("train.batch_size")
  if isinstance(batch, int):
    facts.append(("batch", f"{batch:,}"))
  if "seconds" in result:
    start = result.get("start_step")
    since = f" since step {start:,}" if start else ""
    facts.append((f"time{since}", format_duration(result["seconds"])))
  model = run.config.get("model")
  if isinstance(model, dict) and "variant" in model:
    facts.append(("model", str(model["variant"])))
  if "parameters" in result:
    facts.append(("parameters", f"{result['parameters']:,}"))
  if run.config.get("init"):
    source = str(run.config["init"]).rstrip("/")
    facts.append(("started from", source.rpartition("/")[2]))
  return facts


def _get_unit(run: RunFiles) -> str:
  """The unit of a run's loss: nats of a cross-entropy, none of a square."""
  objective = run.config.get("objective")
  given = objective if isinstance(objective, dict) else {}
  squares = given.get("name") == "mae" or given.get("target") == "pixels"
  return "" if squares else "nats"


def _show_examples(runs: Sequence[RunFiles]) -> Section:
  """Training images, of the runs that have kept some."""
  figures = [
    Figure(
      [(run.examples, f"training images of {run.name}, augmented")],
      f"{run.name}." if len(runs) > 1 else "",
      kind="photo",
    )
    for run in runs
    if run.examples is not None
  ]
  return Section(
    title="Images as the model saw them",
    text="Training images, cropped and augmented as the config says.",
    figures=figures,
    layout="wide",
  )


def _tabulate_results(runs: Sequence[RunFiles]) -> list[Table]:
  """The facts of several runs, a column a run; of one they stand above."""
  if len(runs) == 1:
    return []
  found = [dict(_list_facts(run)) for run in runs]
  names = list(dict.fromkeys(name for facts in found for name in facts))
  rows = [[name, *(x.get(name, "–") for x in found)] for name in names]
  return [Table(rows, ["", *(run.name for run in runs)])]


def _draw(
  runs: Sequence[RunFiles], metric: str, quantity: Quantity
) -> list[Figure]:
  """The curve of a metric, of the runs that have it."""
  curves = {}
  for run in runs:
    steps, values = run.get_curve(metric)
    curves[run.name] = (steps, [quantity.factor * x for x in values])
  if not any(steps for steps, _ in curves.values()):
    return []
  units = {
    _get_unit(run) or "mean square" for run in runs if curves[run.name][0]
  }
  label = quantity.label.replace("UNIT", " or ".join(sorted(units)))
  png = draw_curves(
    curves,
    label,
    log=quantity.scale == "log",
    from_zero=quantity.scale == "zero",
    share=quantity.factor == 100,
  )
  unit = " %" if quantity.factor == 100 else quantity.unit
  last = ", ".join(
    f"{name if len(curves) > 1 else ''} {_format(values[-1])}{unit}".strip()
    for name, (_, values) in curves.items()
    if values
  )
  text = f"{label} by step; at the end {last}"
  return [Figure([(png, text)], f"{quantity.title}.", f"At the end {last}.")]


def _format(value: float) -> str:
  """Formats a value by four digits, or as a whole number with all of them."""
  return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def _draw_training(runs: Sequence[RunFiles]) -> list[Figure]:
  """The curves of training."""
  drawn = (_draw(runs, metric, quantity) for metric, quantity in CURVES.items())
  return [figure for figures in drawn for figure in figures]


def _say_what_is_harder(run: RunFiles) -> str:
  """Says why loss and accuracy of training are not those of an evaluation."""
  given = {label: run.keys.get(key) for key, label in HARDER.items()}
  used = [
    f"{label} {str(value).strip('[]()')}"
    for label, value in given.items()
    if value
  ]
  if not used:
    return ""
  return (
    f"Loss and accuracy are of training images, with {', '.join(used)}. An "
    f"evaluation is without, so its loss is usually lower and its accuracy "
    f"higher."
  )


def _list_evaluations(runs: Sequence[RunFiles]) -> list[str]:
  """Metrics of evaluations that any run has."""
  return list(dict.fromkeys(x for run in runs for x in run.evaluations))


def _draw_evaluations(runs: Sequence[RunFiles]) -> list[Figure]:
  """The curves of evaluations that were made more than once."""
  found = []
  for metric in _list_evaluations(runs):
    last = metric.rpartition("/")[2]
    repeated = any(len(run.get_curve(metric)[0]) > 1 for run in runs)
    if not repeated or last in COUNTS:
      continue
    quantity = Quantity(metric, metric)
    if last.startswith(SHARE):
      quantity = Quantity(metric, f"{metric} (%)", 100.0)
    elif last == "loss":
      quantity = Quantity(metric, f"{metric} (UNIT)")
    found += _draw(runs, metric, quantity)
  return found


def _tabulate_evaluations(runs: Sequence[RunFiles]) -> list[Table]:
  """The last value of each metric, a column a run."""
  rows = []
  for metric in _list_evaluations(runs):
    cells = []
    for run in runs:
      steps, values = run.get_curve(metric)
      at = f" (step {steps[-1]:,})" if steps else ""
      cells.append(f"{_show(metric, values[-1])}{at}" if steps else "–")
    rows.append([metric, *cells])
  if not rows:
    return []
  return [Table(rows, ["metric, last value", *(run.name for run in runs)])]


def _show(metric: str, value: float) -> str:
  """A value of a metric, for people."""
  last = metric.rpartition("/")[2]
  if last.startswith(SHARE):
    return f"{100 * value:.2f} %"
  return f"{value:,.0f}" if last in COUNTS else f"{value:.4g}"


def _say_keys(runs: Sequence[RunFiles]) -> str:
  """What the table of keys has."""
  if len(runs) == 1:
    return ""
  return "The keys in which the runs differ."


def _tabulate_keys(runs: Sequence[RunFiles]) -> list[Table]:
  """The keys of the config: all of one run, of several those that differ."""
  found = [run.keys for run in runs]
  names = list(dict.fromkeys(name for keys in found for name in keys))
  header = ["key", *(run.name for run in runs)]
  rows = {
    name: [json.dumps(keys[name]) if name in keys else "–" for keys in found]
    for name in names
  }
  folded = Table(
    *([[k, *x] for k, x in rows.items()], header), folded="All keys"
  )
  differ = [[k, *x] for k, x in rows.items() if len(set(x)) > 1]
  return [Table(differ, header), folded] if differ else [folded]


def _tabulate_versions(runs: Sequence[RunFiles]) -> list[Table]:
  """Hardware and versions, a column a run."""
  found = [{**run.hardware, **run.versions} for run in runs]
  names = list(dict.fromkeys(name for x in found for name in x))
  rows = [[name, *(str(x.get(name, "–")) for x in found)] for name in names]
  return [Table(rows, ["", *(run.name for run in runs)])] if rows else []
