# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trained weights on a mesh, and the data that they are applied to.

What `evaluate` and `features` share. Images become pixels as the weights'
manifest says, in the same pipeline that training reads from.
"""

import dataclasses
import inspect
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh

from vit_jax.config import (
  ConfigError,
  Part,
  check_multiple,
  describe,
  fits,
  parameters,
  raise_all,
)
from vit_jax.config.errors import counted
from vit_jax.convert import load
from vit_jax.convert.classes import match_classes, select_classes
from vit_jax.convert.manifest import load_json
from vit_jax.convert.quantize import round_kernels
from vit_jax.convert.segmentation import Segmenter, add_head
from vit_jax.convert.weights import Weights, is_run, make_abstract_params
from vit_jax.data.info import DatasetInfo
from vit_jax.data.label_map import (
  LabelMap,
  list_images,
  list_labels,
  list_names,
)
from vit_jax.data.overlap import describe_images, find_held_out
from vit_jax.data.relatives import open_label_map
from vit_jax.data.sources import load_info, parse_source, prepare_embedded
from vit_jax.data.weights_data import TrainedData
from vit_jax.devices.auto import choose_attention, choose_batch
from vit_jax.devices.mesh import make_mesh
from vit_jax.evaluators import EVALUATORS
from vit_jax.objectives.supervised import Supervised
from vit_jax.sharding import count_data_shards, place, put
from vit_jax.storage.paths import describe_runs, expand, locate
from vit_jax.train_state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
  """Trained weights, ready to be applied to a split of a data set.

  Attributes:
    weights: with the classes in the order of the data.
    data: the data, as evaluators take it.
    info: facts of the data set.
    split: split to evaluate on.
    mesh: all devices of this process.
    batch_size: global batch size (B).
    objective: the model, with the loss it was trained with.
    state: its parameters on the mesh.
    notes: what a user should know, in lines.
    label_map: where the labels are from, if not from the data.
  """

  weights: Weights
  data: TrainedData
  info: DatasetInfo
  split: str
  mesh: Mesh
  batch_size: int
  objective: Any
  state: TrainState
  notes: tuple[str, ...]
  label_map: LabelMap | None = None

  def make_evaluator(self, kind: str, **keys: Any) -> Any:
    """Makes the evaluator that a config's evals section names by `kind`."""
    return EVALUATORS[kind](
      self.objective,
      self.data,
      self.mesh,
      self.weights.preprocess.channels,
      self.batch_size,
      split=self.split,
      **keys,
    )

  def count(self, split: str) -> int:
    """Counts the images of a split that are evaluated."""
    return len(self.data.open(split))

  def list_names(self, split: str, read: bool = True) -> list[str]:
    """Lists the images of a split as `list_images`, or as `list_names`."""
    source = self.data.open_unmapped(split)
    names = list_images(source) if read else list_names(source)
    labels = (self.data.labels or {}).get(split, [True] * len(names))
    return [x for x, found in zip(names, labels, strict=True) if found]


def open_trained(
  path: str | os.PathLike,
  classify: bool = True,
  segment: bool = False,
  *,
  data: str | None = None,
  data_dir: str | None = None,
  split: str | None = None,
  batch_size: int | None = None,
  max_unreadable: Part = 0.001,
  classes: Any = None,
  label_map: str | None = None,
  label_map_sha256: str | None = None,
  **options: Any,
) -> Trained:
  """Reads weights and puts them on all devices of this process.

  Args:
    path: a run or weights, as of `vit_jax.load`.
    classify: whether the classes of the weights are to be those of the data.
    segment: whether it is a run of objective.name=segmentation, whose head is
      read, too.
    data: source of the images, as a config names it; None is that of a run.
    data_dir: where prepared sets are stored; None is as of a run, or TFDS's.
    split: split of them; None is that of a run's evaluation, or "test", or
      "validation" where there is none.
    batch_size: images at a time (B); None chooses by the device.
    max_unreadable: largest share of images that may be unreadable; they are
      black, and counted.
    classes: as of `vit_jax.load`; or "data", that the classes of the weights
      are those of the data, in the same order.
    label_map: a set of `data.relatives`, or a file that maps classes or images
      to classes of the weights, see `data.label_map`.
    label_map_sha256: digest that it must have.
    **options: as of `vit_jax.load`; weights="int8" rounds the kernels.

  Raises:
    ConfigError: for all that is wrong, before anything is compiled.
  """
  if not fits(max_unreadable, Part):
    raise ConfigError(
      f"--max_unreadable={max_unreadable} must be {describe(Part)}"
    )
  run, config = read_run(path)
  own = config.get("data", {})
  if data is None and "source" not in own:
    if not locate(path).exists():
      raise ConfigError(f"{path} does not exist")
    if runs := describe_runs(locate(path)):
      raise ConfigError(f"{path} {runs}")
    raise ConfigError(
      f"{path} is no run, which would name its data: give --data=SOURCE, as "
      f"folder:photos or tfds:digits"
    )
  data = data or own["source"]
  if data == own.get("source"):
    data_dir = data_dir or own.get("dir")
  prepare_embedded(data, data_dir, lambda _: None)
  info = load_info(data, data_dir)
  mapped = (
    None if label_map is None else open_label_map(label_map, label_map_sha256)
  )
  notes: list[str] = []
  if split is None and mapped is not None and mapped.wnids and info.held_out:
    split = "train+test"  # Nobody trains on these.
    notes.append("the folder has no splits, so all of its images are scored")
  masks = parse_source(data)[0] == "segmentation"
  if segment and not masks:
    raise ConfigError(
      f"images of {data} have no masks, which a segmentation is measured by: "
      f"give --data=segmentation:DIR"
    )
  if classify and masks:
    raise ConfigError(
      f"images of {data} have masks, and not the labels that a classification "
      f"is measured by: give --data=SOURCE of others"
    )
  split = split or find_split(config, data, info)
  info.count(split)  # Raises if there is no such split.
  by_order = isinstance(classes, str) and classes == "data"
  rounded = options.pop("weights", "float32") == "int8"
  weights = load.load_as(path, classes=None if by_order else classes, **options)
  if rounded:
    if segment:
      raise ConfigError(f"{path} classifies pixels: leave out --weights=int8")
    weights = dataclasses.replace(weights, params=round_kernels(weights.params))
    notes.append("kernels are rounded to int8, as predict --weights=int8 does")
  if classify and mapped is None:
    names = () if by_order else weights.class_names
    weights, note = match_classes(weights, names, info)
    notes += [note] if note else []
  preprocess = weights.preprocess
  slots = own.get("label_slots") if data == own.get("source") else None
  made = TrainedData(
    source=data,
    dir=data_dir,
    size=preprocess.size,
    resize=preprocess.resize,
    label_slots=slots or info.label_slots or None,
    max_unreadable=max_unreadable,
    preprocess=preprocess,
    held_out=find_held_out(run, own.get("source"), data, info, notes),
  )
  if info.label_slots == 0 and not made.label_slots:
    raise ConfigError(
      f"images of {data} have several labels, and their largest number is "
      f"unknown: evaluate a run that was trained on it"
    )
  if mapped is not None:
    weights, made = apply_label_map(mapped, weights, made, info, split)
    scored = len(made.open(split))
    left = len(made.open_unmapped(split)) - scored
    notes.append(
      f"labels are those of {mapped.path}; left out: "
      f"{counted(left, 'image')} without one; predictions are among "
      f"{weights.num_classes:,} classes"
    )
    if mapped.total not in (None, scored):
      notes.append(
        f"{scored:,} images are scored, and the published set has "
        f"{mapped.total:,}"
      )
  segmenter = None
  if segment:
    segmenter = add_head(os.fspath(path), weights)
    known = segmenter.objective.setting.classes
    if info.num_classes != known:
      raise ConfigError(
        f"masks of {data} have {info.num_classes} classes, and {path} was "
        f"trained on {known}: give images with masks of the same"
      )
  mesh, state, module = place_weights(weights, segmenter)
  shards = count_data_shards(mesh)
  if batch_size is None:
    most = choose_batch(module, list(mesh.devices.flat), *made.shape)
    batch_size = -(-min(most, len(made.open(split))) // shards) * shards
  what = "the number of devices"
  raise_all(check_multiple("--batch_size", batch_size, shards, what))
  notes += describe_images(run, own.get("source"), data, split, info)
  objective: Any
  if segmenter is not None:
    objective = dataclasses.replace(segmenter.objective, model=module)
  else:
    objective = Supervised(module, cross_entropy=weights.cross_entropy)  # type: ignore[arg-type]
  return Trained(
    weights=weights,
    data=made,
    info=info,
    split=split,
    mesh=mesh,
    batch_size=batch_size,
    objective=objective,
    state=state,
    notes=tuple(notes),
    label_map=mapped,
  )


def list_options() -> dict[str, inspect.Parameter]:
  """Lists what `open_trained` takes by name, for `config.arguments.checked`."""
  return load.list_options() | parameters(open_trained)


def open_beside(
  path: str | os.PathLike, trained: Trained, options: Mapping[str, Any]
) -> Trained:
  """Opens weights on the same images as others.

  Args:
    path: a run or weights.
    trained: the others.
    options: those of `open_trained` that the others have and these share.

  Raises:
    ConfigError: also if they would be tested on other images.
  """
  mapped = trained.label_map
  opened = open_trained(
    path,
    data=trained.data.source,
    data_dir=trained.data.dir,
    split=trained.split,
    label_map=None if mapped is None else mapped.path,
    **options,
  )
  if opened.weights.source == trained.weights.source:
    raise ConfigError(f"--baseline={path} is what it would be compared with")
  names, own = (x.list_names(trained.split, False) for x in (opened, trained))
  if names != own:
    raise ConfigError(
      f"--baseline={path} held out other images of {trained.data.source} than "
      f"{trained.weights.source}: give --data=SOURCE that neither trained on"
    )
  return opened


def apply_label_map(
  mapped: LabelMap,
  weights: Weights,
  data: TrainedData,
  info: DatasetInfo,
  split: str,
) -> tuple[Weights, TrainedData]:
  """Gives a split the labels of a map, and weights the classes that it names.

  Raises:
    ConfigError: if the map does not fit the weights or the data.
  """
  names, count = weights.class_names, weights.num_classes
  named = mapped.name_classes(names, count)
  weights = dataclasses.replace(weights, class_names=named)
  if mapped.classes is not None and data.label_slots:
    raise ConfigError(
      f"--label_map={mapped.path} maps classes, and images of {info.name} have "
      f"several labels: map the images"
    )
  source = data.open_unmapped(split)
  used = mapped.find_used(names, count)
  if mapped.classes is not None:
    by_class = mapped.find_class_labels(info.class_names, names, count)
    found = [by_class.get(label, ()) for label in list_labels(source)]
  else:
    found = mapped.find_image_labels(list_images(source), names, count)
  if not any(found):
    raise ConfigError(
      f"--label_map={mapped.path} leaves no image of {info.name}, {split}"
    )
  place = {label: i for i, label in enumerate(used)}
  labels = [tuple(place[label] for label in x) for x in found]
  most = max(map(len, labels))
  changed = dataclasses.replace(
    data,
    labels={split: labels},
    label_slots=most if most > 1 else None,
    border=mapped.border,
  )
  return select_classes(weights, used), changed


def read_run(path: str | os.PathLike) -> tuple[str | None, Mapping[str, Any]]:
  """Returns a run's directory and config; None and nothing for a file."""
  location = locate(path)
  if not is_run(location):
    return None, {}
  run = expand(location)
  if run.parent.name == "checkpoints" and not (run / "config.json").exists():
    run = run.parent.parent
  config = run / "config.json"
  return os.fspath(run), load_json(config) if config.exists() else {}


def find_split(config: Mapping[str, Any], data: str, info: DatasetInfo) -> str:
  """Finds the split to evaluate on, where none is given."""
  if data == config.get("data", {}).get("source"):
    for section in config.get("evals", {}).values():
      if section.get("kind") in ("classification", "segmentation"):
        return section["split"]
  splits = (info.parts[0] if info.parts else info).splits
  return next((x for x in ("test", "validation") if x in splits), "train")


def place_weights(
  weights: Weights, segmenter: Segmenter | None = None
) -> tuple[Mesh, TrainState, Any]:
  """Puts weights on a mesh of all devices of this process.

  Args:
    weights: of a model.
    segmenter: the model with a head for pixels, which is put there, too.

  Returns:
    The mesh, the state, and the model with the kernel of attention chosen.
  """
  devices = jax.local_devices()
  module, _ = choose_attention(weights.model, devices[0], *weights.size)

  def make_state(params: Any) -> TrainState:
    return TrainState(
      step=np.int32(0), params=params, opt_state=(), ema=None, aux={}
    )

  model, tree = weights.model, weights.tree
  if segmenter is not None:
    model, tree = segmenter.objective.module, segmenter.params
  channels = weights.preprocess.channels
  shapes = make_abstract_params(model, weights.size, channels)
  abstract = make_state(unflatten_dict(shapes, sep="/"))
  mesh = make_mesh(devices, abstract)
  params = jax.tree.map(
    put, tree, place(mesh, {"params": abstract.params})["params"]
  )
  return mesh, make_state(params), module
