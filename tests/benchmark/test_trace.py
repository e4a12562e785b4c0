# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Kernels of a profile: whose they are, and how long they took."""

import types

import pytest

from vit_jax.benchmark.trace import (
  Trace,
  collect_kernels,
  find_part,
  measure_alone,
  parse_scope,
  read_sources,
)

BLOCK = "Transformer/while/body/closed_call/encoderblock"
MUL = f"jit(train_step)/transpose(jvp(ViT))/{BLOCK}/MlpBlock_0/mul"
ADD = "jit(train_step)/optimizer/add"
HLO = f"""
HloModule jit_train_step

%fused (p: f32[8]) -> f32[8] {{
  ROOT %mul.3 = f32[8] multiply(%p, %p), metadata={{op_name="x/mul"}}
}}
ENTRY %main {{
  %fusion.7 = f32[8] fusion(%p), calls=%fused, metadata={{op_name="{MUL}"}}
  %custom-call.2 = f32[8] custom-call(%p), metadata={{op_name="{ADD}" id=3}}
  ROOT %copy.1 = f32[8] copy(%fusion.7)
}}
"""


def test_scopes_are_modules_and_a_direction():
  assert parse_scope(MUL) == (
    "backward",
    "Transformer/encoderblock/MlpBlock_0/mul",
  )
  assert parse_scope("jit(train_step)/jvp(ViT)/head/dot_general") == (
    "forward",
    "head/dot_general",
  )
  assert parse_scope(ADD) == ("", "optimizer/add")
  parts = {
    "Transformer/encoderblock/MlpBlock_0/mul": "block MlpBlock_0",
    "Transformer/encoderblock/add": "block, residuals",
    "Transformer/encoder_norm/mul": "Transformer",
    "optimizer/add": "optimizer",
  }
  assert {scope: find_part(scope) for scope in parts} == parts


def test_sources_are_those_of_instructions():
  found = read_sources(HLO)
  assert set(found) == {"mul.3", "fusion.7", "custom-call.2"}
  assert found["custom-call.2"] == ADD


def test_a_loop_is_counted_without_its_body():
  events = [
    (0.0, 100.0, "while.1", "while.1"),
    (10.0, 30.0, "dot.1", "dot.1"),
    (12.0, 20.0, "copy.1", "copy.1"),
    (40.0, 90.0, "dot.2", "dot.2"),
    (200.0, 210.0, "dot.1", "dot.1"),
  ]
  found = {}
  for name, _, seconds in measure_alone(events):
    found[name] = found.get(name, 0) + round(1e9 * seconds)
  assert found == {"while.1": 30, "dot.1": 22, "copy.1": 8, "dot.2": 50}


def make_event(name, start, end, **stats):
  return types.SimpleNamespace(
    name=name, start_ns=start, end_ns=end, stats=list(stats.items())
  )


def make_plane(name, **lines):
  rows = [types.SimpleNamespace(name=k, events=v) for k, v in lines.items()]
  return types.SimpleNamespace(name=name, lines=rows)


def test_kernels_of_a_gpu_are_those_of_its_streams():
  data = types.SimpleNamespace(
    planes=[
      make_plane("/host:CPU", python=[make_event("train", 0, 90)]),
      make_plane(
        "/device:GPU:0",
        **{
          "Stream #1(Compute)": [
            make_event("loop_fusion_7", 0, 10, hlo_op="fusion.7"),
            make_event("loop_fusion_9", 10, 30, hlo_op="fusion.7"),
            make_event("sm90_gemm", 30, 36, hlo_op="custom-call.2"),
          ],
          "XLA Modules": [make_event("jit_train_step", 0, 100)],
        },
      ),
    ]
  )
  kernels = collect_kernels(data, read_sources(HLO))
  assert [(x.name, x.phase, x.runs) for x in kernels] == [
    ("loop_fusion", "backward", 2),
    ("sm90_gemm", "", 1),
  ]
  trace = Trace("profiles", 2, kernels)
  assert trace.seconds == pytest.approx(18e-9)
  assert [part for part, *_ in trace.parts] == ["block MlpBlock_0", "optimizer"]
  found = trace.to_json()
  assert found["kernels"][0]["seconds"] == pytest.approx(15e-9)
  assert found["kernels"][0]["runs"] == 1
  assert "83.3%" in str(trace)  # 30 of 36 ns.


def test_kernels_of_a_tpu_are_its_operations():
  plane = make_plane(
    "/device:TPU:0",
    **{
      "XLA Ops": [make_event("%fusion.7 = f32[8] fusion(%p)", 0, 5)],
      "Steps": [make_event("0", 0, 50)],
    },
  )
  (kernel,) = collect_kernels(
    types.SimpleNamespace(planes=[plane]), read_sources(HLO)
  )
  assert (kernel.name, kernel.phase, kernel.runs) == ("fusion", "backward", 1)
