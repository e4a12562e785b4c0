# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Data as trained weights want them: their pixels, and their labels."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from vit_jax.data.examples import Examples
from vit_jax.data.folder import load_folder, parse_name
from vit_jax.data.held_out import FILE
from vit_jax.data.info import DataError
from vit_jax.data.label_map import relabel
from vit_jax.data.pipeline import Data
from vit_jax.data.preprocess import Preprocess
from vit_jax.data.sources import parse_source
from vit_jax.sharding import constrain
from vit_jax.train_state import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedData(Data):
  """Data that become pixels, and have labels, as given weights want them.

  Attributes:
    preprocess: that of the weights.
    held_out: paths below the folder that training held out, where its images
      have changed since; None where the folder's own rule says it.
    labels: split -> labels of each of its images, instead of its own; those
      without any are left out.
    border: pixels at each edge of these images that are cut off.
  """

  preprocess: Preprocess
  held_out: frozenset[str] | None = None
  labels: Mapping[str, Sequence[tuple[int, ...]]] | None = None
  border: int = 0

  def make_preprocess(self, channels: int) -> Preprocess:
    """Returns the pre-processing of the weights."""
    del channels
    return self.preprocess

  def prepare(self, batch: Batch) -> Batch:
    """Makes a model's input of a batch, with their mean and std."""
    mean, std = self.preprocess.mean, self.preprocess.std
    if {*(mean or ()), *(std or ())} == {0.5}:
      return super().prepare(batch)
    values = batch["image"].astype(jnp.float32) / 255.0
    image = (values - jnp.array(mean)[None, None, None]) / (
      jnp.array(std)[None, None, None]
    )
    return batch | {"image": constrain(image, "B H W c")}

  def open(self, split: str) -> Sequence[dict[str, Any]]:
    """Opens a split; "test" is what training held out, "train" the others.

    Raises:
      DataError: as `open_source`; or for a slice of a folder whose images have
        changed, where it would be another one.
    """
    source = self.open_unmapped(split)
    if self.labels is not None and split in self.labels:
      return relabel(source, self.labels[split], self.border)
    return source

  def open_unmapped(self, split: str) -> Sequence[dict[str, Any]]:
    """Opens a split with all of its images and its own labels."""
    if self.held_out is None:
      return super().open(split)
    if split not in ("train", "test"):
      raise DataError(
        f"images of {self.source} were added or removed since the run began, "
        f"so only --split=test, what it held out, and --split=train can be "
        f"told apart, not {split!r}"
      )
    name = parse_source(self.source)[1]
    root = os.fspath(parse_name(name)[0])
    found = load_folder(name).open("train+test")
    items = [
      item
      for item in found.items
      if (is_below(root, item[0], self.held_out)) == (split == "test")
    ]
    if not items:
      raise DataError(
        f"{self.source} has none of the images of {FILE} any more"
      )
    return Examples(items, found.read)


def is_below(root: str, path: str, names: frozenset[str]) -> bool:
  """Whether a file of a folder is among the names of files below it."""
  return pathlib.PurePath(os.path.relpath(path, root)).as_posix() in names
