# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Builds what a config describes: mesh, data, model, objective, optimizer.

Nothing is compiled and only the facts of the data set and a teacher are read,
so a bad config ends in a message within seconds.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from vit_jax import models, optim, sharding
from vit_jax.checkpoint import CheckpointOptions
from vit_jax.config import Choice, ConfigError, parameters, raise_all
from vit_jax.config.frozen import FrozenDict
from vit_jax.config.training import Train
from vit_jax.convert.initialize import Report
from vit_jax.convert.starting import start
from vit_jax.convert.teacher import (
  check_digest,
  check_teacher,
  load_teacher,
  make_abstract_teacher,
  make_teacher,
  place_teacher,
)
from vit_jax.convert.transfer import Transfer
from vit_jax.convert.weights import Weights
from vit_jax.data.augment import Augment, make_augment
from vit_jax.data.pipeline import (
  Data,
  choose_for_training,
  make_train_batches,
)
from vit_jax.data.placing import find_rows, make_abstract_batch
from vit_jax.data.sources import load_info, open_source
from vit_jax.data.views import Views
from vit_jax.devices import auto
from vit_jax.devices.mesh import make_mesh
from vit_jax.evaluators import EVALUATORS, Evaluation
from vit_jax.objectives import OBJECTIVES
from vit_jax.objectives.objective import Setting
from vit_jax.objectives.supervised import make_targets
from vit_jax.runtime.class_weights import find_class_weights
from vit_jax.runtime.fitting import (
  choose_eval_batch,
  jit_once,
  make_fitting,
)
from vit_jax.runtime.preflight import check_batches, check_splits
from vit_jax.train_state import Batch
from vit_jax.train_step import make_init_state, make_train_step


class Experiment:
  """Everything that a config determines, before any array of it is made.

  Attributes:
    config: resolved config.
    data, info: the data section, and facts of the data set.
    train, optim, checkpoint, transfer: the sections of these names.
    model, objective: Flax module, and the loss it is trained with.
    teacher: weights that the objective distils, or None.
    schedule, tx: learning rate by step, and the optimizer.
    steps: length of the run.
    mesh: device mesh.
    fit: how the step fits into memory; `save_memory` changes it.
    evaluators: evaluators by name, in the config's order.
  """

  def __init__(
    self,
    config: FrozenDict,
    devices: Sequence[jax.Device] | None = None,
  ):
    """Builds the model, data, mesh, objective and optimizer.

    Args:
      config: from `sections.resolve`.
      devices: devices of the mesh; None is all.

    Raises:
      ConfigError: if keys that are valid alone do not fit together.
    """
    self.config = config
    augment = Augment(**config["data"]["augment"])
    views = Views(**config["data"]["views"])
    self.data = Data(**config["data"] | dict(augment=augment, views=views))
    self.train = Train(**config["train"])
    self.optim = optim.Optim(**config["optim"])
    self.checkpoint = CheckpointOptions(**config["checkpoint"])
    self.transfer = Transfer(**config["transfer"])
    self.info = load_info(self.data.source, self.data.dir)
    slots = self.data.label_slots or self.info.label_slots
    self.data = dataclasses.replace(self.data, label_slots=slots or None)
    uses_labels = OBJECTIVES[config["objective"]["name"]].uses_labels
    classes = self.data.num_classes or self.info.num_classes
    self.num_classes = classes if uses_labels else 0
    self.steps = self._set_durations()
    # The config keeps "auto": a run may continue where that is something else.
    device = (devices or jax.devices())[0]
    model = models.make_model(self.num_classes, **config["model"])
    model, attention = auto.choose_attention(
      model, device, *self.data.shape, train=True
    )
    self.model, unroll = auto.choose_unroll(model, device, self.steps)
    self._choices = [*attention, *unroll]
    self._reading = self.data
    self._check(device)
    self.optim = optim.freeze_base(self.optim, self.model)
    self.schedule = optim.make_schedule(self.optim, self.steps)
    self.tx = optim.make_optimizer(self.optim, self.schedule, self.steps)
    self.teacher, self._teacher_sha256 = self._load_teacher()
    self.objective = self._make_objective(device)
    raise_all(self.objective.find_errors(*self.image_shape))
    self._shapes = jax.eval_shape(self.init_state)
    self.mesh = make_mesh(devices, self._shapes, **config["mesh"])
    check_batches(config, self.mesh)
    self._fitting = make_fitting(self)
    self._use_fit()
    if self.optim.multipliers or self.optim.layer_decay:
      # A pattern that matches no parameter is named before a workdir is made.
      optim.check_multipliers(self.optim, self.abstract_state.params)

  def _check(self, device: jax.Device) -> None:
    """Raises one ConfigError for all that does not go together."""
    errors = self.model.find_errors(*self.data.shape)
    errors += auto.find_device_errors(self.model, device)
    check_splits(self.config, self.info)
    if 0 < self.num_classes < self.info.num_classes:
      errors.append(
        f"data.num_classes={self.num_classes} is less than the "
        f"{self.info.num_classes} classes of {self.data.source}"
      )
    if self.info.label_slots is not None and not self.data.label_slots:
      errors.append(
        f"images of {self.data.source} have several labels, and their largest "
        f"number is unknown: set --config.data.label_slots=N"
      )
    raise_all(errors)

  def _use_fit(self) -> None:
    """Builds what depends on how the step fits into memory."""
    self.fit = self._fitting.fit
    if self.fit.remat is not None:
      self.model = self.model.clone(remat=self.fit.remat)
      self.objective = self.objective.clone(remat=self.fit.remat)
    self.__dict__.pop("train_step", None)
    self.evaluators = self._make_evaluators()

  def save_memory(self) -> bool:
    """Changes the step to take less memory; False if there is no way left."""
    if not self._fitting.take_next():
      return False
    self._use_fit()
    return True

  @property
  def choices(self) -> list[Choice]:
    """What was chosen for the keys that are "auto", and why."""
    return [*self._choices, *self._fitting.choices]

  def _load_teacher(self) -> tuple[Weights | None, str | None]:
    """Returns the weights that the objective distils, and their digest."""
    section = self.config["objective"]
    if "teacher" not in section:
      return None, None
    teacher = load_teacher(section["teacher"], self.model.dtype)
    names, channels = self.info.class_names, self.info.channels
    check_teacher(teacher, self.num_classes, names, channels)
    return teacher, check_digest(teacher, section["teacher_sha256"])

  def _make_objective(self, device: Any) -> Any:
    """Builds the objective that the config names, for a kind of device."""
    section = dict(self.config["objective"])
    arguments: list[Any] = [self.model]
    if self.teacher is not None:
      arguments.append(make_teacher(self.teacher, device))
    if (weights := section.get("class_weights")) is not None:
      weights = find_class_weights(weights, self.data, self.num_classes)
      section["class_weights"] = weights
    objective = OBJECTIVES[section.pop("name")](*arguments, **section)
    views, train = self.data.views, self.train
    return objective.place(
      Setting(
        self.steps,
        self.info.count(self.data.train) / train.batch_size,
        *(views.count, views.local, views.local_size),
        accumulate=train.accumulate,
        classes=self.info.num_classes,
      )
    )

  def _set_durations(self) -> int:
    """Returns the length of the run; sets that of its phases in `optim`."""
    batch, examples = self.train.batch_size, self.info.count(self.data.train)
    lengths = {unit: getattr(self.train, unit) for unit in optim.LENGTHS}
    steps = optim.count_steps(lengths, examples, batch)
    if steps is None:
      *names, last = (f"train.{unit}" for unit in lengths)
      raise ConfigError(f"set {', '.join(names)} or {last}, none is given")
    if not 1 <= steps <= 2e9:
      given = next(f"{unit}={x}" for unit, x in lengths.items() if x)
      raise ConfigError(
        f"train.{given} of {examples:,} examples an epoch makes {steps:.7g} "
        f"steps of train.batch_size={batch}: take 1 to 2e9"
      )
    self.optim = optim.set_phases(self.optim, examples, batch)
    self.train.check_profile(steps)
    return steps

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Shape (H, W, c) of the model's input."""
    return *self.data.shape, self.info.channels

  @functools.cached_property
  def init_state(self) -> Callable:
    """Function that builds the initial TrainState; takes no arguments."""
    objective = self.objective
    if hasattr(self.model, "unroll"):  # Unrolled it compiles for minutes.
      objective = objective.clone(unroll=1)
    return make_init_state(
      objective,
      self.tx,
      self.image_shape,
      seed=self.train.seed,
      ema=self.optim.ema,
    )

  @functools.cached_property
  def abstract_state(self) -> Any:
    """TrainState of shapes, dtypes and shardings."""
    return sharding.place(self.mesh, self._shapes)

  @functools.cached_property
  def abstract_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Training batch of shapes, dtypes and shardings."""
    batch_size, channels = self.train.batch_size, self.info.channels
    return make_abstract_batch(self.data, self.mesh, channels, batch_size)

  @functools.cached_property
  def abstract_frozen(self) -> tuple[Any, ...]:
    """Abstract frozen inputs of the step: a teacher's variables, if any."""
    if self.teacher is None:
      return ()
    return (make_abstract_teacher(self.mesh, self.teacher),)

  def load_frozen(self) -> tuple[Any, ...]:
    """Loads the frozen inputs, the step's arguments after state and batch.

    Raises:
      ConfigError: if the teacher's file does not exist.
    """
    if self.teacher is None:
      return ()
    return (place_teacher(self.mesh, self.teacher),)

  def load_init(self) -> tuple[dict[str, np.ndarray], Report | None]:
    """Loads the parameters that the config's `init` gives, by path.

    Raises:
      ConfigError: if they cannot be read or do not fit the model.
    """
    if not self.config["init"]:
      return {}, None
    return start(
      self.config,
      self.transfer,
      self.model,
      self.image_shape,
      self.abstract_state.params,
      self.info.class_names,
    )

  def make_state(self, given: dict[str, np.ndarray] | None = None) -> Any:
    """Makes a new TrainState, each shard on its own device.

    Args:
      given: path -> values of parameters that are not initialised at random;
        they are taken out, so that a host lets go of what devices have.
    """
    shardings = jax.tree.map(lambda x: x.sharding, self.abstract_state)
    # Traced without the mesh, as `_shapes`: the activations of the model's
    # first image need no sharding, as the compiler removes them.
    make, placed = jit_once(self.init_state, shardings), {}
    if not given:
      return make()
    leaves = jax.tree_util.tree_leaves_with_path(self.abstract_state.params)
    for keys, leaf in leaves:
      if (path := sharding.get_path(keys)) in given:
        placed[path] = sharding.put(given.pop(path), leaf)
    return make(placed)

  def choose_input(self, processes: int) -> None:
    """Chooses the workers and threads that read; opens the data.

    Args:
      processes: number of processes of the run on this machine.
    """
    data, rows = self.data, len(find_rows(self.mesh, self.train.batch_size))
    self._reading, choices = choose_for_training(
      data,
      open_source(data.source, data.train, data.dir),
      self.info.channels,
      rows=rows,
      images=rows * self.steps,
      processes=processes,
    )
    self._choices += choices

  def make_batches(self, start_step: int) -> Iterator[Batch]:
    """Makes the training batches that follow step `start_step`, on the mesh."""
    return make_train_batches(
      self._reading,
      self.mesh,
      self.info.channels,
      batch_size=self.train.batch_size,
      seed=self.train.seed,
      start_step=start_step,
    )

  @functools.cached_property
  def train_step(self) -> Callable:
    """Pure step (state, batch, *frozen) -> (state, metrics)."""
    skips = self.train.max_skipped_steps
    return make_train_step(
      self.objective,
      self.tx,
      self.schedule,
      make_augment(
        self.data.augment,
        lambda y: make_targets(y, self.num_classes),
        self.data.views,
      ),
      seed=self.train.seed,
      ema=self.optim.ema,
      accumulate=self.fit.accumulate,
      freeze=functools.partial(optim.stop_frozen, self.optim),
      find_trained=functools.partial(optim.make_trained_mask, self.optim),
      max_skipped_steps=skips if self.train.nonfinite == "skip" else 0,
      by_layer=self.train.layers_every is not None,
    )

  @property
  def abstract_inputs(self) -> tuple[Any, ...]:
    """Abstract arguments of the step: state, batch, frozen inputs."""
    return self.abstract_state, self.abstract_batch, *self.abstract_frozen

  def _make_evaluators(self) -> dict[str, Any]:
    """Builds the evaluations that the config names."""
    made, batch_size = {}, choose_eval_batch(self)
    for name, section in self.config["evals"].items():
      keys = parameters(Evaluation)
      own = {key: x for key, x in section.items() if key not in keys}
      made[name] = EVALUATORS[section["kind"]](
        self.objective,
        self.data,
        self.mesh,
        self.info.channels,
        batch_size,
        **own,
      )
    return made

  def list_due_evaluations(self, step: int) -> list[str]:
    """Lists the names of the evaluations that are due after a step."""
    every = {name: x["every"] for name, x in self.config["evals"].items()}
    return [name for name, n in every.items() if n and step % n == 0]

  @property
  def recorded_config(self) -> dict[str, Any]:
    """Config as a run records it: with the digest of the teacher it found."""
    if self.teacher is None:
      return self.config
    digest = {"teacher_sha256": self._teacher_sha256}
    return {**self.config, "objective": self.config["objective"] | digest}

  def make_manifest(self) -> dict[str, Any]:
    """Makes the content of manifest.json: what the parameters do not say."""
    # Not what depends on the machine that trains.
    model = {
      key: value
      for key, value in self.config["model"].items()
      if key not in ("attention", "remat", "unroll")
    }
    return {
      "model": model,
      "num_classes": self.num_classes,
      "class_names": list(self.info.class_names if self.num_classes else ()),
      "cross_entropy": self.config["objective"].get("cross_entropy", "softmax"),
      "preprocess": self.data.make_preprocess(self.info.channels).to_json(),
    }
