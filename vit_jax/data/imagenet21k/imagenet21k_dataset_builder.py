# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet-21k from what image-net.org gives out: one archive a synset."""

import io
import tarfile
from collections.abc import Iterator

import tensorflow_datasets as tfds
from etils import epath

CITATION = """@inproceedings{deng2009imagenet,
  author = {Deng, Jia and Dong, Wei and Socher, Richard and Li, Li-Jia and
    Li, Kai and Fei-Fei, Li},
  title = {ImageNet: A Large-Scale Hierarchical Image Database},
  booktitle = {CVPR},
  year = {2009},
}"""


class Builder(tfds.core.GeneratorBasedBuilder):
  """Images of all synsets, labelled by the synset's place in sorted order."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "Labels are the sorted synsets on disk."}
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Register at image-net.org and download ImageNet-21k. --manual_dir must "
    "hold its synsets, each as an archive nXXXXXXXX.tar or as a folder "
    "nXXXXXXXX of images; an outer archive must be unpacked once."
  )

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      description=__doc__,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(encoding_format="jpeg"),
          "label": tfds.features.ClassLabel(),  # Named when they are found.
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://www.image-net.org",
      citation=CITATION,
    )

  def _split_generators(self, dl_manager):
    synsets = find_synsets(epath.Path(dl_manager.manual_dir))
    if not synsets:
      raise AssertionError(
        f"no synset lies in {dl_manager.manual_dir}. "
        f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
      )
    self.info.features["label"].names = list(synsets)
    return {"train": self._generate_examples(synsets)}

  def _generate_examples(self, synsets):
    for synset, path in synsets.items():
      for name, data in read_images(path):
        yield name, {"image": io.BytesIO(data), "label": synset}


def find_synsets(directory: epath.Path) -> dict[str, epath.Path]:
  """synset -> its archive or folder, sorted."""
  paths = [*directory.glob("n????????.tar"), *directory.glob("n????????")]
  return {path.stem: path for path in sorted(paths)}


def read_images(path: epath.Path) -> Iterator[tuple[str, bytes]]:
  """File names and encoded images of one synset."""
  if path.is_dir():
    for image in sorted(path.iterdir()):
      yield image.name, image.read_bytes()
    return
  with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
    for member in tar:
      if member.isfile():
        yield member.name, tar.extractfile(member).read()
