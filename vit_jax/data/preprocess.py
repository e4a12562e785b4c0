# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pre-processing for evaluation: image files or arrays -> a model's input."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import PIL.Image

from vit_jax.config import (
  ConfigError,
  Interval,
  Positive,
  Share,
  check,
  parameters,
  raise_all,
)
from vit_jax.config.errors import quote
from vit_jax.data import transforms
from vit_jax.data.framing import Rounding, compute_around, frame
from vit_jax.data.resize import Resize
from vit_jax.storage.untrusted import read_file

# A path, an encoded image, an array uint8 [H W c], or an image of Pillow.
Image = str | os.PathLike | bytes | np.ndarray | PIL.Image.Image

MAX_CHANNELS = 1024  # Hyperspectral cameras have hundreds.

Side = Annotated[int, Interval("[1, 16384]")]
Channels = Annotated[int, Interval(f"[1, {MAX_CHANNELS}]")]
Finite = Annotated[float, Interval("(-inf, inf)")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
  """Decodes, resizes and normalises images, as a model was evaluated with.

  Also the preprocess section of a manifest, see `to_json`.

  Attributes:
    height: H of the input, in pixels.
    width: W of the input.
    channels: c, number of channels.
    mean: [c], subtracted from values in [0, 1]; None is 0.5 for each channel.
    std: [c], by which the difference is divided; None is 0.5, so that values
      end in [-1, 1].
    crop: None resizes the whole image, whatever its aspect ratio, as the ViT
      authors do; a share resizes the shorter side to size / crop and cuts out
      the centre.
    resize: how, see `resize`; by default as the ViT authors do.
    squash: resizes both sides before the crop, whatever the aspect ratio.
    rounding: whose rule rounds the sides and the corner of the crop, see
      `framing`.
  """

  height: Side
  width: Side
  channels: Channels
  mean: tuple[Finite, ...] | None = None
  std: tuple[Positive, ...] | None = None
  crop: Share | None = None
  resize: Resize = "bilinear"
  squash: bool = False
  rounding: Rounding = "big_vision"

  def __post_init__(self):
    """Fills in and checks every field; raises ConfigError for all errors."""
    errors: list[str] = []
    checked = check("preprocess", vars(self), parameters(type(self)), errors)
    raise_all(errors)
    for name in ("mean", "std"):
      if checked[name] is None:
        checked[name] = (0.5,) * self.channels
      elif len(checked[name]) != self.channels:
        errors.append(
          f"preprocess.{name} has {len(checked[name])} values, and "
          f"preprocess.channels is {self.channels}"
        )
    raise_all(errors)
    for name, value in checked.items():
      object.__setattr__(self, name, value)

  @classmethod
  def from_json(cls, section: Mapping[str, Any]) -> "Preprocess":
    """Reads a manifest's preprocess section; unknown keys are ignored.

    Without `resize` it is "area", which is what the versions did that did not
    record it.

    Raises:
      ConfigError: naming every key that is missing or wrong.
    """
    allowed = parameters(cls)
    section = {"resize": "area"} | dict(section)
    given = {key: value for key, value in section.items() if key in allowed}
    errors: list[str] = []
    checked = check("preprocess", given, allowed, errors)
    raise_all(errors)
    return cls(**checked)

  def to_json(self) -> dict[str, Any]:
    """The preprocess section of a manifest."""
    section = dataclasses.asdict(self)
    return section | {"mean": list(self.mean), "std": list(self.std)}

  @property
  def size(self) -> tuple[int, int]:
    """(H, W) of the input."""
    return self.height, self.width

  @property
  def around(self) -> tuple[int, int]:
    """The sides of which the crop is a share; `size` if there is no crop."""
    if self.crop is None:
      return self.size
    return compute_around(self.size, self.crop, self.rounding)

  def __call__(self, images: Image | Sequence[Image]) -> np.ndarray:
    """Prepares one image or several: float32 [B H W c].

    Args:
      images: paths, encoded bytes, Pillow's images of any mode, or arrays uint8
        [H W c] or [H W]; one, or a list of them. An array [B H W c] is a batch.

    Raises:
      ValueError: if one is not an image; names it.
    """
    return self.normalize(self.cut(images))

  def cut(self, images: Image | Sequence[Image]) -> np.ndarray:
    """Decodes, crops and resizes only: uint8 [B H W c]; else as a call."""
    if not isinstance(images, PIL.Image.Image) and hasattr(images, "__array__"):
      images = np.asarray(images)
    if isinstance(images, np.ndarray) and images.ndim == 4:
      images = list(images)
    if isinstance(images, Image) or not isinstance(images, Iterable):
      batch = [self._prepare(images, "image")]
    else:
      batch = [self._prepare(x, f"images[{i}]") for i, x in enumerate(images)]
    if not batch:
      return np.zeros((0, *self.size, self.channels), np.uint8)
    return np.stack(batch)

  def normalize(self, pixels: np.ndarray) -> np.ndarray:
    """The model's input, float32, of what `cut` made."""
    values = pixels.astype(np.float32) / 255
    mean, std = (np.asarray(x, np.float32) for x in (self.mean, self.std))
    return (values - mean[None, None, None]) / std[None, None, None]

  def _prepare(self, image: Any, given: str) -> np.ndarray:
    """Decodes and resizes one image, `given` by that name: uint8 [H W c]."""
    if isinstance(image, bytes):
      image = transforms.decode(image, self.channels)
    elif isinstance(image, str | os.PathLike):
      name = os.fspath(image)
      try:
        data = read_file(os.path.expanduser(name), transforms.MAX_BYTES)
        image = transforms.decode(data, self.channels)
      except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    elif isinstance(image, PIL.Image.Image):
      image = transforms.convert(image, self.channels)
    elif not isinstance(image, list | tuple) and not hasattr(
      image, "__array__"
    ):
      raise ConfigError(
        f"{given} is {quote(image)} ({type(image).__name__}), and no path, "
        f"encoded image, array, or image of Pillow"
      )
    image = np.asarray(image)
    if image.ndim == 2:
      image = image[:, :, None]
    if image.ndim == 3 and image.shape[2] == 1 and self.channels == 3:
      image = np.repeat(image, 3, axis=2)
    fits = image.ndim == 3 and image.shape[2] == self.channels and image.size
    if not fits or image.dtype != np.uint8:
      raise ValueError(
        f"{given} is {image.dtype} {image.shape}, expected uint8 (H, W, "
        f"{self.channels})"
      )
    return frame(
      image,
      self.size,
      self.crop,
      self.resize,
      squash=self.squash,
      rounding=self.rounding,
    )
