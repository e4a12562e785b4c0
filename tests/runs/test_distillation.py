# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that are distilled from a teacher on disk."""

import copy
import dataclasses
import itertools
import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from etils import epath

import vit_jax
from tests.support import ROOT, build, lower
from tests.support.runs import OF_CALL
from tests.support.weights import RESNET, VIT, make_weights
from vit_jax.checkpoint import Checkpointer
from vit_jax.config import ConfigError
from vit_jax.config.errors import Preempted
from vit_jax.config.recipe import load_config
from vit_jax.convert.published import FILES
from vit_jax.convert.teacher import load_teacher, make_teacher
from vit_jax.convert.weights import flatten, load_weights
from vit_jax.convert.writing import save_weights
from vit_jax.data import sources, transforms
from vit_jax.data.augment import make_augment
from vit_jax.objectives.supervised import make_targets
from vit_jax.runtime.preflight import describe
from vit_jax.train import train
from vit_jax.train_state import compute_digest
from vit_jax.train_step import STEP, make_key


def save_teacher(path, size=8, **more):
  """Writes a model of random parameters that sees digits; its weights."""
  weights = make_weights(
    VIT | dict(variant="mu/4"),
    size=(size, size),
    channels=1,
    classes=10,
    **more,
  )
  # Random norms and kernels saturate a softmax: all of the loss is rounding.
  params = {name: 0.2 * x for name, x in weights.params.items()}
  weights = dataclasses.replace(weights, params=params)
  form = "authors" if str(path).endswith(".npz") else "vit_jax"
  save_weights(weights, str(path), form)
  return weights


@pytest.fixture
def distilled(config, tmp_path):
  """A run of a few seconds that has a teacher, and the teacher's path."""
  save_teacher(tmp_path / "teacher")
  path = str(tmp_path / "teacher")
  config["data"]["augment"] = dict(flip=True)  # Mixup takes long to compile.
  return config | {"objective": dict(name="distillation", teacher=path)}


def run(exp, state, steps):
  """Trains a few steps; the state, every step's metrics, and the teacher."""
  step, constants, history = (
    lower(exp).compile(),
    exp.load_frozen(),
    [],
  )
  for batch in itertools.islice(exp.make_batches(0), steps):
    state, metrics = step(state, batch, *constants)
    history.append({k: float(s / n) for k, (s, n) in metrics.items()})
  return state, history, constants


def test_softmaxes_of_several_labels_are_warned_of(distilled):
  for slots in (1, 3):
    distilled["data"]["label_slots"] = slots
    lines = []
    describe(build(distilled), lines.append)
    found = [x for x in lines if "up to 3 labels" in x]
    assert len(found) == (slots > 1)
    assert all("cross_entropy=sigmoid" in x for x in found)


def test_both_see_the_same_mixed_images(distilled, fill_state):
  """The first step's loss, from the models by hand and KL in NumPy."""
  distilled["data"]["augment"]["mixup"] = 1.0
  distilled["model"]["dropout"] = 0.0
  exp = build(distilled, jax.devices()[:1])
  state = fill_state(exp)
  params = jax.tree.map(jnp.copy, state.params)
  _, (metrics, *_), _ = run(exp, state, 1)

  augment = make_augment(exp.data.augment, lambda y: make_targets(y, 10))
  key = jax.random.fold_in(make_key(exp.train.seed, STEP), 0)
  batch = jax.jit(augment)(next(exp.make_batches(0)), jax.random.split(key)[0])
  assert len(np.unique(np.asarray(batch["label"]).max(axis=-1))) > 8, "mixed"
  teacher, _ = vit_jax.load(distilled["objective"]["teacher"])
  said = np.asarray(teacher(batch["image"]), np.float64)
  ours = jax.jit(exp.model.apply)({"params": params}, batch["image"])
  ours = np.asarray(ours, np.float64)
  p = scipy.special.softmax(said, axis=-1)
  kl = scipy.special.rel_entr(p, scipy.special.softmax(ours, axis=-1))
  assert metrics["loss"] == pytest.approx(kl.sum(axis=-1).mean(), rel=1e-5)
  same = ours.argmax(axis=-1) == said.argmax(axis=-1)
  assert metrics["agreement"] == same.mean()


def test_a_teacher_of_another_resolution_and_value_range(
  distilled, fill_state, tmp_path
):
  """The loss of a step whose images are resized and normalised by hand."""
  distilled["model"]["dropout"] = 0.0
  distilled["data"]["augment"] = {}
  pixels = dict(mean=(0.1,), std=(0.4,))
  save_teacher(tmp_path / "other", size=12, preprocess=pixels)
  distilled["objective"]["teacher"] = str(tmp_path / "other")
  exp = build(distilled, jax.devices()[:1])
  state = fill_state(exp)
  params = jax.tree.map(jnp.copy, state.params)
  _, (metrics, *_), _ = run(exp, state, 1)

  image = next(exp.make_batches(0))["image"] / np.float32(255)
  teacher, _ = vit_jax.load(str(tmp_path / "other"))
  larger = jax.image.resize(image, (16, 12, 12, 1), "bilinear")
  said = teacher((larger - 0.1) / 0.4)
  ours = jax.jit(exp.model.apply)({"params": params}, 2 * image - 1)
  p, q = (scipy.special.softmax(np.float64(x), axis=-1) for x in (said, ours))
  kl = scipy.special.rel_entr(p, q).sum(axis=-1).mean()
  assert metrics["loss"] == pytest.approx(kl, rel=1e-5)


def test_eight_devices_and_micro_batches_do_what_one_does(
  distilled, tmp_path, eight_devices
):
  """With a teacher of another resolution, spread as a model is."""
  distilled["model"]["dropout"] = 0.0
  distilled["objective"]["teacher"] = str(tmp_path / "larger")
  save_teacher(tmp_path / "larger", size=12)
  one = build(copy.deepcopy(distilled), jax.devices()[:1])
  state, expected, (teacher,) = run(one, one.make_state(), 2)
  assert state.aux == {}
  weights = load_weights(distilled["objective"]["teacher"])
  digest = compute_digest(weights.tree)
  assert one.recorded_config["objective"]["teacher_sha256"] == digest
  assert compute_digest(teacher["params"]) == digest, "no step changes it"
  distilled["train"]["accumulate"] = 2
  distilled["mesh"] = dict(fsdp=4, tensor=2)
  eight = build(distilled)
  sharded, history, (teacher,) = run(eight, eight.make_state(), 2)
  for a, b in zip(expected, history, strict=True):
    assert a == pytest.approx(b, rel=1e-5)
  assert compute_digest(teacher["params"]) == digest
  pairs = zip(*map(jax.tree.leaves, (state, sharded)), strict=True)
  for a, b in pairs:
    # Adam divides by the root of tiny second moments: atol is 1 % of a step.
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
  kernel = teacher["params"]["Transformer"]["encoderblock"]["MlpBlock_0"]
  kernel = kernel["Dense_0"]["kernel"]
  assert kernel.shape == (2, 32, 128)
  assert kernel.sharding.shard_shape(kernel.shape) == (2, 8, 64)


def test_a_run_goes_on_with_its_teacher_and_no_other(
  distilled, tmp_path, monkeypatch, ask_at, capsys
):
  path = pathlib.Path(distilled["objective"]["teacher"])
  result = train(distilled, str(tmp_path / "straight"))
  shown = capsys.readouterr().err
  assert f"teacher {path}: mu/4, " in shown and "8x8 px\n" in shown
  ask_at(3)
  resumed = tmp_path / "resumed"
  with pytest.raises(Preempted, match="saved step 3"):
    train(distilled, str(resumed))
  monkeypatch.undo()

  # Another in its place is refused, and so is none; elsewhere it is the same.
  path.rename(tmp_path / "kept")
  with pytest.raises(ConfigError, match="objective.teacher: .*teacher"):
    train(distilled, str(resumed))
  save_teacher(path, gelu="exact")
  weights = load_weights(str(path))
  changed = {name: x + 1 for name, x in weights.params.items()}
  other = dataclasses.replace(weights, params=changed)
  save_weights(other, str(path), overwrite=True)
  with pytest.raises(ConfigError, match="another config:\n.*teacher_sha256="):
    train(distilled, str(resumed))
  distilled["objective"]["teacher"] = str(tmp_path / "kept")
  distilled["train"]["report"] = True
  again = train(distilled, str(resumed))
  for name in set(result) - OF_CALL:
    assert again[name] == result[name], name

  # Its page has the student's figures by class.
  found = json.loads((resumed / "evaluation" / "evaluation.json").read_text())
  assert [found[x] for x in ("correct", "total")] == [result["correct"], 40]
  assert found["loss"] == pytest.approx(result["loss"], rel=1e-6)
  assert sum(row["support"] for row in found["classes"]) == 40
  assert ">Classes<" in (resumed / "report.html").read_text()

  # What is saved and exported is the student, evaluated on the labels.
  exp = build(distilled)
  directory = epath.Path(resumed / "checkpoints")
  with Checkpointer(directory, exp.checkpoint) as checkpointer:
    state = checkpointer.restore(exp.abstract_state)
  assert compute_digest(state.params) == result["params_sha256"]
  found = dict(exp.evaluators["test"].run(state))
  assert (found["correct"], found["total"]) == (result["correct"], 40)
  exported, _ = vit_jax.load(str(resumed))
  assert compute_digest(exported.params) == compute_digest(state.ema)
  rows = (resumed / "metrics.jsonl").read_text().splitlines()
  first = json.loads(rows[0])
  assert {"agreement", "teacher_accuracy", "accuracy", "loss"} <= set(first)
  assert not any(key.startswith("test/teacher") for key in json.loads(rows[-1]))


def test_a_teacher_can_be_asked_for_by_its_digest(distilled):
  digest = build(distilled).recorded_config["objective"]["teacher_sha256"]
  distilled["objective"]["teacher_sha256"] = digest
  assert build(distilled).teacher.num_classes == 10
  distilled["objective"]["teacher_sha256"] = "0" * 64
  with pytest.raises(ConfigError, match=rf"  - .*=0{{64}}\n  \+ .*={digest}"):
    build(distilled)


def test_a_teacher_may_be_a_file_and_computes_as_the_student(
  distilled, tmp_path
):
  weights = save_teacher(tmp_path / "t.npz", class_names=tuple("0123456789"))
  distilled["objective"]["teacher"] = str(tmp_path / "t.npz")
  distilled["model"]["dtype"] = "bfloat16"
  exp = build(distilled)
  assert exp.objective.reader.model.dtype == "bfloat16"
  assert compute_digest(exp.teacher.tree) == compute_digest(weights.tree)
  (abstract,) = exp.abstract_frozen
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(abstract))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (dict(num_classes=9), "9 classes.* 10"),
    (dict(num_classes=0), "has no head"),
    (
      dict(class_names=("zero", *"123456789")),
      "1 of 10, .*class 0, 'zero' .*'0'",
    ),
    (dict(cross_entropy="sigmoid"), "was trained with the sigmoid loss"),
    (dict(channels=3), "3 channels.* 1"),
  ],
)
def test_a_teacher_that_does_not_fit(distilled, tmp_path, change, message):
  channels = change.pop("channels", 1)
  classes = change.pop("num_classes", 10)
  weights = make_weights(
    VIT | dict(variant="mu/4"),
    size=(8, 8),
    channels=channels,
    classes=classes,
  )
  weights = dataclasses.replace(weights, **change)
  save_weights(weights, str(tmp_path / "other"))
  distilled["objective"]["teacher"] = str(tmp_path / "other")
  with pytest.raises(ConfigError, match=message):
    train(distilled, str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (dict(teacher="nowhere.npz"), "objective.teacher: nowhere.npz"),
    (dict(teacher=None), "objective.teacher=None"),
    (dict(mode="sfot"), "did you mean 'soft'"),
    (dict(temperature=0), "objective.temperature=0"),
    (dict(alpha=0.0), r"alpha=0.0 \(float\) must be float in \(0, 1\]"),
    (dict(mode="hard", temperature=3.0), "temperature=3 has no effect"),
    (dict(cross_entropy="sigmoid"), "objective.cross_entropy"),
  ],
)
def test_a_bad_section(distilled, tmp_path, change, message):
  distilled["objective"] |= change
  with pytest.raises(ConfigError, match=message):
    train(distilled, str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()


def test_a_teacher_has_to_be_named(config):
  config["objective"] = dict(name="distillation")
  with pytest.raises(ConfigError, match="objective.teacher is missing"):
    build(config)


def test_the_recipe_is_the_authors(tmp_path, monkeypatch):
  """Beyer et al. (2022), bit_i1k.py; the teacher's file is not there."""
  monkeypatch.chdir(tmp_path)
  overrides = [f"--config.data.dir={tmp_path}", "--config.train.allow_cpu=True"]
  config = load_config(str(ROOT / "configs/distill.py"), overrides)
  exp = build(config)
  assert exp.steps == round(9600 * 1_255_544 / 4096)
  # The first makes result.json.
  splits = [section["split"] for section in exp.config["evals"].values()]
  assert splits == ["validation", "train[99%:]"]
  assert (exp.optim.lr, exp.optim.warmup_steps) == (0.03, 5000)
  # 3e-4 a step at the peak, which AdamW multiplies by its rate.
  assert exp.optim.lr * exp.optim.weight_decay == pytest.approx(3e-4)
  assert exp.data.augment.mixup == 1.0 and exp.objective.alpha == 1.0
  reader = exp.objective.reader
  assert (reader.size, reader.mean) == ((224, 224), (0.5, 0.5, 0.5))
  (abstract,) = exp.abstract_frozen
  sizes = [x.size for x in jax.tree.leaves(abstract)]
  assert sum(sizes) == 236_335_208  # As `python -m vit_jax.models R152x2` has.
  assert exp.recorded_config["objective"]["teacher_sha256"] is None
  with pytest.raises(ConfigError) as caught:
    exp.load_frozen()
  command = "python -m vit_jax.models --download=bit-teacher-r152x2-224 --to=."
  assert command in str(caught.value)


def test_a_published_file_that_is_not_there_is_a_model(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for row in FILES.values():
    weights = load_teacher(row.filename, "bfloat16")
    reader = make_teacher(weights, jax.devices()[0])
    assert reader.size == (row.resolution, row.resolution)
    assert reader.model.num_classes == (row.classes or 0)
    assert reader.model.dtype == "bfloat16" and not weights.params
  with pytest.raises(ConfigError, match="objective.teacher: b.npz: No such"):
    load_teacher("b.npz", "bfloat16")


def test_a_teacher_has_the_attention_of_its_device(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  weights = load_teacher("vit-b16-i21k.npz", "bfloat16")
  tpu = types.SimpleNamespace(platform="tpu", device_kind="TPU v5 lite")
  found = [make_teacher(weights, x).model for x in (tpu, jax.devices()[0])]
  assert [model.attention for model in found] == ["vmem", "xla"]


def test_a_published_file_that_is_there_is_read(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  small = make_weights(RESNET, classes=1000)
  save_weights(small, "bit-teacher-r152x2-224.npz", "bit")
  overrides = [f"--config.data.dir={tmp_path}"]
  config = load_config(str(ROOT / "configs/distill.py"), overrides)
  exp = build(config)
  assert exp.objective.reader.model.stages == (2, 1)
  (teacher,) = exp.load_frozen()
  assert compute_digest(teacher["params"]) == compute_digest(small.tree)


def test_a_distilled_student_agrees_more_than_one_that_saw_labels(
  config, data_dir, tmp_path
):
  """With a teacher that is mostly wrong, whose mistakes the student learns."""
  config["model"]["dropout"] = 0.0
  config["data"]["augment"] = {}
  config["optim"] = dict(lr=3e-3, schedule="constant")
  config["train"] |= dict(batch_size=64, steps=100)
  labelled = build(copy.deepcopy(config), jax.devices()[:1])
  student, *_ = run(labelled, labelled.make_state(), 100)
  young, *_ = run(labelled, labelled.make_state(), 20)
  weights = make_weights(
    VIT | dict(variant="mu/4", depth=1), size=(8, 8), channels=1, classes=10
  )
  taught = {name: np.asarray(x) for name, x in flatten(young.params).items()}
  weights = dataclasses.replace(weights, params=taught)
  save_weights(weights, str(tmp_path / "teacher"))
  config["objective"] = dict(
    name="distillation", teacher=str(tmp_path / "teacher")
  )
  config["train"]["seed"] = 1
  exp = build(config, jax.devices()[:1])
  distilled, history, _ = run(exp, exp.make_state(), 100)

  source = sources.open_source("tfds:digits", "test", data_dir)
  images = np.stack(
    [transforms.decode(source[i]["image"], 1) for i in range(360)]
  )
  images = jnp.asarray(images / 127.5 - 1, jnp.float32)
  apply = jax.jit(exp.model.apply)
  teacher, ours, theirs = (
    np.argmax(apply({"params": state.params}, images), axis=-1)
    for state in (young, student, distilled)
  )
  assert (theirs == teacher).mean() > (ours == teacher).mean() + 0.2
  assert history[0]["agreement"] < 0.3 < 0.6 < history[-1]["agreement"]
