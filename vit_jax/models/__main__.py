# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Lists models: parameters with 1,000 classes, and what one 224 px image costs.

GFLOPs are those of the forward pass, two a multiply-add; tokens are what the
encoder sees, the class token included.
"""

import json
import math
from typing import Any

import jax
import jax.numpy as jnp

from vit_jax import models
from vit_jax.command_line import make_parser, reported
from vit_jax.config import raise_all
from vit_jax.flops import count_flops

SIZE, CLASSES = 224, 1000


def describe(name: str) -> dict[str, Any]:
  """A row of the list; nothing is computed but shapes.

  Raises:
    ConfigError: for an unknown name, or a patch that does not divide 224.
  """
  model = models.get_model(CLASSES, variant=name)
  raise_all(model.get_errors(SIZE, SIZE))
  image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), image)
  leaves = jax.tree.leaves(variables)
  tokens = None
  if isinstance(model, models.ViT):
    embed = jax.eval_shape(
      lambda v, x: model.apply(v, x, method="embed"), variables, image
    )
    tokens = embed.shape[1]
  elif isinstance(model, models.MlpMixer):
    tokens = (SIZE // model.patch_size) ** 2
  return {
    "name": name,
    "parameters": sum(math.prod(leaf.shape) for leaf in leaves),
    "gflops": round(count_flops(model.apply, variables, image) / 1e9, 2),
    "tokens": tokens,
  }


def format_table(rows: list[dict[str, Any]]) -> str:
  """The list for people."""
  lines = [f"{'model':12}{'parameters':>16}{'GFLOPs':>10}{'tokens':>8}"]
  for row in rows:
    tokens = "-" if row["tokens"] is None else row["tokens"]
    lines.append(
      f"{row['name']:12}{row['parameters']:>16,}{row['gflops']:>10,.1f}"
      f"{tokens:>8}"
    )
  return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("vit_jax.models", __doc__)
  parser.add_argument(
    "names", nargs="*", metavar="NAME", help="as B/16; or all"
  )
  parser.add_argument("--json", action="store_true", help="for programs")
  arguments = parser.parse_args(argv)
  with reported():
    rows = [describe(name) for name in arguments.names or models.NAMES]
  print(json.dumps(rows) if arguments.json else format_table(rows))


if __name__ == "__main__":
  main()
