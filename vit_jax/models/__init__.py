# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Models by name: tables of variants, and `make_model`."""

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from vit_jax.config import ConfigError, nearest
from vit_jax.models.mixer import MlpMixer
from vit_jax.models.resnet import ResNet
from vit_jax.models.vit import ViT

# ViT paper, table 1; Ti and S from DeiT (Touvron et al., 2021), g and G from
# "Scaling Vision Transformers" (Zhai et al., 2022), So400m from "Getting ViT in
# Shape" (Alabdulmohsin et al., 2023), e from PaLI (Chen et al., 2023). mu is
# for tests. Each can have any patch size: a model's name is NAME/P.
VITS = {
  "mu": dict(width=32, depth=1, mlp_dim=128, num_heads=2),
  "Ti": dict(width=192, depth=12, mlp_dim=768, num_heads=3),
  "S": dict(width=384, depth=12, mlp_dim=1536, num_heads=6),
  "B": dict(width=768, depth=12, mlp_dim=3072, num_heads=12),
  "L": dict(width=1024, depth=24, mlp_dim=4096, num_heads=16),
  "So400m": dict(width=1152, depth=27, mlp_dim=4304, num_heads=16),
  "H": dict(width=1280, depth=32, mlp_dim=5120, num_heads=16),
  "g": dict(width=1408, depth=40, mlp_dim=6144, num_heads=16),
  "G": dict(width=1664, depth=48, mlp_dim=8192, num_heads=16),
  "e": dict(width=1792, depth=56, mlp_dim=15360, num_heads=16),
}

# MLP-Mixer, table 1, likewise with any patch size.
MIXERS = {
  "Mixer-B": dict(width=768, depth=12, token_mlp_dim=384, mlp_dim=3072),
  "Mixer-L": dict(width=1024, depth=24, token_mlp_dim=512, mlp_dim=4096),
}

# ViT paper, table 3, and AugReg (Steiner et al., 2022). The number in a name is
# the stride in pixels, except in R+Ti/16, whose stride is 32.
HYBRIDS = {
  "R+Ti/16": dict(VITS["Ti"], stem=(), patch_size=8),
  "R26+S/32": dict(VITS["S"], stem=(2, 2, 2, 2), patch_size=1),
  "R26+B/32": dict(VITS["B"], stem=(2, 2, 2, 2), patch_size=1),
  "R50+B/16": dict(VITS["B"], stem=(3, 4, 9), patch_size=1),
  "R50+B/32": dict(VITS["B"], stem=(3, 4, 6, 3), patch_size=1),
  "R50+L/16": dict(VITS["L"], stem=(3, 4, 9), patch_size=1),
  "R50+L/32": dict(VITS["L"], stem=(3, 4, 6, 3), patch_size=1),
}

# BiT (Kolesnikov et al., 2020), as in the ViT paper's table 6.
RESNETS = {
  "R50x1": dict(stages=(3, 4, 6, 3), width_factor=1),
  "R50x2": dict(stages=(3, 4, 6, 3), width_factor=2),
  "R101x1": dict(stages=(3, 4, 23, 3), width_factor=1),
  "R152x1": dict(stages=(3, 8, 36, 3), width_factor=1),
  "R152x2": dict(stages=(3, 8, 36, 3), width_factor=2),
  "R152x4": dict(stages=(3, 8, 36, 3), width_factor=4),
  "R200x3": dict(stages=(3, 24, 36, 3), width_factor=3),
}

# The models that `python -m vit_jax.models` lists: all that have a name in the
# literature.
NAMES = (
  *("Ti/16", "S/32", "S/16", "B/32", "B/16", "B/8", "L/32", "L/16"),
  *("So400m/14", "H/14", "g/14", "G/14", "e/14"),
  *HYBRIDS,
  *RESNETS,
  *("Mixer-B/32", "Mixer-B/16", "Mixer-L/16"),
)


# Words of timm and Hugging Face -> ours.
SIZES = {
  **dict(tiny="Ti", small="S", base="B", large="L", huge="H"),
  **dict(giant="g", gigantic="G", ti="Ti", s="S", b="B", l="L", h="H"),
}
SPELT = re.compile(
  rf"(?:.*/)?(?:vit[-_]?)?({'|'.join(SIZES)})[-_/]?(?:patch)?([1-9]\d?)(?:[-_].*)?"
)


def suggest(variant: str) -> str:
  """Suggests our name for that of another project, or the nearest of ours."""
  found = SPELT.fullmatch(variant.lower())
  if found:
    return f"did you mean '{SIZES[found[1]]}/{found[2]}'?"
  return nearest(variant, NAMES)


def get_row(variant: str) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
  """Looks up the constructor and the fields of a model by its name.

  Raises:
    ConfigError: for a name that is not in the tables; suggests the nearest.
  """
  if variant in HYBRIDS:
    return ViT, dict(HYBRIDS[variant])
  if variant in RESNETS:
    return ResNet, dict(RESNETS[variant])
  match = re.fullmatch(r"([^/+]+)/([1-9]\d*)", variant)
  for constructor, table in ((ViT, VITS), (MlpMixer, MIXERS)):
    if match and match[1] in table:
      return constructor, dict(table[match[1]], patch_size=int(match[2]))
  raise ConfigError(
    f"model.variant={variant!r} is not a known model; "
    f"{suggest(variant)} "
    f"(ViTs and Mixers can have any patch size, as B/20)"
  )


def has_name(fields: Mapping[str, Any]) -> bool:
  """Returns whether a model has the size of a named one, of any patch size."""
  return any(
    all(fields.get(k) == x for k, x in row.items() if k != "patch_size")
    for row in (VITS | MIXERS | HYBRIDS | RESNETS).values()
  )


def make_model(num_classes: int, *, variant: str, **fields: Any) -> nn.Module:
  """Makes a model by its name.

  Args:
    num_classes: Y.
    variant: name, as "B/16".
    **fields: fields of the model that replace those of the table.

  Raises:
    ConfigError: for an unknown name, as `get_row`.
  """
  constructor, row = get_row(variant)
  return constructor(num_classes=num_classes, **row | fields)


def parameters(variant: Any) -> dict[str, inspect.Parameter]:
  """The keys of a config's model section, with the defaults of its variant.

  Args:
    variant: the section's `variant`, or None.

  Raises:
    ConfigError: for no variant, and for an unknown one, as `get_row`.
  """
  if variant is None:
    raise ConfigError(f"model.variant is missing; {nearest('', NAMES)}")
  constructor, row = get_row(str(variant))
  keyword = inspect.Parameter.KEYWORD_ONLY
  allowed = {"variant": inspect.Parameter("variant", keyword, annotation=str)}
  hints = typing.get_type_hints(constructor, include_extras=True)
  for name, annotation in hints.items():
    field = constructor.__dataclass_fields__.get(name)
    if field is None or name in ("num_classes", "parent", "name"):
      continue
    default = row.get(name, field.default)
    allowed[name] = inspect.Parameter(
      name, keyword, default=default, annotation=annotation
    )
  return allowed
