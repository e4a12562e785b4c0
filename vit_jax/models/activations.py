# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The memory of activations, counted in shapes."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.extend.core import Literal as Constant

from vit_jax.models.loops import split_loop

# Which of the values that JAX keeps for the backward pass a program keeps: all;
# or only what matrix products read and write, or what they write. The rest is
# computed again where it is read.
Kept = Literal["all", "products and operands", "products"]

# By platform, of blocks that are unrolled. A loop keeps all, for it writes what
# each iteration leaves, and so do the programs of a CPU.
KEPT: dict[str, Kept] = {"gpu": "products and operands", "tpu": "products"}

# Primitives whose results are computed again; their inputs are kept instead.
CHEAP = frozenset(
  """
  abs add add_any and broadcast_in_dim ceil clamp concatenate
  convert_element_type copy copy_p cos div eq erf erfc exp exp2 expand_dims
  expm1 floor ge gt integer_pow iota is_finite le log log1p logistic lt max
  min mul name ne neg not optimization_barrier or pad pow pvary reduce_and
  reduce_max reduce_min reduce_or reduce_sum rem reshape rev round rsqrt
  select_n shift_left shift_right_arithmetic shift_right_logical
  sharding_constraint sign sin slice split sqrt square squeeze stop_gradient
  sub tan tanh transpose xor
  """.split()
)
PRODUCTS = ("conv_general_dilated", "dot_general")


# What an example of a model without tokens counts for: it has larger arrays.
TOKENS = 1024


def measure_stream(model: Any, shape: tuple[int, int]) -> tuple[int, int]:
  """Measures what goes from block to block, of one image.

  Args:
    model: any; of a ResNet the bytes are 0.
    shape: (H, W) of the images.

  Returns:
    The number of tokens, and their bytes.
  """
  if not hasattr(model, "make_layout"):
    return TOKENS, 0
  tokens = model.make_layout(*shape).tokens
  return tokens, tokens * model.width * jnp.dtype(model.dtype).itemsize


def choose_kept(model: Any, platform: str) -> Kept:
  """Chooses what a training step of a model keeps on a platform."""
  in_loop = getattr(model, "unroll", 1) < getattr(model, "depth", 1)
  return "all" if in_loop else KEPT.get(platform, "all")


def count_activation_bytes(
  forward: Callable[[Any, Any], Any],
  params: Any,
  image_shape: tuple[int, int, int],
  kept: Kept = "all",
) -> int:
  """Bytes that the forward pass keeps of an image for the backward pass.

  Args:
    forward: (params, images) -> arrays, in training.
    params: parameters, or their shapes.
    image_shape: (H, W, c).
    kept: which of the values that JAX keeps, see `choose_kept`. B/16 at 224 px,
      without attention's weights: 92 MiB, 56 and 35; the compilers' temporaries
      are 58 MiB an image for an H100, and 38 for a TPU v5e.
  """

  def run(params, image):
    back = jax.vjp(lambda p: forward(p, image), params)[1]
    return jax.tree.leaves(back)

  def count(batch):
    image = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    if kept == "all":
      return sum(map(_count_bytes, jax.eval_shape(run, params, image)))
    jaxpr = jax.make_jaxpr(run)(params, image).jaxpr
    return _count_kept(_Frame(jaxpr, kept == "products and operands"))

  return count(2) - count(1)  # Parameters are kept once, whatever the batch.


def _count_bytes(x: Any) -> int:
  return math.prod(x.shape) * x.dtype.itemsize


def _count_kept(frame: "_Frame") -> int:
  """Bytes from which the results of a program can be computed."""
  found: dict[Any, int] = {}
  for x in frame.jaxpr.outvars:
    sources = frame.find(x)
    more = sum(sources[key] for key in sources.keys() - found.keys())
    own = _count_bytes(x.aval)
    # As attention's weights in bfloat16, from logits in float32.
    found |= {x: own} if 2 * own <= more else sources
  return sum(found.values())


class _Frame:
  """A program, or one that an equation of another calls."""

  def __init__(
    self,
    jaxpr: Any,
    operands: bool,
    caller: "_Frame | None" = None,
    equation: Any = None,
    times: int = 1,
  ):
    """Finds what makes and what reads each variable.

    Args:
      jaxpr: the program.
      operands: whether what products read is kept.
      caller: the frame that calls it; None is the whole program.
      equation: that which calls it.
      times: number of runs.
    """
    self.jaxpr, self._operands = jaxpr, operands
    self._caller, self._equation, self._times = caller, equation, times
    self._makers = {x: made for made in jaxpr.eqns for x in made.outvars}
    self._read = {
      x
      for made in jaxpr.eqns
      if operands and made.primitive.name in PRODUCTS
      for x in made.invars
    }
    self._known: dict[Any, dict[Any, int]] = {}
    self._entered: dict[int, _Frame | None] = {}

  def find(self, x: Any) -> dict[Any, int]:
    """What a variable is computed from again, or itself: key -> bytes."""
    if isinstance(x, Constant):
      return {}
    if x not in self._known:
      self._known[x] = self._find(x)
    return self._known[x]

  def _find(self, x: Any) -> dict[Any, int]:
    itself = {(id(self), x): self._times * _count_bytes(x.aval)}
    made = self._makers.get(x)
    if x in self._read:
      return itself
    if made is None:
      outer = self._find_given(x)
      return itself if outer is None else outer
    name = made.primitive.name
    if name in CHEAP:
      sources: dict[Any, int] = {}
      for source in made.invars:
        sources |= self.find(source)
      return sources
    inner = self._enter(made)
    place = made.outvars.index(x)
    if inner is None:
      return itself
    if name == "scan":
      _, carried, _ = split_loop(made.params, made.invars)
      if place < len(carried):
        return itself
    return inner.find(inner.jaxpr.outvars[place])

  def _find_given(self, x: Any) -> dict[Any, int] | None:
    """The same of what the caller gives for x; None if it gives nothing."""
    if self._caller is None or x not in self.jaxpr.invars:
      return None
    place, equation = self.jaxpr.invars.index(x), self._equation
    if equation.primitive.name == "scan":
      fixed, carried, _ = split_loop(equation.params, equation.invars)
      if 0 <= place - len(fixed) < len(carried):
        return None  # Of each iteration another.
    return self._caller.find(equation.invars[place])

  def _enter(self, equation: Any) -> "_Frame | None":
    """The frame of what an equation calls; None if it computes by itself."""
    if id(equation) in self._entered:
      return self._entered[id(equation)]
    times, name = self._times, equation.primitive.name
    if name == "scan":
      times *= equation.params["length"]
    elif name == "shard_map":  # Its shapes are those of one device.
      times *= equation.params["mesh"].size
    inner = None
    for key in ("jaxpr", "call_jaxpr"):
      found = equation.params.get(key)
      found = getattr(found, "jaxpr", found)
      if (
        name != "pallas_call"
        and hasattr(found, "eqns")
        and len(found.invars) == len(equation.invars)
        and len(found.outvars) == len(equation.outvars)
      ):
        inner = _Frame(found, self._operands, self, equation, times)
        break
    self._entered[id(equation)] = inner
    return inner
