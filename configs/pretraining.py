# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the pre-training recipes share (ViT paper, table 3, appendix B.1).

Adam with b1 0.9 and b2 0.999, batch 4096, 10k steps of linear warm-up, 224 px,
a head with one tanh layer. The sigmoid loss with its head bias of -10, and the
linear decay's end at 1e-5, are from the authors' released code and its
maintainers' words, not from the paper.
"""

from ml_collections import ConfigDict

# R is D in pre-training: the tanh layer keeps the width.
WIDTHS = {"B": 768, "L": 1024, "H": 1280}

# Ours, as in the authors' later code: images kept out of training, to watch it.
HELD_OUT = 51_200


def pretrain(
  variant: str,
  *,
  source: str,
  epochs: int,
  lr: float,
  weight_decay: float,
  dropout: float,
) -> ConfigDict:
  """A row of table 3.

  Args:
    variant: as "B/16".
    source: the data set.
    epochs: passes over it.
    lr: the peak learning rate.
    weight_decay: times the learning rate.
    dropout: rate.
  """
  name = variant.partition("/")[0]
  config = dict(
    model=dict(
      variant=variant,
      representation_size=WIDTHS[name],
      dropout=dropout,
      head_bias=-10.0,
    ),
    data=dict(
      source=source,
      train=f"train[{HELD_OUT}:]",
      size=224,
      crop="inception",
      augment=dict(flip=True),
    ),
    objective=dict(name="supervised", cross_entropy="sigmoid"),
    optim=dict(
      name="adam",
      lr=lr,
      schedule="linear",
      end_lr=1e-5,
      warmup_steps=10_000,
      weight_decay=weight_decay,
    ),
    train=dict(batch_size=4096, epochs=epochs, log_every=50),
    evals=dict(
      held_out=dict(
        kind="classification", split=f"train[:{HELD_OUT}]", every=10_000
      )
    ),
    checkpoint=dict(every=1000, keep=2),
  )
  return ConfigDict(config)


def imagenet21k(variant: str, epochs: int) -> ConfigDict:
  """The ImageNet-21k rows of table 3: 90 epochs, for L also 30."""
  return pretrain(
    variant,
    source="tfds:imagenet21k",
    epochs=epochs,
    lr=1e-3,
    weight_decay=0.03,
    dropout=0.1,
  )


def jft(variant: str, epochs: int, lr: float) -> ConfigDict:
  """The JFT-300M rows of table 3."""
  return pretrain(
    variant,
    source="tfds:jft300m",
    epochs=epochs,
    lr=lr,
    weight_decay=0.1,
    dropout=0.0,
  )
