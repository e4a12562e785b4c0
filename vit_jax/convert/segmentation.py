# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a run of objective.name=segmentation, to classify pixels with it."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float, UInt8

from vit_jax.checkpoint import load_params
from vit_jax.config import ConfigError
from vit_jax.convert import dense
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.manifest import load_json
from vit_jax.convert.manifest_checks import load_run_manifest
from vit_jax.convert.table import Arrays
from vit_jax.convert.weights import Weights, flatten, is_run, load_weights
from vit_jax.data.info import DataError
from vit_jax.data.preprocess import Preprocess
from vit_jax.data.segmentation import load_names
from vit_jax.data.sources import parse_source
from vit_jax.devices.auto import choose_attention
from vit_jax.devices.detection import start_backend
from vit_jax.objectives.objective import Setting
from vit_jax.objectives.segmentation import NAME, Segmentation, resize
from vit_jax.storage.paths import locate

BIAS = f"{NAME}/head/bias"  # Its length is the number of classes.


@dataclasses.dataclass(frozen=True, eq=False)
class Segmenter:
  """A trained segmentation, called with images for the class of each pixel.

  Attributes:
    objective: of its encoder and head.
    params: of both, as nested dictionaries.
    preprocess: makes images of the size that it was trained at.
  """

  objective: Segmentation
  params: Mapping[str, Any] = dataclasses.field(repr=False)
  preprocess: Preprocess

  def _compute(self, params: Any, image: Float[Array, "B H W c"]) -> Any:
    """Computes the head's logits, by the kernel of attention of the device."""
    model, _ = choose_attention(
      self.objective.model, jax.devices()[0], *image.shape[1:3]
    )
    module = dataclasses.replace(self.objective, model=model).module
    return module.apply({"params": params}, image)

  @functools.cached_property
  def _apply(self) -> Any:
    """The jitted function (parameters, images) -> classes."""

    def apply(params, image):
      logits = self._compute(params, image)
      return jnp.argmax(resize(logits, image.shape[1:3]), axis=-1)

    return jax.jit(apply)

  @functools.cached_property
  def compute_logits(self) -> Any:
    """The jitted function of images, as `preprocess` makes them, to logits.

    They are those of the head, [B h w Y], which `classify_pixels` enlarges.
    """
    return functools.partial(jax.jit(self._compute), self.params)

  def __call__(self, images: Any) -> UInt8[np.ndarray, "B H W"]:
    """Finds the class of each pixel.

    Args:
      images: uint8 or float [B H W c] of any size that the patches divide; the
        latter as `preprocess` makes them.

    Raises:
      ValueError: as of `Model.features`.
    """
    image = dense.prepare_images(images, self.preprocess.to_json())
    encoder: Any = self.objective.model
    _, height, width, _ = image.shape
    params = dense.resize_params(
      self.params, encoder, self.preprocess.size, (height, width)
    )
    return np.asarray(self._apply(params, image)).astype(np.uint8)


def load_segmentation(path: str) -> Segmenter:
  """Reads the directory of a run of objective.name=segmentation.

  Args:
    path: RUN, for its last checkpoint, or RUN/checkpoints/STEP.

  Raises:
    CheckpointError: if it is no such run, or its arrays do not fit.
  """
  start_backend()  # Reading uses jax, which alone has libtpu log errors.
  if not is_segmentation(path):
    raise CheckpointError(f"{path} is no run of objective.name={NAME!r}")
  return add_head(path, load_weights(path))


def is_segmentation(path: str) -> bool:
  """Whether a path is that of a run of objective.name=segmentation."""
  if not is_run(locate(path)):
    return False
  run, _, _ = load_run_manifest(locate(path))
  config = run / "config.json"
  if not config.exists():
    return False
  return load_json(config).get("objective", {}).get("name") == NAME


def read_config(path: str) -> Mapping[str, Any]:
  """Reads the config of a run, given it or one of its checkpoints."""
  run, _, _ = load_run_manifest(locate(path))
  return load_json(run / "config.json")


def find_names(path: str, known: int) -> Sequence[str]:
  """Finds the names of the classes in the data of a run.

  They are () if the data are gone, or no longer for who reads the run.

  Args:
    path: of the run.
    known: number of its classes.
  """
  kind, name = parse_source(read_config(path).get("data", {}).get("source", ""))
  root = pathlib.Path(os.path.expanduser(name))
  try:
    names = load_names(root) if kind == NAME else None
  except DataError:
    names = None
  return names if names is not None and len(names) == known else ()


def describe_left(path: str) -> str | None:
  """What the encoder of a run lacks, in words; None unless it has a head."""
  if not is_segmentation(path):
    return None
  return (
    f"{path} classifies pixels: its encoder is written, without the head that "
    f"does so, which python -m vit_jax.predict and load_segmentation use"
  )


def add_head(path: str, weights: Weights) -> Segmenter:
  """Adds the head of a run of objective.name=segmentation to its encoder.

  Args:
    path: of the run, as of `load_segmentation`.
    weights: of the encoder.

  Raises:
    ConfigError: if images would be cropped.
  """
  if weights.preprocess.crop is not None:
    raise ConfigError(
      f"crop={weights.preprocess.crop:g} cuts pixels off that a segmentation "
      f"is measured on, and {path} is one: leave it out"
    )
  section = dict(read_config(path)["objective"])
  del section["name"]
  own = _load_head(path)
  classes = own[BIAS].size
  objective = Segmentation(weights.model, **section)
  tree = unflatten_dict(dict(weights.params) | own, sep="/")
  return Segmenter(
    objective.place(Setting(classes=classes)), tree, weights.preprocess
  )


def _load_head(path: str) -> Arrays:
  """Loads the parameters of the head of a run, by their paths in the model."""
  run, step, _ = load_run_manifest(locate(path))
  found = flatten(load_params(run / "checkpoints", step))
  return {k: x for k, x in found.items() if k.startswith(f"{NAME}/")}


def take_head(
  init: str,
  wanted: Mapping[str, tuple[int, ...]],
  insist: Literal["auto", "drop", "keep"],
  names: Sequence[str],
) -> tuple[Arrays, str]:
  """Takes the head of what a segmentation starts from, where it fits.

  Args:
    init: path of any weights, or of a run.
    wanted: path -> shape of the parameters of the run that starts.
    insist: `transfer.head`.
    names: of the classes, by number.

  Returns:
    Path -> array, none of a head that is initialised anew; and a line on it.

  Raises:
    CheckpointError: if it has to be kept and cannot.
  """
  found: Arrays = {}
  wanted = {k: x for k, x in wanted.items() if k.startswith(f"{NAME}/")}
  why = unsure = ""
  if insist == "drop":
    why = "as asked"
  elif not is_segmentation(init):
    why = "the source classifies no pixels"
  else:
    found = _load_head(init)
    theirs, ours = found[BIAS].size, wanted[BIAS][0]
    known = find_names(init, theirs)
    if not known or list(names) == [str(i) for i in range(ours)]:
      known = names  # Without classes.txt names are numbers.
      unsure = "; for want of a classes.txt names were not compared"
    if theirs != ours:
      why = f"{theirs} classes there, {ours} here"
    elif list(known) != list(names):
      pairs = enumerate(zip(known, names, strict=True))
      why = next(
        f"class {number} is {one!r} there, {other!r} here"
        for number, (one, other) in pairs
        if one != other
      )
    elif {path: x.shape for path, x in found.items()} != wanted:
      why = "another objective.head, objective.head_width or patch size"
  if why and insist == "keep":
    raise CheckpointError(
      f"the head of {init} cannot be kept: {why}; transfer.head='auto' makes a "
      f"new one"
    )
  if why:
    return {}, f"new: all of {NAME}/, {why}"
  kept = f"all of {NAME}/, the head, is kept: {len(found)} arrays"
  return found, kept + unsure
