# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What turns a representation into logits."""

import flax.linen as nn
import jax.numpy as jnp


def make_head(num_classes: int, bias: float) -> nn.Dense:
  """The linear layer [B R] -> [B Y] that every model ends in, in float32.

  Its kernel starts at zero (ViT paper, section 3.2), so a new head says the
  same of every image: its bias.

  Args:
    num_classes: Y.
    bias: initial value of every logit.
  """
  return nn.Dense(
    num_classes,
    kernel_init=nn.initializers.zeros,
    bias_init=nn.initializers.constant(bias),
    dtype=jnp.float32,
  )
