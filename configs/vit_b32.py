# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""ViT-B/32, pre-trained (ViT paper, table 3).

  python -m vit_jax.main --config=configs/vit_b32.py --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/vit_b32.py:dataset=jft300m
  python -m vit_jax.main --workdir=DIR \
      --config=configs/vit_b32.py:dataset=imagenet

The paper's, on ImageNet after fine-tuning at 384 px (table 5): 81.28 % from
ImageNet-21k in 90 epochs, the default; 73.38 % from ImageNet in 300.
The paper's cost: core-days not known; 55 exaFLOPs on JFT-300M in 7 epochs
  (table 6).
Ours, measured: nothing yet.

Arguments: dataset, epochs. epochs=30 on ImageNet-21k is ours: the paper has
that for L only. A run on ImageNet holds out 1 % of train as minival; its result
is that of the validation split. JFT-300M is not public.
"""

from configs import pretraining

MODELS = ("B/32",)
CHOICES = pretraining.make_choices(MODELS, "imagenet21k")


def get_config(text=""):
  """Arguments: dataset, epochs."""
  return pretraining.parse_config(text, MODELS, "imagenet21k")
