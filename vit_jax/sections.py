# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The sections of a config: the keys of each, checked and filled in.

A key is declared where it is used: it is a keyword-only parameter of the
constructor that SECTIONS names for its section.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from vit_jax import models, optim
from vit_jax.checkpoint import CheckpointOptions
from vit_jax.config import (
  ConfigError,
  allow_unset,
  check,
  fits,
  get,
  nearest,
  parameters,
  raise_all,
)
from vit_jax.config.errors import quote, shorten
from vit_jax.config.frozen import FrozenDict
from vit_jax.config.recipe import list_missing, to_plain
from vit_jax.config.training import Train
from vit_jax.convert.fields import EXAMPLES
from vit_jax.convert.transfer import Transfer
from vit_jax.data.augment import Augment
from vit_jax.data.pipeline import Data
from vit_jax.devices.mesh import make_mesh
from vit_jax.evaluators import EVALUATORS, Evaluation
from vit_jax.hosts.coordination import Timeouts
from vit_jax.metrics.loggers import find_name_errors
from vit_jax.objectives import OBJECTIVES

RESERVED = ("spike", "layers")  # Rows of a run that no evaluation writes.

# Old name of a key -> its name.
RENAMED = {"train.max_passed": "train.max_skipped_steps"}

# Old value of a key -> what to set instead.
REPLACED = {
  "data.crop=inception": "'distorted_box', the crop of the ViT authors, or "
  "'random_resized', which 'inception' was until 2026-11-26"
}


def _model(given: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
  """Keys of the model section, which its variant decides."""
  variant = given.get("variant")
  return allow_unset(
    *(given, models.parameters(variant)),
    (models.parameters(example) for example in EXAMPLES.values()),
    f"model.variant={variant!r}",
  )


def _objective(given: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
  """Keys of the objective section: `name`, and those of that objective."""
  default = next(iter(OBJECTIVES))
  name = given.get("name", default)
  keyword = inspect.Parameter.KEYWORD_ONLY
  key = inspect.Parameter("name", keyword, default=default, annotation=str)
  objective = get(OBJECTIVES, name, "objective.name")
  return allow_unset(
    *(given, {"name": key} | parameters(objective)),
    (parameters(x) for x in OBJECTIVES.values()),
    f"objective.name={name!r}",
  )


def _evaluation(
  name: str, given: Mapping[str, Any]
) -> dict[str, inspect.Parameter]:
  """Keys of a section under evals: common ones, and those of its kind."""
  kind = given.get("kind", "classification")
  evaluator = get(EVALUATORS, kind, "evals kind")
  return allow_unset(
    *(given, parameters(Evaluation) | parameters(evaluator)),
    (parameters(x) for x in EVALUATORS.values()),
    f"{name}.kind={kind!r}",
  )


# Section -> its content -> the keys that it may have.
SECTIONS: dict[str, Callable[[Mapping], dict[str, inspect.Parameter]]] = {
  "model": _model,
  "data": lambda given: parameters(Data),
  "objective": _objective,
  "optim": optim.list_parameters,
  "train": lambda given: parameters(Train),
  "mesh": lambda given: parameters(make_mesh),
  "checkpoint": lambda given: parameters(CheckpointOptions),
  "transfer": lambda given: parameters(Transfer),
  "hosts": lambda given: parameters(Timeouts),
}

# Words of other libraries -> the keys that they mean.
WORDS = {
  "betas": "optim.b1",
  "ema_decay": "optim.ema",
  "beta1": "optim.b1",
  "beta2": "optim.b2",
  "clip_grad": "optim.clip_norm",
  "grad_clip": "optim.clip_norm",
  "learning_rate": "optim.lr",
  "wd": "optim.weight_decay",
  "drop_path": "model.stochastic_depth",
  "droppath": "model.stochastic_depth",
  "heads": "model.num_heads",
  "layers": "model.depth",
  "mixed_precision": "model.dtype",
  "precision": "model.dtype",
  "image_size": "data.size",
  "img_size": "data.size",
  "res": "data.size",
  "resolution": "data.size",
  "num_workers": "data.workers",
  "save_every": "checkpoint.every",
}

# Key -> its full name, where a user may have meant another section.
FULL_NAMES = (
  {
    key: f"objective.{key}"
    for x in OBJECTIVES.values()
    for key in parameters(x)
  }
  | {key: f"data.augment.{key}" for key in parameters(Augment)}
  | {
    key: f"{section}.{key}"
    for section, get_allowed in SECTIONS.items()
    for key in get_allowed({"variant": "B/16"})
  }
  | WORDS
)


def resolve(config: Mapping[str, Any] | ConfigDict) -> FrozenDict:
  """Checks every key and type of a config and fills in the defaults.

  Args:
    config: sections of keys, as plain dictionaries or a ConfigDict; a resolved
      config is returned as it is.

  Returns:
    The config with every key that determines the run; it cannot be changed.

  Raises:
    ConfigError: all that is wrong, with the nearest valid names.
  """
  if isinstance(config, FrozenDict):
    return config
  if isinstance(config, ConfigDict):
    config = to_plain(config)
  if not isinstance(config, Mapping):
    raise ConfigError(f"a config is a dictionary of sections: {quote(config)}")
  missing = list(list_missing(config))
  if missing:
    raise ConfigError(f"the config leaves {', '.join(missing)} open: set it")
  errors: list[str] = []
  names = (*SECTIONS, "evals", "init")
  for name in config:
    if name not in names:
      hint = nearest(name, names, elsewhere=FULL_NAMES)
      errors.append(f"unknown config section {quote(name)}; {hint}")
  resolved: dict[str, Any] = {
    name: _check_section(name, config.get(name, {}), get_allowed, errors)
    for name, get_allowed in SECTIONS.items()
  }
  evals = config.get("evals", {})
  if not isinstance(evals, Mapping):
    errors.append(f"evals={quote(evals)} must be a section of evaluations")
    evals = {}
  # Without labels there is no accuracy.
  kind = OBJECTIVES.get(resolved["objective"].get("name"))
  usual = {}
  if kind is not None and not kind.uses_labels:
    usual = {"kind": "knn" if kind.compares_views else "loss"}
  for name in evals:
    # A metric is NAME/METRIC in rows and TensorBoard.
    if not re.fullmatch(r"[^\s/]{1,100}", name) or name in RESERVED:
      errors.append(
        f"evals.{shorten(name)}: an evaluation's name has 1 to 100 characters, "
        f"no / or space, and is none of {', '.join(RESERVED)}"
      )
  resolved["evals"] = {
    name: _check_section(
      f"evals.{name}",
      usual | {**given} if isinstance(given, Mapping) else given,
      functools.partial(_evaluation, f"evals.{name}"),
      errors,
    )
    for name, given in evals.items()
  }
  resolved["init"] = config.get("init")
  if not fits(resolved["init"], str | None) or resolved["init"] == "":
    errors.append(f"init={quote(resolved['init'])} must be the path of weights")
  unchanged = dataclasses.asdict(Transfer())
  if resolved["transfer"] != unchanged and not resolved["init"]:
    errors.append(
      "the transfer section has no effect without initial weights: set "
      "--config.init=PATH, or remove it"
    )
  errors += find_name_errors(resolved["train"].get("loggers"))
  raise_all(errors)
  raise_all(_find_uses_of_averages(resolved))
  raise_all(_find_uses_of_views(resolved))
  raise_all(_find_uses_of_labels(resolved))
  raise_all(_find_uses_of_masks(resolved))
  raise_all(_find_uses_of_classes(resolved))
  _check_metric(resolved, "checkpoint", "best")
  _check_metric(resolved, "train", "stop_by")
  return FrozenDict(resolved)


def _check_section(
  name: str, given: Any, get_allowed: Callable, errors: list[str]
) -> dict[str, Any]:
  """Checks one section and fills in its defaults; appends its errors."""
  if not isinstance(given, Mapping):
    errors.append(f"{name}={quote(given)} must be a section of keys")
    return {}
  current = {}
  for key, value in given.items():
    if f"{name}.{key}" in RENAMED:
      new = RENAMED[f"{name}.{key}"]
      errors.append(f"config key '{name}.{key}' was renamed to {new!r}")
    elif isinstance(value, str) and (
      found := REPLACED.get(f"{name}.{key}={value}")
    ):
      errors.append(f"{name}.{key}={value!r} is no more: set {found}")
    else:
      current[key] = value
  try:
    return check(name, current, get_allowed(current), errors, FULL_NAMES)
  except ConfigError as error:
    errors.append(str(error))
  return {}


def _find_uses_of_averages(resolved: Mapping[str, Any]) -> list[str]:
  """Lists the average that an objective with one of its own would not use."""
  name, ema = resolved["objective"]["name"], resolved["optim"]["ema"]
  if ema is None or not OBJECTIVES[name].averages:
    return []
  return [
    f"optim.ema={ema:g} averages the student, and would be evaluated in place "
    f"of the teacher of objective.name={name!r}: leave it out, and set "
    f"objective.momentum for the teacher"
  ]


def _find_uses_of_views(resolved: Mapping[str, Any]) -> list[str]:
  """Lists the keys that make views, for an objective that compares none."""
  name, views = resolved["objective"]["name"], resolved["data"]["views"]
  if OBJECTIVES[name].compares_views:
    return []
  return [
    f"data.views.{key}={views[key]} is for objectives that compare views, and "
    f"objective.name={name!r} reads one: set it to {off}"
    for key, off in (("count", 1), ("local", 0))
    if views[key] != off
  ]


def _find_uses_of_labels(resolved: Mapping[str, Any]) -> list[str]:
  """Lists the keys that need labels, for an objective that reads none."""
  name, data = resolved["objective"]["name"], resolved["data"]
  if OBJECTIVES[name].uses_labels:
    return []
  errors = [
    f"data.augment.{key}={data['augment'][key]:g} mixes labels, and "
    f"objective.name={name!r} reads none: leave it out"
    for key in ("mixup", "cutmix")
    if data["augment"][key]
  ]
  if data["num_classes"] is not None:
    errors.append(
      f"data.num_classes={data['num_classes']} has no effect: the model of "
      f"objective.name={name!r} has no head: leave it out"
    )
  return (
    errors
    + [
      f"evals.{key}.kind={section['kind']!r} reads a head, and the model of "
      f"objective.name={name!r} has none: take 'loss', 'knn', 'fewshot' or "
      f"'linear'"
      for key, section in resolved["evals"].items()
      if EVALUATORS[section["kind"]].READS_HEAD
    ]
    + [
      f"evals.{key}.kind='loss' has one view of an image, and the loss of "
      f"objective.name={name!r} compares several: take 'knn', 'fewshot' or "
      f"'linear'"
      for key, section in resolved["evals"].items()
      if section["kind"] == "loss" and OBJECTIVES[name].compares_views
    ]
  )


def _find_uses_of_masks(resolved: Mapping[str, Any]) -> list[str]:
  """Lists what does not go together with masks, or with their absence."""
  data, name = resolved["data"], resolved["objective"]["name"]
  masks = data["source"].startswith("segmentation:")
  kinds = {f"evals.{x}": y["kind"] for x, y in resolved["evals"].items()}
  if not masks:
    used = {"objective.name": name} | {f"{x}.kind": y for x, y in kinds.items()}
    return [
      f"{key}='segmentation' reads masks, and data.source={data['source']!r} "
      f"has none: set it to segmentation:DIR"
      for key, value in used.items()
      if value == "segmentation"
    ]
  errors = []
  if name != "segmentation":
    errors.append(
      f"data.source={data['source']!r} has masks, which objective.name="
      f"{name!r} does not read: set it to 'segmentation'"
    )
  if data["eval_crop"] is not None:
    errors.append(
      f"data.eval_crop={data['eval_crop']:g} cuts pixels off that a "
      f"segmentation is measured on: leave it out"
    )
  if data["augment"]["randaugment"] is not None:
    errors.append(
      "data.augment.randaugment moves pixels, and masks would stay where they "
      "are: leave it out"
    )
  if (colour := data["views"]["colour"]) != "none":
    errors.append(
      f"data.views.colour={colour!r} changes no images that have masks: leave "
      f"it out"
    )
  return errors + [
    f"{key}.kind={kind!r} reads a label of each image, and "
    f"data.source={data['source']!r} has masks: take 'segmentation' or 'loss'"
    for key, kind in kinds.items()
    if kind not in ("segmentation", "loss", "attention_logits")
  ]


def _find_uses_of_classes(resolved: Mapping[str, Any]) -> list[str]:
  """Lists what reads classes, of images that have none."""
  source, name = resolved["data"]["source"], resolved["objective"]["name"]
  if not re.search(r"(^|\*)images:", source):
    return []
  errors = []
  if OBJECTIVES[name].uses_labels:
    errors.append(
      f"data.source={source!r} has no classes, which objective.name={name!r} "
      f"reads: arrange the images in a folder a class and set it to folder:DIR"
    )
  return errors + [
    f"evals.{key}.kind={section['kind']!r} reads a label of each image, and "
    f"data.source={source!r} has none: take 'loss', where the objective "
    f"compares no views, or leave it out and evaluate the run with "
    f"--data=SOURCE of others"
    for key, section in resolved["evals"].items()
    if section["kind"] not in ("loss", "attention_logits")
  ]


def _check_metric(resolved: Mapping[str, Any], section: str, key: str) -> None:
  """Raises ConfigError if a key names no metric that is evaluated as it must.

  Whatever ends a run early has to be evaluated during the run.
  """
  evals = resolved["evals"]
  if key == "stop_by":
    evals = {name: x for name, x in evals.items() if x["every"]}
  names = [
    f"{name}/{metric}"
    for name, x in evals.items()
    for metric in EVALUATORS[x["kind"]].METRICS
  ]
  value = resolved[section][key]
  if value is not None and value not in names:
    hint = nearest(value, names)
    if key == "stop_by" and not names:
      hint = "no evaluation is run before the end: set evals.NAME.every"
    raise ConfigError(
      f"{section}.{key}={value!r} is not a metric of any evaluation: {hint}"
    )
