# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""ViT-L/16 on ImageNet-21k, 90 epochs (ViT paper, table 3).

  python -m vit_jax.main --config=configs/vit_l16.py --workdir=DIR
  python -m vit_jax.main --config=configs/vit_l16.py:epochs=30 --workdir=DIR

The paper's: 85.15 % on ImageNet, fine-tuned at 384 px (table 5);
  85.30 % at 512 px with Polyak averaging (table 2).
The paper's cost: 0.23k TPUv3-core-days for the run of table 2.
Ours, measured: nothing yet.
"""

from configs import arguments, pretraining

CHOICES = {"epochs": (30, 90)}


def get_config(text=""):
  """Arguments: epochs."""
  args = arguments.parse(text, CHOICES, epochs=90)
  return pretraining.imagenet21k("L/16", epochs=args.epochs)
