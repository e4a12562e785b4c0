# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The recipes' numbers, against the papers' tables, written out once more."""

import itertools

import pytest

from configs import augmentation, finetune, pretraining, vtab
from tests.support import ROOT
from tests.support import build as build_experiment
from vit_jax.config import check, parameters
from vit_jax.config.recipe import load_config
from vit_jax.convert.published import FILES
from vit_jax.data.augment import Augment
from vit_jax.sections import resolve
from vit_jax.study import sweep

pytestmark = pytest.mark.usefixtures("unknown_memory")


def build(recipe, tmp_path):
  """The experiment of a recipe whose data are not there."""
  return build_experiment(
    load_config(f"{ROOT}/configs/{recipe}", [f"--config.data.dir={tmp_path}"])
  )


# ViT paper, table 3 and appendix B.1: card, arguments, models, data, epochs,
# learning rate, its decay, weight decay, dropout, clipping; and below it ours.
TABLE_3 = [
  ("vit_*", "jft300m", "B/16 B/32", 7, 8e-4, "linear", 0.1, 0, None),
  ("vit_*", "jft300m", "L/32", 7, 6e-4, "linear", 0.1, 0, None),
  ("vit_*", "jft300m", "L/16", 7, 4e-4, "linear", 0.1, 0, None),
  ("vit_*", "jft300m", "L/16", 14, 4e-4, "linear", 0.1, 0, None),
  ("vit_*", "jft300m", "H/14", 14, 3e-4, "linear", 0.1, 0, None),
  ("bit", "jft300m", "R50x1 R50x2", 7, 1e-3, "linear", 0.1, 0, None),
  ("bit", "jft300m", "R101x1", 7, 8e-4, "linear", 0.1, 0, None),
  ("bit", "jft300m", "R152x1 R152x2", 7, 6e-4, "linear", 0.1, 0, None),
  ("hybrid", "jft300m", "R50+B/16 R50+B/32", 7, 8e-4, "linear", 0.1, 0, None),
  ("hybrid", "jft300m", "R50+L/32", 7, 2e-4, "linear", 0.1, 0, None),
  ("hybrid", "jft300m", "R50+L/16", 7, 4e-4, "linear", 0.1, 0, None),
  ("hybrid", "jft300m", "R50+L/16", 14, 4e-4, "linear", 0.1, 0, None),
  ("vit_*", "imagenet21k", "B/16 B/32", 90, 1e-3, "linear", 0.03, 0.1, None),
  ("vit_*", "imagenet21k", "L/16 L/32", 30, 1e-3, "linear", 0.03, 0.1, None),
  ("vit_*", "imagenet21k", "L/16 L/32", 90, 1e-3, "linear", 0.03, 0.1, None),
  (
    *("vit_*", "imagenet", "B/16 B/32 L/16 L/32 H/14"),
    *(300, 3e-3, "cosine", 0.3, 0.1, 1.0),
  ),
]
OURS = [
  ("vit_*", "imagenet21k", "B/16 B/32", 30, 1e-3, "linear", 0.03, 0.1, None),
  ("vit_*", "imagenet21k", "H/14", 90, 1e-3, "linear", 0.03, 0.1, None),
]
ROWS = [
  (card, model, data, *numbers)
  for card, data, models, *numbers in [*TABLE_3, *OURS]
  for model in models.split()
]
TFDS = {"imagenet": "imagenet2012"}  # Where its name is another.
IMAGES = {
  "jft300m": 303_000_000 - 51_200,
  "imagenet21k": 14_197_122 - 51_200,
  "imagenet": 1_268_355,  # 99 % of 1,281,167.
}


@pytest.mark.parametrize(
  ("card", "model", "data", "epochs", "lr", "decay", "wd", "dropout", "clip"),
  ROWS,
)
def test_table_3(
  card, model, data, epochs, lr, decay, wd, dropout, clip, tmp_path
):
  name = card.replace("*", model.replace("/", "").lower())
  which = "" if "*" in card else f"model={model},"
  exp = build(f"{name}.py:{which}dataset={data},epochs={epochs}", tmp_path)
  config, section = exp.config, exp.config["model"]
  assert section["variant"] == model
  if card == "bit":
    assert dropout == 0 and "dropout" not in section
  else:
    assert section["dropout"] == dropout
    assert section["representation_size"] == section["width"]
  assert config["data"]["source"] == f"tfds:{TFDS.get(data, data)}"
  assert exp.data.shape == (224, 224)
  softmax = data == "imagenet"
  assert section["head_bias"] == (0 if softmax else -10)
  loss = config["objective"]["cross_entropy"]
  assert loss == ("softmax" if softmax else "sigmoid")
  optim = exp.optim
  assert (optim.name, optim.b1, optim.b2) == ("adam", 0.9, 0.999)
  assert (optim.lr, optim.weight_decay, optim.clip_norm) == (lr, wd, clip)
  assert (optim.schedule, optim.warmup_steps) == (decay, 10_000)
  assert exp.train.batch_size == 4096
  assert exp.info.count(exp.data.train) == IMAGES[data]
  assert exp.steps == round(epochs * IMAGES[data] / 4096)
  assert float(exp.schedule(10_000)) == pytest.approx(lr)
  # float32, after a cosine that ends beside its zero.
  last = 0 if softmax else 1e-5
  assert float(exp.schedule(exp.steps)) == pytest.approx(last, abs=1e-9)
  # result.json is of the first, and nothing that is watched was trained on.
  held_out = exp.info.count("train") - IMAGES[data]
  splits = [section["split"] for section in config["evals"].values()]
  counts = [50_000, held_out] if softmax else [held_out]
  assert list(map(exp.info.count, splits)) == counts


def test_table_3_has_every_row_of_ours_and_no_other():
  table = [*pretraining.TABLE_3, *pretraining.OURS]
  found = [
    (model, row.dataset, epochs)
    for row in table
    for model in row.models
    for epochs in row.epochs
  ]
  assert sorted(found) == sorted(row[1:4] for row in ROWS)


# ViT paper, table 4: classes, steps, warm-up, images to train and to test,
# share of train that is held out for the choice in percent, learning rates.
TABLE_4 = [
  (
    *("imagenet", 1000, 20_000, 500, 1_281_167, 50_000, 1),
    (0.003, 0.01, 0.03, 0.06),
  ),
  (
    *("cifar10", 10, 10_000, 500, 50_000, 10_000, 2),
    (0.001, 0.003, 0.01, 0.03),
  ),
  (
    *("cifar100", 100, 10_000, 500, 50_000, 10_000, 2),
    (0.001, 0.003, 0.01, 0.03),
  ),
  ("pets", 37, 500, 100, 3680, 3669, 10, (0.001, 0.003, 0.01, 0.03)),
  ("flowers", 102, 500, 100, 1020, 6149, 10, (0.001, 0.003, 0.01, 0.03)),
]


@pytest.mark.parametrize(
  ("name", "classes", "steps", "warmup", "images", "tested", "share", "rates"),
  TABLE_4,
)
def test_table_4(
  name, classes, steps, warmup, images, tested, share, rates, tmp_path
):
  exp = build(f"finetune.py:dataset={name},lr={rates[1]}", tmp_path)
  assert (exp.num_classes, exp.steps) == (classes, steps)
  assert exp.data.shape == (384, 384)
  assert exp.config["model"]["representation_size"] is None
  assert exp.config["objective"]["cross_entropy"] == "softmax"
  optim = exp.optim
  assert (optim.name, optim.b1, optim.schedule) == ("sgd", 0.9, "cosine")
  assert (optim.weight_decay, optim.clip_norm) == (0.0, 1.0)
  assert optim.momentum_dtype == "bfloat16"
  assert (optim.lr, optim.warmup_steps) == (rates[1], warmup)
  assert optim.ema is None
  assert exp.train.batch_size == 512
  assert exp.info.count(exp.data.train) == images
  assert exp.info.count(exp.config["evals"]["test"]["split"]) == tested
  # What the choice is made on was in train, and is not trained on.
  found = finetune.get_sweep(f"dataset={name}")
  assert found == dict(grid=dict(lr=rates), dev=dict(dev=1))
  dev = build(f"finetune.py:dataset={name},dev=1", tmp_path)
  kept = dev.info.count(dev.data.train)
  assert kept + dev.info.count(dev.config["evals"]["test"]["split"]) == images
  assert abs(kept - images * (1 - share / 100)) <= 1


# The released `dropout_rate` (google-research/vision_transformer,
# commit c6de1e5, configs/models.py), which its augreg.py sets to 0.
DROPOUT = {
  "Ti/16": 0,
  "S/16": 0,
  "S/32": 0,
  "B/8": 0,
  "B/16": 0,
  "B/32": 0,
  "L/16": 0.1,
  "L/32": 0,
  "H/14": 0.1,
  "R+Ti/16": 0,
  "R26+S/32": 0,
  "R50+B/16": 0.1,
  "R50+L/32": 0.1,
}


def get_dropout(recipe):
  """What the model of a recipe is built with."""
  config = resolve(load_config(f"{ROOT}/configs/{recipe}", []))
  return config["model"]["dropout"]


def test_fine_tuning_has_the_dropout_of_the_released_code():
  assert {*DROPOUT, "R50x1"} == set(finetune.CHOICES["model"])
  for model, rate in DROPOUT.items():
    assert get_dropout(f"finetune.py:model={model}") == rate, model
    found = get_dropout(f"finetune.py:model={model},protocol=augreg")
    assert found == 0, model
    if model in vtab.CHOICES["model"]:
      assert get_dropout(f"vtab.py:model={model}") == rate, model


@pytest.mark.parametrize(("model", "px"), [("L/16", 512), ("H/14", 518)])
def test_the_headline_resolutions_and_average(model, px, tmp_path):
  exp = build(f"finetune.py:model={model},res={px},polyak=1", tmp_path)
  assert exp.data.shape == (px, px)
  assert exp.optim.ema == 0.9999


# "How to train your ViT?", fine-tuning: learning rates, and warm-ups by steps.
AUGREG_FINETUNE = {
  "imagenet": ((0.01, 0.03), {20_000: 500}),
  "pets": ((0.001, 0.003, 0.01), {500: 100, 2_500: 200}),
  "cifar100": ((0.001, 0.003, 0.01), {2_500: 200, 10_000: 500}),
  "resisc45": ((0.001, 0.003, 0.01), {2_500: 200, 10_000: 500}),
}


@pytest.mark.parametrize("name", AUGREG_FINETUNE)
def test_augreg_fine_tuning(name, tmp_path):
  rates, warmups = AUGREG_FINETUNE[name]
  text = f"protocol=augreg,dataset={name}"
  points, dev = sweep.load_sweep(f"{ROOT}/configs/finetune.py:{text}")
  grid = {(point["lr"], point.get("steps", 20_000)) for point in points}
  assert grid == set(itertools.product(rates, warmups))
  assert len(points) == len(grid) and dev == {"dev": 1}
  for steps, warmup in warmups.items():
    exp = build(f"finetune.py:{text},steps={steps},res=224", tmp_path)
    assert (exp.steps, exp.optim.warmup_steps) == (steps, warmup)
    assert exp.data.shape == (224, 224)


def test_resisc45_is_split_into_parts_that_share_nothing(tmp_path):
  text = "finetune.py:protocol=augreg,dataset=resisc45"
  exp, dev = build(text, tmp_path), build(f"{text},dev=1", tmp_path)
  splits = [
    exp.info.find_ranges(split)
    for run in (dev, exp)
    for split in (run.data.train, run.config["evals"]["test"]["split"])
  ]
  bounds = [(0, 18_900), (18_900, 25_200), (0, 25_200), (25_200, 31_500)]
  assert splits == [[("train", *bound)] for bound in bounds]


def test_fine_tuning_lists_every_published_model():
  public = {row.variant for row in FILES.values() if "x" not in row.variant}
  public = {name for name in public if not name.startswith("Mixer")}
  assert set(finetune.CHOICES["model"]) == public | {"R50x1"}


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

# Augmentation by model on ImageNet-21k and on ImageNet, of the authors'
# released code and, below, ours.
BY_MODEL = {
  "Ti/16": ("none", "light1"),
  "S/32": ("none", "medium1"),
  "S/16": ("light1", "medium2"),
  "B/32": ("light2", "medium2"),
  "B/16": ("light2", "medium2"),
  "L/16": ("medium2", "medium2"),
  "R+Ti/16": ("none", "light1"),
  "R26+S/32": ("light1", "medium2"),
  "R50+L/32": ("medium2", "medium2"),
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


@pytest.mark.parametrize("data", ["imagenet21k", "imagenet"])
@pytest.mark.parametrize("model", BY_MODEL)
def test_augreg_pre_training(model, data, tmp_path):
  level = BY_MODEL[model][data == "imagenet"]
  exp = build(f"augreg.py:model={model},dataset={data}", tmp_path)
  section, optim, augment = exp.config["model"], exp.optim, exp.data.augment
  assert section["representation_size"] is None and section["pool"] == "token"
  assert section["dropout"] == section["stochastic_depth"] == 0
  assert section["head_bias"] == (-10 if data == "imagenet21k" else -6.9)
  assert exp.config["objective"]["cross_entropy"] == "sigmoid"
  assert (*(augment.randaugment or (0, 0)), augment.mixup) == AUGREG[level]
  assert (optim.name, optim.b1, optim.b2) == ("adam", 0.9, 0.999)
  assert (optim.lr, optim.schedule, optim.end_lr) == (1e-3, "cosine", 0)
  assert (optim.warmup_steps, optim.clip_norm) == (10_000, 1)
  assert optim.momentum_dtype == "bfloat16"
  # A decay of 1e-4 that the peak learning rate does not multiply.
  assert optim.lr * optim.weight_decay == pytest.approx(1e-4)
  assert exp.train.batch_size == 4096 and exp.data.shape == (224, 224)
  assert exp.steps == round(300 * IMAGES[data] / 4096)
  other = f"augreg.py:model={model},dataset={data},wd=0.03,reg=0.1,aug=strong2"
  exp = build(other, tmp_path)
  section, augment = exp.config["model"], exp.data.augment
  assert section["dropout"] == section["stochastic_depth"] == 0.1
  assert exp.optim.weight_decay == 0.03
  assert (*augment.randaugment, augment.mixup) == (2, 20, 0.8)


@pytest.mark.parametrize("epochs", [90, 300])
def test_the_better_plain_vit(epochs, tmp_path):
  exp = build(f"vit_s16.py:epochs={epochs}", tmp_path)
  section, optim, augment = exp.config["model"], exp.optim, exp.data.augment
  assert (section["variant"], section["pool"]) == ("S/16", "gap")
  assert (section["position"], section["dropout"]) == ("sincos_2d", 0)
  assert exp.config["objective"]["cross_entropy"] == "softmax"
  assert (*augment.randaugment, augment.mixup) == (2, 10, 0.2)
  # A decay of 1e-4 that the peak learning rate does not multiply.
  assert optim.lr * optim.weight_decay == pytest.approx(1e-4)
  assert (optim.lr, optim.schedule, optim.clip_norm) == (1e-3, "cosine", 1)
  assert optim.warmup_steps == 10_000
  assert (optim.name, optim.momentum_dtype) == ("adam", "bfloat16")
  assert section["representation_size"] == 384
  assert exp.config["data"]["train"] == "train[:99%]"
  assert exp.config["evals"]["minival"]["split"] == "train[99%:]"
  assert exp.train.batch_size == 1024
  assert exp.steps == round(epochs * 1_268_355 / 1024)


# The released code (google-research/big_vision, commit 0127fb6, bit_i21k.py and
# bit_i1k.py): learning rate and weight decay of 256 images, times 4096 / 256.
BIT_SGD = {
  "imagenet21k": (0.03 * 16, 3e-5 * 16, 5000, "sigmoid", -10.0),
  "imagenet": (0.1 * 16, 1e-4 * 16, 1000, "softmax", 0.0),
}


@pytest.mark.parametrize("data", BIT_SGD)
def test_bit_with_sgd(data, tmp_path):
  lr, decay, warmup, loss, bias = BIT_SGD[data]
  exp = build(f"bit_sgd.py:dataset={data}", tmp_path)
  optim, section = exp.optim, exp.config["model"]
  assert (section["variant"], section["head_bias"]) == ("R50x1", bias)
  assert exp.config["objective"]["cross_entropy"] == loss
  assert (optim.name, optim.b1, optim.schedule) == ("sgd", 0.9, "cosine")
  assert optim.momentum_dtype == "bfloat16"
  assert optim.lr == pytest.approx(lr, rel=1e-12)
  # Theirs is not multiplied by the peak learning rate.
  assert optim.lr * optim.weight_decay == pytest.approx(decay, rel=1e-12)
  assert (optim.warmup_steps, optim.clip_norm, optim.end_lr) == (warmup, 1, 0)
  assert exp.train.batch_size == 4096 and exp.data.shape == (224, 224)
  assert exp.info.count(exp.data.train) == IMAGES[data]
  assert exp.steps == round(90 * IMAGES[data] / 4096)
  splits = [section["split"] for section in exp.config["evals"].values()]
  held_out = exp.info.count("train") - IMAGES[data]
  counts = [held_out] if loss == "sigmoid" else [50_000, held_out]
  assert list(map(exp.info.count, splits)) == counts


@pytest.mark.parametrize("epochs", [1200, 9600])
def test_distillation(epochs, tmp_path):
  """The released code, proj/distill/bit_i1k.py; 9,600 are the paper's."""
  text = "" if epochs == 9600 else f":epochs={epochs}"
  exp = build(f"distill.py{text}", tmp_path)
  optim, data, objective = exp.optim, exp.data, exp.config["objective"]
  assert exp.config["model"]["variant"] == "R50x1"
  assert (objective["mode"], objective["temperature"]) == ("soft", 1.0)
  assert objective["alpha"] in (None, 1.0)
  assert (data.augment.flip, data.augment.mixup) == (True, 1.0)
  assert (optim.name, optim.b1, optim.b2) == ("adam", 0.9, 0.999)
  assert optim.momentum_dtype == "bfloat16"
  assert (optim.lr, optim.schedule, optim.end_lr) == (0.03, "cosine", 0)
  assert (optim.warmup_steps, optim.clip_norm) == (5000, 1)
  assert optim.lr * optim.weight_decay == pytest.approx(3e-4)
  assert exp.train.batch_size == 4096 and data.shape == (224, 224)
  # The last 2 % are held out, and the last 1 % evaluated.
  assert exp.info.find_ranges(data.train) == [("train", 0, 1_255_544)]
  ranges = {
    name: exp.info.find_ranges(section["split"])
    for name, section in exp.config["evals"].items()
  }
  assert ranges == {
    "imagenet": [("validation", 0, 50_000)],
    "minival": [("train", 1_268_355, 1_281_167)],
  }
  assert exp.steps == round(epochs * 1_255_544 / 4096)
