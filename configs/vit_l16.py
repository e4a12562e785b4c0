# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""ViT-L/16, pre-trained (ViT paper, table 3).

  python -m vit_jax.main --config=configs/vit_l16.py --workdir=DIR
  python -m vit_jax.main --config=configs/vit_l16.py:epochs=30 --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/vit_l16.py:dataset=jft300m,epochs=14
  python -m vit_jax.main --config=configs/vit_l16.py:dataset=jft300m,epochs=7 \
      --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/vit_l16.py:dataset=imagenet

The paper's, on ImageNet after fine-tuning: 85.15 % from ImageNet-21k at 384 px
(table 5), 85.30 % at 512 px with Polyak averaging (table 2); from JFT-300M
87.12 % and 87.76 %; from ImageNet in 300 epochs 76.53 % at 384 px.
The paper's cost: 0.23k TPUv3-core-days on ImageNet-21k, 0.68k on JFT (table 2);
  783 exaFLOPs on JFT in 7 epochs, 1567 in 14 (table 6).
Ours, measured: nothing yet.

Arguments: dataset, epochs. A run on ImageNet holds out 1 % of train as minival;
its result is that of the validation split. JFT-300M is not public.
"""

from configs import pretraining

MODELS = ("L/16",)
CHOICES = pretraining.make_choices(MODELS, "imagenet21k")


def get_config(text=""):
  """Arguments: dataset, epochs."""
  return pretraining.parse_config(text, MODELS, "imagenet21k")
