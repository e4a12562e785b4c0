# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run writes beside its result, for people to look at.

At its beginning examples.png has training images as the model sees them. At its
end WORKDIR/evaluation holds the figures by class and every prediction, as
`evaluate --out` writes them, and pictures of the worst mistakes. The page of
the run shows them.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Float

from vit_jax.analysis.examples import make_examples
from vit_jax.analysis.explain import count_attention_bytes, has_attention
from vit_jax.analysis.rollout import compute_rollout, read_rollout
from vit_jax.data import placing
from vit_jax.data.examples import describe_example
from vit_jax.data.label_map import list_images
from vit_jax.data.masks import cut_mask
from vit_jax.evaluators.classification import Classification, Scores
from vit_jax.evaluators.loss import Loss
from vit_jax.evaluators.segmentation import Segmentation
from vit_jax.evaluators.split import Evaluator
from vit_jax.metrics import evaluation
from vit_jax.objectives.segmentation import resize as enlarge
from vit_jax.objectives.supervised import Supervised
from vit_jax.plots.examined import (
  FOLDER,
  Pictures,
  draw_figures,
  save_mistakes,
  save_reconstructions,
)
from vit_jax.plots.pictures import read_png, restore
from vit_jax.plots.report import save_examples
from vit_jax.plots.run_files import EXAMPLES
from vit_jax.plots.segmentation import save_segmentations
from vit_jax.sharding import count_data_shards, replicate
from vit_jax.storage.files import write_json
from vit_jax.storage.paths import locate
from vit_jax.train_state import TrainState

log = logging.getLogger(__name__)

TOP = 5  # Classes of an image in predictions.csv.
SHOWN = 12  # Mistakes.
RECONSTRUCTED = 12
BINS = 20  # Of a histogram of shares.
# What the attention weights of one image may take.
MAX_BYTES = 2**30


def examine(
  exp: Any, state: TrainState, workdir: epath.Path, mark: Callable[[], None]
) -> bool:
  """Writes WORKDIR/evaluation, of the first evaluation that has an accuracy.

  Or, of an objective that reconstructs images, pictures of the first that has a
  loss; or of the first segmentation. Every process takes part, and the first
  writes. Where nothing of the config measures any, there is nothing.

  Args:
    exp: an `Experiment`.
    state: at its end.
    workdir: directory of the run.
    mark: called after each batch.

  Returns:
    Whether this process has written it.
  """
  found = [x for x in exp.evaluators.values() if isinstance(x, Classification)]
  if not found or not isinstance(found[0].supervised, Supervised):
    directory = workdir / FOLDER
    made = reconstruct(exp, state, directory, mark)
    return segment(exp, state, directory, mark) or made
  evaluator = found[0]
  values, scores = evaluator.score(state, TOP, mark)
  names = list(exp.info.class_names)
  names += [str(i) for i in range(len(names), exp.num_classes)]
  mistakes = find_mistakes(evaluator, state, scores, names, mark)
  # From here on no process waits for another.
  paths = list_images(exp.data.open(evaluator.split), mark)
  if jax.process_index() > 0:
    return False
  directory = workdir / FOLDER
  directory.mkdir(parents=True, exist_ok=True)
  evaluation.remove_files(directory)  # Of an earlier end.
  evaluation.write_predictions(directory, paths, *scores[:3], names)
  if scores.label.ndim == 1:
    evaluation.write_confusion(
      directory, scores.label, scores.classes[:, 0], names
    )
  save_mistakes(directory, mistakes)
  write_json(  # Last: without it the others are of no run.
    directory / "evaluation.json",
    {
      "step": int(state.step),
      "data": exp.data.source,
      "split": evaluator.split,
      "images": len(paths),
    }
    | values
    | evaluation.describe_scores(*scores[:3], names, scores.ranking),
  )
  return True


def reconstruct(
  exp: Any, state: TrainState, directory: epath.Path, mark: Callable[[], None]
) -> bool:
  """Writes images, and what the objective makes of them, as a picture.

  Arguments and result are as of `examine`.
  """
  losses = [x for x in exp.evaluators.values() if isinstance(x, Loss)]
  if not losses:
    return False
  evaluator = losses[0]
  preprocess = evaluator.data.make_preprocess(evaluator.channels)
  inputs = [x for x, _ in read_some(evaluator)]

  @jax.jit
  def make(params, image):
    found = exp.objective.reconstruct(params, image)
    return jax.tree.map(replicate, found)

  made = list(map_inputs(make, evaluator, state, inputs, mark))
  if not made or not made[0] or jax.process_index() > 0:
    return False
  mean, std = preprocess.mean or (), preprocess.std or ()
  rows = [
    [restore(image, mean, std) for image in (x, *found)]
    for x, found in zip(inputs, made, strict=True)
  ]
  directory.mkdir(parents=True, exist_ok=True)
  save_reconstructions(directory, int(state.step), rows)
  return True


def read_some(evaluator: Evaluator) -> list[tuple[Any, Any]]:
  """Reads some images of an evaluation, as model input, and their labels."""
  source = evaluator.data.open(evaluator.split)
  preprocess = evaluator.data.make_preprocess(evaluator.channels)
  count = min(RECONSTRUCTED, len(source))
  found = []
  for i in np.linspace(0, len(source) - 1, count).astype(int):
    example = source[int(i)]
    with contextlib.suppress(ValueError):  # It cannot be read.
      found.append((preprocess(example["image"])[0], example["label"]))
  return found


def segment(
  exp: Any, state: TrainState, directory: epath.Path, mark: Callable[[], None]
) -> bool:
  """Writes images, their masks and what pixels are taken for, as a picture.

  Arguments and result are as of `examine`.
  """
  own = [x for x in exp.evaluators.values() if isinstance(x, Segmentation)]
  examples = read_some(own[0]) if own else []
  if not examples:
    return False
  size = own[0].data.shape

  @jax.jit
  def make(params, image):
    logits = exp.objective.module.apply({"params": params}, image)
    return replicate(jnp.argmax(enlarge(logits, size), axis=-1))

  inputs = [image for image, _ in examples]
  made = list(map_inputs(make, own[0], state, inputs, mark))
  if jax.process_index() > 0:
    return False
  preprocess = own[0].data.make_preprocess(own[0].channels)
  rows = []
  for (image, mask), found in zip(examples, made, strict=True):
    true = np.empty(size, np.uint8)
    cut_mask(mask.decode(), None, true)
    pixels = restore(image, preprocess.mean or (), preprocess.std or ())
    rows.append((pixels, true, found.astype(np.uint8)))
  directory.mkdir(parents=True, exist_ok=True)
  names = exp.info.class_names
  save_segmentations(directory, int(state.step), rows, names)
  return True


def draw(run: Any, workdir: epath.Path) -> None:
  """Gives the figures of WORKDIR/evaluation to the loggers of a run.

  Args:
    run: a `runtime.run.Run` at its end.
    workdir: its directory.
  """
  figures, recalls = draw_figures(workdir / FOLDER)
  found = {name: read_png(png) for name, png in figures.items()}
  run.show_images({f"evaluation/{k}": x for k, x in found.items()}, run.step)
  if len(recalls):
    counts, edges = np.histogram(recalls, BINS, (0, 1))
    # A tag is of one kind: the picture is evaluation/recall.
    run.show_histograms({"evaluation/recalls": (counts, edges)})


class TrainingImages:
  """examples.png, and the same picture for the loggers; a context manager.

  It is made in the background when the first row is written, since the device
  has steps to do then and nobody waits. Of a run that goes on it is there.
  """

  def __init__(self, exp: Any, run: Any, workdir: str):
    """Makes nothing yet.

    Args:
      exp: an `Experiment`.
      run: a `runtime.run.Run` that has begun.
      workdir: its directory.
    """
    self._exp, self._run, self._workdir = exp, run, workdir
    self._thread: threading.Thread | None = None
    there = run.step > 0 and (locate(workdir) / EXAMPLES).exists()
    self._wanted = exp.train.report and jax.process_index() == 0 and not there
    if self._wanted:
      run.call_at_first_row(self._begin)

  def __enter__(self):
    return self

  def __exit__(self, *error: Any) -> None:
    if self._thread is not None:
      self._thread.join()

  def finish(self) -> None:
    """Makes it here, if no row was written so far."""
    if self._wanted and self._thread is None:
      self._make(self._run.step)

  def _begin(self, step: int) -> None:
    self._thread = threading.Thread(
      target=self._make, args=(step,), name="examples", daemon=True
    )
    self._thread.start()

  def _make(self, step: int) -> None:
    exp = self._exp
    try:
      found = make_examples(
        *(exp.data, exp.info.channels, exp.num_classes, exp.train.seed)
      )
      picture = save_examples(self._workdir, found)
      self._run.show_images({"examples": picture}, step)
    except Exception as error:  # Any: the run can do without.
      log.warning(
        "%s/%s is not written: %s; the run goes on",
        *(self._workdir, EXAMPLES, str(error) or repr(error)),
      )


def find_mistakes(
  evaluator: Classification,
  state: TrainState,
  scores: Scores,
  names: Sequence[str],
  mark: Callable[[], None],
) -> Pictures:
  """Finds the images that the model is most sure of, and wrong about.

  Returns:
    As the model saw them, with its rollout where it has attention.
  """
  several = scores.label.reshape(len(scores.label), -1)
  wrong = (several != scores.classes[:, :1]).all(axis=1)
  # Of equals the first.
  order = np.argsort(-scores.probability[:, 0] * wrong, kind="stable")[:SHOWN]
  chosen = [int(i) for i in order if wrong[i]]
  source, captions, inputs = evaluator.data.open(evaluator.split), [], []
  preprocess = evaluator.data.make_preprocess(evaluator.channels)
  black = np.zeros((*preprocess.size, preprocess.channels), np.uint8)
  for i in chosen:
    note = ""
    example = source[i]
    try:
      inputs.append(preprocess(example["image"])[0])
    except ValueError:  # The evaluation saw it black, and counted it.
      inputs.append(preprocess(black)[0])
      note = ", which cannot be read"
    truth = " + ".join(names[j] for j in several[i] if j >= 0)
    taken, chance = names[scores.classes[i, 0]], scores.probability[i, 0]
    captions.append(
      f"{truth} taken for {taken} ({100 * chance:.0f} %); "
      f"{shorten(describe_example(example, i))}{note}"
    )
  mean, std = preprocess.mean or (), preprocess.std or ()
  return Pictures(
    [restore(x, mean, std) for x in inputs],
    captions,
    compute_maps(evaluator, state, inputs, mark),
  )


def shorten(path: str) -> str:
  """The end of a path, as "cat/1.jpg"."""
  return "/".join(path.split("/")[-2:])


def compute_maps(
  evaluator: Classification,
  state: TrainState,
  inputs: Sequence[Float[np.ndarray, "H W c"]],
  mark: Callable[[], None],
) -> list[Float[np.ndarray, "h w"]]:
  """Attention rollout of images; none where a model or its size has none."""
  model = evaluator.supervised.model
  size = evaluator.data.shape
  if not inputs or not has_attention(model):
    return []
  if count_attention_bytes(model, size) > MAX_BYTES:
    return []
  layout = model.make_layout(*size)

  @jax.jit
  def roll_out(params, image):
    _, found = model.apply({"params": params}, image, intermediates=True)
    rollout = compute_rollout(found["attention"])
    return replicate(read_rollout(rollout, layout, found.get("pooling")))

  return list(map_inputs(roll_out, evaluator, state, inputs, mark))


def map_inputs(
  function: Callable[[Any, Any], Any],
  evaluator: Evaluator,
  state: TrainState,
  inputs: Sequence[Float[np.ndarray, "H W c"]],
  mark: Callable[[], None],
) -> Iterator[Any]:
  """Applies a jitted (parameters, images) -> arrays; yields those of each.

  One image on each device at a time: attention weights are large.
  """
  mesh = evaluator.mesh
  count = count_data_shards(mesh)
  mine = placing.find_rows(mesh, count)
  for start in range(0, len(inputs), count):
    own = inputs[start : start + count]
    rows = [*own, *[inputs[0]] * count][:count]
    local = np.stack([rows[i] for i in mine])
    batch = placing.place({"image": local}, mesh, count)
    with jax.set_mesh(mesh):
      found = function(evaluator.get_params(state), batch["image"])
    found = jax.tree.map(np.asarray, jax.device_get(found))
    for i in range(len(own)):
      yield jax.tree.map(lambda x, i=i: x[i].astype(np.float32), found)
    mark()
