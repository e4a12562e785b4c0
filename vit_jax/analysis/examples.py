# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Training images as the model sees them, cropped and augmented."""

import jax
import numpy as np
from jaxtyping import Float

from vit_jax.data.augment import make_augment
from vit_jax.data.pipeline import Data, make_train_rows
from vit_jax.data.sources import open_source
from vit_jax.objectives.supervised import make_targets

COUNT = 12


def make_examples(
  data: Data, channels: int, num_classes: int, seed: int, count: int = COUNT
) -> Float[np.ndarray, "B H W c"]:
  """Makes the first images that a run trained on, of values in [-1, 1].

  Their crops are those of the run. Flips, erasing and mixtures are drawn as in
  a batch of `count` images, so they are others than in the run.

  Args:
    data: the config's section.
    channels: c.
    num_classes: Y.
    seed: that of the run.
    count: B.
  """
  source = open_source(data.source, data.train, data.dir)
  rows = make_train_rows(data, channels, source, seed)
  batch = rows.make_batch(count)
  for row in range(count):
    rows.write(row, batch, row)
  augment = make_augment(
    data.augment, lambda label: make_targets(label, num_classes), data.views
  )
  given = {name: batch[name] for name in ("image", "label", "mask")}
  images = jax.jit(augment)(given, jax.random.key(seed))["image"]
  return np.asarray(images, np.float32)
