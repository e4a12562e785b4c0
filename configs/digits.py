# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A small ViT on the embedded digits: 1,437 images to train, 360 to test.

  make train                                   (the first seed)
  make seeds                                   (five seeds, one table)
  python -m vit_jax.main --config=configs/digits.py --workdir=DIR
  python -m vit_jax.main --config=configs/digits.py:variant=Ti/2 --workdir=DIR

The recipe is ours: random crops of 60 to 100 % of an image enlarged to 16 px,
mixup, label smoothing, and an average of the parameters. It was chosen on two
folds of 287 images held out of the training split, never on the test images.
Its results are in the README.
"""

from ml_collections import ConfigDict

from configs import arguments

# 136,778 parameters in 4 layers, fewer than any model of the paper.
SMALL = dict(
  variant="mu/4", width=64, depth=4, mlp_dim=128, num_heads=4, pool="gap"
)


def get_config(text=""):
  """Arguments: variant, the name of a model in place of the small one."""
  args = arguments.parse(text, variant="")
  model = dict(variant=args.variant) if args.variant else SMALL
  config = dict(
    model=model | dict(dtype="float32"),
    data=dict(
      source="tfds:digits",
      size=16,
      crop="random_resized",
      crop_area=(0.6, 1.0),
      resize="bilinear",
      threads=1,
      augment=dict(mixup=0.2),
    ),
    objective=dict(label_smoothing=0.1),
    optim=dict(
      lr=2e-3,
      schedule="cosine",
      warmup_steps=100,
      weight_decay=0.1,
      clip_norm=1.0,
      ema=0.99,
    ),
    train=dict(batch_size=128, steps=1000, log_every=50, allow_cpu=True),
    evals=dict(test=dict(kind="classification", split="test", every=200)),
    checkpoint=dict(every=500),
  )
  return ConfigDict(config)
