# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluates trained weights on a data set.

  python -m vit_jax.evaluate runs/pets                    what the run held out
  python -m vit_jax.evaluate ViT-B_16.npz --data=folder:photos --out=result
  python -m vit_jax.evaluate runs/pets --evals=fewshot,knn,linear
  python -m vit_jax.evaluate runs/pets --evals=robustness --baseline=runs/bit

RUN is the directory of a run, or any weights that vit_jax.load reads. All
devices of this machine are used, and every image counts once. With --out=DIR
evaluation.json has every figure, predictions.csv every image and confusion.csv
the classes taken for one another.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vit_jax.config import ConfigError, Count, nearest
from vit_jax.config.command_line import make_parser, positive, reported
from vit_jax.config.weight_options import (
  add_data_options,
  add_options,
  add_weights,
  read_options,
  renaming,
)
from vit_jax.devices.detection import start_backend
from vit_jax.metrics.progress import Progress, shown
from vit_jax.prepare.listing import Meter
from vit_jax.runtime.compilation_cache import use_cache
from vit_jax.storage.files import to_json, write_json
from vit_jax.storage.paths import is_local, locate, refuse_existing, written

PROBES = ("fewshot", "knn", "linear")
ROBUSTNESS = (
  *("occlusion", "shuffle", "texture", "corruptions", "pgd", "patch_attack"),
)
ALL = "robustness"  # All of them.
PIXELS = "segmentation"  # Of runs of this objective, which have no other.
EVALS = ("classification", PIXELS, *PROBES, ALL, *ROBUSTNESS)

# Options that are a baseline's, too; its size and crop are its own.
SHARED = ("batch_size", "max_unreadable", "classes", "dtype")


def evaluate(
  path: str | os.PathLike,
  *,
  data: str | None = None,
  split: str | None = None,
  train_split: str = "train",
  evals: Sequence[str] | None = None,
  out: str | os.PathLike | None = None,
  overwrite: bool = False,
  top: Count = 5,
  label_map: str | None = None,
  baseline: str | os.PathLike | None = None,
  examples: Count = 1000,
  progress: Progress | None = None,
  **options: Any,
) -> dict[str, Any]:
  """Evaluates trained weights on a data set.

  Args:
    path: a run or weights, see `vit_jax.load`.
    data: source as a config names it, as "folder:photos"; None is that of a
      run.
    split: split to evaluate on; None is that of a run's evaluation, or "test".
    train_split: split whose labels the probes are fitted with.
    evals: names of EVALS; None is ("segmentation",) of a run that classifies
      pixels, and ("classification",) of all other weights.
    out: directory for evaluation.json, predictions.csv, confusion.csv and what
      robustness writes; None writes nothing.
    overwrite: allows to replace those of another evaluation.
    top: number of classes per image in predictions.csv.
    label_map: labels instead of the data's: a set of `data.relatives`, or a
      file, see `data.label_map`.
    baseline: a run or weights whose curves of robustness are drawn beside.
    examples: largest number of images for these, evenly from all of the split.
    progress: where it is shown; None is nowhere.
    **options: `data_dir`, `batch_size`, `max_unreadable`, `weights` and
      `label_map_sha256`, see `trained.open_trained`; others see
      `vit_jax.load`.

  Returns:
    Content of evaluation.json.

  Raises:
    ConfigError: for bad arguments, missing data, and classes that differ; and
      if `out` has an evaluation, which may not be replaced.
  """
  evals = choose_evals(path, evals)
  robust = [x for x in ROBUSTNESS if x in evals or ALL in evals]
  if baseline is not None and not robust:
    raise ConfigError(f"--baseline is for --evals={ALL} or one of its parts")
  if label_map is None and options.get("label_map_sha256") is not None:
    raise ConfigError(
      "--label_map_sha256 is for --label_map, and none is given"
    )
  directory = None if out is None else make_directory(out, overwrite)

  # Late: jax must not start before a message about bad arguments.
  import vit_jax
  from vit_jax.metrics import evaluation
  from vit_jax.trained import open_beside, open_trained

  progress = progress or Progress(enabled=False)
  classify = "classification" in evals
  by_class = classify or bool(robust)  # What needs classes.
  probes = [name for name in evals if name in PROBES]
  if label_map is not None and probes:
    raise ConfigError(
      f"--label_map is for --evals=classification, not for {probes[0]}"
    )
  trained = open_trained(
    path,
    data=data,
    split=split,
    classify=by_class,
    segment=PIXELS in evals,
    label_map=label_map,
    **options,
  )
  if PIXELS in evals:
    from vit_jax.segmented import check_names

    check_names(os.fspath(path), trained.data.source, trained.info.class_names)
  models = [trained]
  if baseline is not None:
    shared = {k: x for k, x in options.items() if k in SHARED}
    models.append(open_beside(baseline, trained, shared))
  both = 0
  if probes:
    if not trained.info.num_classes:
      raise ConfigError(
        f"images of {trained.data.source} have no labels, which {probes[0]} "
        f"reads: give --data=SOURCE of others, as folder:DIR"
      )
    trained.info.count(train_split)
    both = trained.info.count_shared(train_split, trained.split)
  notes = list(trained.notes)
  for other in models[1:]:
    notes += [f"{baseline}: {note}" for note in other.notes]
  if both:
    notes.append(
      f"{both:,} images of {trained.split} are in {train_split}, too, with "
      f"whose labels {', '.join(probes)} are fitted: these figures are not of "
      f"unseen images"
    )
  found: dict[str, Any] = {
    "weights": trained.weights.source,
    "data": trained.data.source,
    "split": trained.split,
    "images": trained.count(trained.split),
    "notes": notes,
    "preprocess": trained.weights.preprocess.to_json(),
    "devices": [x.device_kind for x in trained.mesh.devices.flat],
    "batch_size": trained.batch_size,
    "version": vit_jax.__version__,
  }

  if trained.label_map is not None:
    found["label_map"] = trained.label_map.to_json(trained.weights.num_classes)

  def make_mark(what: str, total: int | None = None) -> Callable[[], None]:
    total = total or trained.count(what)
    meter = Meter(progress, total, f"images of {what}")
    left = [total]

    def mark() -> None:
      number = min(left[0], trained.batch_size)
      left[0] -= number
      meter.add(number)

    return mark

  if directory is not None:
    with written(out):
      evaluation.remove_files(directory)  # Of another evaluation.
  if classify:
    evaluator = trained.make_evaluator("classification")
    values, scores = evaluator.score(
      *(trained.state, top, make_mark(trained.split)),
      ranked=trained.label_map is None,  # Else any of the labels is right.
    )
    known = trained.weights.class_names
    numbers = map(str, range(trained.weights.num_classes))
    names = [*(known or numbers)]
    label, likely, chance, ranking = scores
    found |= values
    found |= evaluation.describe_scores(label, likely, chance, names, ranking)
    if directory is not None:
      paths = trained.list_names(trained.split)
      with written(out):
        evaluation.write_predictions(
          directory, paths, label, likely, chance, names
        )
        if label.ndim == 1:
          evaluation.write_confusion(directory, label, likely[:, 0], names)
  if PIXELS in evals:
    evaluator = trained.make_evaluator(PIXELS)
    found |= dict(evaluator.run(trained.state, make_mark(trained.split)))
  if probes:
    made = {
      name: trained.make_evaluator(name, train_split=train_split)
      for name in probes
    }
    first = made[probes[0]]
    features = [
      first.embed(trained.state, x, make_mark(x))
      for x in (train_split, trained.split)
    ]
    found["train_split"] = train_split
    for evaluator in made.values():
      found |= dict(evaluator.measure(*features))
  if robust:
    from vit_jax.evaluators.robustness import measure_robustness

    found["robustness"] = measure_robustness(
      models, robust, examples, make_mark
    )
  if directory is not None:
    with written(out):
      if robust:
        write_robustness(directory, found["robustness"])
      write_json(directory / "evaluation.json", found)
  return found


def write_robustness(directory: Any, found: Mapping[str, Any]) -> None:
  """Writes robustness.csv, a PNG a curve, and one of all."""
  from vit_jax.metrics import robustness
  from vit_jax.plots.robustness import draw_all

  robustness.write_curves(directory, found["curves"])
  (directory / robustness.FOLDER).mkdir(exist_ok=True)
  for name, png in draw_all(found).items():
    (directory / name).write_bytes(png)


def check_evals(evals: Sequence[str]) -> None:
  """Raises ConfigError for evaluations that there are not."""
  for name in evals:
    if name not in EVALS:
      raise ConfigError(f"--evals={name!r}: {nearest(name, EVALS)}")
  if not evals:
    raise ConfigError(f"--evals is empty: choose from {', '.join(EVALS)}")


def choose_evals(
  path: str | os.PathLike, evals: Sequence[str] | None
) -> Sequence[str]:
  """Chooses the evaluations of weights; as `evaluate`.

  Raises:
    ConfigError: if they are unknown, or not for these weights.
  """
  from vit_jax.convert.segmentation import is_segmentation

  if evals is not None:
    check_evals(evals)
    if PIXELS not in evals:
      return evals
  pixels = is_segmentation(os.fspath(path))
  if evals is None:
    return (PIXELS,) if pixels else ("classification",)
  if not pixels:
    raise ConfigError(
      f"--evals={PIXELS} is for runs of objective.name='{PIXELS}', and {path} "
      f"is none"
    )
  if len(evals) > 1:
    raise ConfigError(f"--evals={PIXELS} reads masks: leave the others out")
  return evals


def make_directory(out: str | os.PathLike, overwrite: bool) -> Any:
  """Makes the directory of the files; raises ConfigError if it cannot."""
  from vit_jax.metrics.evaluation import FILES

  directory = locate(out)
  with written(out):
    refuse_existing([directory / name for name in FILES], overwrite)
    directory.mkdir(parents=True, exist_ok=True)
    if is_local(out):  # Else the end of a long evaluation would tell.
      probe = directory / ".evaluation.writing"
      probe.write_text("")
      probe.unlink()
  return directory


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("evaluate", __doc__)
  parser.add_argument(
    "run", metavar="RUN", help="directory of a run, or weights"
  )
  add_data_options(parser)
  add_weights(parser)
  parser.add_argument(
    "--evals",
    metavar="NAME,...",
    help=f"of {', '.join(EVALS)} (default: classification, or segmentation "
    f"of a run that classifies pixels)",
  )
  parser.add_argument(
    "--train_split",
    metavar="SPLIT",
    default="train",
    help="split whose labels fewshot, knn and linear are fitted with "
    "(default: train)",
  )
  parser.add_argument(
    "--label_map",
    metavar="NAME|FILE",
    help="labels of ImageNet's relatives: imagenet_a, imagenet_r, imagenet_v2, "
    "imagenet_sketch, objectnet, real:FILE, or a JSON of classes or images and "
    "classes of the weights",
  )
  parser.add_argument(
    "--label_map_sha256", metavar="HEX", help="digest that it must have"
  )
  parser.add_argument(
    "--baseline",
    metavar="RUN",
    help="a run or weights, as of a ResNet, whose curves of robustness are "
    "drawn beside",
  )
  parser.add_argument(
    "--examples",
    type=positive,
    default=1000,
    metavar="N",
    help="images for robustness, evenly from all of the split (default: 1000)",
  )
  parser.add_argument("--out", metavar="DIR", help="write files to DIR")
  parser.add_argument(
    "--overwrite", action="store_true", help="replace an evaluation in DIR"
  )
  parser.add_argument(
    "--top",
    type=positive,
    default=5,
    metavar="N",
    help="classes per image in predictions.csv (default: 5)",
  )
  parser.add_argument(
    "--json",
    action="store_true",
    help="print one line of JSON to standard output, and all else to standard "
    "error",
  )
  add_options(parser)
  arguments = parser.parse_args(argv)
  with reported(), renaming():
    names = None
    if arguments.evals is not None:
      names = tuple(filter(None, arguments.evals.split(",")))
      check_evals(names)
    options = read_options(arguments)
    use_cache(start_backend(keep=True))
    with shown() as progress:
      found = evaluate(
        arguments.run,
        train_split=arguments.train_split,
        evals=names,
        out=arguments.out,
        overwrite=arguments.overwrite,
        top=arguments.top,
        label_map=arguments.label_map,
        label_map_sha256=arguments.label_map_sha256,
        baseline=arguments.baseline,
        examples=arguments.examples,
        progress=progress,
        weights=arguments.weights,
        **options,
      )
    show(found, arguments.out, arguments.json)


def show(found: dict[str, Any], out: str | None, as_json: bool) -> None:
  """Prints a result, and where its files are."""
  from vit_jax.metrics import evaluation

  stream = sys.stderr if as_json else sys.stdout
  print(evaluation.format_table(found), end="", file=stream)
  if out is not None:
    files = ", ".join(evaluation.list_files(locate(out)))
    print(f"written: {files}", file=stream)
  if as_json:
    print(to_json(found))


if __name__ == "__main__":
  main()
