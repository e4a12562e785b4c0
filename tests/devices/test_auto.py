# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Choices by the kind of device."""

import types

import jax
import pytest

from tests.support import build
from vit_jax import models
from vit_jax.devices.auto import (
  choose_attention,
  choose_batch,
  choose_unroll,
  find_kernels,
)

CPU = jax.devices()[0]
TPU = types.SimpleNamespace(platform="tpu", device_kind="TPU v5 lite")
GPU, OLD_GPU, AMD = (
  types.SimpleNamespace(
    platform="gpu", device_kind=kind, compute_capability=capability
  )
  for kind, capability in (
    ("NVIDIA H100", "9.0"),
    ("Tesla T4", "7.5"),
    ("AMD Instinct MI300X", "gfx942"),
  )
)


def choose(device, size, **fields):
  model = models.make_model(3, variant="B/16", **fields)
  model, choices = choose_attention(model, device, size, size)
  assert [x.value for x in choices] in ([], [model.attention])
  return model.attention


def test_attention_is_the_kernel_of_the_device_where_it_is_faster():
  # 1,025 tokens at 512 px, 197 at 224, 50 at 112, 37 at 96.
  devices = CPU, TPU, GPU, OLD_GPU, AMD
  assert [find_kernels(x) for x in devices] == [
    *(("heads",), ("vmem", "flash"), ("cudnn", "triton"), (), ())
  ]
  assert [choose(x, 224) for x in devices] == [
    *("xla", "vmem", "cudnn", "xla", "xla")
  ]
  # A sequence that the kernel cannot hold goes to the next.
  assert [choose(TPU, size) for size in (64, 384, 1024)] == [
    *("vmem", "vmem", "flash")
  ]
  assert [choose(GPU, size) for size in (384, 224, 112, 96)] == [
    *("cudnn", "cudnn", "cudnn", "xla")
  ]


@pytest.mark.parametrize(
  "size, train, attention",
  [
    (160, True, "heads"),  # 101 tokens.
    (144, True, "xla"),  # 82 tokens.
    (16, False, "heads"),
  ],
)
def test_a_cpu_has_its_own_attention_in_float32(size, train, attention):
  model = models.make_model(3, variant="B/16", dtype="float32")
  model, _ = choose_attention(model, CPU, size, size, train=train)
  assert model.attention == attention


def test_why_a_kernel_is_not_taken_is_said():
  model = models.make_model(3, variant="B/16", dtype="bfloat16")
  _, (choice,) = choose_attention(model, CPU, 224, 224)
  assert choice.reason == "'heads' needs model.dtype='float32', not bfloat16"


def test_attention_is_what_the_model_allows():
  assert choose(TPU, 512, position="relative") == "xla"
  assert choose(TPU, 1024, dtype="float32") == "flash"
  assert choose(GPU, 512, dtype="float32") == "xla"
  assert choose(CPU, 224, dtype="float32", position="relative") == "xla"
  assert choose(CPU, 32, attention="flash") == "flash"
  resnet = models.make_model(3, variant="R50x1")
  assert choose_attention(resnet, TPU, 512, 512) == (resnet, [])


@pytest.mark.parametrize(
  "device, variant, steps, unroll",
  [
    (GPU, "B/16", 200, 12),
    (GPU, "B/16", 199, 1),
    (GPU, "G/14", 10**6, 48),
    (TPU, "L/16", 999, 1),
    (TPU, "L/16", 1000, 24),
    (CPU, "Ti/16", 1, 1),
    (TPU, "Mixer-B/16", 1000, 12),
  ],
)
def test_blocks_are_unrolled_in_runs_that_last(device, variant, steps, unroll):
  model = models.make_model(3, variant=variant)
  model, (choice,) = choose_unroll(model, device, steps)
  assert (model.unroll, choice.key, choice.value) == (
    *(unroll, "model.unroll", unroll),
  )


def test_one_block_is_not_said_to_be_unrolled():
  model = models.make_model(3, variant="B/16", depth=1)
  model, (choice,) = choose_unroll(model, CPU, 10**6)
  assert model.unroll == 1 and choice.reason == "the model has one block"


def test_the_state_is_built_by_the_scanned_program(config):
  config["model"] |= dict(depth=3, unroll=3)
  exp = build(config)
  assert exp.model.unroll == 3
  scans = str(jax.make_jaxpr(exp.init_state)()).count("unroll=3")
  assert scans == 0


@pytest.mark.parametrize(
  ("variant", "size", "batch"),
  [
    ("Ti/16", 224, 8),  # 197 tokens of 192.
    ("Ti/16", 64, 64),  # 17, so 97 images would do.
    ("S/32", 224, 16),  # 50 of 384.
    ("B/16", 224, 8),
    ("H/14", 224, 8),
    ("Mixer-B/32", 224, 8),
    ("R50x1", 64, 8),
  ],
)
def test_a_batch_that_stays_in_the_caches_of_a_cpu(variant, size, batch):
  model = models.make_model(3, variant=variant)
  assert choose_batch(model, [CPU], size, size) == batch
  # The devices of a CPU share them; of others each has its own memory.
  assert choose_batch(model, [CPU] * 4, size, size) == batch
  assert choose_batch(model, [GPU] * 4, size, size) == 256
