# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Table of published weight files.

Nothing here uses the network but `find_recommended`, if its directory is on an
object store.
"""

import csv
import dataclasses
import math
import os
import re
import urllib.parse
from collections.abc import Iterator

from etils import epath

from vit_jax.config import ConfigError, nearest
from vit_jax.storage.paths import locate
from vit_jax.storage.untrusted import MAX_TEXT, read_file

FORMATS = ("authors", "big_vision", "bit", "mixer", "hugging_face", "timm")

GCS = "https://storage.googleapis.com"
AUGREG = f"{GCS}/vit_models/augreg"
GOOGLE = "https://huggingface.co/google"
TIMM = "https://huggingface.co/timm"
WEIGHTS = "resolve/main/model.safetensors"

COLUMNS = {"name", "ds", "final_val", "filename"}  # Read from an index.csv.

I21K, I1K, BOTH = "ImageNet-21k", "ImageNet", "ImageNet-21k, ImageNet"

# Who trained a file, and where its address is published.
_RELEASE = "github.com/google-research/vision_transformer"
_BIT = "github.com/google-research/big_transfer"
_BIG_VISION = "github.com/google-research/big_vision"
_TIMM = "converted; github.com/huggingface/pytorch-image-models"
BY_VIT = f"Dosovitskiy et al., 2021; {_RELEASE}"
BY_AUGREG = f"Steiner et al., 2022; {_RELEASE}"
BY_SAM = f"Chen, Hsieh and Gong, 2022; {_RELEASE}"
BY_GSAM = f"Zhuang et al., 2022, without class token; {_RELEASE}"
BY_MIXER = f"Tolstikhin et al., 2021; {_RELEASE}"
BY_BIT = f"Kolesnikov et al., 2020; {_BIT}"
BY_TEACHER = f"Beyer et al., 2022; {_BIT}"
BY_PLAIN = f"Beyer et al., 2022, of fixed positions; {_BIG_VISION}"
BY_DEIT = f"Touvron et al., 2022, converted; {_BIG_VISION}"
BY_GOOGLE = "Dosovitskiy et al., 2021, converted; huggingface.co/google"
BY_TIMM = f"Steiner et al., 2022, {_TIMM}"
BY_OLD_TIMM = f"Dosovitskiy et al., 2021, {_TIMM}"

# AugReg's recommended file of a model: its recipe, and the learning rate of its
# adaptation to ImageNet at 384 px, as the release names them. The release has
# none for B/8, whose recipe is big_vision's.
RECOMMENDED = {
  "Ti/16": ("aug_none-wd_0.03-do_0.0-sd_0.0", 0.03),
  "S/32": ("aug_none-wd_0.1-do_0.0-sd_0.0", 0.01),
  "S/16": ("aug_light1-wd_0.03-do_0.0-sd_0.0", 0.03),
  "B/32": ("aug_light1-wd_0.1-do_0.0-sd_0.0", 0.01),
  "B/16": ("aug_medium1-wd_0.1-do_0.0-sd_0.0", 0.03),
  "B/8": ("aug_medium2-wd_0.1-do_0.0-sd_0.0", None),
  "L/16": ("aug_strong1-wd_0.1-do_0.0-sd_0.0", 0.01),
  "R+Ti/16": ("aug_none-wd_0.03-do_0.0-sd_0.0", 0.03),
  "R26+S/32": ("aug_light1-wd_0.1-do_0.0-sd_0.0", 0.01),
  "R50+L/32": ("aug_medium1-wd_0.1-do_0.1-sd_0.1", 0.01),
}

SIZES = {"Ti": "tiny", "S": "small", "B": "base", "L": "large", "H": "huge"}

HYBRIDS = {
  "R+Ti/16": "vit_tiny_r_s16_p8",
  "R26+S/32": "vit_small_r26_s32",
  "R50+B/16": "vit_base_r50_s16",
  "R50+L/32": "vit_large_r50_s32",
}

# Families of files: name, format, resolution, classes, data, url, source, and
# the models. Braces are filled with a model's spellings, see `_spell`.
# fmt: off
FAMILIES = (
  ("vit-{slug}-i21k", "authors", 224, 21843, I21K,
   f"{GCS}/vit_models/imagenet21k/{{vit}}.npz", BY_VIT,
   "B/32 B/16 B/8 L/32 L/16 H/14 R50+B/16"),
  ("vit-{slug}-i1k-224", "authors", 224, 1000, BOTH,
   f"{GCS}/vit_models/imagenet21k+imagenet2012/{{vit}}-224.npz", BY_VIT,
   "B/16 L/16"),
  ("vit-{slug}-i1k-384", "authors", 384, 1000, BOTH,
   f"{GCS}/vit_models/imagenet21k+imagenet2012/{{vit}}.npz", BY_VIT,
   "B/32 B/16 L/32 L/16 R50+B/16"),
  ("augreg-{slug}-i21k", "authors", 224, 21843, I21K,
   f"{AUGREG}/{{flat}}-i21k-300ep-lr_0.001-{{recipe}}.npz", BY_AUGREG,
   " ".join(RECOMMENDED)),
  ("augreg-{slug}-i1k-384", "authors", 384, 1000, BOTH,
   f"{AUGREG}/{{flat}}-i21k-300ep-lr_0.001-{{recipe}}"
   "--imagenet2012-steps_20k-lr_{rate}-res_384.npz", BY_AUGREG,
   " ".join(name for name, (_, rate) in RECOMMENDED.items() if rate)),
  ("sam-{slug}", "authors", 224, 1000, I1K,
   f"{GCS}/vit_models/sam/{{vit}}.npz", BY_SAM, "S/16 B/32 B/16 L/32 L/16"),
  ("gsam-{slug}", "authors", 224, 1000, I1K,
   f"{GCS}/vit_models/gsam/{{vit}}.npz", BY_GSAM, "S/32 S/16 B/32 B/16"),
  ("{slug}-i21k", "mixer", 224, 21843, I21K,
   f"{GCS}/mixer_models/imagenet21k/{{flat}}.npz", BY_MIXER,
   "Mixer-B/16 Mixer-L/16"),
  ("{slug}-i1k", "mixer", 224, 1000, I1K,
   f"{GCS}/mixer_models/imagenet1k/{{flat}}.npz", BY_MIXER,
   "Mixer-B/16 Mixer-L/16"),
  ("sam-{slug}", "mixer", 224, 1000, I1K,
   f"{GCS}/mixer_models/sam/{{flat}}.npz", BY_SAM, "Mixer-B/32 Mixer-B/16"),
  ("bit-s-{slug}", "bit", 224, 1000, I1K,
   f"{GCS}/bit_models/BiT-S-{{flat}}.npz", BY_BIT, "R50x1 R101x1 R152x4"),
  ("bit-m-{slug}", "bit", 224, 21843, I21K,
   f"{GCS}/bit_models/BiT-M-{{flat}}.npz", BY_BIT,
   "R50x1 R101x1 R152x2 R152x4"),
  *((f"bit-teacher-{{slug}}-{px}", "bit", px, 1000, BOTH,
     f"{GCS}/bit_models/distill/{{flat}}_T_{px}.npz", BY_TEACHER, "R152x2")
    for px in (224, 384)),
  *((f"bit-pupil-{{slug}}-{px}", "bit", px, 1000, I1K,
     f"{GCS}/bit_models/distill/{{flat}}_{px}.npz", BY_TEACHER, "R50x1")
    for px in (160, 224)),
  *((f"plain-{{slug}}-{epochs}ep", "big_vision", 224, 1000, I1K,
     f"{GCS}/big_vision/vit_s16_i1k_{epochs}ep.npz", BY_PLAIN, "S/16")
    for epochs in (90, 150, 300)),
  *((f"deit3-{{slug}}-{name}-{px}", "big_vision", px, 1000, data,
     f"{GCS}/big_vision/zoo/deit3/bv_deit_3_{{size}}_{px}_{file}.npz", BY_DEIT,
     "S/16 B/16 L/16")
    for name, data, file in (("i1k", I1K, "1k"), ("i21k-i1k", BOTH, "21k"))
    for px in (224, 384)),
  ("hf-{slug}-i21k", "hugging_face", 224, None, I21K,
   f"{GOOGLE}/vit-{{size}}-patch{{patch}}-224-in21k/{WEIGHTS}", BY_GOOGLE,
   "B/32 B/16 L/16 H/14"),
  ("hf-{slug}-i1k-224", "hugging_face", 224, 1000, BOTH,
   f"{GOOGLE}/vit-{{size}}-patch{{patch}}-224/{WEIGHTS}", BY_GOOGLE, "B/16"),
  ("hf-{slug}-i1k-384", "hugging_face", 384, 1000, BOTH,
   f"{GOOGLE}/vit-{{size}}-patch{{patch}}-384/{WEIGHTS}", BY_GOOGLE,
   "B/32 B/16"),
  ("timm-{slug}-i21k", "timm", 224, 21843, I21K,
   f"{TIMM}/{{timm}}_224.augreg_in21k/{WEIGHTS}", BY_TIMM,
   "Ti/16 S/32 S/16 B/32 B/16 B/8 L/16 R+Ti/16 R26+S/32 R50+L/32"),
  ("timm-{slug}-i21k", "timm", 224, None, I21K,
   f"{TIMM}/{{timm}}_224.orig_in21k/{WEIGHTS}", BY_OLD_TIMM, "L/32 R50+B/16"),
  ("timm-{slug}-i1k-224", "timm", 224, 1000, BOTH,
   f"{TIMM}/{{timm}}_224.augreg_in21k_ft_in1k/{WEIGHTS}", BY_TIMM, "B/8"),
  ("timm-{slug}-i1k-384", "timm", 384, 1000, BOTH,
   f"{TIMM}/{{timm}}_384.augreg_in21k_ft_in1k/{WEIGHTS}", BY_TIMM,
   "Ti/16 S/32 S/16 B/32 B/16 L/16 R+Ti/16 R26+S/32 R50+L/32"),
  ("timm-{slug}-i1k-384", "timm", 384, 1000, BOTH,
   f"{TIMM}/{{timm}}_384.orig_in21k_ft_in1k/{WEIGHTS}", BY_OLD_TIMM,
   "L/32 R50+B/16"),
)
# fmt: on


@dataclasses.dataclass(frozen=True)
class PublishedFile:
  """A row of the table.

  Attributes:
    name: name for --download.
    format: one of FORMATS.
    variant: the model's name in `vit_jax.models`.
    resolution: side of the images that it was trained on last, in pixels.
    classes: Y; None for a file without a head.
    trained_on: data sets, in the order of training.
    url: public address.
    source: who trained it, and where its address is published.
  """

  name: str
  format: str
  variant: str
  resolution: int
  classes: int | None
  trained_on: str
  url: str
  source: str

  @property
  def filename(self) -> str:
    """Name that `download` gives the file."""
    return self.name + os.path.splitext(self.url)[1]

  @property
  def published(self) -> tuple[str, str]:
    """Directory, or repository of a hub, and name there."""
    path = urllib.parse.urlsplit(self.url).path.replace("/resolve/main/", "/")
    directory, file = path.split("/")[-2:]
    return directory, file


def _spell(variant: str) -> dict[str, str | float | None]:
  """Spellings of a model's name in names and addresses of files."""
  size, _, patch = variant.rpartition("/")
  size = SIZES.get(size, "")
  recipe, rate = RECOMMENDED.get(variant, (None, None))
  return {
    "slug": variant.replace("/", "").replace("+", "-").lower(),
    "vit": re.sub(r"([^+]+)/", r"ViT-\1_", variant),  # R50+ViT-B_16
    "flat": re.sub(r"[+/]", "_", variant),  # R50_B_16
    "size": size,
    "patch": patch,
    "timm": HYBRIDS.get(variant, f"vit_{size}_patch{patch}"),
    "recipe": recipe,
    "rate": rate,
  }


def _list_files() -> Iterator[PublishedFile]:
  """Lists the files of all families."""
  for name, kind, px, classes, data, url, source, variants in FAMILIES:
    for variant in variants.split():
      names = _spell(variant)
      yield PublishedFile(
        name=name.format(**names),
        format=kind,
        variant=variant,
        resolution=px,
        classes=classes,
        trained_on=data,
        url=url.format(**names),
        source=source,
      )


FILES = {row.name: row for row in _list_files()}


def parse_name(text: str) -> tuple[str, str] | None:
  """Splits a model's name such as augreg:B/16; None for any other text."""
  match = re.fullmatch(r"(augreg):(.+)", text)
  return match and (match[1], match[2])


def find_resolution(path: str | os.PathLike) -> int | None:
  """Finds the resolution of a published file by its name, in pixels.

  Args:
    path: path of the file, under its published name or that of `download`. The
      last directory decides between files of the same name.

  Returns:
    The resolution; None if the name is unknown or ambiguous.
  """
  *above, name = os.fspath(path).split("/")
  # AugReg (Steiner et al., 2022) pre-trains at 224 px, and names the resolution
  # of adaptations.
  stem, _, adaptation = name.removesuffix(".npz").partition("--")
  if re.fullmatch(r"\w+-i\d+k(_\d+)?-\d+ep-lr_[\w.-]+", stem):
    match = re.search(r"-res_([1-9]\d*)$", adaptation)
    return int(match[1]) if match else None if adaptation else 224
  found = {}
  for row in FILES.values():
    if name == row.filename:
      return row.resolution
    directory, file = row.published
    found.setdefault(directory, {})[file] = row.resolution
  if above and above[-1] in found:
    return found[above[-1]].get(name)
  sizes = {files[name] for files in found.values() if name in files}
  return sizes.pop() if len(sizes) == 1 else None


def find_recommended(
  name: str, directory: str | os.PathLike | None
) -> epath.Path:
  """Finds AugReg's recommended file (Steiner et al., 2022, section 4.5).

  It is the one with the best validation accuracy at the end of pre-training on
  ImageNet-21k.

  Args:
    name: name of the model, e.g. B/16.
    directory: directory of index.csv and the files, local or gs://.

  Raises:
    ConfigError: if directory, index, model or file is missing, or the index is
      malformed.
  """
  if not directory:
    raise ConfigError(
      f"AugReg's file of {name} needs a directory: set "
      f"--config.transfer.directory=DIR to that of index.csv and the file; the "
      f"authors' is gs://vit_models/augreg ({AUGREG})"
    )
  directory = locate(directory)
  index = directory / "index.csv"
  ranks, names = {}, set()
  # The same file stands in a row for each of its adaptations.
  for line, row in _read_index(index):
    names.add(row["name"])
    if row["name"] == name:
      file = row["filename"].removesuffix(".npz") + ".npz"
      # The index is untrusted: it must not lead out of the directory.
      if not re.fullmatch(r"\w[\w+.-]{,200}", file, re.ASCII):
        raise ConfigError(f"{index}, line {line}: invalid file name {file!r}")
      try:
        ranks[file] = float(row["final_val"])
      except ValueError:
        ranks[file] = math.nan
      if not math.isfinite(ranks[file]):
        raise ConfigError(
          f"{index}, line {line}: final_val={row['final_val']!r} must be a "
          f"number"
        )
  if not ranks:
    raise ConfigError(
      f"{index} has no model {name!r} trained on ImageNet-21k: "
      f"{nearest(name, names)}"
    )
  # The name decides between equals.
  file = min(ranks, key=lambda file: (-ranks[file], file))
  if not (directory / file).exists():
    raise ConfigError(
      f"{directory / file}, the recommended file of {name}, does not exist; "
      f"download {AUGREG}/{file} into {directory}"
    )
  return directory / file


def _read_index(path: epath.Path) -> Iterator[tuple[int, dict[str, str]]]:
  """Reads the rows of ImageNet-21k in an index.csv, with their line numbers."""
  try:
    text = read_file(path, MAX_TEXT).decode()
    rows = csv.DictReader(text.splitlines(keepends=True), restval="")
    missing = COLUMNS.difference(rows.fieldnames or ())
    if missing:
      raise ConfigError(
        f"{path} has no column {', '.join(sorted(missing))}; it must be a copy "
        f"of {AUGREG}/index.csv"
      )
    for row in rows:
      if row["ds"] == "i21k":
        yield rows.line_num, row
  except FileNotFoundError as error:
    raise ConfigError(
      f"{path} does not exist; download {AUGREG}/index.csv"
    ) from error
  except (OSError, ImportError, UnicodeDecodeError, csv.Error) as error:
    raise ConfigError(f"{path} cannot be read: {error}") from error


def describe_download(path: str) -> str:
  """Returns a line with the command that downloads a published file.

  Empty if the file exists, or is not named as a published one.
  """
  location = locate(path)
  row = FILES.get(location.stem)
  if not row or row.filename != location.name or location.exists():
    return ""
  return (
    f"\n  download it with: python -m vit_jax.models "
    f"--download={location.stem} --to={location.parent}"
  )
