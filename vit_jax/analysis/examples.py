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
GIVEN = ("image", "views", "local", "label", "mask")  # Of a batch.


def make_examples(
  data: Data, channels: int, num_classes: int, seed: int, count: int = COUNT
) -> Float[np.ndarray, "B H W c"]:
  """Makes the first images that a run trained on, of values in [-1, 1].

  Where an image has several views of its size, they follow one another.

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
  given = {name: batch[name] for name in GIVEN if name in batch}
  seen = jax.jit(augment)(given, jax.random.key(seed))
  images = np.asarray(seen["image"], np.float32)[:, None]
  if "views" in seen:
    others = np.asarray(seen["views"], np.float32)
    images = np.concatenate([images, others], axis=1)
  return images.reshape(-1, *images.shape[2:])[:count]
