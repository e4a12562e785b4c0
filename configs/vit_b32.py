# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""ViT-B/32 on ImageNet-21k, 90 epochs (ViT paper, table 3).

  python -m vit_jax.main --config=configs/vit_b32.py --workdir=DIR
  python -m vit_jax.main --config=configs/vit_b32.py:epochs=30 --workdir=DIR

The paper's: 81.28 % on ImageNet, fine-tuned at 384 px (table 5).
The paper's cost: not known.
Ours, measured: nothing yet.

The run of 30 epochs is ours: the paper has one for L alone.
"""

from configs import arguments, pretraining

CHOICES = {"epochs": (30, 90)}


def get_config(text=""):
  """Arguments: epochs."""
  args = arguments.parse(text, CHOICES, epochs=90)
  return pretraining.imagenet21k("B/32", epochs=args.epochs)
