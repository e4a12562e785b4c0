# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of data sets that may not be on this disk.

It lets a recipe be built, lowered and planned where its data are not; once a
set is prepared, what its files say counts instead.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Known:
  """Facts of a data set.

  Attributes:
    num_classes: Y.
    channels: c.
    splits: name -> number of examples.
    remedy: how to come by it, as a sentence for a user who lacks it.
  """

  num_classes: int
  channels: int
  splits: dict[str, int]
  remedy: str


def _prepare(name: str, *arguments: str) -> str:
  """The command that prepares a set."""
  return " ".join(["python -m vit_jax.prepare", name, *arguments])


KNOWN = {
  "digits": Known(
    num_classes=10,
    channels=1,
    splits={"train": 1437, "test": 360},
    remedy=f"prepare it with: {_prepare('digits')}",
  ),
  # Of the sets below, what their TFDS builders say.
  **{
    name: Known(
      num_classes=num_classes,
      channels=3,
      splits=splits,
      remedy=f"prepare it with: {_prepare(name)}",
    )
    for name, num_classes, splits in (
      ("cifar10", 10, {"train": 50_000, "test": 10_000}),
      ("cifar100", 100, {"train": 50_000, "test": 10_000}),
      ("oxford_iiit_pet", 37, {"train": 3680, "test": 3669}),
      (
        "oxford_flowers102",
        102,
        {"train": 1020, "validation": 1020, "test": 6149},
      ),
    )
  },
  "resisc45": Known(
    num_classes=45,
    channels=3,
    splits={"train": 31_500},
    remedy=(
      "download NWPU-RESISC45, unpack it into a folder of that name, and "
      "prepare it with: "
      + _prepare("resisc45", "--manual_dir=DIR_OF_THAT_FOLDER")
    ),
  ),
  "imagenet2012": Known(
    num_classes=1000,
    channels=3,
    splits={"train": 1_281_167, "validation": 50_000},
    remedy=(
      "download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from "
      "image-net.org and prepare it with: "
      + _prepare("imagenet2012", "--manual_dir=DIR_OF_ARCHIVES")
    ),
  ),
  # ViT paper, section 4.1: 21k classes and 14M images; the authors' head has
  # 21,843 rows, of which two never occur.
  "imagenet21k": Known(
    num_classes=21843,
    channels=3,
    splits={"train": 14_197_122},
    remedy=(
      "download the synset archives from image-net.org and prepare it with: "
      + _prepare("imagenet21k", "--manual_dir=DIR_OF_ARCHIVES")
    ),
  ),
  # ViT paper, section 4.1: 18k classes and 303M images; the exact number of
  # classes is that of BiT (Kolesnikov et al., 2020).
  "jft300m": Known(
    num_classes=18291,
    channels=3,
    splits={"train": 303_000_000},
    remedy=(
      "JFT-300M is not public: write your own set of that kind as a TFDS "
      "ArrayRecord set named jft300m, or train on ImageNet-21k with "
      "--config=configs/vit_h14.py:data=imagenet21k"
    ),
  ),
}


def get_remedy(name: str) -> str:
  """What a user who lacks the set `name` should do."""
  if name in KNOWN:
    return KNOWN[name].remedy
  return f"prepare it with: {_prepare(name)}"
