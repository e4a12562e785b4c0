# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Checks before a run, and the report on its model, data, mesh and memory."""

import collections
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from vit_jax import models, optim
from vit_jax.config import ConfigError, check_multiple, raise_all
from vit_jax.config.errors import counted
from vit_jax.data import sources
from vit_jax.data.info import DataError, DatasetInfo
from vit_jax.devices.detection import start_backend
from vit_jax.devices.fitting import format_bytes, get_memory
from vit_jax.devices.machine import find_memory_limit
from vit_jax.devices.memory import describe_indivisible, describe_mesh
from vit_jax.hosts.coordination import Hosts
from vit_jax.metrics.ranking import MAX_SCORES
from vit_jax.runtime.resume import LOCAL, flatten
from vit_jax.runtime.workdir import collect_versions
from vit_jax.sharding import count_data_shards, count_state_bytes

# Few images to train so many random parameters with.
FEW_IMAGES, MANY_PARAMETERS = 10_000, 1_000_000

MAX_EXAMPLES = 1 << 20  # Of a batch, on a device: beyond any memory.

Say = Callable[[str], None]


def check_platform(allow_cpu: bool) -> None:
  """Checks that a run does not train on a CPU by accident.

  Raises:
    ConfigError: if jax found no accelerator and a CPU is not allowed.
  """
  if start_backend() == "cpu" and not allow_cpu:
    raise ConfigError(
      "jax found no accelerator, and this config is not meant for a CPU\n"
      "  python -m vit_jax.doctor explains why; --allow_cpu trains on the CPU "
      "anyway"
    )


def check_hosts(
  config: Mapping[str, Any], started: Mapping[str, Any], hosts: Hosts
) -> None:
  """Checks that all hosts were started alike, and starts jax.

  Args:
    config: resolved config of this host.
    started: what else it was started with, name -> value.
    hosts: hosts of the run.

  Raises:
    ConfigError: on every host, if config, versions or devices differ.
  """
  facts = dict(flatten(config | {"versions": collect_versions()}))
  facts = {key: x for key, x in facts.items() if not LOCAL.fullmatch(key)}
  hosts.compare(facts | dict(started))
  start_backend(keep=True)
  kinds = collections.Counter(x.device_kind for x in jax.local_devices())
  hosts.compare({"devices of a host": dict(kinds)})


def prepare_data(
  config: Mapping[str, Any], hosts: Hosts, say: Say
) -> dict[str, Any]:
  """Writes an embedded data set where it is missing, and opens the data.

  Returns:
    Fingerprint of the data: name -> JSON-serializable value.

  Raises:
    DataError: if the data set is missing; names the command that prepares it.
    ConfigError: on every host, if their data differ.
  """
  section = config["data"]
  source, data_dir = section["source"], section["dir"]
  if sources.list_embedded(source):
    # One host after another, as they may share a disk.
    for index in range(hosts.count):
      if index == hosts.index:
        sources.prepare_embedded(source, data_dir, say)
      hosts.gather(None)
  found = sources.describe_source(source)
  if found:
    say(found)
  # First, as it names the key of a split that is not there.
  check_splits(config, sources.load_info(source, data_dir))
  sources.open_source(source, section["train"], data_dir)
  splits = [section["train"], *(x["split"] for x in config["evals"].values())]
  fingerprint = sources.compute_fingerprint(source, splits, data_dir)
  hosts.compare(fingerprint)
  return fingerprint


def check_splits(config: Mapping[str, Any], info: DatasetInfo) -> None:
  """Checks that all splits that a config names are there, with examples.

  And that images may have several labels where a key names their metric, and
  that it is computed.

  Raises:
    DataError: if one is not; names the key that asks for it.
    ConfigError: if each image has one label, or they are too many.
  """
  asked = {"data.train": config["data"]["train"]}
  for name, section in config["evals"].items():
    for key in ("split", "train_split"):
      if key in section:
        asked[f"evals.{name}.{key}"] = section[key]
  for key, split in asked.items():
    try:
      info.count(split)
    except DataError as error:
      raise DataError(
        f"{key}: {error}; --config.{key}=SPLIT names another"
      ) from error
  several = config["data"]["label_slots"] or info.label_slots is not None
  for section, key in (("checkpoint", "best"), ("train", "stop_by")):
    name, _, metric = str(config[section][key]).rpartition("/")
    if metric != "map":
      continue
    given = f"{section}.{key}='{name}/map'"
    if not several:
      raise ConfigError(
        f"{given} is of images with several labels, and those of {info.name} "
        f"have one each: take '{name}/accuracy'"
      )
    images = info.count(config["evals"][name]["split"])
    if images * info.num_classes > MAX_SCORES:
      raise ConfigError(
        f"{given} is not computed for {images:,} images of "
        f"{info.num_classes:,} classes, which have more than {MAX_SCORES:,} "
        f"scores: take '{name}/accuracy', or a part of the images as "
        f"evals.{name}.split"
      )


def check_batches(config: Mapping[str, Any], mesh: Mesh) -> None:
  """Checks that the mesh divides all batches.

  Args:
    config: resolved config.
    mesh: device mesh.

  Raises:
    ConfigError: for all batch sizes that do not fit.
  """
  errors, micro = [], config["train"]["accumulate"]
  sizes = {"train.batch_size": config["train"]["batch_size"]}
  for name, section in config["evals"].items():
    sizes[f"evals.{name}.batch_size"] = section.get("batch_size")
  parts = count_data_shards(mesh)
  for name, batch in sizes.items():
    divisor, what = parts, "the number of data-parallel devices"
    if name == "train.batch_size" and micro not in ("auto", 1):
      divisor, what = parts * micro, f"train.accumulate={micro} times {what}"
    if batch is not None and batch > parts * MAX_EXAMPLES:
      errors.append(
        f"{name}={batch} is more than {MAX_EXAMPLES:,} examples for each of "
        f"{parts} data-parallel devices"
      )
    elif batch is not None:
      errors += check_multiple(name, batch, divisor, what)
  raise_all(errors)


def find_excess(exp: Any, processes: int) -> str | None:
  """Finds what of an `Experiment` cannot fit into memory, whatever is tried.

  Args:
    exp: nothing of it is on a device yet.
    processes: number of hosts.

  Returns:
    What is too large and what there is, or None.
  """
  trained = optim.make_trained_mask(exp.optim, exp.abstract_state.params)
  state = count_state_bytes(exp.abstract_state, trained)
  device = exp.mesh.devices.flat[0]
  memory = get_memory(device)
  if memory is not None and state > memory:
    return (
      f"parameters, gradients and optimizer take {format_bytes(state)} a "
      f"device, and {device.device_kind} has {format_bytes(memory)}: take a "
      f"smaller model, or more devices and mesh.fsdp"
    )
  sections = exp.config["evals"].values()
  sizes = [x.get("batch_size") or 1 for x in sections]
  largest = max(exp.train.batch_size, *sizes, 1)
  batch = largest // processes * math.prod(exp.image_shape)
  limit = find_memory_limit(pathlib.Path("/"))
  if limit is not None and batch > limit:
    return (
      f"the images of a batch take {format_bytes(batch)} of this host's "
      f"{format_bytes(limit)}: take a smaller batch_size or data.size"
    )
  return None


def describe(exp: Any, say: Say) -> None:
  """Reports the model, data, mesh and memory of an `Experiment`."""
  parameters = sum(x.size for x in jax.tree.leaves(exp.abstract_state.params))
  device = exp.mesh.devices.flat[0]
  axes = ", ".join(f"{axis} {size}" for axis, size in exp.mesh.shape.items())
  height, width = exp.data.shape
  pixels = height if height == width else f"{height}x{width}"
  section = exp.config["model"]
  _, named = models.get_row(section["variant"])
  other = [f"{k}={section[k]}" for k in named if section[k] != named[k]]
  name = " with ".join(filter(None, (section["variant"], ", ".join(other))))
  say(
    f"{name}: {parameters:,} parameters, on {exp.mesh.size} x "
    f"{device.device_kind} ({axes})"
  )
  examples = exp.info.count(exp.data.train)
  classes = f" of {exp.num_classes:,} classes" if exp.num_classes else ""
  say(
    f"{exp.data.source}: {counted(examples, 'image')}{classes} at {pixels} px, "
    f"{counted(exp.steps, 'step')} of {exp.train.batch_size:,}"
  )
  if exp.teacher is not None:
    say(f"teacher {exp.teacher.describe()}")
  if exp.train.batch_size > examples:
    say(
      f"warning: train.batch_size={exp.train.batch_size:,} is more than the "
      f"{examples:,} training images: each step repeats all of them"
    )
  several = f"warning: images have up to {exp.data.label_slots} labels, and"
  softmax = exp.config["objective"].get("cross_entropy") == "softmax"
  if softmax and (exp.data.label_slots or 0) > 1:
    say(
      f"{several} objective.cross_entropy='softmax' is for one: an image "
      f"counts as often as it has labels; set "
      f"--config.objective.cross_entropy=sigmoid"
    )
  if exp.teacher is not None and (exp.data.label_slots or 0) > 1:
    say(
      f"{several} objective.name='distillation' takes softmaxes, which are for "
      f"one: without a teacher, objective.name=supervised has "
      f"objective.cross_entropy=sigmoid"
    )
  if exp.optim.warmup_steps >= exp.steps:
    say(
      f"warning: optim.warmup_steps={exp.optim.warmup_steps:,} is at least the "
      f"run's {counted(exp.steps, 'step')}: the learning rate never reaches "
      f"optim.lr"
    )
  few = examples < FEW_IMAGES and parameters > MANY_PARAMETERS
  if few and not exp.config["init"]:
    say(
      f"warning: the parameters are random, and {counted(examples, 'image')} "
      f"are few to train them: take more, or --config.init=PATH, which begins "
      f"with trained weights"
    )
  unused = [
    f"model.{key}={section[key]!r}"
    for key, given in (
      ("pool", section.get("pool") == "map"),
      ("representation_size", section.get("representation_size")),
    )
    if given and not exp.objective.pools
  ]
  if unused:
    say(
      f"warning: objective.name={exp.config['objective']['name']!r} does not "
      f"train the weights of {' and '.join(unused)}, which features and probes "
      f"read: they stay as they began; leave it out until a head is trained"
    )
  for line in optim.describe_frozen(exp.optim, exp.abstract_state.params):
    say(line)
  if not exp.config["init"] and not optim.is_plain(exp.optim):
    counts = optim.count_trained(exp.optim, exp.abstract_state.params)
    # Less may be random on purpose, as MoCo v3's first layer, and so may all.
    if 0 < 2 * sum(counts.values()) < parameters:
      say(
        "warning: what is frozen is random, for want of init: set "
        "--config.init=PATH, of trained weights"
      )
  trained = optim.make_trained_mask(exp.optim, exp.abstract_state.params)
  mesh = exp.config["mesh"]
  say(describe_mesh(exp.mesh, exp.abstract_state, mesh, trained))
  for line in describe_indivisible(exp.abstract_state.params):
    say(line)
  for choice in exp.choices:
    say(str(choice))
