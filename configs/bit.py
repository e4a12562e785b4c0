# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""BiT's ResNets, the convolutional baseline, on JFT-300M (ViT paper, table 3).

  python -m vit_jax.main --config=configs/bit.py --workdir=DIR
  python -m vit_jax.main --config=configs/bit.py:model=R50x2 --workdir=DIR
  python -m vit_jax.main --config=configs/bit.py:model=R101x1 --workdir=DIR
  python -m vit_jax.main --config=configs/bit.py:model=R152x1 --workdir=DIR
  python -m vit_jax.main --config=configs/bit.py:model=R152x2 --workdir=DIR

The paper's: not recorded here.
The paper's cost: core-days not known; R50x1 50 exaFLOPs (table 6).
Ours, measured: nothing yet.

Argument: model. All are trained for 7 epochs: table 6 has R152x2 and R200x3
with 14, but the paper does not give their hyper-parameters. JFT-300M is not
public; a run on another set, as --config.data.source=tfds:imagenet21k, is ours.
"""

from configs import pretraining

MODELS = ("R50x1", "R50x2", "R101x1", "R152x1", "R152x2")
CHOICES = pretraining.make_choices(MODELS, "jft300m")


def get_config(text=""):
  """Arguments: model; dataset, jft300m alone; epochs."""
  return pretraining.parse_config(text, MODELS, "jft300m")
