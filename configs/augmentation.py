# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""AugReg's levels of augmentation (Steiner et al., 2022, section 3.3).

All flip; the others add RandAugment's (layers, magnitude) and mixup's alpha. A
recipe sets one of them as `data.augment`.
"""

AUGREG = {
  "none": dict(flip=True),
  "light1": dict(flip=True, randaugment=(2, 0), mixup=0.0),
  "light2": dict(flip=True, randaugment=(2, 10), mixup=0.2),
  "medium1": dict(flip=True, randaugment=(2, 15), mixup=0.2),
  "medium2": dict(flip=True, randaugment=(2, 15), mixup=0.5),
  "strong1": dict(flip=True, randaugment=(2, 20), mixup=0.5),
  "strong2": dict(flip=True, randaugment=(2, 20), mixup=0.8),
}
