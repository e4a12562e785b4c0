# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Does pre-training help? Some classes at 16 px, then others at 32 px.

  python -m vit_jax.main --workdir=PRETRAINED \
      --config=configs/transfer.py:dataset='folder:PHOTOS#bird+cat+dog'
  python -m vit_jax.study seeds --workdir=TRANSFER --config.init=PRETRAINED \
      --config=configs/transfer.py:stage=finetune,dataset='folder:PHOTOS#frog+ship'
  python -m vit_jax.study seeds --workdir=SCRATCH \
      --config=configs/transfer.py:stage=scratch,dataset='folder:PHOTOS#frog+ship'

The paper's: nothing of this size; its section 4.3 asks how much data it takes.
The paper's cost: none.
Ours, measured: in docs/results.md, with the commands.

A small ViT with 0.8 M parameters, for two cores. The recipe is ours, boxes as
of torchvision (random_resized) and resizing by area too. Both stages on the
second classes see the same labelled images, equally often and with the same
augmentation. Each has the learning rate, of three, that was best on 2,000 other
training images, on which split=dev evaluates in place of the test images.

Arguments: stage; dataset; labels, the number of labelled images, of all classes
together, in the second stage; lr, 0 for the stage's own; split.
"""

from ml_collections import ConfigDict

from configs import arguments

# The small ViT: patches of 4 px, 16 tokens at 16 px and 64 at 32 px.
MODEL = dict(
  variant="mu/4", width=128, depth=4, mlp_dim=512, num_heads=4, pool="gap"
)

# Pixels, batch, learning rate; of 5e-4, 1e-3 and 2e-3 this was best for both.
STAGES = {
  "pretrain": (16, 256, 2e-3),
  "finetune": (32, 32, 1e-3),
  "scratch": (32, 32, 1e-3),
}

CHOICES = {"stage": tuple(STAGES), "split": ("test", "dev")}


def get_config(text=""):
  """Arguments: stage, dataset, labels, lr, split."""
  args = arguments.parse(
    text,
    CHOICES,
    stage="pretrain",
    dataset="synthetic:10",
    labels=100,
    lr=0.0,
    split="test",
  )
  size, batch, lr = STAGES[args.stage]
  first = args.stage == "pretrain"
  if first:
    train, dev = ("train", "train[:2000]")
    train = "train[2000:]" if args.split == "dev" else train
  else:
    train = f"train[:{args.labels}]"
    dev = f"train[{args.labels}:{args.labels + 2000}]"
  config = dict(
    model=MODEL | dict(dtype="float32"),
    data=dict(
      source=args.dataset,
      train=train,
      size=size,
      crop="random_resized",
      crop_area=(0.4, 1.0),
      resize="area",
      augment=dict(flip=True),
    ),
    objective=dict(label_smoothing=0.1),
    optim=dict(
      lr=args.lr or lr,
      schedule="cosine",
      warmup_steps=200 if first else 20,
      weight_decay=0.1,
      clip_norm=1.0,
    ),
    train=dict(batch_size=batch, log_every=50, allow_cpu=True),
    evals=dict(
      test=dict(split="test" if args.split == "test" else dev, batch_size=256)
    ),
    checkpoint=dict(every=500),
  )
  config["train"] |= dict(epochs=15) if first else dict(steps=300)
  return ConfigDict(config)
