# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A catalogue of data sets: their sizes, and how to prepare them.

With it a recipe can be built, lowered and planned on a machine without the
data. Once a set is prepared, its files take precedence.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class CatalogueEntry:
  """Facts of a data set.

  Attributes:
    num_classes: number of classes (Y).
    channels: channels of its images (c).
    splits: split name -> number of examples.
    instructions: how to prepare it, as the end of an error message.
  """

  num_classes: int
  channels: int
  splits: dict[str, int]
  instructions: str


def _prepare(name: str, *arguments: str) -> str:
  """Formats the command that prepares a set."""
  return " ".join(["python -m vit_jax.prepare", name, *arguments])


CATALOGUE = {
  "digits": CatalogueEntry(
    num_classes=10,
    channels=1,
    splits={"train": 1437, "test": 360},
    instructions=f"prepare it with: {_prepare('digits')}",
  ),
  # As stated by the builders of TFDS.
  **{
    name: CatalogueEntry(
      num_classes=num_classes,
      channels=3,
      splits=splits,
      instructions=f"prepare it with: {_prepare(name)}",
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
      ("caltech101", 102, {"train": 3060, "test": 6084}),
      ("dmlab", 6, {"train": 65_550, "validation": 22_628, "test": 22_735}),
      ("dtd", 47, {"train": 1880, "validation": 1880, "test": 1880}),
      ("eurosat/rgb", 10, {"train": 27_000}),
      (
        "patch_camelyon",
        2,
        {"train": 262_144, "validation": 32_768, "test": 32_768},
      ),
      (
        "sun397/tfds",
        397,
        {"train": 76_128, "validation": 10_875, "test": 21_750},
      ),
      (
        "svhn_cropped",
        10,
        {"train": 73_257, "test": 26_032, "extra": 531_131},
      ),
    )
  },
  "resisc45": CatalogueEntry(
    num_classes=45,
    channels=3,
    splits={"train": 31_500},
    instructions=(
      "download the archive NWPU-RESISC45, unpack it to DIR, which then has "
      "DIR/NWPU-RESISC45/airplane, and prepare it with: "
      + _prepare("resisc45", "--manual_dir=DIR")
    ),
  ),
  "diabetic_retinopathy_detection/btgraham-300": CatalogueEntry(
    num_classes=5,
    channels=3,
    splits={
      "sample": 10,
      "train": 35_126,
      "validation": 10_906,
      "test": 42_670,
    },
    instructions=(
      "download the files of kaggle.com/c/diabetic-retinopathy-detection, "
      "unpack them to DIR, which then has DIR/train, DIR/test, DIR/sample and "
      "DIR/trainLabels.csv, and prepare it with: "
      + _prepare(
        "diabetic_retinopathy_detection/btgraham-300", "--manual_dir=DIR"
      )
    ),
  ),
  "imagenet2012": CatalogueEntry(
    num_classes=1000,
    channels=3,
    splits={"train": 1_281_167, "validation": 50_000},
    instructions=(
      "download ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and "
      "ILSVRC2012_devkit_t12.tar.gz from image-net.org and prepare it with: "
      + _prepare("imagenet2012", "--manual_dir=DIR_OF_ARCHIVES")
    ),
  ),
  # ViT paper, section 4.1: 21k classes and 14M images; the authors' head has
  # 21,843 rows, of which two never occur.
  "imagenet21k": CatalogueEntry(
    num_classes=21843,
    channels=3,
    splits={"train": 14_197_122},
    instructions=(
      "get the fall 2011 release of image-net.org, one archive or folder a "
      "synset, and prepare it with: "
      + _prepare("imagenet21k", "--manual_dir=DIR_OF_ARCHIVES")
    ),
  ),
  # ViT paper, section 4.1: 18k classes and 303M images; the exact number of
  # classes is that of BiT (Kolesnikov et al., 2020).
  "jft300m": CatalogueEntry(
    num_classes=18291,
    channels=3,
    splits={"train": 303_000_000},
    instructions=(
      "JFT-300M is not public: prepare your own set of that kind with: "
      + _prepare("manifest:FILE", "--name=jft300m")
      + ", or train on ImageNet-21k with: "
      "--config=configs/vit_h14.py:dataset=imagenet21k"
    ),
  ),
}


def get_instructions(name: str) -> str:
  """Returns how to prepare the set `name`, as the end of an error message."""
  if name in CATALOGUE:
    return CATALOGUE[name].instructions
  return f"prepare it with: {_prepare(name)}"
