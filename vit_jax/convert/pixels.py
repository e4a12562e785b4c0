# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How timm and Hugging Face write down a pre-processing, and what it is here.

Both resize with Pillow's kernels, which widen as an image shrinks. What they
can say and ours cannot is refused by its key; what ours can say and theirs
cannot is written as the nearest, and said.
"""

import math
import numbers
from collections.abc import Mapping
from typing import Any

from vit_jax.convert.files import CheckpointError
from vit_jax.data.preprocess import Preprocess

# Our method -> Pillow's number and timm's name of it.
METHODS = {
  "bilinear_antialias": (2, "bilinear"),
  "bicubic": (3, "bicubic"),
  "lanczos": (1, "lanczos"),
}
# Methods without Pillow's kernels -> the one most like it.
NEAREST = {"bilinear": "bilinear_antialias", "area": "bilinear_antialias"}
# Pillow's other kernels, for messages.
OTHERS = {0: "nearest", 4: "box", 5: "hamming"}

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# What ViTImageProcessor has where its file does not say it.
PROCESSOR = {
  "do_resize": True,
  "size": {"height": 224, "width": 224},
  "resample": 2,
  "do_center_crop": False,
  "do_rescale": True,
  "rescale_factor": 1 / 255,
  "do_normalize": True,
  "image_mean": [0.5],
  "image_std": [0.5],
}
DEIT = PROCESSOR | {
  "size": {"height": 256, "width": 256},
  "resample": 3,
  "do_center_crop": True,
  "crop_size": {"height": 224, "width": 224},
}
# Beginning of a processor's name -> its defaults.
DEFAULTS = {"ViT": PROCESSOR, "DeiT": DEIT}
# Keys of other steps, which no pre-processing here has, if they are true.
STEPS = (
  *("do_pad", "do_thumbnail", "do_align_long_axis", "rescale_offset"),
  "do_grayscale",
)


def read_processor(
  given: Mapping[str, Any], size: tuple[int, int], channels: int
) -> dict[str, Any]:
  """A manifest's preprocess section from preprocessor_config.json.

  Args:
    given: content of the file; empty if there is none.
    size: (H, W) of the model's input.
    channels: c.

  Raises:
    CheckpointError: naming every key that no pre-processing here honours.
  """
  section: dict[str, Any] = dict(zip(("height", "width"), size, strict=True))
  section["channels"] = channels
  if not given:  # Nothing is known of the pixels.
    return section | {"resize": "bilinear_antialias"}
  errors: list[str] = []
  keys = _fill(given, errors)
  errors += [
    f"{key}={keys[key]!r}: no pre-processing here does it"
    for key in STEPS
    if keys.get(key)
  ]
  section["resize"] = _read_resample(keys, errors)
  section |= _read_sides(keys, size, errors)
  section |= _read_values(keys, channels, errors)
  if errors:
    raise CheckpointError(
      "preprocessor_config.json asks for what cannot be done here:\n"
      + "\n".join(f"  {error}" for error in errors)
      + "\n  change these keys, or remove the file: without it whole images "
      "are resized and their values are in [-1, 1]"
    )
  return section


def _fill(given: Mapping[str, Any], errors: list[str]) -> dict[str, Any]:
  """Fills in the defaults of the processor that the file names."""
  name = given.get("image_processor_type", given.get("feature_extractor_type"))
  stated = {key: x for key, x in given.items() if x is not None}
  for start, defaults in DEFAULTS.items():
    if str(name or "ViT").startswith(start):
      return defaults | stated
  missing = [key for key in PROCESSOR if key not in stated]
  if missing or "crop_pct" in stated:
    errors.append(
      f"image_processor_type={name!r}: known are {', '.join(DEFAULTS)}; of "
      f"another, all keys have to be stated ({', '.join(missing)}), and none "
      f"of its own (crop_pct)"
    )
  return PROCESSOR | stated


def _read_resample(keys: Mapping[str, Any], errors: list[str]) -> str | None:
  """Our method of resizing; appends an error for a kernel that is not here."""
  number = keys["resample"]
  method = next((m for m, (n, _) in METHODS.items() if n == number), None)
  if method is None:
    name = f" ({OTHERS[number]})" if number in OTHERS else ""
    known = ", ".join(f"{n} ({name})" for n, name in METHODS.values())
    errors.append(f"resample={number!r}{name}: choose from {known}")
  return method


def parse_sides(value: Any) -> tuple[int, ...] | None:
  """Sizes as Hugging Face writes them: (H, W), (shortest edge,), or None."""
  if isinstance(value, numbers.Integral):
    return int(value), int(value)
  if isinstance(value, list | tuple) and len(value) == 2:
    return int(value[0]), int(value[1])
  if isinstance(value, Mapping):
    if value.keys() == {"height", "width"}:
      return int(value["height"]), int(value["width"])
    if value.keys() == {"shortest_edge"}:
      return (int(value["shortest_edge"]),)
  return None


def _read_sides(
  keys: Mapping[str, Any], size: tuple[int, int], errors: list[str]
) -> dict[str, Any]:
  """Crop, and what it is cut from; appends errors."""
  height, width = size
  if not keys["do_resize"]:
    errors.append("do_resize=False: every image is resized here")
    return {}
  sides = parse_sides(keys["size"])
  if sides is None:
    errors.append(
      f"size={keys['size']!r}: choose from height and width, or shortest_edge"
    )
    return {}
  if not keys["do_center_crop"]:
    if len(sides) == 1:
      errors.append(
        f"size={keys['size']!r} without do_center_crop: images of no one size"
      )
    elif sides != size and min(size) > 0:
      errors.append(
        f"size={keys['size']!r}: config.json has an image_size of "
        f"{height}x{width}"
      )
    return {}
  crop = parse_sides(keys.get("crop_size") or keys["size"])
  if crop != size:
    errors.append(
      f"crop_size={keys.get('crop_size')!r}: config.json has an image_size of "
      f"{height}x{width}"
    )
    return {}
  return _read_cut(keys, sides, size, errors)


def _read_cut(
  keys: Mapping[str, Any],
  sides: tuple[int, ...],
  size: tuple[int, int],
  errors: list[str],
) -> dict[str, Any]:
  """The crop of `size` from an image that was resized to `sides`."""
  height, width = size
  if len(sides) == 2 and sides == size:
    return {}
  padded = min(sides) < max(size)
  if len(sides) == 1 and height != width:
    errors.append(
      f"size={keys['size']!r}: shortest_edge is for squares, and the "
      f"image_size is {height}x{width}"
    )
  elif padded:
    errors.append(
      f"crop_size={keys['crop_size']!r} is larger than size={keys['size']!r}: "
      f"nothing here pads with black"
    )
  elif len(sides) == 2 and sides[0] * width != sides[1] * height:
    errors.append(
      f"size={keys['size']!r} has another aspect ratio than "
      f"crop_size={keys['crop_size']!r}"
    )
  cut = {"crop": height / sides[0], "rounding": "transformers"}
  return cut | {"squash": True} if len(sides) == 2 else cut


def _read_values(
  keys: Mapping[str, Any], channels: int, errors: list[str]
) -> dict[str, Any]:
  """Mean and standard deviation of values in [0, 1]; appends errors.

  Without rescaling values are 0 to 255, and with another factor than 1/255 they
  have another range: either is a mean and a deviation, too.
  """
  scale = 255 * float(keys["rescale_factor"]) if keys["do_rescale"] else 255.0
  if not (scale > 0 and math.isfinite(scale)):
    errors.append(f"rescale_factor={keys['rescale_factor']!r}: must be above 0")
    return {}
  pair: list[Any] = [[0.0], [1.0]]
  if keys["do_normalize"]:
    pair = [keys["image_mean"], keys["image_std"]]
  found = {}
  for name, value in zip(("mean", "std"), pair, strict=True):
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) == 1:
      values *= channels
    # As they are where nothing changes them.
    found[name] = values if scale == 1 else [float(x) / scale for x in values]
  return found


def make_processor(preprocess: Preprocess) -> dict[str, Any]:
  """The content of preprocessor_config.json for a pre-processing."""
  height, width = preprocess.size
  method = NEAREST.get(preprocess.resize, preprocess.resize)
  sides: dict[str, int] = {"height": height, "width": width}
  cut: dict[str, Any] = {}
  if preprocess.crop is not None:
    cut = {
      "do_center_crop": True,
      "crop_size": {"height": height, "width": width},
    }
    around = preprocess.around
    if height != width and not preprocess.squash:
      raise CheckpointError(
        f"hugging_face has no place for preprocess.crop={preprocess.crop} of "
        f"images of {height}x{width} px: its shortest_edge is for squares; "
        f"write timm's format, or name a file, *.safetensors, for the arrays"
      )
    if preprocess.squash:
      sides = {"height": around[0], "width": around[1]}
    else:
      sides = {"shortest_edge": min(around)}
  return {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": sides,
    **cut,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(preprocess.mean or ()),
    "image_std": list(preprocess.std or ()),
    "resample": METHODS[method][0],
  }


def read_timm(cfg: Mapping[str, Any]) -> dict[str, Any]:
  """A manifest's preprocess section from timm's pretrained_cfg.

  Raises:
    CheckpointError: naming every key that no pre-processing here honours.
  """
  channels, height, width = map(int, cfg["input_size"])
  errors: list[str] = []
  share = float(cfg.get("crop_pct") or 0.875)
  mode = cfg.get("crop_mode") or "center"
  name = cfg.get("interpolation") or "bicubic"
  method = next((m for m, (_, n) in METHODS.items() if n == name), None)
  if method is None:
    known = ", ".join(name for _, name in METHODS.values())
    errors.append(f"interpolation={name!r}: choose from {known}")
  if mode not in ("center", "squash"):
    errors.append(f"crop_mode={mode!r}: choose from center, squash")
  if cfg.get("crop_border_pixels"):
    errors.append(f"crop_border_pixels={cfg['crop_border_pixels']!r}: use 0")
  if not 0 < share <= 1:
    errors.append(f"crop_pct={share!r}: must be above 0 and at most 1")
  if errors:
    raise CheckpointError(
      "config.json asks for pixels that cannot be made here:\n"
      + "\n".join(f"  {error}" for error in errors)
      + "\n  change these keys of its pretrained_cfg"
    )
  section = {
    "height": height,
    "width": width,
    "channels": channels,
    "mean": _spread(cfg.get("mean") or IMAGENET_MEAN, channels),
    "std": _spread(cfg.get("std") or IMAGENET_STD, channels),
    "resize": method,
  }
  around = [math.floor(side / share) for side in (height, width)]
  if mode == "squash":
    if around == [height, width]:
      return section
    section["squash"] = True
  return section | {"crop": share, "rounding": "timm"}


def _spread(values: Any, channels: int) -> list[float]:
  """One value for each channel, from one for all or one for each."""
  values = [float(x) for x in values]
  return values * channels if len(values) == 1 else values


def make_timm_pixels(preprocess: Preprocess) -> dict[str, Any]:
  """The keys of timm's pretrained_cfg for a pre-processing."""
  height, width = preprocess.size
  method = NEAREST.get(preprocess.resize, preprocess.resize)
  squashed = preprocess.crop is None or preprocess.squash
  return {
    "input_size": [preprocess.channels, height, width],
    "interpolation": METHODS[method][1],
    "crop_pct": _find_share(preprocess),
    "crop_mode": "squash" if squashed else "center",
    "mean": list(preprocess.mean or ()),
    "std": list(preprocess.std or ()),
  }


def _find_share(preprocess: Preprocess) -> float:
  """The crop's share from which timm, which rounds down, gets our sides."""
  share = preprocess.crop
  if share is None:
    return 1.0
  around = preprocess.around[0]
  if math.floor(preprocess.height / share) != around:
    share = preprocess.height / (around + 0.5)
  return share


def list_nearest(preprocess: Preprocess, form: str) -> list[str]:
  """Lists what other programs will do otherwise with an image, in words.

  Args:
    preprocess: what is to be written.
    form: name of the format.
  """
  lines = []
  if preprocess.resize in NEAREST:
    lines.append(
      f"preprocess.resize={preprocess.resize!r} is written as "
      f"{NEAREST[preprocess.resize]!r}, the nearest that {form} has"
    )
  theirs = "transformers" if form == "hugging_face" else "timm"
  if preprocess.crop is not None and preprocess.rounding != theirs:
    lines.append(
      f"{theirs} rounds the sides of a crop otherwise than "
      f"{preprocess.rounding}: it may lie a pixel of the image beside, which "
      f"changes all values; a run with data.eval_rounding={theirs} crops alike"
    )
  return lines
