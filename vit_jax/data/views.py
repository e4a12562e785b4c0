# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Several views of an image: other crops of it, for objectives that compare.

The first view is a batch's `image`, as ever. Beside it a batch has `views`,
uint8 [B V H W c], the others of its size, and `local`, uint8 [B V h w c], small
crops of small parts (multi-crop, Caron et al., 2020, arXiv 2006.09882).

Worker processes import this module, so it imports no jax.
"""

import dataclasses
import math
from typing import Annotated, Any, Literal

import numpy as np

from vit_jax.config import ConfigError, Count, Interval, Natural, Share
from vit_jax.data.jpeg import Box


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
  """The data.views section of a config.

  Attributes:
    count: number of crops of an image of data.size, of data.crop_area of it; 1
      is the one of supervised learning.
    local: number of small crops beside them; DINO's 8 or 10, 0 is none.
    local_size: height and width of a small crop, in pixels.
    local_area: range of a small crop's share of the image's area.
    colour: what is done to the colours of every view, with probabilities that
      differ between the first view and the others. "moco" is MoCo v3's,
      BYOL's without a weaker hue; "dino" is DINO's, which also blurs half of
      the small crops. Both jitter brightness, contrast, saturation and hue in
      random order, and then make some views grey, blurred or solarised. "none"
      leaves the colours.
  """

  count: Annotated[int, Interval("[1, 16]")] = 1
  local: Annotated[Natural, Interval("[0, 64]")] = 0
  local_size: Count = 96
  local_area: tuple[Share, Share] = (0.05, 0.4)
  colour: Literal["none", "moco", "dino"] = "none"

  def __post_init__(self):
    least, most = self.local_area
    if least > most:
      raise ConfigError(
        f"data.views.local_area={self.local_area}: the first number must not "
        f"exceed the second"
      )

  @property
  def several(self) -> bool:
    """Whether an image has more than one view."""
    return self.count > 1 or self.local > 0

  def get_shapes(
    self, size: tuple[int, int], channels: int
  ) -> dict[str, tuple[int, ...]]:
    """Shapes of the images of an example, by their name in a batch.

    Args:
      size: (H, W) of data.size.
      channels: c.
    """
    shapes: dict[str, tuple[int, ...]] = {"image": (*size, channels)}
    if self.count > 1:
      shapes["views"] = (self.count - 1, *size, channels)
    if self.local:
      side = self.local_size
      shapes["local"] = (self.local, side, side, channels)
    return shapes

  def count_values(self, size: tuple[int, int], channels: int) -> int:
    """Counts the values of all views of an example; arguments as above."""
    shapes = self.get_shapes(size, channels)
    return sum(math.prod(shape) for shape in shapes.values())


ONE = Views()  # The one view of supervised learning.


def find_hull(boxes: list[Box]) -> Box:
  """Finds the smallest box that holds all."""
  top, left = (min(box[axis] for box in boxes) for axis in (0, 1))
  bottom, right = (
    max(box[axis] + box[axis + 2] for box in boxes) for axis in (0, 1)
  )
  return top, left, bottom - top, right - left


def cut_each(picture: Any, boxes: list[Any]) -> list[np.ndarray]:
  """Cuts several boxes out of a picture that is decoded once: uint8 [h w c].

  Args:
    picture: a `Picture` or `Pixels` of `transforms`.
    boxes: of the upright image; a single one may be None, all of it.

  Returns:
    Views of memory that this thread's next call may overwrite.
  """
  if len(boxes) == 1:
    return [picture.cut(boxes[0], copy=False)]
  y, x, height, width = find_hull(boxes)
  whole = picture.cut((y, x, height, width), copy=False)
  return [
    whole[top - y : top - y + h, left - x : left - x + w]
    for top, left, h, w in boxes
  ]
