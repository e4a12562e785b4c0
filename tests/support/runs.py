# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The config of a short run."""

# What of a row depends on how fast things were.
SPEED = ("images_per_second", "data_wait")


def get_timeless(rows):
  """Rows without SPEED."""
  return [{k: x for k, x in row.items() if k not in SPEED} for row in rows]


def make_config(data_dir):
  """A run of a few seconds on the digits, as plain sections."""
  return {
    "model": dict(variant="mu/4", dtype="float32", dropout=0.1),
    "data": dict(
      source="tfds:digits",
      dir=data_dir,
      size=8,
      crop="random_resized",
      threads=1,
      augment=dict(mixup=0.2, flip=True),
    ),
    "optim": dict(lr=1e-3, warmup_steps=2, weight_decay=0.1, ema=0.9),
    "train": dict(
      batch_size=16, steps=6, log_every=2, allow_cpu=True, report=False
    ),
    "evals": {"test": dict(split="test[:40]", batch_size=24)},
  }
