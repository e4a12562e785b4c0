# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Position embeddings: the eight cells of the paper's table 8, two fixed ones,
and each against its equation in NumPy."""

import math

import jax
import numpy as np
import pytest

from tests.support.equations import check_forward, count, get_shapes
from vit_jax import models

ROWS, COLUMNS = 3, 2  # The grid of check_forward's images.
PATCHES = ROWS * COLUMNS


def keep(x, p):
  return x


@pytest.mark.parametrize(
  "position, at, parameters",
  [
    ("none", "input", 0),
    ("learned_1d", "input", 197 * 768),
    ("learned_1d", "every_layer", 12 * 197 * 768),
    ("learned_1d", "shared", 197 * 768),
    ("learned_2d", "input", (14 + 14) * 384),
    ("learned_2d", "every_layer", 12 * (14 + 14) * 384),
    ("learned_2d", "shared", (14 + 14) * 384),
    ("relative", "input", 12 * (2 * 197 - 1) * 768),
    ("sincos_2d", "input", 0),
    ("rope", "input", 0),
  ],
)
def test_what_positions_add_to_b16(position, at, parameters):
  model = models.make_model(
    1000, variant="B/16", position=position, position_at=at
  )
  assert count(model) == 86_567_656 - 197 * 768 + parameters


def get_2d(p):
  """Column halves beside row halves; the class token has none."""
  cells = [
    np.concatenate([p["x_embedding"][column], p["y_embedding"][row]])
    for row in range(ROWS)
    for column in range(COLUMNS)
  ]
  return np.stack([np.zeros_like(cells[0]), *cells])


def make_sincos():
  """MoCo v3's table of width 32, cell by cell."""
  cells = [np.zeros(32)]
  for row in range(ROWS):
    for column in range(COLUMNS):
      waves = [10_000 ** (-i / 7) for i in range(8)]
      x, y = [column * w for w in waves], [row * w for w in waves]
      parts = (np.sin(x), np.cos(x), np.sin(y), np.cos(y))
      cells.append(np.concatenate(parts))
  return np.stack(cells)


@pytest.mark.parametrize("kind", ["learned_1d", "learned_2d"])
@pytest.mark.parametrize("at", ["input", "every_layer", "shared"])
def test_learned_embeddings_are_added_where_they_should(kind, at):
  get = get_2d if kind == "learned_2d" else lambda p: p["pos_embedding"][0]

  def add(x, layer, encoder):
    if at == "input":
      return x
    if at == "shared":
      return x + get(encoder["posembed_input"])
    own = encoder["encoderblock"]["posembed"]
    return x + get({name: table[layer] for name, table in own.items()})

  start = (lambda x, p: x + get(p)) if at == "input" else keep
  check_forward(dict(start=start, add=add), position=kind, position_at=at)


def test_fixed_sines_are_added():
  check_forward(
    dict(start=lambda x, p: x + make_sincos()), position="sincos_2d"
  )


def test_nothing_is_added():
  check_forward(dict(start=keep), position="none")


@pytest.mark.parametrize("pool, registers", [("token", 0), ("gap", 2)])
def test_relative_offsets_act_as_keys(pool, registers):
  places = [0] if pool == "token" else []
  first = len(places)
  places += [None] * registers + list(range(first, first + PATCHES))
  total = first + PATCHES

  def bias(q, p, head):
    table = p["relative"]["embedding"][:, head]
    found = np.zeros((len(places), len(places)))
    for i, a in enumerate(places):
      for j, b in enumerate(places):
        if a is not None and b is not None:
          found[i, j] = q[i] @ table[a - b + total - 1] / math.sqrt(q.shape[-1])
    return found

  check_forward(
    dict(start=keep, bias=bias),
    position="relative",
    pool=pool,
    registers=registers,
  )


@pytest.mark.parametrize("pool, registers", [("token", 0), ("gap", 1)])
def test_rotary_angles_follow_column_and_row(pool, registers):
  prefix = int(pool == "token") + registers

  def turn(x):
    turned, size = x.copy(), x.shape[-1]
    for patch in range(PATCHES):
      row, column = divmod(patch, COLUMNS)
      for i in range(size // 2):
        where, axis = divmod(i, size // 4)
        angle = (column, row)[where] * 100 ** (-axis / (size // 4))
        pair = x[prefix + patch, [i, i + size // 2]]
        z = complex(*pair) * complex(math.cos(angle), math.sin(angle))
        turned[prefix + patch, [i, i + size // 2]] = z.real, z.imag
    return turned

  check_forward(
    dict(start=keep, turn=turn), position="rope", pool=pool, registers=registers
  )


def test_rotary_attention_depends_on_offsets_alone():
  layout = models.ViT.make_layout(models.make_model(3, variant="mu/4"), 20, 20)
  from vit_jax.models.position import make_rotation_angles, rotate

  angles = make_rotation_angles(layout, 16)
  ones = jax.random.normal(jax.random.key(0), (1, 1, 1, 16))
  x = rotate(jax.numpy.broadcast_to(ones, (1, 26, 1, 16)), angles)[0, :, 0]
  product = np.asarray(x @ x.T)[1:, 1:].reshape(5, 5, 5, 5)
  np.testing.assert_allclose(
    product[0, 0, 2, 1], product[2, 3, 4, 4], rtol=1e-5
  )
  np.testing.assert_allclose(
    product[4, 0, 1, 3], product[3, 1, 0, 4], rtol=1e-5
  )
  assert abs(product[0, 0, 2, 1] - product[0, 0, 1, 2]) > 1e-3


def test_positions_that_do_not_fit_are_named():
  model = models.make_model(
    3, variant="mu/4", width=30, num_heads=5, position="sincos_2d"
  )
  (error,) = model.find_errors(8, 8)
  for fact in ("model.width=30", "4", "model.position='sincos_2d'", "28 or 32"):
    assert fact in error
  model = models.make_model(
    3, variant="mu/4", position="rope", position_at="shared", num_heads=16
  )
  size, where = model.find_errors(8, 8)
  assert "model.width / num_heads=2" in size and "model.position='rope'" in size
  assert "model.position_at='shared'" in where and "'rope'" in where


def test_one_table_a_grid_whatever_its_shape():
  model = models.make_model(3, variant="mu/4", position="learned_2d")
  image = jax.ShapeDtypeStruct((1, 8, 20, 3), "float32")
  params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
  tables = params["Transformer"]["posembed_input"]
  assert tables["x_embedding"].shape == (5, 16)
  assert tables["y_embedding"].shape == (2, 16)
  assert "posembed_input" not in get_shapes(
    models.make_model(3, variant="mu/4", position="rope"), 8
  )
