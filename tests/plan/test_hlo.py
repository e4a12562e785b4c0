# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that were really compiled, read again."""

import jax
import jax.numpy as jnp
import pytest

from vit_jax.plan import hlo


def compile_text(function, *shapes):
  arguments = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
  return jax.jit(function).lower(*arguments).compile().as_text()


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("f32[]", [(4, True)]),
    ("bf16[32,197,768]{2,1,0:T(8,128)(2,1)}", [(32 * 197 * 768 * 2, True)]),
    ("bf16[32,768]{1,0:T(8,128)(2,1)S(1)}", [(32 * 768 * 2, False)]),
    ("(f32[2,3]{1,0}, /*index=1*/s4[5]{0})", [(24, True), (3, True)]),
    ("(pred[7]{0:T(256)S(5)}, token[])", [(7, False), (0, True)]),
    ("f8e4m3fn[16]{0}", [(16, True)]),
  ],
)
def test_shapes(text, expected):
  assert [tuple(array) for array in hlo.parse_arrays(text)] == expected


def test_a_line():
  line = (
    "  ROOT %fusion.5 = (f32[4]{0:T(128)}, u32[]{:S(2)}) fusion(%a.1, "
    "/*index=1*/%b), kind=kLoop, calls=%fused.7, "
    'metadata={op_name="jit(f)/while(x)/add"}'
  )
  found = hlo.parse_instruction(line)
  assert found.name == "fusion.5" and found.opcode == "fusion"
  assert found.operands == ("a.1", "b") and found.is_root
  assert found.size == 20 and found.hbm_size == 16
  assert found.find_called("calls") == "fused.7"
  assert found.find_called("body") is None
  assert hlo.parse_instruction("}") is None


def test_every_line_of_a_real_program_is_an_instruction():
  text = compile_text(lambda x, y: jnp.tanh(x @ y).sum(), (8, 16), (16, 4))
  module = hlo.parse_module(text)
  lines = [line for line in text.splitlines() if " = " in line]
  assert sum(map(len, module.computations.values())) == len(lines)
  parameters = [
    x
    for x in module.computations[module.entry].values()
    if x.opcode == "parameter"
  ]
  assert sorted(x.size for x in parameters) == [16 * 4 * 4, 8 * 16 * 4]


LOOP = """
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %step = s32[] constant(2)
  %next = s32[] add(%i, %step)
  %y = f32[8]{0} negate(%x)
  ROOT %t = (s32[], f32[8]{0}) tuple(%next, %y)
}
%condition (q: (s32[], f32[8])) -> pred[] {
  %q = (s32[], f32[8]{0}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %limit = s32[] constant(LIMIT)
  ROOT %less = pred[] compare(%j, %limit), direction=LT
}
ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %zero = s32[] constant(1)
  %copied = s32[] copy(%zero)
  %start = (s32[], f32[8]{0}) tuple(%copied, %a)
  %loop = (s32[], f32[8]{0}) while(%start), condition=%condition, body=%body
  ROOT %out = f32[8]{0} get-tuple-element(%loop), index=1
}
"""


@pytest.mark.parametrize(("limit", "trips"), [(8, 4), (7, 3), (2, 1), (1, 0)])
def test_a_loop_counts_as_often_as_it_runs(limit, trips):
  """From 1 in steps of 2 to below the limit."""
  module = hlo.parse_module(LOOP.replace("LIMIT", str(limit)))
  ran = [times for _, x, times in hlo.walk(module) if x.opcode == "negate"]
  assert ran == [trips]


def test_a_loop_whose_length_is_unknown_counts_once():
  text = LOOP.replace("constant(LIMIT)", "get-tuple-element(%q), index=0")
  module = hlo.parse_module(text)
  ran = [times for _, x, times in hlo.walk(module) if x.opcode == "negate"]
  assert ran == [1]
