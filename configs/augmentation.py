# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""AugReg's levels of augmentation (Steiner et al., 2022, section 3.3).

All flip; the others add RandAugment's (layers, magnitude), as their authors'
code computes it, and mixup's alpha. A recipe sets one of them as
`data.augment`.
"""


def augment(layers, magnitude, mixup):
  """The section data.augment with RandAugment."""
  return dict(
    flip=True,
    randaugment=(layers, magnitude),
    randaugment_like="augreg",
    mixup=mixup,
  )


AUGREG = {
  "none": dict(flip=True),
  "light1": augment(2, 0, 0.0),
  "light2": augment(2, 10, 0.2),
  "medium1": augment(2, 15, 0.2),
  "medium2": augment(2, 15, 0.5),
  "strong1": augment(2, 20, 0.5),
  "strong2": augment(2, 20, 0.8),
}
