# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""1,797 real images of handwritten digits, which scikit-learn brings along."""

import io

import cv2
import numpy as np
import tensorflow_datasets as tfds

CITATION = """@misc{optdigits,
  author = {Alpaydin, E. and Kaynak, C.},
  title = {Optical Recognition of Handwritten Digits},
  year = {1998},
  howpublished = {UCI Machine Learning Repository},
  doi = {10.24432/C50P49},
}"""


class Builder(tfds.core.GeneratorBasedBuilder):
  """8x8 grey images; 1,437 for training and 360 for test, stratified."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {
    "1.0.0": "Every fifth image, sorted by class, is a test image."
  }

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      description=__doc__,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
          "label": tfds.features.ClassLabel(names=[str(i) for i in range(10)]),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://doi.org/10.24432/C50P49",
      citation=CITATION,
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # Nothing is downloaded.
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = np.argsort(labels, kind="stable")
    test = order[::5]
    train = np.setdiff1d(order, test)
    return {
      "train": self._generate_examples(images, labels, train),
      "test": self._generate_examples(images, labels, test),
    }

  def _generate_examples(self, images, labels, indices):
    for index in indices:
      _, png = cv2.imencode(".png", images[index])
      yield (
        int(index),
        {"image": io.BytesIO(png.tobytes()), "label": int(labels[index])},
      )
