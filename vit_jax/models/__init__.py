# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Models: one table of named variants, and how to get one of them."""

import inspect
import re
import typing
from typing import Any

from vit_jax.config import ConfigError, get
from vit_jax.models.vit import ViT

# ViT paper, table 1; Ti and S from DeiT (Touvron et al., 2021), g and G from
# "Scaling Vision Transformers" (Zhai et al., 2022), So400m from "Getting ViT in
# Shape" (Alabdulmohsin et al., 2023), e from PaLI (Chen et al., 2023). mu is
# for tests.
VARIANTS = {
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


def get_fields(variant: str) -> dict[str, Any]:
  """The fields that a variant's name stands for.

  Args:
    variant: NAME/P with P the patch size in pixels, as "B/16".

  Raises:
    ConfigError: for a name that is not in the table or not of that form.
  """
  match = re.fullmatch(r"(.+)/([1-9]\d*)", variant)
  if not match:
    raise ConfigError(
      f"model.variant={variant!r} is not of the form NAME/PATCH, as 'B/16'"
    )
  fields = get(VARIANTS, match[1], "model variant")
  return dict(fields, patch_size=int(match[2]))


def get_model(num_classes: int, *, variant: str, **fields: Any) -> ViT:
  """A model by its name, single fields replaced.

  Raises:
    ConfigError: for a width that the heads do not divide, or an unknown name.
  """
  fields = get_fields(variant) | fields
  if fields["width"] % fields["num_heads"]:
    raise ConfigError(
      f"model.width={fields['width']} is not a multiple of "
      f"model.num_heads={fields['num_heads']}"
    )
  return ViT(num_classes=num_classes, **fields)


def parameters(variant: Any) -> dict[str, inspect.Parameter]:
  """What a config's model section may set, defaults those of its variant.

  Args:
    variant: what the section has for it, or None.

  Raises:
    ConfigError: as `get_fields`.
  """
  defaults = get_fields(str(variant))
  keyword = inspect.Parameter.KEYWORD_ONLY
  allowed = {"variant": inspect.Parameter("variant", keyword, annotation=str)}
  for name, annotation in typing.get_type_hints(
    ViT, include_extras=True
  ).items():
    field = ViT.__dataclass_fields__.get(name)
    if field is None or name in ("num_classes", "parent", "name"):
      continue
    default = defaults.get(name, field.default)
    allowed[name] = inspect.Parameter(
      name, keyword, default=default, annotation=annotation
    )
  return allowed
