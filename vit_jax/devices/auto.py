# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Choices of "auto" by the kind of device that a model is trained on.

Those that depend on memory are in `devices.fitting`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from vit_jax.config import Choice

# Kernel -> tokens from which it replaces XLA's attention. cuDNN's is faster
# from there on (H100, bfloat16, forward and backward pass: 1.09 against 1.19 ms
# at 50 tokens, 1.47 against 1.38 at 37). Below 1,000, padding to the blocks of
# the TPU's flash kernel costs more than all of XLA's attention, and "vmem" has
# no blocks (estimates of the compiler for v5e). For "heads" see
# docs/performance.md.
MIN_TOKENS = {"cudnn": 50, "vmem": 1, "flash": 1000, "heads": 100}
MIN_TOKENS_FORWARD = MIN_TOKENS | {"heads": 1}  # Without a backward pass.

# Platform -> steps of a run from which it pays to compile every block anew
# instead of one in a loop: longer to compile, and then faster in every step.
MIN_UNROLLED_STEPS = {"gpu": 200, "tpu": 1000, "cpu": 50}

# Images that a device computes at a time, without training. On a CPU a power of
# two, with which at most CPU_VALUES go from block to block: what is computed in
# a block stays in the caches. Of Ti/16 at 224 px on two cores an image takes 25
# ms in batches of 8 and 37 in batches of 32; at 64 px it is 3.1 and 2.0.
BATCH, MIN_CPU_BATCH, CPU_VALUES = 64, 8, 320_000

# Blocks that are unrolled at most: compilation takes seconds for each.
MAX_UNROLLED = 64


def find_kernels(device: Any) -> tuple[str, ...]:
  """Lists the attention kernels of a jax device, the best first.

  "auto" takes those of MIN_TOKENS alone.
  """
  if device.platform == "tpu":
    return "vmem", "flash"
  if device.platform == "gpu":
    # cuDNN needs Ampere (8.0) or later; AMD's GPUs have no such number.
    major = str(device.compute_capability).partition(".")[0]
    if major.isdecimal() and int(major) >= 8:
      return "cudnn", "triton"
  if device.platform == "cpu":
    return ("heads",)
  return ()


def choose_attention(
  model: nn.Module,
  device: Any,
  height: int,
  width: int,
  *,
  train: bool = False,
) -> tuple[nn.Module, list[Choice]]:
  """Replaces attention="auto" by "xla" or a kernel of the device.

  Args:
    model: model; returned as it is if its attention is not "auto".
    device: a device that it runs on.
    height: height of the images in pixels.
    width: width of the images in pixels.
    train: whether it is trained there.
  """
  if getattr(model, "attention", None) != "auto":
    return model, []
  tokens = model.make_layout(height, width).tokens
  min_tokens = MIN_TOKENS if train else MIN_TOKENS_FORWARD
  value, reason = "xla", f"{device.device_kind} has no kernel for it"
  for kernel in find_kernels(device):
    if kernel not in min_tokens:
      continue
    least = min_tokens[kernel]
    if errors := model.clone(attention=kernel).find_errors(height, width):
      reason = errors[0].removeprefix("model.attention=").partition(": ")[0]
    elif tokens < least:
      reason = f"{tokens:,} tokens; {kernel!r} is faster from {least:,} on"
    else:
      value, reason = kernel, f"{tokens:,} tokens; faster from {least:,} on"
      break
  choice = Choice("model.attention", value, reason)
  return model.clone(attention=value), [choice]


def choose_batch(
  model: nn.Module, devices: Sequence[Any], height: int, width: int
) -> int:
  """Chooses how many images are computed at a time, without training.

  Args:
    model: the model.
    devices: those that share a batch; of a CPU they also share its caches.
    height: height of the images in pixels.
    width: width of the images in pixels.
  """
  if devices[0].platform != "cpu":
    return BATCH * len(devices)
  batch = MIN_CPU_BATCH
  if hasattr(model, "make_layout"):  # Of a ResNet nothing larger was tried.
    values = model.make_layout(height, width).tokens * model.width
    while batch < BATCH and 2 * batch * values <= CPU_VALUES:
      batch *= 2
  return batch


def choose_unroll(
  model: nn.Module, device: Any, steps: int
) -> tuple[nn.Module, list[Choice]]:
  """Replaces unroll="auto" by the number of blocks in an iteration of the scan.

  It is all or one: the arrays that a scan stacks for the backward pass cost
  most of the difference, and are the same with a few blocks in an iteration
  (H100, B/16: 121 ms with 1 and with 4, 73 ms with 12).

  Args:
    model: model; returned as it is if its unroll is not "auto".
    device: a device that it is trained on.
    steps: length of the run.
  """
  if getattr(model, "unroll", None) != "auto":
    return model, []
  least = MIN_UNROLLED_STEPS[device.platform]
  value = 1
  if model.depth == 1:
    reason = "the model has one block"
  elif steps < least:
    reason = f"{steps:,} steps; unrolling pays from {least:,} on"
  elif model.depth > MAX_UNROLLED:
    reason = f"more than {MAX_UNROLLED} blocks take too long to compile"
  else:
    value = model.depth
    reason = "all blocks: slower to compile, and faster in every step"
  return model.clone(unroll=value), [Choice("model.unroll", value, reason)]


def find_device_errors(model: nn.Module, device: Any) -> list[str]:
  """Lists the settings of a model that this kind of device does not support."""
  errors, platform = [], device.platform
  if getattr(model, "remat", None) == "offload" and platform == "cpu":
    errors.append(
      "model.remat='offload' moves activations from an accelerator's memory to "
      "the host's, and a CPU has only one: use 'full'"
    )
  attention = getattr(model, "attention", "xla")
  if attention not in ("xla", *find_kernels(device)):
    tpu = dict.fromkeys(("flash", "vmem"), "a TPU")
    nvidia = dict.fromkeys(("cudnn", "triton"), "an NVIDIA GPU from Ampere on")
    kind = tpu | nvidia | {"heads": "a CPU"}
    errors.append(
      f"model.attention={attention!r} needs {kind[attention]}, and this is "
      f"{device.device_kind}: use 'auto' or 'xla'"
    )
  return errors
