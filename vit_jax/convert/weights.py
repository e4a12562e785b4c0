# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights from any file that we know; `writing` writes them into any."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from etils import epath

from vit_jax import models
from vit_jax.checkpoint import load_params
from vit_jax.convert import files, records
from vit_jax.convert.fields import get_fields, get_grid, get_heads, get_variant
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import Format, sniff
from vit_jax.convert.npz import POSITION
from vit_jax.convert.table import Arrays, check, read_rows
from vit_jax.models.public import get_resolution
from vit_jax.sharding import get_path

OURS = "vit_jax"

# Sides that models are published at, in px, tried in this order where nothing
# says at which a file's positions were trained.
SIDES = (224, 384, 512, 518, 256, 448, 240, 288, 336, 160, 128, 196)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
  """A model's parameters, and what it takes to use them.

  Attributes:
    params: our path -> float32 array.
    variant: a name of the tables.
    fields: of the model, where they differ from the variant's or may.
    num_classes: Y; 0 without a head.
    preprocess: from `records.make_preprocess`; height and width are those that
      the positions are of.
    class_names: one a class, or none.
    source: where they come from, for messages.
    form: name of the format that they were read from.
  """

  params: Arrays
  variant: str
  fields: dict[str, Any]
  num_classes: int
  preprocess: dict[str, Any]
  class_names: tuple[str, ...] = ()
  source: str = ""
  form: str = OURS

  @property
  def size(self) -> tuple[int, int]:
    """(H, W) that the positions are of."""
    return self.preprocess["height"], self.preprocess["width"]

  @property
  def model(self) -> nn.Module:
    """The module that the parameters are of."""
    return models.get_model(
      self.num_classes, variant=self.variant, **self.fields
    )

  @property
  def tree(self) -> dict[str, Any]:
    """The parameters as flax nests them."""
    return nest(self.params)

  @property
  def manifest(self) -> dict[str, Any]:
    """What the parameters alone do not say; as a run's manifest.json."""
    return {
      "model": {"variant": self.variant, **self.fields},
      "num_classes": self.num_classes,
      "class_names": list(self.class_names),
      "preprocess": self.preprocess,
    }


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
  """path -> leaf as nested dictionaries."""
  tree: dict[str, Any] = {}
  for path, leaf in flat.items():
    *parents, last = path.split("/")
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = leaf
  return tree


def flatten(tree: Any) -> dict[str, Any]:
  """Nested parameters as path -> leaf."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {get_path(keys): leaf for keys, leaf in leaves}


def get_abstract_params(
  model: nn.Module, size: tuple[int, int], channels: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Path -> shape of a model's parameters for images [1 H W c]."""
  image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), image)
  return flatten(variables["params"])


def load_weights(
  path: str,
  *,
  source_size: tuple[int, int] | None = None,
  **overrides: Any,
) -> Weights:
  """Reads weights of any known format, and tells which by their names.

  Args:
    path: a .npz or .safetensors file, a directory that holds the latter, a run
      of ours, or a checkpoint in it; local or gs://.
    source_size: (H, W) at which a file's positions were trained, where neither
      a manifest nor a config.json beside it nor its name says so.
    **overrides: fields of the model that arrays do not determine, as gelu.

  Raises:
    CheckpointError: for a file that can not be read, with the reason, or one
      whose arrays are not those of a model, with all differences. Nothing is
      loaded in part.
  """
  location = epath.Path(path).expanduser()
  try:
    if is_run(location):
      return _load_run(location, overrides)
    return _load_file(location, source_size, overrides)
  except CheckpointError as error:
    text = str(error)
    if str(location) in text:
      raise
    raise CheckpointError(f"{location}: {text}") from error


def is_run(path: epath.Path) -> bool:
  """Whether a path is a run of ours or a checkpoint in it."""
  return (
    any(
      (parent / records.MANIFEST).exists()
      for parent in (path, path.parent.parent)
    )
    and path.is_dir()
  )


def _load_run(location: epath.Path, overrides: dict[str, Any]) -> Weights:
  """The parameters that a run evaluates, of its last step or of the one named.

  A run's directory has the manifest; RUN/checkpoints/STEP is one checkpoint.
  """
  run, step = location, None
  if not (run / records.MANIFEST).exists():
    run, step = location.parent.parent, location.name
  manifest = records.load_json(run / records.MANIFEST)
  section = dict(manifest.get("model", {})) | overrides
  weights = Weights(
    params=flatten(load_params(run / "checkpoints", step)),
    variant=section.pop("variant", ""),
    fields=_to_fields(section),
    num_classes=manifest.get("num_classes", 0),
    preprocess=_complete(manifest.get("preprocess", {})),
    class_names=tuple(manifest.get("class_names", ())),
    source=str(location),
  )
  channels = weights.preprocess["channels"]
  expected = get_abstract_params(weights.model, weights.size, channels)
  check(
    weights.params,
    {name: tuple(x.shape) for name, x in expected.items()},
    f"{location} is not the {weights.variant} of its manifest",
  )
  return weights


def _to_fields(section: Mapping[str, Any]) -> dict[str, Any]:
  """Fields as read from JSON, where tuples are lists."""
  return {
    key: tuple(x) if isinstance(x, list) else x for key, x in section.items()
  }


def _complete(preprocess: Mapping[str, Any]) -> dict[str, Any]:
  """A record's preprocess section, checked.

  Raises:
    CheckpointError: if a key is missing or of another type.
  """
  try:
    return records.make_preprocess(
      (int(preprocess["height"]), int(preprocess["width"])),
      int(preprocess["channels"]),
      mean=preprocess.get("mean"),
      std=preprocess.get("std"),
      crop=preprocess.get("crop"),
    )
  except (KeyError, TypeError, ValueError) as error:
    raise CheckpointError(
      f"its manifest has no usable preprocess section: {error!r}"
    ) from error


def _load_file(
  location: epath.Path,
  source_size: tuple[int, int] | None,
  overrides: dict[str, Any],
) -> Weights:
  """Weights from a file of another project."""
  arrays: Arrays = {}
  paths = files.resolve(location)
  for path in paths:
    shard, _ = files.read_arrays(path)
    twice = arrays.keys() & shard.keys()
    if twice:
      raise CheckpointError(f"{path} repeats {', '.join(sorted(twice)[:4])}")
    arrays |= shard
  record = records.load_record(paths[0])
  form, arrays = sniff({name: to_float32(x) for name, x in arrays.items()})
  known = dict(form.fields) | _to_fields(record.get("model", {})) | overrides
  named = known.pop("variant", None)

  extra, size = _settle_positions(
    form, arrays, known, record, location, source_size
  )
  # Without positions to count, the mean of all patches is told by its norm.
  gap = known.get("pool") == "gap" or "fc_norm.weight" in arrays
  arrays = form.settle(arrays, extra, gap)
  rows = form.get_rows(arrays)
  found = read_rows(rows, arrays, _get_heads(arrays, form, known))
  kind, determined, num_classes = get_fields(found)
  # What arrays show counts, but for what the caller says himself.
  fields = {"dtype": "float32"} | known | determined | overrides
  fields = {k: x for k, x in fields.items() if k in _get_allowed(kind)}

  variant = named or get_variant(kind, fields)
  channels = _get_channels(found.whole)
  names = record.get("class_names") or ()
  preprocess = dict(record.get("preprocess") or {})
  preprocess |= dict(height=size[0], width=size[1], channels=channels)
  weights = Weights(
    params={},
    variant=variant,
    fields=fields,
    num_classes=num_classes,
    preprocess=_complete(preprocess),
    class_names=tuple(names) if len(names) == num_classes else (),
    source=str(location),
    form=form.name,
  )
  _check_record(record, num_classes)
  ours = get_abstract_params(weights.model, size, channels)
  check(
    arrays,
    form.get_expected(ours, fields.get("num_heads", 1)),
    f"{location} ({form.name}) is not the {variant} that it looks like",
  )
  return dataclasses.replace(weights, params=form.unfold(found.stack()))


def to_float32(array: np.ndarray) -> np.ndarray:
  """Any floating array as float32, exactly but for float64."""
  floating = np.issubdtype(array.dtype, np.floating)
  if floating or array.dtype == ml_dtypes.bfloat16:
    return array.astype(np.float32, copy=False)
  return array


def _get_allowed(kind: str) -> Mapping[str, Any]:
  """The fields of a kind of model."""
  example = dict(vit="B/16", mixer="Mixer-B/16", resnet="R50x1")[kind]
  return models.parameters(example)


def _get_channels(whole: Arrays) -> int:
  """c, from the kernel that sees the image."""
  for path in (
    "conv_root/kernel",
    "root_block/standardized_conv2d/kernel",
    "embedding/kernel",
    "stem/kernel",
  ):
    if path in whole:
      return whole[path].shape[2]
  raise CheckpointError("no kernel in it sees an image")


def _get_heads(arrays: Arrays, form: Format, known: dict[str, Any]) -> int:
  """K, which PyTorch's formats do not lay out.

  Raises:
    CheckpointError: if nothing says it.
  """
  if form.suffix == ".npz":
    return 1
  if known.get("num_heads"):
    return known["num_heads"]
  norm = arrays.get("blocks.0.norm1.weight", arrays.get("vit.layernorm.weight"))
  width = 0 if norm is None else norm.shape[0]
  one = arrays.get("blocks.0.attn.q_norm.weight")
  heads = get_heads(width) if one is None else width // one.shape[0]
  if not heads:
    raise CheckpointError(
      f"nothing says into how many heads its width of {width} is cut: neither "
      f"a config.json beside it nor the table of models. Say it with "
      f"num_heads=K, on the command line --num_heads=K"
    )
  return heads


def _settle_positions(
  form: Format,
  arrays: Arrays,
  known: dict[str, Any],
  record: records.Record,
  location: epath.Path,
  source_size: tuple[int, int] | None,
) -> tuple[int, tuple[int, int]]:
  """How many rows of the positions are of no patch, and (H, W)."""
  recorded = record.get("preprocess") or {}
  size = source_size
  if size is None and {"height", "width"} <= recorded.keys():
    size = (int(recorded["height"]), int(recorded["width"]))
  published = get_resolution(str(location))
  if size is None and published:
    size = (published, published)
  heads = known.get("num_heads") or 1
  found = read_rows(form.get_rows(arrays), arrays, heads)
  position = found.whole.get(POSITION)
  extras = form.get_extra(arrays)
  if form.kind == "mixer":
    kernel = found.layers.get("MixerBlock/token_mixing/Dense_0/kernel", {})
    position = next(iter(kernel.values()), None)
    position = None if position is None else position[None]
  if position is None or position.ndim != 3:
    return extras[0], size or (224, 224)
  kernel = found.whole.get("embedding/kernel", found.whole.get("stem/kernel"))
  if kernel is None:
    return extras[0], size or (224, 224)
  stride = kernel.shape[0]
  if "conv_root/kernel" in found.whole:
    stages = {p.partition("/")[0] for p in found.whole if p.startswith("block")}
    stride *= 4 * 2 ** max(0, len(stages) - 1)
  rows = position.shape[1]
  counts = tuple(rows - extra for extra in extras)
  size, count = get_grid(counts, stride, size, SIDES)
  return rows - count, size


def _check_record(record: records.Record, num_classes: int) -> None:
  """Raises CheckpointError where a record speaks of other classes."""
  said = record.get("num_classes")
  if said is not None and said != num_classes:
    raise CheckpointError(
      f"its head has {num_classes} classes, the manifest beside it {said}"
    )
