# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading weights of any known format; `writing` writes them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax.traverse_util import unflatten_dict

from vit_jax import models
from vit_jax.checkpoint import load_params
from vit_jax.config import ConfigError, raise_all
from vit_jax.convert import files, nonfinite
from vit_jax.convert.fields import (
  EXAMPLES,
  find_variant,
  get_kind,
  infer_fields,
)
from vit_jax.convert.file_type import check_alone
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import detect_format
from vit_jax.convert.infer import (
  DEFAULT,
  FITS,
  find_stated_size,
  infer_heads,
  infer_positions,
  trace_fields,
)
from vit_jax.convert.manifest import MANIFEST, load_manifest, make_manifest
from vit_jax.convert.manifest_checks import (
  check_agreement,
  check_manifest,
  check_overrides,
  load_run_manifest,
)
from vit_jax.convert.table import Arrays, check_shapes, read_rows
from vit_jax.data.preprocess import Preprocess
from vit_jax.models.adapter import merge
from vit_jax.sharding import get_path, is_own
from vit_jax.storage.paths import locate

OURS = "vit_jax"  # Name of our own format, the directory of a run.
LAYER_SCALE = 1e-5  # Matters only where a model is initialised anew.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
  """A model's parameters, and all that is needed to use them.

  Attributes:
    params: our path -> float32 array.
    variant: name in the tables of models.
    fields: fields of the model that may differ from the variant's.
    num_classes: Y; 0 without a head.
    preprocess: makes the model's input from images; its size is the one that
      the positions were trained at.
    class_names: one per class, or none.
    cross_entropy: "softmax" or "sigmoid", what turns logits into probabilities.
    source: path that they were read from, for messages.
    form: name of the format that they were read from.
    origins: field, or "size" -> where its value comes from, if not the arrays.
    prefix: what preceded the names of the arrays in the file.
    beside: names of arrays without it, which were not read.
  """

  params: Arrays
  variant: str
  fields: dict[str, Any]
  num_classes: int
  preprocess: Preprocess
  class_names: tuple[str, ...] = ()
  cross_entropy: str = "softmax"
  source: str = ""
  form: str = OURS
  origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
  prefix: str = ""
  beside: tuple[str, ...] = ()

  @property
  def is_size_guessed(self) -> bool:
    """True if nothing states at which size the positions were trained."""
    return self.origins.get("size", "").startswith(FITS)

  def describe_size(self) -> str:
    """The warning for a guessed size."""
    height, width = self.size
    return (
      f"image size of {self.source} unknown: assuming {height}x{width} px, "
      f"which fits its number of positions; pass source_size to correct it"
    )

  def describe_prefix(self) -> str:
    """What precedes the names in the file, and what is not read; or nothing."""
    if not self.prefix:
      return ""
    text = f"the prefix {self.prefix!r} of its names is left out"
    if self.beside:
      shown = ", ".join(self.beside[:4]) + ", ..." * (len(self.beside) > 4)
      text += f"; not read: {len(self.beside)} arrays without it ({shown})"
    return text

  def get_default(self, name: str) -> str | None:
    """Whose default a field's value is; None if its source states it."""
    origin = self.origins.get(name, "")
    return origin if origin.startswith(DEFAULT) else None

  def describe(self) -> str:
    """One line with source, variant, number of parameters and image size."""
    height, width = self.size
    count = sum(math.prod(array.shape) for array in self.params.values())
    guess = ""
    if self.is_size_guessed:
      guess = (
        " (a guess; python -m vit_jax.convert --source_size=H,W records it)"
      )
    return (
      f"{self.source}: {self.variant}, {count:,} parameters, "
      f"{height}x{width} px{guess}"
    )

  @property
  def size(self) -> tuple[int, int]:
    """(H, W) of the images, at which the positions were trained."""
    return self.preprocess.size

  @property
  def model(self) -> nn.Module:
    """The module that takes the parameters."""
    return models.make_model(
      self.num_classes, variant=self.variant, **self.fields
    )

  @property
  def all_fields(self) -> dict[str, Any]:
    """Every field of the model, including defaults; weights have no adapter."""
    allowed = models.parameters(self.variant)
    return {
      name: self.fields.get(name, parameter.default)
      for name, parameter in allowed.items()
      if name not in ("variant", "adapter")
    }

  @property
  def tree(self) -> dict[str, Any]:
    """The parameters as nested dictionaries, as flax wants them."""
    return unflatten_dict(self.params, sep="/")

  @property
  def manifest(self) -> dict[str, Any]:
    """The content of manifest.json."""
    return make_manifest(
      # With defaults: those of the format that is written may differ.
      {"variant": self.variant, **self.all_fields},
      self.num_classes,
      self.class_names,
      self.cross_entropy,
      self.preprocess,
    )


def flatten(tree: Any) -> dict[str, Any]:
  """Nested parameters as path -> leaf; the inverse of `Weights.tree`."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {get_path(keys): leaf for keys, leaf in leaves}


def make_abstract_params(
  model: nn.Module, size: tuple[int, int], channels: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Path -> shape and dtype of a model's parameters for images [B H W c]."""
  image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), image)
  return flatten(variables["params"])


def load_weights(
  path: str,
  *,
  source_size: tuple[int, int] | None = None,
  raw: bool = False,
  **overrides: Any,
) -> Weights:
  """Reads weights of any known format, which is detected.

  Args:
    path: a .npz or .safetensors file, a directory that holds the latter, the
      directory of a run, or RUN/checkpoints/STEP; local or gs://.
    source_size: (H, W) at which the positions were trained, if neither metadata
      beside the file nor its name states it.
    raw: reads a run's parameters themselves rather than their average.
    **overrides: fields of the model that arrays do not determine, e.g. gelu.

  Raises:
    CheckpointError: if the file cannot be read, with the reason, or its arrays
      do not fit the model, with all differences. Nothing is loaded in part.
  """
  location = locate(path)
  try:
    if is_run(location):
      weights = _load_run(location, source_size, raw, overrides)
    elif raw:
      raise CheckpointError("raw=True is for runs, and this is not one")
    else:
      weights = _load_file(location, source_size, overrides)
  except ConfigError as error:
    if str(location) in str(error):
      raise
    raise CheckpointError(f"{location}: {error}") from error
  nonfinite.warn(weights.params, location)
  return weights


def is_run(path: epath.Path) -> bool:
  """True for a run, even without its manifest, or one of its checkpoints."""
  if not path.is_dir():
    return False
  inside = path.parent.name == "checkpoints"
  runs = [path, path.parent.parent] if inside else [path]
  if any((run / MANIFEST).exists() for run in runs):
    return True
  number = inside and path.name.isdecimal()
  looks_so = number or (path / "checkpoints").is_dir()
  return looks_so and all(x.suffix != ".safetensors" for x in path.iterdir())


def _load_run(
  location: epath.Path,
  source_size: tuple[int, int] | None,
  raw: bool,
  overrides: dict[str, Any],
) -> Weights:
  """Reads the parameters that a run evaluates.

  Args:
    location: RUN, for its last checkpoint, or RUN/checkpoints/STEP.
    source_size: must be the manifest's, if given.
    raw: see `load_weights`.
    overrides: see `load_weights`.
  """
  run, step, manifest = load_run_manifest(location)
  fields = dict(manifest["model"])
  variant = fields.pop("variant")
  fields |= check_overrides(overrides, get_kind(variant))
  variant = fields.pop("variant", variant)
  size = manifest["preprocess"].size
  if source_size not in (None, size):
    raise CheckpointError(
      f"source_size={source_size}, but the run's manifest has {size}"
    )
  try:
    found = flatten(load_params(run / "checkpoints", step, raw=raw))
    params = {path: x for path, x in found.items() if not is_own(path)}
  except ConfigError:
    raise
  except Exception as error:  # Untrusted metadata can cause any error.
    raise CheckpointError(
      f"{run / 'checkpoints'} cannot be read: {error!r}: {files.CUT}"
    ) from error
  weights = Weights(
    params=params,
    variant=variant,
    fields=fields,
    num_classes=manifest["num_classes"],
    preprocess=manifest["preprocess"],
    class_names=manifest["class_names"],
    cross_entropy=manifest["cross_entropy"],
    source=str(location),
    origins={
      name: origin
      for name, origin in trace_fields(
        models.parameters(variant), None, manifest, overrides
      ).items()
      if origin != manifest["source"]
    },
  )
  check_shapes(
    weights.params,
    {name: tuple(x.shape) for name, x in _compute_shapes(weights).items()},
    f"{location} does not fit {variant}, the variant in its manifest",
  )
  params, fields = merge(weights.params, weights.fields)
  return dataclasses.replace(weights, params=params, fields=fields)


def _compute_shapes(weights: Weights) -> dict[str, jax.ShapeDtypeStruct]:
  """Path -> shape of the parameters that the weights' model has.

  Raises:
    CheckpointError: if the model cannot be built.
  """
  try:
    model = weights.model
    raise_all(model.find_errors(*weights.size))
    channels = weights.preprocess.channels
    return make_abstract_params(model, weights.size, channels)
  except Exception as error:  # Untrusted sizes can cause any error.
    what = error if isinstance(error, ConfigError) else repr(error)
    raise CheckpointError(f"its model cannot be built: {what}") from error


def _load_file(
  location: epath.Path,
  source_size: tuple[int, int] | None,
  overrides: dict[str, Any],
) -> Weights:
  """Reads a file of another project; arguments as `load_weights`."""
  check_alone(location)
  with files.open_arrays(location) as stored:
    return _read_arrays(stored, location, source_size, overrides)


def _read_arrays(
  stored: Arrays,
  location: epath.Path,
  source_size: tuple[int, int] | None,
  overrides: dict[str, Any],
) -> Weights:
  """Reads arrays that are open; other arguments as `load_weights`.

  All that their names and shapes tell is checked before any value is read, but
  for those of the few arrays of positions that timm has otherwise.
  """
  detected = detect_format(stored)
  form = detected.form
  arrays = {name: files.to_float32(x) for name, x in detected.arrays.items()}
  manifest = check_manifest(
    load_manifest(files.name_whole(location)), form.kind
  )
  overrides = check_overrides(overrides, form.kind)
  known = dict(form.fields) | manifest["model"] | overrides
  named = known.pop("variant", None)

  size, origin = find_stated_size(source_size, manifest, location)
  extra, size, origin = infer_positions(form, arrays, known, size, origin)
  # Where nothing states it, the norm after pooling tells that there is one.
  pool = known.get("pool")
  gap = pool == "gap" or (pool is None and "fc_norm.weight" in arrays)
  arrays = form.canonicalize(arrays, extra, gap)
  rows = form.choose_rows(arrays)
  heads = infer_heads(arrays, form, known)
  found = read_rows(rows, arrays, heads)
  kind, determined, num_classes, channels = infer_fields(found)
  given = dict(
    model=overrides, num_classes=None, preprocess=None, source="an override"
  )
  for stated in (manifest, given):
    check_agreement(stated, determined, num_classes, channels)
  if determined.get("layer_scale"):
    determined["layer_scale"] = known.get("layer_scale") or LAYER_SCALE
  # Arrays win over a manifest, and the caller over both.
  fields = {"dtype": "float32"} | known | determined | overrides
  allowed = models.parameters(EXAMPLES[kind])
  origins = {"size": origin, "num_heads": "the usual number for its width"}
  origins |= trace_fields(allowed, form, manifest, overrides)
  shown = set(determined)
  if form.suffix != ".npz":
    shown.discard("num_heads")  # Arrays of PyTorch do not show it.
  names, stated = manifest["class_names"], manifest["preprocess"]
  size_of = dict(height=size[0], width=size[1])
  if stated is None:
    preprocess = Preprocess(**size_of, channels=channels, resize=form.resize)
  else:
    preprocess = dataclasses.replace(stated, **size_of)
  weights = Weights(
    params={},
    variant=named or find_variant(kind, fields),
    fields={k: x for k, x in fields.items() if k in allowed},
    num_classes=num_classes,
    preprocess=preprocess,
    class_names=names if len(names) == num_classes else (),
    cross_entropy=manifest["cross_entropy"],
    source=str(location),
    form=form.name,
    origins={name: x for name, x in origins.items() if name not in shown},
    prefix=detected.prefix,
    beside=detected.beside,
  )
  check_shapes(
    arrays,
    form.compute_shapes(_compute_shapes(weights), fields.get("num_heads", 1)),
    f"{location} ({form.name}) does not fit {weights.variant}, the likeliest "
    f"model",
  )
  for name, array in arrays.items():
    if array.dtype != np.float32:
      raise CheckpointError(
        f"array {name} is {array.dtype}, expected floating point"
      )
  return dataclasses.replace(
    weights, params=form.unfold(found.load(arrays, heads))
  )
