# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small files that are built as those of ImageNet are."""

import hashlib
import io
import tarfile

import cv2
import numpy as np
import scipy.io

from vit_jax.data import sources, transforms
from vit_jax.prepare import imagenet

SYNSETS = ("n01440764", "n01443537", "n01484850")


def make_jpeg(value, size=(6, 5)):
  """A JPEG of one grey value."""
  image = np.full((*size, 3), value, np.uint8)
  return cv2.imencode(".jpg", image)[1].tobytes()


def make_tar(files, mode="w"):
  """A tar of name -> bytes."""
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode=mode) as tar:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))
  return file.getvalue()


def make_devkit(ids, synsets=SYNSETS):
  """The devkit: the challenge's ids run against the order of the synsets."""
  fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
  rows = [(i, x, "", "", 0) for i, x in enumerate(reversed(synsets), 1)]
  rows.append((len(synsets) + 1, "n00001740", "entity", "", 3))
  meta = np.array([row for row in rows], [(field, object) for field in fields])
  file = io.BytesIO()
  scipy.io.savemat(file, {"synsets": meta.reshape(-1, 1)})
  lines = "".join(f"{i}\n" for i in ids).encode()
  data = "ILSVRC2012_devkit_t12/data"
  return make_tar(
    {
      f"{data}/meta.mat": file.getvalue(),
      f"{data}/ILSVRC2012_validation_ground_truth.txt": lines,
    },
    "w:gz",
  )


def make_train(counts=(4, 3, 5), synsets=SYNSETS):
  """synset -> name -> JPEG, whose grey value tells synset and number."""
  return {
    synset: {f"{synset}_{j}.JPEG": make_jpeg(80 * i + 5 * j) for j in range(n)}
    for i, (synset, n) in enumerate(zip(synsets, counts, strict=True))
  }


def make_val(ids, synsets=SYNSETS):
  """name -> JPEG of the class that an id of the challenge means."""
  return {
    imagenet.VAL_NAME.format(n): make_jpeg(80 * (len(synsets) - i) + 40)
    for n, i in enumerate(ids, 1)
  }


IDS = (3, 1, 1, 2)  # 3 is the first of the sorted synsets, 1 the last.


def write_imagenet2012(folder, ids=IDS, synsets=SYNSETS):
  """Writes the three archives, and returns what they hold."""
  folder.mkdir(parents=True, exist_ok=True)
  train = make_train()
  outer = {f"{synset}.tar": make_tar(files) for synset, files in train.items()}
  (folder / imagenet.TRAIN_TAR).write_bytes(make_tar(outer))
  (folder / imagenet.VAL_TAR).write_bytes(make_tar(make_val(ids)))
  devkit = make_devkit(ids, synsets)
  (folder / imagenet.DEVKIT).write_bytes(devkit)
  return imagenet.Ilsvrc(
    num_classes=3,
    train=12,
    validation=4,
    train_bytes=(folder / imagenet.TRAIN_TAR).stat().st_size,
    val_bytes=(folder / imagenet.VAL_TAR).stat().st_size,
    devkit_sha256=hashlib.sha256(devkit).hexdigest(),
  )


def make_fall11(**changes):
  """Facts of a release of the three synsets, and of two rows without images."""
  text = "".join(f"{synset}\n" for synset in SYNSETS)
  facts = dict(
    num_synsets=3,
    sha256=hashlib.sha256(text.encode()).hexdigest(),
    unused=("n01442000", "n09859684"),
    num_images=12,
    winter21=2,
  )
  return imagenet.Fall11(**facts | changes)


def read(name, split, data_dir):
  """Sorted (file name, label, grey value) of a split, read as training does."""
  source = sources.open_source(f"tfds:{name}", split, str(data_dir))
  examples = [source[i] for i in range(len(source))]
  return sorted(
    (
      example["file_name"].decode(),
      np.asarray(example["label"]).tolist(),
      int(transforms.decode(example["image"], 3).mean().round()),
    )
    for example in examples
  )
