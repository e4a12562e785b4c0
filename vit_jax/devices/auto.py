# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Choices of "auto" by the kind of device that a model is trained on."""

from typing import Any

import flax.linen as nn

# Tokens from which an attention kernel replaces XLA's attention. Below, padding
# to the blocks of a TPU kernel costs more than all of XLA's attention (estimate
# of the compiler for v5e; not measured on a device). From there on the weights
# [B K N N] are most of a block's memory, on a GPU as well.
MIN_KERNEL_TOKENS = 1000


def find_kernel(device: Any) -> str | None:
  """Returns the attention kernel (key of KERNELS) of a jax device, if any."""
  if device.platform == "tpu":
    return "flash"
  if device.platform == "gpu":
    # cuDNN needs Ampere (8.0) or later; AMD's GPUs have no such number.
    major = str(device.compute_capability).partition(".")[0]
    return "cudnn" if major.isdecimal() and int(major) >= 8 else None
  return None


def choose_attention(
  model: nn.Module, device: Any, height: int, width: int
) -> nn.Module:
  """Replaces attention="auto" by "xla" or the kernel of the device.

  Args:
    model: model; returned as it is if its attention is not "auto".
    device: a device that it is trained on.
    height: height of the images in pixels.
    width: width of the images in pixels.
  """
  if getattr(model, "attention", None) != "auto":
    return model
  kernel = find_kernel(device)
  tokens = model.make_layout(height, width).tokens
  if kernel is None or tokens < MIN_KERNEL_TOKENS:
    return model.clone(attention="xla")
  other = model.clone(attention=kernel)
  if other.find_errors(height, width):
    return model.clone(attention="xla")
  return other


def find_device_errors(model: nn.Module, device: Any) -> list[str]:
  """Lists the settings of a model that this kind of device does not support."""
  errors, platform = [], device.platform
  if getattr(model, "remat", None) == "offload" and platform == "cpu":
    errors.append(
      "model.remat='offload' moves activations from an accelerator's memory to "
      "the host's, and a CPU has only one: use 'full'"
    )
  attention = getattr(model, "attention", "xla")
  if attention != "xla" and attention != find_kernel(device):
    kind = {"flash": "a TPU", "cudnn": "an NVIDIA GPU from Ampere on"}
    errors.append(
      f"model.attention={attention!r} needs {kind[attention]}, and this is "
      f"{device.device_kind}: use 'auto' or 'xla'"
    )
  return errors
