# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""Fine-tuning at high resolution (ViT paper, table 4 and section 3.2).

  python -m vit_jax.main --config=configs/finetune.py --workdir=DIR \
      --config.init=B_16.npz
  python -m vit_jax.main --workdir=DIR --config.init=L_16.npz \
      --config=configs/finetune.py:model=L/16,dataset=cifar10,lr=0.003
  python -m vit_jax.main --workdir=DIR --config.init=L_16.npz \
      --config=configs/finetune.py:model=L/16,dataset=imagenet,res=512,polyak=1
  python -m vit_jax.main --config=configs/finetune.py:dataset=folder:PHOTOS \
      --workdir=DIR --config.init=B_16.npz

Adapters of rank 8 beside frozen weights, in a fraction of the optimizer's
memory (docs/pretrained.md has the learning rate's source):

  python -m vit_jax.main --config=configs/finetune.py:dataset=folder:PHOTOS \
      --workdir=DIR --config.init=B_16.npz --config.model.adapter=lora:8 \
      --config.optim.name=adam --config.optim.lr=0.001

The paper's protocol, every learning rate of the row once on a part of train,
then the best on all of train with three seeds:

  python -m vit_jax.study sweep --config=configs/finetune.py:dataset=cifar10 \
      --workdir=DIR --config.init=B_16.npz
  python -m vit_jax.study sweep --workdir=DIR --config.init=B_16.npz \
      --config=configs/finetune.py:protocol=augreg,dataset=pets,res=224

The paper's, from ImageNet-21k at 384 px (table 5), %:

         ImageNet  CIFAR-10  CIFAR-100  Flowers   Pets
  B/16      83.97     98.95      91.67    99.38  94.43
  B/32      81.28     98.79      91.97    99.11  93.02
  L/16      85.15     99.16      93.44    99.61  94.73
  L/32      80.99     99.13      93.04    99.19  93.09
  H/14      85.13     99.27      93.82    99.51  94.82

With Polyak averaging (table 2), %:

  L/16, ImageNet-21k, 512 px, polyak=1 on ImageNet:      85.30
  L/16, JFT-300M, 512 px, polyak=1 on ImageNet:          87.76
  H/14, JFT-300M, 518 px, polyak=1 on ImageNet:          88.55

The paper's cost: not known.
Ours, measured: nothing yet.

Arguments:
  model     any of `python -m vit_jax.models`
  dataset   imagenet cifar10 cifar100 pets flowers, resisc45 with
            protocol=augreg; your own: folder:PATH, or tfds:NAME with splits
            train and test, as prepare writes it
  data_dir  where tfds:NAME is, if prepare was given a --data_dir
  res       px, less what a patch does not divide (14 px: 378 of 384)
  lr        the peak learning rate; 0 is 0.01, of your own set's smaller
            batches less
  steps     any number, 0 is the row's; more than one in AugReg's, where the
            longest is the default
  batch     the batch size; 0 is 512, or what your own images ask for
  freeze    backbone trains the head alone, on features that do not change
  balance   1 weighs classes in the loss, so that rare ones count as much
  stop      N ends the run after N evaluations, of ten, without a lower loss,
            and keeps the checkpoint of the lowest: DIR/checkpoints/STEP
  dev       1 holds out the part of train on which the sweep chooses: the
            paper's part, for AugReg too
  polyak    1 evaluates an average of the parameters with the paper's decay of
            0.9999; that it grows, to 0.9996 in 20,000 steps, is ours
  protocol  vit, or augreg ("How to train your ViT?") without Kitti, whose label
            its public set does not have

With protocol=vit, L/16, H/14, R50+B/16 and R50+L/32 have a dropout of 0.1 as in
the authors' released code, of which the paper says nothing: on ImageNet they
find 85.05 % with L/16, without it 84.47 %. AugReg's has none. Unlike the code,
whose configs leave 1 or 2 % of train out, the final run takes all of it, as the
paper says; the momentum is rounded to bfloat16 between steps, but decays by 0.9
in float32, not by 0.8984, the nearest bfloat16.

Linear warm-up, momentum in bfloat16 and the evaluation's plain resize are the
authors' released code, as are TensorFlow's random boxes (distorted_box),
resized bilinearly, and flips. Warm-ups of other steps than the table's are
interpolated.

Of your own set batch and steps follow the number of images. Steps are BiT's,
500 up to 20,000 images, 10,000 up to half a million, then 20,000, and at most
50 epochs; below 5,120 images batches are smaller than 512, so that an epoch has
ten or more, and the learning rate follows the square root of the batch. These
limits are ours, and not measured yet. It may be trained on without an
accelerator.
"""

import os
from typing import NamedTuple

from ml_collections import ConfigDict

from configs import arguments, photographs


class Dataset(NamedTuple):
  """A data set and its splits.

  Attributes:
    source: `data.source`.
    train, test: splits to train and to evaluate on.
    dev_train, dev_test: parts of `train` for the same, to choose arguments.
  """

  source: str
  train: str
  test: str
  dev_train: str
  dev_test: str


def hold_out(source: str, percent: int, test: str) -> Dataset:
  """A data set whose last `percent` of train are held out as `dev_test`."""
  kept = 100 - percent
  return Dataset(source, "train", test, f"train[:{kept}%]", f"train[{kept}%:]")


DATASETS = {
  "imagenet": hold_out("tfds:imagenet2012", 1, "validation"),
  "cifar10": hold_out("tfds:cifar10", 2, "test"),
  "cifar100": hold_out("tfds:cifar100", 2, "test"),
  "pets": hold_out("tfds:oxford_iiit_pet", 10, "test"),
  "flowers": hold_out("tfds:oxford_flowers102", 10, "test"),
  # It has one split; the parts are VTAB's (Zhai et al., 2019).
  "resisc45": Dataset(
    "tfds:resisc45",
    *("train[:80%]", "train[80%:]", "train[:60%]", "train[60%:80%]"),
  ),
}

# Linear warm-up of a run, by its length.
WARMUP = {500: 100, 2_500: 200, 10_000: 500, 20_000: 500}

# The head, and all that is not: patterns of paths with their multipliers.
FROZEN = (("^head/", 1.0), (".", 0.0))

# The steps and learning rates of which the best are chosen.
MANY, FEW = (0.001, 0.003, 0.01, 0.03), (0.001, 0.003, 0.01)
TABLE_4 = {
  "imagenet": ((20_000,), (0.003, 0.01, 0.03, 0.06)),
  "cifar100": ((10_000,), MANY),
  "cifar10": ((10_000,), MANY),
  "pets": ((500,), MANY),
  "flowers": ((500,), MANY),
}
AUGREG = {
  "imagenet": ((20_000,), (0.01, 0.03)),
  "pets": ((500, 2_500), FEW),
  "cifar100": ((2_500, 10_000), FEW),
  "resisc45": ((2_500, 10_000), FEW),
}
# A set of one's own, and what follows its kind.
OWN = {"folder": "PATH", "tfds": "NAME"}
PROTOCOLS = {
  "vit": TABLE_4 | dict.fromkeys(OWN, ((500,), MANY)),
  "augreg": AUGREG,
}

# The models that the authors' released code fine-tunes with a dropout of 0.1.
WITH_DROPOUT = ("L/16", "H/14", "R50+B/16", "R50+L/32")

CHOICES = {
  # ViTs and hybrids with public weights, and a ResNet.
  "model": (
    *("B/16", "B/32", "B/8", "L/16", "L/32", "H/14", "S/16", "S/32", "Ti/16"),
    *("R+Ti/16", "R26+S/32", "R50+B/16", "R50+L/32", "R50x1"),
  ),
  "dataset": tuple(TABLE_4),
  "res": (384, 224, 512, 518),
  "lr": (0.001, 0.003, 0.01, 0.03, 0.06),
  "steps": tuple(WARMUP),
  "freeze": ("none", "backbone"),
  "dev": (0, 1),
  "polyak": (0, 1),
  "protocol": tuple(PROTOCOLS),
}


def get_warmup(steps):
  """Linear warm-up of a run: the table's, or between its rows."""
  before, warmup = 0, 0
  for length, value in WARMUP.items():
    if steps <= length:
      share = (steps - before) / (length - before)
      return round(warmup + share * (value - warmup))
    before, warmup = length, value
  return warmup


def parse(text):
  """Parses arguments: these, the data set, its (steps, learning rates)."""
  fixed = ("dev", "polyak", "protocol", "freeze")
  args = arguments.parse(
    text,
    {key: CHOICES[key] for key in fixed} | {"balance": (0, 1)},
    **dict(model="B/16", dataset="cifar100", res=384, lr=0.0, steps=0),
    **dict(dev=0, polyak=0, protocol="vit"),
    **dict(batch=0, freeze="none", balance=0, stop=0, data_dir=""),
  )
  for key in ("steps", "batch", "stop"):
    if getattr(args, key) < 0:
      raise ValueError(f"argument {key} must not be negative")
  name, _, path = args.dataset.partition(":")
  rows = PROTOCOLS[args.protocol]
  if name not in rows or (name in OWN) != bool(path):
    known = [f"{row}:{OWN[row]}" if row in OWN else row for row in rows]
    if "folder" in rows and os.path.isdir(args.dataset):
      raise ValueError(
        f"dataset={args.dataset} is a folder: set dataset=folder:{args.dataset}"
      )
    raise ValueError(
      f"dataset={args.dataset} is not in protocol={args.protocol}; set one of "
      f"{', '.join(known)}"
    )
  if args.balance and name not in ("folder", "tfds"):
    raise ValueError(
      "balance=1 counts the images of dataset=folder:PATH or tfds:NAME"
    )
  if args.data_dir and path and name != "tfds":
    raise ValueError(
      f"data_dir={args.data_dir} is where prepared sets are, and "
      f"dataset={args.dataset} is none: leave it out"
    )
  if path:
    return args, hold_out(args.dataset, 10, "test"), rows[name]
  return args, DATASETS[name], rows[name]


def get_sweep(text=""):
  """The values that `python -m vit_jax.study sweep` tries."""
  args, _, (steps, rates) = parse(text)
  grid = {"lr": rates}
  if len(steps) > 1 and not args.steps:
    grid["steps"] = steps
  return dict(grid=grid, dev={"dev": 1})


def make_model(name, protocol="vit", freeze="none"):
  """The model section, for a name, a protocol and what is frozen."""
  tuned = protocol == "vit" and freeze == "none"
  drops = tuned and name in WITH_DROPOUT
  return dict(variant=name) | (dict(dropout=0.1) if drops else {})


def get_config(text=""):
  """Arguments: those that this file's first lines list."""
  args, dataset, (choices, _) = parse(text)
  own, data_dir = ":" in args.dataset, args.data_dir or None
  length = photographs.Length(512, choices[-1])
  if own and (images := photographs.count_images(dataset.source, data_dir)):
    length = photographs.choose_length(images)
  steps, batch = args.steps or length.steps, args.batch or length.batch
  lr = 0.01 * min(1.0, batch / 512) ** 0.5 if own else 0.01
  tenth = max(1, steps // 10)
  train, test = dataset.train, dataset.test
  if args.dev:
    train, test = dataset.dev_train, dataset.dev_test
  patch = arguments.parse_patch(args.model)
  config = dict(
    model=make_model(args.model, args.protocol, args.freeze),
    data=dict(
      source=dataset.source,
      dir=data_dir,
      train=train,
      size=args.res - args.res % patch,
      crop="distorted_box",
      resize="bilinear",
      augment=dict(flip=True),
    ),
    optim=dict(
      name="sgd",
      lr=args.lr or lr,
      b1=0.9,
      momentum_dtype="bfloat16",
      schedule="cosine",
      warmup_steps=get_warmup(steps),
      clip_norm=1.0,
      ema=0.9999 if args.polyak else None,
    ),
    train=dict(batch_size=batch, steps=steps, log_every=50),
    evals=dict(
      test=dict(kind="classification", split=test, every=max(500, steps // 10))
    ),
    checkpoint=dict(every=500, keep=2),
  )
  if own:
    config["train"] |= dict(log_every=min(50, tenth), allow_cpu=True)
    config["evals"]["test"]["batch_size"] = photographs.choose_eval_batch(batch)
    config["checkpoint"]["every"] = min(500, 2 * tenth)
  if own or args.stop:
    config["evals"]["test"]["every"] = tenth
  if args.freeze == "backbone":
    config["optim"]["multipliers"] = FROZEN
  if args.balance:
    config["objective"] = dict(class_weights="balanced")
  if args.stop:
    config["train"] |= dict(stop_by="test/loss", patience=args.stop)
    config["checkpoint"] |= dict(every=tenth, keep_best=1, best="test/loss")
  return ConfigDict(config)
