# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every recipe, for every value of every argument, one at a time: built, and
its training step lowered from shapes alone."""

import ast
import importlib
import pathlib
import re

import cv2
import numpy as np
import pytest

from configs import arguments, augmentation
from vit_jax.command_line import load_config
from vit_jax.config import check, parameters
from vit_jax.data.augment import Augment
from vit_jax.experiment import Experiment

ROOT = pathlib.Path(__file__).parent.parent
HELPERS = {"__init__", "arguments", "augmentation", "pretraining"}
NAMES = sorted(
  path.stem
  for path in (ROOT / "configs").glob("*.py")
  if path.stem not in HELPERS
)


def get_variants():
  """FILE and FILE:key=value for every documented value of every argument."""
  for name in NAMES:
    module = importlib.import_module(f"configs.{name}")
    yield f"configs/{name}.py"
    for key, values in getattr(module, "CHOICES", {}).items():
      yield from (f"configs/{name}.py:{key}={value}" for value in values)
  yield "configs/digits.py:variant=Ti/2"
  # One of every kind of model; hybrids want more pixels than digits have.
  yield "configs/digits.py:variant=Mixer-B/4"
  yield "configs/digits.py:variant=R50x1"


@pytest.mark.parametrize("argument", list(get_variants()))
def test_recipes_lower_from_shapes_alone(argument, tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  config = load_config(argument, [f"--config.data.dir={tmp_path}"])
  exp = Experiment(config)
  text = exp.lower_train_step().as_text()
  assert "stablehlo.dot_general" in text
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_opens_with_commands_that_exist(name):
  doc = ast.get_docstring(ast.parse((ROOT / f"configs/{name}.py").read_text()))
  commands = re.findall(r"--config=(\S+)", doc)
  assert f"configs/{name}.py" in commands
  for command in commands:
    load_config(str(ROOT / command), [])


def test_fine_tuning_on_a_folder_starts_from_a_file(tmp_path):
  for name in ("cat", "dog"):
    (tmp_path / name).mkdir()
    for i in range(30):
      image = np.full((8, 8, 3), 8 * i, np.uint8)
      assert cv2.imwrite(str(tmp_path / name / f"{i}.png"), image)
  argument = str(ROOT / f"configs/finetune.py:dataset=folder:{tmp_path},res=32")
  exp = Experiment(load_config(argument, ["--config.init=B_16.npz"]))
  assert exp.info.class_names == ("cat", "dog")
  assert exp.image_shape == (32, 32, 3)
  assert exp.config["init"] == "B_16.npz"


# ViT paper, table 3 and appendix B.1.
TABLE_3 = [
  ("vit_b16.py", "B/16", "imagenet21k", 90, 1e-3, 0.03, 0.1),
  ("vit_b32.py", "B/32", "imagenet21k", 90, 1e-3, 0.03, 0.1),
  ("vit_l16.py", "L/16", "imagenet21k", 90, 1e-3, 0.03, 0.1),
  ("vit_l16.py:epochs=30", "L/16", "imagenet21k", 30, 1e-3, 0.03, 0.1),
  ("vit_l32.py", "L/32", "imagenet21k", 90, 1e-3, 0.03, 0.1),
  ("vit_h14.py", "H/14", "jft300m", 14, 3e-4, 0.1, 0.0),
]


@pytest.mark.parametrize(
  ("card", "variant", "source", "epochs", "lr", "decay", "dropout"), TABLE_3
)
def test_table_3(card, variant, source, epochs, lr, decay, dropout, tmp_path):
  argument = str(ROOT / "configs" / card)
  exp = Experiment(load_config(argument, [f"--config.data.dir={tmp_path}"]))
  config = exp.config
  assert config["model"]["variant"] == variant
  assert config["model"]["dropout"] == dropout
  assert config["model"]["representation_size"] == config["model"]["width"]
  assert config["model"]["head_bias"] == -10
  assert config["data"]["source"] == f"tfds:{source}"
  assert config["data"]["size"] == 224
  assert config["objective"]["cross_entropy"] == "sigmoid"
  assert (exp.optim.name, exp.optim.b1, exp.optim.b2) == ("adam", 0.9, 0.999)
  assert (exp.optim.lr, exp.optim.weight_decay) == (lr, decay)
  assert exp.optim.schedule == "linear"
  assert exp.optim.warmup_steps == 10_000
  assert exp.train.batch_size == 4096
  images = {"imagenet21k": 14_197_122, "jft300m": 303_000_000}[source] - 51_200
  assert exp.steps == round(epochs * images / 4096)
  assert float(exp.schedule(10_000)) == pytest.approx(lr)
  assert float(exp.schedule(exp.steps)) == pytest.approx(1e-5)


# ViT paper, table 4.
TABLE_4 = [
  ("imagenet", 1000, 20_000, 500, 1_281_167, 50_000),
  ("cifar10", 10, 10_000, 500, 50_000, 10_000),
  ("cifar100", 100, 10_000, 500, 50_000, 10_000),
  ("pets", 37, 500, 100, 3680, 3669),
  ("flowers", 102, 500, 100, 1020, 6149),
]


@pytest.mark.parametrize(
  ("name", "classes", "steps", "warmup", "images", "tested"), TABLE_4
)
def test_table_4(name, classes, steps, warmup, images, tested, tmp_path):
  argument = str(ROOT / f"configs/finetune.py:dataset={name}")

  def make(argument):
    return Experiment(load_config(argument, [f"--config.data.dir={tmp_path}"]))

  exp = make(argument)
  assert (exp.num_classes, exp.steps) == (classes, steps)
  assert exp.data.shape == (384, 384)
  assert exp.config["model"]["representation_size"] is None
  optim = exp.optim
  assert (optim.name, optim.b1, optim.schedule) == ("sgd", 0.9, "cosine")
  assert (optim.weight_decay, optim.clip_norm) == (0.0, 1.0)
  assert optim.momentum_dtype == "bfloat16"
  assert optim.warmup_steps == warmup
  assert exp.train.batch_size == 512
  assert exp.info.count(exp.data.train) == images
  assert exp.info.count(exp.config["evals"]["test"]["split"]) == tested
  # What the choice is made on was in train, and is not trained on.
  dev = make(f"{argument},dev=1")
  kept = dev.info.count(dev.data.train)
  assert kept + dev.info.count(dev.config["evals"]["test"]["split"]) == images
  share = {"imagenet": 1, "cifar10": 2, "cifar100": 2}.get(name, 10)
  assert abs(kept - images * (1 - share / 100)) <= 1


# "How to train your ViT?", section 3.3: layers, magnitude, mixup's alpha.
AUGREG = {
  "none": (0, 0, 0),
  "light1": (2, 0, 0),
  "light2": (2, 10, 0.2),
  "medium1": (2, 15, 0.2),
  "medium2": (2, 15, 0.5),
  "strong1": (2, 20, 0.5),
  "strong2": (2, 20, 0.8),
}


def test_augreg():
  assert augmentation.AUGREG.keys() == AUGREG.keys()
  for name, (layers, magnitude, alpha) in AUGREG.items():
    errors = []
    keys = parameters(Augment)
    section = check("data.augment", augmentation.AUGREG[name], keys, errors)
    assert not errors
    assert section["flip"] and section["mixup"] == alpha
    found = section["randaugment"] or (0, 0)
    assert found == (layers, magnitude)


@pytest.mark.parametrize("value", ["(2, 15)", "[2, 15.5]"])
def test_randaugment_is_set_on_the_command_line(value, tmp_path):
  overrides = [
    f"--config.data.dir={tmp_path}",
    f"--config.data.augment.randaugment={value}",
    "--config.data.augment.cutmix=1.0",
  ]
  exp = Experiment(load_config(str(ROOT / "configs/digits.py"), overrides))
  layers, magnitude = exp.data.augment.randaugment
  assert layers == 2 and magnitude in (15.0, 15.5)
  assert "stablehlo.gather" in exp.lower_train_step().as_text()


def test_arguments():
  args = arguments.parse("a=2,b=x:y", a=1, b="", c=0.5)
  assert (args.a, args.b, args.c) == (2, "x:y", 0.5)
  with pytest.raises(ValueError, match=r"did you mean data=...\?"):
    arguments.parse("dta=x", data="")
  with pytest.raises(ValueError, match="'a=x' must be int"):
    arguments.parse("a=x", a=1)
  with pytest.raises(ValueError, match="must be one of 30, 90"):
    arguments.parse("epochs=31", {"epochs": (30, 90)}, epochs=90)
