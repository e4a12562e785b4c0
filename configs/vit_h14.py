# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""ViT-H/14, pre-trained (ViT paper, table 3).

  python -m vit_jax.main --config=configs/vit_h14.py --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/vit_h14.py:dataset=imagenet21k
  python -m vit_jax.main --workdir=DIR \
      --config=configs/vit_h14.py:dataset=imagenet

The paper's, on ImageNet after fine-tuning: from JFT-300M in 14 epochs, the
default, 88.55 % at 518 px with Polyak averaging (table 2), 88.04 % at 384 px
without (table 5); from ImageNet-21k 85.13 % at 384 px.
The paper's cost: 2.5k TPUv3-core-days on JFT (table 2), 4262 exaFLOPs (table
  6).
Ours, measured: nothing yet.

Arguments: dataset, epochs. The hyper-parameters on ImageNet-21k are ours, those
of L: the paper gives only a result. A run on ImageNet holds out 1 % of train as
minival; its result is that of the validation split. JFT-300M is not public.
"""

from configs import pretraining

MODELS = ("H/14",)
CHOICES = pretraining.make_choices(MODELS, "jft300m")


def get_config(text=""):
  """Arguments: dataset, epochs."""
  return pretraining.parse_config(text, MODELS, "jft300m")
