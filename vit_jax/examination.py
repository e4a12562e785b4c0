# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a finished run writes beside its result, for people to look at.

WORKDIR/evaluation holds the figures by class and every prediction, as
`evaluate --out` writes them, and pictures of the worst mistakes. The page of
the run shows them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jaxtyping import Float

from vit_jax.analysis.explain import count_attention_bytes, has_attention
from vit_jax.analysis.rollout import compute_rollout, read_rollout
from vit_jax.data import pipeline
from vit_jax.data.label_map import list_names
from vit_jax.evaluators.classification import Classification, Scores
from vit_jax.metrics import evaluation
from vit_jax.objectives.supervised import Supervised
from vit_jax.plots.examined import FOLDER, Pictures, save_mistakes
from vit_jax.plots.pictures import restore
from vit_jax.sharding import count_data_shards
from vit_jax.storage.files import write_json
from vit_jax.train_state import TrainState

TOP = 5  # Classes of an image in predictions.csv.
SHOWN = 12  # Mistakes.
# What the attention weights of one image may take.
MAX_BYTES = 2**30


def examine(
  exp: Any, state: TrainState, workdir: epath.Path, mark: Callable[[], None]
) -> None:
  """Writes WORKDIR/evaluation, of the first evaluation that has an accuracy.

  For one process, which holds all of the state. Where the objective is not
  `Supervised`, or nothing of the config measures an accuracy, there is nothing.

  Args:
    exp: an `Experiment`.
    state: at its end.
    workdir: directory of the run.
    mark: called after each batch.
  """
  found = [x for x in exp.evaluators.values() if isinstance(x, Classification)]
  if not found or not isinstance(exp.objective, Supervised):
    return
  evaluator, directory = found[0], workdir / FOLDER
  directory.mkdir(parents=True, exist_ok=True)
  evaluation.remove_files(directory)  # Of an earlier end.
  values, scores = evaluator.score(state, TOP, mark)
  scores = Scores(*(np.asarray(x) for x in scores))
  names = list(exp.info.class_names)
  names += [str(i) for i in range(len(names), exp.num_classes)]
  paths = list_names(exp.data.open(evaluator.split))
  evaluation.write_predictions(directory, paths, *scores, names)
  if scores.label.ndim == 1:
    evaluation.write_confusion(
      directory, scores.label, scores.classes[:, 0], names
    )
  save_mistakes(
    directory, find_mistakes(evaluator, state, scores, names, paths, mark)
  )
  write_json(  # Last: without it the others are of no run.
    directory / "evaluation.json",
    {
      "step": int(state.step),
      "data": exp.data.source,
      "split": evaluator.split,
      "images": len(paths),
    }
    | values
    | evaluation.describe_scores(*scores, names),
  )


def find_mistakes(
  evaluator: Classification,
  state: TrainState,
  scores: Scores,
  names: Sequence[str],
  paths: Sequence[str],
  mark: Callable[[], None],
) -> Pictures:
  """Finds the images that the model is most sure of, and wrong about.

  Returns:
    As the model saw them, with its rollout where it has attention.
  """
  several = scores.label.reshape(len(paths), -1)
  wrong = (several != scores.classes[:, :1]).all(axis=1)
  # Of equals the first.
  order = np.argsort(-scores.probability[:, 0] * wrong, kind="stable")[:SHOWN]
  chosen = [int(i) for i in order if wrong[i]]
  source, captions, inputs = evaluator.data.open(evaluator.split), [], []
  preprocess = evaluator.data.make_preprocess(evaluator.channels)
  black = np.zeros((*preprocess.size, preprocess.channels), np.uint8)
  for i in chosen:
    note = ""
    try:
      inputs.append(preprocess(source[i]["image"])[0])
    except ValueError:  # The evaluation saw it black, and counted it.
      inputs.append(preprocess(black)[0])
      note = ", which cannot be read"
    truth = ", ".join(names[j] for j in several[i] if j >= 0)
    taken, chance = names[scores.classes[i, 0]], scores.probability[i, 0]
    captions.append(
      f"{truth} taken for {taken} ({100 * chance:.0f} %); "
      f"{shorten(paths[i])}{note}"
    )
  mean, std = preprocess.mean or (), preprocess.std or ()
  return Pictures(
    [restore(x, mean, std) for x in inputs],
    captions,
    compute_maps(evaluator, state, inputs, mark),
  )


def shorten(path: str) -> str:
  """The end of a path, as "cat/1.jpg"; of an index what it is."""
  return f"image {path}" if path.isdecimal() else "/".join(path.split("/")[-2:])


def compute_maps(
  evaluator: Classification,
  state: TrainState,
  inputs: Sequence[Float[np.ndarray, "H W c"]],
  mark: Callable[[], None],
) -> list[Float[np.ndarray, "h w"]]:
  """Attention rollout of images; none where a model or its size has none."""
  model, mesh = evaluator.objective.model, evaluator.mesh
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
    return read_rollout(rollout, layout, found.get("pooling"))

  # One image on each device at a time: attention weights are large.
  count, maps = count_data_shards(mesh), []
  for start in range(0, len(inputs), count):
    rows = [*inputs[start : start + count], *[inputs[0]] * count][:count]
    batch = pipeline.place({"image": np.stack(rows)}, mesh, count)
    with jax.set_mesh(mesh):
      found = roll_out(evaluator.get_params(state), batch["image"])
    maps += [*np.asarray(jax.device_get(found), np.float32)]
    mark()
  return maps[: len(inputs)]
