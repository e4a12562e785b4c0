# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trained weights on a mesh, and the data that they are applied to.

What `evaluate` and `features` share. Images become pixels as the weights'
manifest says, in the same pipeline that training reads from.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vit_jax.config import ConfigError, check_multiple, raise_all
from vit_jax.convert.classes import match_classes
from vit_jax.convert.load import load_as
from vit_jax.convert.manifest import load_json
from vit_jax.convert.weights import Weights, is_run, make_abstract_params
from vit_jax.data.examples import Examples
from vit_jax.data.folder import load_folder, parse_name
from vit_jax.data.folder_names import normalize as compose
from vit_jax.data.held_out import FILE, list_held_out
from vit_jax.data.info import DataError, DatasetInfo
from vit_jax.data.pipeline import Data
from vit_jax.data.preprocess import Preprocess
from vit_jax.data.sources import load_info, parse_source, prepare_embedded
from vit_jax.devices.auto import choose_attention
from vit_jax.devices.mesh import make_mesh
from vit_jax.evaluators import EVALUATORS
from vit_jax.objectives.supervised import Supervised
from vit_jax.sharding import constrain, count_data_shards, place, put
from vit_jax.storage.paths import expand, locate
from vit_jax.train_state import Batch, TrainState

BATCH = 64  # Changes no result.


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedData(Data):
  """Data that become pixels as given weights want them.

  Attributes:
    preprocess: that of the weights.
    held_out: paths below the folder that training held out, where its images
      have changed since; None where the folder's own rule says it.
  """

  preprocess: Preprocess
  held_out: frozenset[str] | None = None

  def make_preprocess(self, channels: int) -> Preprocess:
    """Returns the pre-processing of the weights."""
    del channels
    return self.preprocess

  def prepare(self, batch: Batch) -> Batch:
    """Makes a model's input of a batch, with their mean and std."""
    mean, std = self.preprocess.mean, self.preprocess.std
    if {*(mean or ()), *(std or ())} == {0.5}:
      return super().prepare(batch)
    values = batch["image"].astype(jnp.float32) / 255.0
    image = (values - jnp.array(mean)[None, None, None]) / (
      jnp.array(std)[None, None, None]
    )
    return batch | {"image": constrain(image, "B H W c")}

  def open(self, split: str) -> Sequence[dict[str, Any]]:
    """Opens a split; "test" is what training held out, "train" the others.

    Raises:
      DataError: as `open_source`; or for a slice of a folder whose images have
        changed, where it would be another one.
    """
    if self.held_out is None:
      return super().open(split)
    if split not in ("train", "test"):
      raise DataError(
        f"images of {self.source} were added or removed since the run began, "
        f"so only --split=test, what it held out, and --split=train can be "
        f"told apart, not {split!r}"
      )
    name = parse_source(self.source)[1]
    root = os.fspath(parse_name(name)[0])
    found = load_folder(name).open("train+test")
    items = [
      item
      for item in found.items
      if (is_below(root, item[0], self.held_out)) == (split == "test")
    ]
    if not items:
      raise DataError(
        f"{self.source} has none of the images of {FILE} any more"
      )
    return Examples(items, found.read)


def is_below(root: str, path: str, names: frozenset[str]) -> bool:
  """Whether a file of a folder is among the names of files below it."""
  return pathlib.PurePath(os.path.relpath(path, root)).as_posix() in names


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
  """

  weights: Weights
  data: TrainedData
  info: DatasetInfo
  split: str
  mesh: Mesh
  batch_size: int
  objective: Supervised
  state: TrainState
  notes: tuple[str, ...]

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

  def list_names(self, split: str) -> list[str]:
    """Lists the paths of a split's images; indices where they have none."""
    source = self.data.open(split)
    items = getattr(source, "items", None)
    if isinstance(items, list) and items and isinstance(items[0], tuple):
      if isinstance(items[0][0], str):
        return [path for path, _ in items]
    return [str(i) for i in range(len(source))]


def open_trained(
  path: str,
  *,
  data: str | None = None,
  data_dir: str | None = None,
  split: str | None = None,
  batch_size: int | None = None,
  max_unreadable: float = 0.001,
  classify: bool = True,
  classes: Any = None,
  **options: Any,
) -> Trained:
  """Reads weights and puts them on all devices of this process.

  Args:
    path: a run or weights, as of `vit_jax.load`.
    data: source of the images, as a config names it; None is that of a run.
    data_dir: where prepared sets are stored; None is as of a run, or TFDS's.
    split: split of them; None is that of a run's evaluation, or "test", or
      "validation" where there is none.
    batch_size: images at a time (B); None is BATCH.
    max_unreadable: largest share of images that may be unreadable; they are
      black, and counted.
    classify: whether the classes of the weights are to be those of the data.
    classes: as of `vit_jax.load`; or "data", that the classes of the weights
      are those of the data, in the same order.
    **options: as of `vit_jax.load`.

  Raises:
    ConfigError: for all that is wrong, before anything is compiled.
  """
  run, config = read_run(path)
  own = config.get("data", {})
  if data is None and "source" not in own:
    if not locate(path).exists():
      raise ConfigError(f"{path} does not exist")
    raise ConfigError(
      f"{path} is no run, which would name its data: give --data=SOURCE, as "
      f"folder:photos or tfds:digits"
    )
  data = data or own["source"]
  if data == own.get("source"):
    data_dir = data_dir or own.get("dir")
  prepare_embedded(data, data_dir, lambda _: None)
  info = load_info(data, data_dir)
  split = split or find_split(config, data, info)
  info.count(split)  # Raises if there is no such split.
  by_order = isinstance(classes, str) and classes == "data"
  weights = load_as(path, classes=None if by_order else classes, **options)
  notes: list[str] = []
  if classify:
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
  mesh, state, module = place_weights(weights)
  shards = count_data_shards(mesh)
  if batch_size is None:
    batch_size = -(-min(BATCH, len(made.open(split))) // shards) * shards
  what = "the number of devices"
  raise_all(check_multiple("--batch_size", batch_size, shards, what))
  notes += describe_images(run, own.get("source"), data, split, info)
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
  )


def read_run(path: str) -> tuple[str | None, Mapping[str, Any]]:
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
      if section.get("kind") == "classification":
        return section["split"]
  splits = (info.parts[0] if info.parts else info).splits
  return next((x for x in ("test", "validation") if x in splits), "train")


def find_held_out(
  run: str | None,
  trained_on: str | None,
  data: str,
  info: DatasetInfo,
  notes: list[str],
) -> frozenset[str] | None:
  """Finds what a run held out of its folder, if that has changed since.

  Args:
    run: directory of the run, if it is one.
    trained_on: source that it was trained on.
    data: source to evaluate on.
    info: facts of that.
    notes: lines about it are appended here.

  Raises:
    DataError: if it cannot be told for this kind of source.
  """
  if run is None or not is_same(trained_on, data):
    return None
  path = locate(run) / FILE
  if not path.exists():
    return None
  text = path.read_bytes().decode("utf-8", "surrogateescape")
  listed = [line.replace("\\n", "\n") for line in text.splitlines()]
  if {*map(compose, list_held_out(info))} <= {*map(compose, listed)}:
    return None  # Perhaps of some of its classes.
  if parse_source(data)[0] != "folder":
    raise DataError(
      f"{data} has changed since {run} began: it holds out other images than "
      f"{path} lists, and might be tested on images that it was trained on"
    )
  notes.append(
    f"images of {data} were added or removed since the run began: those that "
    f"{path} lists are tested"
  )
  return frozenset(listed)


def is_same(source: str | None, other: str) -> bool:
  """Whether two sources are the same, also by another path of a folder, or
  with others of its classes."""
  if source is None or source == other:
    return source == other
  pair = [parse_source(x) for x in (source, other)]
  if [kind for kind, _ in pair] != ["folder", "folder"]:
    return False
  roots = {os.path.realpath(parse_name(name)[0]) for _, name in pair}
  return len(roots) == 1


def describe_images(
  run: str | None,
  trained_on: str | None,
  data: str,
  split: str,
  info: DatasetInfo,
) -> list[str]:
  """Says which images these are, for the weights and to whom it matters."""
  words = {x.partition("[")[0] for x in split.split("+")}
  if run is not None and is_same(trained_on, data):
    if "train" in words:
      return [f"split {split} has images that the run was trained on"]
    held_out = list(list_held_out(info))
    return ["training held these images out"] if held_out else []
  if info.held_out and words == {"test"}:
    return [
      f"split test of {data} is the tenth of each class that training on it "
      f"holds out; --split=train+test takes all images"
    ]
  return []


def place_weights(weights: Weights) -> tuple[Mesh, TrainState, Any]:
  """Puts weights on a mesh of all devices of this process.

  Returns:
    The mesh, the state, and the model with the kernel of attention chosen.
  """
  devices = jax.local_devices()
  module, _ = choose_attention(weights.model, devices[0], *weights.size)

  def make_state(params: Any) -> TrainState:
    return TrainState(
      step=np.int32(0), params=params, opt_state=(), ema=None, aux={}
    )

  channels = weights.preprocess.channels
  shapes = make_abstract_params(weights.model, weights.size, channels)
  abstract = make_state(dataclasses.replace(weights, params=shapes).tree)
  mesh = make_mesh(devices, abstract)
  params = jax.tree.map(
    put, weights.tree, place(mesh, {"params": abstract.params})["params"]
  )
  return mesh, make_state(params), module
