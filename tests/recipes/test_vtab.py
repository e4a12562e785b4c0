# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""configs/vtab.py is the ViT paper's table 4 and BiT's supplement F."""

import pytest

from configs import vtab as card
from tests.support import ROOT, build
from vit_jax.config import ConfigError
from vit_jax.config.recipe import load_config
from vit_jax.data import vtab

pytestmark = pytest.mark.usefixtures("unknown_memory")

# Task -> classes, flips, boxes, test images (the tests of VTAB's code).
TASKS = {
  "caltech101": (102, True, True, 6084),
  "cifar100": (100, True, True, 10_000),
  "dtd": (47, True, True, 1880),
  "flowers102": (102, True, True, 6149),
  "pets": (37, True, True, 3669),
  "sun397": (397, True, True, 21_750),
  "svhn": (10, True, True, 26_032),
  "patch_camelyon": (2, True, True, 32_768),
  "eurosat": (10, True, True, 5400),
  "resisc45": (45, True, True, 6300),
  "retinopathy": (5, True, True, 42_670),
  "clevr_count": (8, True, False, 15_000),
  "clevr_dist": (6, True, False, 15_000),
  "dmlab": (6, True, False, 22_735),
  "kitti_dist": (4, True, False, 711),
  "dspr_loc": (16, False, False, 73_728),
  "dspr_ori": (16, False, True, 73_728),
  "snorb_azim": (18, False, True, 12_150),
  "snorb_elev": (9, True, True, 12_150),
}


def make(argument, data_dir):
  argument = str(ROOT / f"configs/vtab.py:{argument}")
  return build(load_config(argument, [f"--config.data.dir={data_dir}"]))


def test_all_tasks_in_the_order_of_the_benchmark():
  assert card.TASKS == tuple(vtab.TASKS) == tuple(TASKS)
  assert len(TASKS) == 19


@pytest.mark.parametrize("task", TASKS)
def test_a_task(task, tmp_path):
  classes, flips, boxes, tested = TASKS[task]
  exp = make(f"task={task}", tmp_path)
  assert exp.num_classes == classes
  assert exp.image_shape == (384, 384, 3)
  assert exp.info.count(exp.data.train) == 1000
  assert exp.info.count(exp.config["evals"]["test"]["split"]) == tested
  assert exp.data.augment.flip == flips
  assert exp.data.crop == ("random_resized" if boxes else "none")
  # Everything else is the same for all.
  optim = exp.optim
  assert (exp.steps, exp.train.batch_size) == (2500, 512)
  assert (optim.name, optim.lr, optim.b1) == ("sgd", 0.01, 0.9)
  assert (optim.schedule, optim.warmup_steps) == ("cosine", 200)
  assert (optim.weight_decay, optim.clip_norm) == (0.0, 1.0)
  assert optim.momentum_dtype == "bfloat16"
  assert exp.config["model"]["representation_size"] is None
  assert exp.config["model"]["dropout"] == 0


def test_choosing_is_apart_from_testing(tmp_path):
  exp = make("task=pets,model=H/14,dev=1", tmp_path)
  assert exp.info.count(exp.data.train) == 800
  assert exp.info.count(exp.config["evals"]["test"]["split"]) == 200
  assert exp.image_shape == (378, 378, 3)
  parts = vtab.compute_parts("pets", {"train": 3680, "test": 3669})
  assert parts[exp.data.train] == [("train", 0, 800)]
  assert parts["val200"] == [("train", 2944, 3144)]


def test_an_unknown_task_is_refused():
  with pytest.raises(
    ConfigError, match="'task=clevr' must be one of caltech101"
  ):
    load_config(str(ROOT / "configs/vtab.py:task=clevr"), [])
