# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What depends on the kind of device that a model is trained on."""

from typing import Any

import flax.linen as nn

# Tokens from which a kernel replaces XLA's attention. Below, on a TPU, padding
# to its blocks costs more than all of XLA's attention (the compiler's estimate
# for v5e; nothing was measured on a chip). From there on the weights [B K N N]
# are most of a block's memory, on a GPU as well.
LONG = 1000


def get_kernel(device: Any) -> str | None:
  """The key of KERNELS that a jax device can run, if there is one."""
  if device.platform == "tpu":
    return "flash"
  if device.platform == "gpu":
    # cuDNN wants Ampere, 8.0, or later; AMD's GPUs have no such number.
    major = str(device.compute_capability).partition(".")[0]
    return "cudnn" if major.isdecimal() and int(major) >= 8 else None
  return None


def choose_attention(
  model: nn.Module, device: Any, height: int, width: int
) -> nn.Module:
  """The model with `attention="auto"` decided, if it has that.

  Args:
    model: any.
    device: one of those that it is trained on.
    height: of the images, in pixels.
    width: of the images, in pixels.
  """
  if getattr(model, "attention", None) != "auto":
    return model
  kernel = get_kernel(device)
  tokens = model.get_layout(height, width).tokens
  if kernel is None or tokens < LONG:
    return model.clone(attention="xla")
  other = model.clone(attention=kernel)
  if other.get_errors(height, width):
    return model.clone(attention="xla")
  return other


def get_device_errors(model: nn.Module, device: Any) -> list[str]:
  """What a model asks for that devices of this kind do not have."""
  errors, platform = [], device.platform
  if getattr(model, "remat", None) == "offload" and platform == "cpu":
    errors.append(
      "model.remat='offload' moves activations out of an accelerator's memory, "
      "and a CPU has its own alone: take 'full'"
    )
  attention = getattr(model, "attention", "xla")
  if attention != "xla" and attention != get_kernel(device):
    kind = {"flash": "a TPU", "cudnn": "an NVIDIA GPU from Ampere on"}
    errors.append(
      f"model.attention={attention!r} needs {kind[attention]}, and this is "
      f"{device.device_kind}: take 'auto' or 'xla'"
    )
  return errors
