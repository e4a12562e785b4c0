# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet-1k and ImageNet-21k, as archives of image-net.org or unpacked.

All files are checked before anything is written.
"""

import dataclasses
import hashlib
import io
import os
import re
import tarfile

import numpy as np
import scipy.io

from vit_jax.config.errors import counted
from vit_jax.data.info import DataError
from vit_jax.metrics.progress import Progress
from vit_jax.prepare.archives import iterate
from vit_jax.prepare.listing import Groups, Source, hash_name, list_all
from vit_jax.storage.untrusted import read_file

SYNSET = re.compile(r"n\d{8}")

TRAIN_TAR = "ILSVRC2012_img_train.tar"
VAL_TAR = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
VAL_NAME = "ILSVRC2012_val_{:08d}.JPEG"

MAX_DEVKIT = 1 << 24  # Bytes; the file has 2.5 million.

FEW = 5  # Names of many that an error lists.

# (path, start, stop) of an archive or folder, see `listing.list_archive`.
Place = tuple[str, int, int | None]


@dataclasses.dataclass(frozen=True)
class Ilsvrc:
  """Facts of the files of ILSVRC 2012 (Russakovsky et al., 2015).

  Attributes:
    num_classes: number of classes (synsets).
    train: number of training images.
    validation: number of validation images.
    train_bytes: size of ILSVRC2012_img_train.tar.
    val_bytes: size of ILSVRC2012_img_val.tar.
    devkit_sha256: SHA-256 of ILSVRC2012_devkit_t12.tar.gz.
  """

  num_classes: int = 1000
  train: int = 1_281_167
  validation: int = 50_000
  train_bytes: int = 147_897_477_120
  val_bytes: int = 6_744_924_160
  devkit_sha256: str = (
    "b59243268c0d266621fd587d2018f69e906fb22875aca0e295b48cafaa927953"
  )


@dataclasses.dataclass(frozen=True)
class Fall11:
  """Facts of the fall 2011 release of all of ImageNet.

  The head of the published models has 21,843 rows. Their order was published
  with BiT (Kolesnikov et al., 2020) as imagenet21k_wordnet_ids.txt: it is that
  of the sorted synsets, and two of them, rows 9,205 and 15,027, are not in the
  release.

  Attributes:
    num_synsets: number of synsets with images.
    sha256: SHA-256 of these synsets, sorted, with a newline after each.
    unused: synsets of the head without images.
    num_images: number of images as counted by image-net.org.
    winter21: number of synsets of the winter 2021 release, another set.
  """

  num_synsets: int = 21_841
  sha256: str = (
    "0ae24538751973797b29d8dec412b2bdc61bc4ec3ecd081eba0735804236bbd2"
  )
  unused: tuple[str, ...] = ("n03931044", "n09859684")
  num_images: int = 14_197_122
  winter21: int = 19_167


def load_imagenet2012(
  manual_dir: str, progress: Progress, facts: Ilsvrc | None = None
) -> Source:
  """Lists ImageNet-1k, from archives or from the folders train/ and val/.

  Raises:
    DataError: with all faults of the files; or, if there are none, with all
      faults of their content.
  """
  facts = facts or Ilsvrc()
  errors: list[str] = []
  train = _find_train(manual_dir, facts, errors)
  validation, truth = _find_validation(manual_dir, facts, errors)
  synsets = sorted(train)
  others = set(truth.values()) | {x for x in validation if x}
  if train and len(train) != facts.num_classes:
    errors.append(
      f"training has {len(train):,} classes, not {facts.num_classes:,}"
    )
  elif train and others and others != set(train):
    errors.append(
      f"training and validation differ in their classes: only one of them has "
      f"{_list_few(others ^ set(train))}"
    )
  _raise(errors, manual_dir)
  rows = {synset: i for i, synset in enumerate(synsets)}
  splits = {}
  for name, places, wanted in (
    ("train", train, facts.train),
    ("validation", validation, facts.validation),
  ):
    progress.say(f"{name}: listing {_describe_places(places)}")
    groups, faults = list_all(list(places.values()), progress)
    progress.end()
    errors += faults
    if faults:
      continue
    labels = []
    for synset, group in zip(places, groups, strict=True):
      if synset:
        number = len(group.tally.keys)
        labels.append(np.full(number, rows[synset], np.int32))
      else:
        labels.append(_label(group.tally.keys, truth, rows, errors))
    splits[name] = Groups(groups, labels)
    found = len(splits[name].keys)
    if found != wanted:
      sizes = [len(group.tally.keys) for group in groups]
      least = min(range(len(groups)), key=sizes.__getitem__)
      errors.append(
        f"{name} has {found:,} images, not {wanted:,}; the fewest, "
        f"{sizes[least]:,}, are in {groups[least].path}"
      )
  _raise(errors, manual_dir)
  return Source("imagenet2012", "ILSVRC 2012", synsets, 1, splits)


def load_imagenet21k(
  manual_dir: str, progress: Progress, facts: Fall11 | None = None
) -> Source:
  """Lists ImageNet of fall 2011, from one archive or folder a synset.

  Raises:
    DataError: if the synsets are not that release's, or with all archives that
      cannot be read.
  """
  facts = facts or Fall11()
  places = find_synsets(manual_dir)
  synsets = sorted(places)
  if len(places) != facts.num_synsets:
    raise DataError(_explain_count(manual_dir, len(places), facts))
  text = "".join(f"{synset}\n" for synset in synsets)
  if hashlib.sha256(text.encode()).hexdigest() != facts.sha256:
    raise DataError(
      f"{manual_dir} has {len(places):,} synsets, but not all are of the fall "
      f"2011 release of ImageNet: some are missing, and some do not belong to "
      f"it. {_offer_folder(manual_dir)}"
    )
  progress.say(f"train: listing {_describe_places(places)}")
  groups, errors = list_all([places[synset] for synset in synsets], progress)
  progress.end()
  errors += [f"{x.path} has no image" for x in groups if not len(x.tally.keys)]
  _raise(errors, manual_dir)
  names = sorted({*synsets, *facts.unused})
  rows = {name: i for i, name in enumerate(names)}
  labels = [
    np.full(len(group.tally.keys), rows[synset], np.int32)
    for synset, group in zip(synsets, groups, strict=True)
  ]
  train = Groups(groups, labels)
  if len(train.keys) != facts.num_images:
    progress.say(
      f"note: found {len(train.keys):,} images; image-net.org counted "
      f"{facts.num_images:,}"
    )
  return Source(
    "imagenet21k", "ImageNet, fall 2011", names, 1, {"train": train}
  )


def find_synsets(directory: str) -> dict[str, Place]:
  """Finds synset -> its archive, else its folder; sorted."""
  found = {}
  for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
    synset, ending = os.path.splitext(name)
    path = os.path.join(directory, name)
    is_place = ending == ".tar" or (not ending and os.path.isdir(path))
    if SYNSET.fullmatch(synset) and is_place:
      found[synset] = (path, 0, None)
  return found


def _find_train(
  manual_dir: str, facts: Ilsvrc, errors: list[str]
) -> dict[str, Place]:
  """Finds synset -> where its training images are."""
  path = os.path.join(manual_dir, TRAIN_TAR)
  folder = os.path.join(manual_dir, "train")
  if not os.path.isfile(path):
    found = find_synsets(folder)
    if not found:
      errors.append(
        f"there is neither {path} nor a folder {folder} of class folders as "
        f"n01440764"
      )
    return found
  if not _check_size(path, facts.train_bytes, errors):
    return {}
  found = {}
  try:
    with open(path, "rb") as file:
      for member in iterate(file):
        synset = os.path.basename(member.name).removesuffix(".tar")
        if SYNSET.fullmatch(synset):
          stop = member.offset_data + member.size
          found[synset] = (path, member.offset_data, stop)
  except tarfile.TarError as error:
    errors.append(f"{path} is not a complete tar: {error}")
    return {}
  if not found:
    errors.append(f"{path} has no archives of classes, as n01440764.tar")
  return found


def _find_validation(
  manual_dir: str, facts: Ilsvrc, errors: list[str]
) -> tuple[dict[str, Place], dict[str, str]]:
  """Finds where the validation images are.

  Returns:
    synset -> its images, and nothing; or "" -> all images, and file name ->
    synset.
  """
  path = os.path.join(manual_dir, VAL_TAR)
  folder = os.path.join(manual_dir, "val")
  if os.path.isfile(path):
    if not _check_size(path, facts.val_bytes, errors):
      return {}, {}
  else:
    found = find_synsets(folder)
    if found:
      return found, {}
    if not os.path.isfile(os.path.join(folder, VAL_NAME.format(1))):
      errors.append(
        f"there is neither {path} nor a folder {folder} of class folders as "
        f"n01440764, or of images as {VAL_NAME.format(1)}"
      )
      return {}, {}
    path = folder
  return {"": (path, 0, None)}, _load_truth(manual_dir, facts, errors)


def _load_truth(
  manual_dir: str, facts: Ilsvrc, errors: list[str]
) -> dict[str, str]:
  """Loads file name of a validation image -> its synset, from the devkit."""
  path = os.path.join(manual_dir, DEVKIT)
  if not os.path.isfile(path):
    errors.append(
      f"there is no {path}, which has the labels of the validation images"
    )
    return {}
  data = read_file(path, MAX_DEVKIT)
  if hashlib.sha256(data).hexdigest() != facts.devkit_sha256:
    errors.append(
      f"{path} is not the file of image-net.org, whose SHA-256 is "
      f"{facts.devkit_sha256}: download it again"
    )
    return {}
  # The digest matched, so the content can be trusted.
  files = {}
  with tarfile.open(fileobj=io.BytesIO(data)) as tar:
    for member in tar:
      if member.isreg():
        name = os.path.basename(member.name)
        files[name] = io.BytesIO(tar.extractfile(member).read())
  meta = scipy.io.loadmat(files["meta.mat"], squeeze_me=True)["synsets"]
  # Synsets with children are groups of classes.
  synsets = {
    int(row["ILSVRC2012_ID"]): str(row["WNID"])
    for row in meta
    if int(row["num_children"]) == 0
  }
  ids = map(int, files["ILSVRC2012_validation_ground_truth.txt"])
  return {VAL_NAME.format(i): synsets[x] for i, x in enumerate(ids, 1)}


def _label(
  keys: np.ndarray,
  truth: dict[str, str],
  rows: dict[str, int],
  errors: list[str],
) -> np.ndarray:
  """Finds the labels of validation images by hashes of their names, int32 [n].

  Args:
    keys: uint64 [n], hashes of the images that were found.
    truth: file name -> synset.
    rows: synset -> label.
    errors: gets a message for images that are missing or unknown.
  """
  by_key = {hash_name(name): rows[synset] for name, synset in truth.items()}
  labels = [by_key.get(int(key), -1) for key in keys]
  found = {int(key) for key in keys}
  missing = [name for name in truth if hash_name(name) not in found]
  if missing:
    errors.append(
      f"validation lacks {counted(len(missing), 'image')}: {_list_few(missing)}"
    )
  if -1 in labels:
    errors.append(
      f"validation has {counted(labels.count(-1), 'file')} with names unlike "
      f"{VAL_NAME.format(1)}"
    )
  return np.array(labels, np.int32)


def _check_size(path: str, expected: int, errors: list[str]) -> bool:
  """Returns whether a file has its official size."""
  size = os.path.getsize(path)
  if size == expected:
    return True
  fault = "its download is incomplete" if size < expected else "wrong file"
  errors.append(f"{path} has {size:,} bytes, not {expected:,}: {fault}")
  return False


def _explain_count(manual_dir: str, found: int, facts: Fall11) -> str:
  """Explains a wrong number of synsets, with what to do."""
  if not os.path.isdir(manual_dir):
    return f"--manual_dir={manual_dir}: there is no such folder"
  names = sorted(os.listdir(manual_dir))
  outer = [x for x in names if x.endswith((".tar", ".tar.gz", ".tgz"))]
  outer = [x for x in outer if not SYNSET.match(x)]
  wanted = (
    f"where {facts.num_synsets:,} are needed, each as nXXXXXXXX.tar or a "
    f"folder nXXXXXXXX"
  )
  if not found and outer:
    path = os.path.join(manual_dir, outer[0])
    return (
      f"{manual_dir} has no synset, {wanted}: {outer[0]} has the archives, "
      f"unpack it with: tar -xf {path} -C {manual_dir}"
    )
  for name in names if not found else ():
    below = os.path.join(manual_dir, name)
    if find_synsets(below):
      return f"{manual_dir} has no synset, {wanted}: give --manual_dir={below}"
  message = f"{manual_dir} has {found:,} synsets, {wanted}. "
  if found == facts.winter21:
    message += "The winter 2021 release has as many; published models were "
    message += "trained on that of fall 2011. "
  return message + _offer_folder(manual_dir)


def _offer_folder(manual_dir: str) -> str:
  """Says how to prepare other synsets."""
  return (
    f"Any synsets, each unpacked into a folder, can be prepared with: "
    f"python -m vit_jax.prepare folder:{manual_dir} --name=NAME"
  )


def _describe_places(places: dict[str, Place]) -> str:
  """Describes what is listed."""
  paths = {path for path, _, _ in places.values()}
  if len(paths) == 1:
    return paths.pop()
  return f"{len(paths):,} classes in {os.path.dirname(min(paths))}"


def _list_few(names: set[str] | list[str]) -> str:
  """Formats the first of many names."""
  shown = sorted(names)[:FEW]
  return ", ".join(shown) + (", ..." if len(names) > FEW else "")


def _raise(errors: list[str], manual_dir: str) -> None:
  """Raises one DataError for all errors, if there are any."""
  if errors:
    raise DataError(
      f"--manual_dir={manual_dir} does not have the files of image-net.org:\n"
      + "\n".join(f"  {error}" for error in errors)
    )
