# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""Hybrids, ViTs on the features of a ResNet, on JFT-300M (ViT paper, table 3).

  python -m vit_jax.main --config=configs/hybrid.py --workdir=DIR
  python -m vit_jax.main --config=configs/hybrid.py:model=R50+B/32 --workdir=DIR
  python -m vit_jax.main --config=configs/hybrid.py:model=R50+L/32 --workdir=DIR
  python -m vit_jax.main --config=configs/hybrid.py:model=R50+L/16 --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/hybrid.py:model=R50+L/16,epochs=7

The paper's: not recorded here.
The paper's cost: core-days not known; R50+B/16 in 7 epochs 274 exaFLOPs,
  R50+L/16 in 14 epochs 1668 (table 6).
Ours, measured: nothing yet.

Arguments: model; epochs, 7, or for R50+L/16 also 14, its default. JFT-300M is
not public; a run on another set, as --config.data.source=tfds:imagenet21k, is
ours.
"""

from configs import pretraining

MODELS = ("R50+B/16", "R50+B/32", "R50+L/32", "R50+L/16")
CHOICES = pretraining.make_choices(MODELS, "jft300m")


def get_config(text=""):
  """Arguments: model; dataset, jft300m alone; epochs."""
  return pretraining.parse_config(text, MODELS, "jft300m")
