# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.equations import embed_patches, gelu_tanh, layer_norm
from tests.support.models import make_params
from vit_jax import models


def mlp(x, p):
  x = gelu_tanh(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"])
  return x @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]


def forward(params, image, patch):
  """The paper's equation 1, an example at a time."""
  logits = []
  for picture in image:
    x = np.stack(list(embed_patches(picture, params["stem"], patch)))
    blocks = params["MixerBlock"]
    for layer in range(blocks["LayerNorm_0"]["scale"].shape[0]):
      p = jax.tree.map(lambda a, i=layer: a[i], blocks)
      x = x + mlp(layer_norm(x, p["LayerNorm_0"]).T, p["token_mixing"]).T
      x = x + mlp(layer_norm(x, p["LayerNorm_1"]), p["channel_mixing"])
    x = layer_norm(x, params["pre_head_layer_norm"]).mean(0)
    logits.append(x @ params["head"]["kernel"] + params["head"]["bias"])
  return np.stack(logits)


@pytest.mark.parametrize("unroll", [1, 3])
def test_forward_is_the_papers_equations(unroll):
  model = models.make_model(
    5,
    variant="Mixer-B/4",
    width=16,
    depth=3,
    token_mlp_dim=12,
    mlp_dim=24,
    unroll=unroll,
    dtype="float32",
  )
  image = np.random.default_rng(1).uniform(-1, 1, (2, 12, 8, 3))
  params = make_params(model, image)
  expected = forward(params, image, 4)
  arrays = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
  logits = jax.jit(model.apply)(
    {"params": arrays}, jnp.asarray(image, jnp.float32)
  )
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_another_size_than_that_of_training_is_another_model():
  """Token mixing has one weight a token."""
  model = models.make_model(5, variant="Mixer-B/4", width=16, depth=1)
  variables = {"params": make_params(model, jnp.zeros((1, 8, 8, 3)))}
  with pytest.raises(Exception, match="shape"):
    model.apply(variables, jnp.zeros((1, 12, 12, 3)))
