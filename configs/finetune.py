# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning at high resolution (ViT paper, table 4 and section 3.2).

  python -m vit_jax.main --config=configs/finetune.py --workdir=DIR \
      --config.init=B_16.npz
  python -m vit_jax.main --workdir=DIR --config.init=L_16.npz \
      --config=configs/finetune.py:model=L/16,dataset=cifar100
  python -m vit_jax.main --config=configs/finetune.py:dataset=folder:PHOTOS \
      --workdir=DIR --config.init=B_16.npz

The paper's, of B/16 from ImageNet-21k at 384 px (table 5): ImageNet 83.97 %,
CIFAR-10 98.95 %, CIFAR-100 91.67 %, Flowers 99.38 %, Pets 94.43 %.
The paper's cost: not known.
Ours, measured: nothing yet.

Arguments: model; dataset, a row of ROWS or folder:PATH; res, in px, less what a
patch does not divide (14 px: 378 of 384); lr, which the paper chooses on a part
of train that dev=1 holds out, of the four of its row: run dev=1 with each of
them, then dev=0, on all of train, with the best.
Three seeds (--config.train.seed=N) make a result of the paper.

Linear warm-up, momentum in bfloat16 and the evaluation's plain resize are the
authors' released code, as are the random boxes and flips. A folder takes the
steps of CIFAR; for a small one --config.train.steps=500 is enough.
"""

from ml_collections import ConfigDict

from configs import arguments

# Source, split to train on, its part for the choice, split to test on, steps,
# warm-up, and learning rates to choose from.
MANY = (0.001, 0.003, 0.01, 0.03)
ROWS = {
  "imagenet": (
    *("tfds:imagenet2012", "train", 99, "validation", 20_000, 500),
    (0.003, 0.01, 0.03, 0.06),
  ),
  "cifar10": ("tfds:cifar10", "train", 98, "test", 10_000, 500, MANY),
  "cifar100": ("tfds:cifar100", "train", 98, "test", 10_000, 500, MANY),
  "pets": ("tfds:oxford_iiit_pet", "train", 90, "test", 500, 100, MANY),
  "flowers": ("tfds:oxford_flowers102", "train", 90, "test", 500, 100, MANY),
}
FOLDER = ("train", 90, "test", 10_000, 500, MANY)

CHOICES = {
  "model": ("B/16", "B/32", "L/16", "L/32", "H/14", "R50+B/16", "R50x1"),
  "dataset": tuple(ROWS),
  "res": (384, 224),
  "dev": (0, 1),
}


def get_config(text=""):
  """Arguments: model, dataset, res, lr, dev."""
  args = arguments.parse(
    text, model="B/16", dataset="cifar10", res=384, lr=0.01, dev=0
  )
  row = (args.dataset, *FOLDER)
  if not args.dataset.startswith("folder:"):
    if args.dataset not in ROWS:
      raise ValueError(
        f"dataset={args.dataset!r} is none of {', '.join(ROWS)} and folder:PATH"
      )
    row = ROWS[args.dataset]
  source, train, share, test, steps, warmup, _ = row
  if args.dev:
    train, test = f"{train}[:{share}%]", f"{train}[{share}%:]"
  patch = int(args.model.partition("/")[2] or 1)
  config = dict(
    model=dict(variant=args.model),
    data=dict(
      source=source,
      train=train,
      size=args.res - args.res % patch,
      crop="inception",
      augment=dict(flip=True),
    ),
    objective=dict(name="supervised", cross_entropy="softmax"),
    optim=dict(
      name="sgd",
      lr=args.lr,
      b1=0.9,
      momentum_dtype="bfloat16",
      schedule="cosine",
      warmup_steps=warmup,
      clip_norm=1.0,
    ),
    train=dict(batch_size=512, steps=steps, log_every=50),
    evals=dict(
      test=dict(kind="classification", split=test, every=max(500, steps // 10))
    ),
    checkpoint=dict(every=500, keep=2),
  )
  return ConfigDict(config)
