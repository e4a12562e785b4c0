# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation on the device: flip, RandAugment, value range, random erasing,
mixup and cutmix, in this order; of several views, flip and colours.

Each example has its own key, so the result does not depend on how a batch is
divided among devices.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from vit_jax.config import ConfigError, Count, Interval, NotNegative, Share
from vit_jax.data.colour import change_colour, get_chances
from vit_jax.data.randaugment import Like, make_randaugment
from vit_jax.data.views import ONE, Views
from vit_jax.perturbations.blur import get_scale
from vit_jax.sharding import apply_locally, constrain
from vit_jax.train_state import Batch

# Constants that an example's key is folded with; 0 and 1 are those of a split.
RANDAUGMENT, CUTMIX, ERASING, COIN, VIEW = 2, 3, 4, 5, 6

ATTEMPTS = 10  # Boxes that are tried; if none fits, an image is not erased.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
  """The data.augment section of a config.

  Attributes:
    flip: whether to mirror images left to right with probability 1/2.
    randaugment: (layers, magnitude) of RandAugment, see `randaugment`; None is
      off. AugReg's are (2, 0) to (2, 20).
    randaugment_like: whose Contrast, Color and Sharpness RandAugment has.
      "pillow" scales contrast about the mean of the image; "augreg", as AugReg
      was trained, about the number of pixels / 256: 196 at 224 px.
    mixup: alpha of mixup (Zhang et al., 2018): each example is mixed with the
      next of the batch, with weights from Beta(alpha, alpha), the larger for
      itself. 0 is off.
    cutmix: alpha of cutmix (Yun et al., 2019): a box of each example is taken
      from the next of the batch. Its share of the area is from Beta(alpha,
      alpha), before the border cuts it off; labels are mixed by the area that
      remains. 0 is off. With mixup too, each example gets one of them, with
      probability 1/2.
    erasing: probability that a box of an image is erased (Zhong et al., 2020);
      0 is off.
    erasing_area: range of the box's share of the image's area.
    erasing_fill: "noise", uniform over the value range and drawn for every
      pixel, or "grey", the middle of the range.
  """

  flip: bool = False
  randaugment: tuple[Count, Annotated[float, Interval("[0, 30]")]] | None = None
  randaugment_like: Like = "pillow"
  mixup: NotNegative = 0.0
  cutmix: NotNegative = 0.0
  erasing: Annotated[float, Interval("[0, 1]")] = 0.0
  erasing_area: tuple[Share, Share] = (0.02, 0.4)
  erasing_fill: Literal["noise", "grey"] = "noise"

  def __post_init__(self):
    least, most = self.erasing_area
    if least > most:
      raise ConfigError(
        f"data.augment.erasing_area={self.erasing_area}: the first number must "
        f"not exceed the second"
      )


def scale_values(image: Num[Array, "*B H W c"]) -> Float[Array, "*B H W c"]:
  """Scales values from 0 to 255 to float32 in [-1, 1]."""
  return image.astype(jnp.float32) / 127.5 - 1.0


def normalize(batch: Batch) -> Batch:
  """Scales the images of a batch to [-1, 1], all that evaluation needs."""
  image = constrain(scale_values(batch["image"]), "B H W c")
  return batch | {"image": image}


def flip(image: Num[Array, "H W c"], key: jax.Array) -> Num[Array, "H W c"]:
  """Mirrors an image left to right with probability 1/2."""
  return jnp.where(jax.random.bernoulli(key), image[:, ::-1, :], image)


def compute_box(
  height: int,
  width: int,
  corner: tuple[Array, Array],
  size: tuple[Array, Array],
) -> Bool[Array, "H W 1"]:
  """Computes the mask of a box (top, left), (h, w), cut off at the border."""
  y, x = jnp.arange(height), jnp.arange(width)
  y = (corner[0] <= y) & (y < corner[0] + size[0])
  x = (corner[1] <= x) & (x < corner[1] + size[1])
  return y[:, None, None] & x[None, :, None]


def sample_beta(keys: jax.Array, alpha: float) -> Float[Array, "B"] | None:
  """Samples Beta(alpha, alpha) for each key [B]; None if alpha is 0."""
  if not alpha:
    return None
  draw = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))
  # A rejection sampler: as one loop over the mesh, devices would wait for one
  # another in every round.
  return apply_locally(draw, keys)


def sample_cutmix(
  key: jax.Array, share: Float[Array, ""], height: int, width: int
) -> Bool[Array, "H W 1"]:
  """Samples the box of cutmix: of the image's aspect, with a uniform centre.

  Args:
    key: random key of the centre.
    share: the box's share of the area.
    height: height of the image (H).
    width: width of the image (W).
  """
  side = jnp.sqrt(share)
  centre = jax.random.uniform(key, (2,))
  h, w, y, x = (
    jnp.floor(share * length).astype(jnp.int32)
    for share, length in (
      *((side, height), (side, width)),
      *((centre[0], height), (centre[1], width)),
    )
  )
  return compute_box(height, width, (y - h // 2, x - w // 2), (h, w))


def sample_erasing(
  key: jax.Array,
  height: int,
  width: int,
  probability: float,
  area: tuple[float, float],
) -> Bool[Array, "H W 1"]:
  """Samples the box of random erasing, inside the image; an empty one for none.

  Its aspect ratio is log-uniform from 0.3 to 1 / 0.3.

  Args:
    key: random key of the example.
    height: height of the image (H).
    width: width of the image (W).
    probability: probability of a box.
    area: range of its share of the area, uniform.
  """
  draws = jax.random.uniform(key, (2 * ATTEMPTS + 3,))
  areas, ratios, (coin, y, x) = jnp.split(draws, (ATTEMPTS, 2 * ATTEMPTS))
  pixels = height * width * (area[0] + (area[1] - area[0]) * areas)
  ratio = jnp.exp((2 * ratios - 1) * jnp.log(0.3))
  h = jnp.round(jnp.sqrt(pixels * ratio)).astype(jnp.int32)
  w = jnp.round(jnp.sqrt(pixels / ratio)).astype(jnp.int32)
  fits = (h <= height) & (w <= width)
  first = jnp.argmax(fits)
  done = fits[first] & (coin < probability)
  h, w = jnp.where(done, h[first], 0), jnp.where(done, w[first], 0)
  top = jnp.floor(y * (height - h + 1)).astype(jnp.int32)
  left = jnp.floor(x * (width - w + 1)).astype(jnp.int32)
  return compute_box(height, width, (top, left), (h, w))


def erase(
  image: Float[Array, "H W c"], key: jax.Array, augment: Augment
) -> Float[Array, "H W c"]:
  """Fills a box of an image in [-1, 1], with probability `augment.erasing`."""
  box_key, noise_key = jax.random.split(key)
  height, width, _ = image.shape
  box = sample_erasing(
    box_key, height, width, augment.erasing, augment.erasing_area
  )
  fill = jnp.zeros_like(image)
  if augment.erasing_fill == "noise":
    fill = jax.random.uniform(noise_key, image.shape, minval=-1.0, maxval=1.0)
  return jnp.where(box, fill, image)


def sample_weights(
  key: jax.Array,
  mixup: Float[Array, ""] | None,
  cutmix: Float[Array, ""] | None,
  height: int,
  width: int,
) -> tuple[Float[Array, "h w 1"], Float[Array, ""]]:
  """Samples an example's weights in its mix with the next, of mixup or cutmix.

  Args:
    key: random key of the example.
    mixup: sample of Beta; None without mixup.
    cutmix: sample of Beta; None without cutmix.
    height: height of the image (H).
    width: width of the image (W).

  Returns:
    The weight of its pixels, which broadcasts to [H W c], and of its label.
  """
  if mixup is not None:
    mixed = jnp.maximum(mixup, 1 - mixup)
    if cutmix is None:
      return mixed.reshape(1, 1, 1), mixed
  centre_key = jax.random.split(jax.random.fold_in(key, CUTMIX))[1]
  box = sample_cutmix(centre_key, cutmix, height, width)
  pixels = 1.0 - box.astype(jnp.float32)
  label = jnp.mean(pixels)
  if mixup is not None:
    coin = jax.random.bernoulli(jax.random.fold_in(key, COIN))
    pixels = jnp.where(coin, pixels, mixed)
    label = jnp.where(coin, label, mixed)
  return pixels, label


def find_view_errors(views: Views, augment: Augment, crop: str) -> list[str]:
  """Lists what of the data section does not go together with several views."""
  errors = []
  if views.several and crop == "none":
    errors.append(
      "data.views has several views of an image, and data.crop='none' makes "
      "them equal: set data.crop='random_resized'"
    )
  if views.several or views.colour != "none":
    off = Augment(flip=augment.flip)
    for key in ("randaugment", "mixup", "cutmix", "erasing"):
      if getattr(augment, key) != getattr(off, key):
        errors.append(
          f"data.augment.{key}={getattr(augment, key)} has no effect on the "
          f"views of data.views, of which data.augment.flip and "
          f"data.views.colour change the pixels: leave it out"
        )
  return errors


def augment_views(
  batch: Batch, key: jax.Array, augment: Augment, views: Views
) -> Batch:
  """Flips every view and changes its colours, each by a key of its own.

  Args:
    batch: image and, if there are any, views and local, see `data.views`.
    key: random key of the batch.
    augment: the config's section; of it, `flip`.
    views: the config's section.

  Returns:
    The batch with values in [-1, 1].
  """
  keys = jax.random.split(key, batch["image"].shape[0])
  scale = get_scale(batch["image"][0])

  def change(image, key, number, chances):
    key = jax.random.fold_in(jax.random.fold_in(key, VIEW), number)
    flip_key, colour_key = jax.random.split(key)
    if augment.flip:
      image = flip(image, flip_key)
    image = image.astype(jnp.float32)
    if views.colour != "none":
      image = change_colour(image, colour_key, chances, scale)
    return scale_values(image)

  def apply(images, numbers):  # [B V h w c], and the numbers of the V.
    chances = get_chances(views.colour, numbers, views.count)
    each = jax.vmap(change, in_axes=(0, None, 0, 0))
    each = jax.vmap(each, in_axes=(0, 0, None, None))
    changed = each(images, keys, jnp.asarray(numbers), chances)
    return constrain(changed, "B _ H W c")

  large = batch["image"][:, None]
  if "views" in batch:
    large = jnp.concatenate([large, batch["views"]], axis=1)
  large = apply(large, range(views.count))
  changed = {"image": constrain(large[:, 0], "B H W c")}
  if "views" in batch:
    changed["views"] = large[:, 1:]
  if "local" in batch:
    last = views.count + views.local
    changed["local"] = apply(batch["local"], range(views.count, last))
  return batch | changed


def make_augment(
  augment: Augment,
  make_targets: Callable[[jax.Array], jax.Array],
  views: Views = ONE,
) -> Callable[[Batch, jax.Array], Batch]:
  """Makes a pure function (batch, key) -> batch with float images.

  Args:
    augment: the config's section.
    make_targets: label -> target distribution, float [B Y]; called only if
      labels are mixed.
    views: the section data.views.
  """
  if views.several or views.colour != "none":
    return lambda batch, key: augment_views(batch, key, augment, views)

  def mix(x, y, weight):
    weight = weight.reshape(*weight.shape, *(1,) * (x.ndim - weight.ndim))
    return weight * x + (1 - weight) * y

  def apply(batch: Batch, key: jax.Array) -> Batch:
    size, height, width, _ = batch["image"].shape
    keys = jax.random.split(key, size)
    split = jax.vmap(jax.random.split)
    pairs = split(keys)  # [B 2]: flip, mixup
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    image = batch["image"]
    if augment.flip:
      image = jax.vmap(flip)(image, pairs[:, 0])
      if "segmentation" in batch:
        flipped = jax.vmap(flip)(batch["segmentation"][..., None], pairs[:, 0])
        batch |= {"segmentation": flipped[..., 0]}
    if augment.randaugment is not None:
      randaugment = make_randaugment(
        *augment.randaugment, augment.randaugment_like
      )
      image = apply_locally(randaugment, image, fold(keys, RANDAUGMENT))
    batch = normalize(batch | {"image": image})
    if augment.erasing:
      erased = jax.vmap(lambda x, k: erase(x, k, augment))(
        batch["image"], fold(keys, ERASING)
      )
      batch |= {"image": erased}
    if augment.mixup or augment.cutmix:
      share_keys = split(fold(keys, CUTMIX))[:, 0]
      pixels, weight = jax.vmap(
        lambda *sampled: sample_weights(*sampled, height, width)
      )(
        keys,
        sample_beta(pairs[:, 1], augment.mixup),
        sample_beta(share_keys, augment.cutmix),
      )
      image, label = batch["image"], make_targets(batch["label"])
      batch |= {
        "image": mix(image, jnp.roll(image, -1, axis=0), pixels),
        "label": mix(label, jnp.roll(label, -1, axis=0), weight),
      }
    return batch | {"image": constrain(batch["image"], "B H W c")}

  return apply
