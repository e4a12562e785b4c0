# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' masked autoencoder, with its decoder: in, and out again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models
from vit_jax.convert import load_weights
from vit_jax.convert.autoencoder import (
  Autoencoder,
  load_autoencoder,
  save_autoencoder,
)
from vit_jax.convert.weights import Weights, flatten
from vit_jax.data.preprocess import Preprocess
from vit_jax.objectives.mae import MAE

pytestmark = pytest.mark.judges

SIZES = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4)
DECODER = dict(
  decoder_hidden_size=32,
  decoder_num_hidden_layers=2,
  decoder_num_attention_heads=2,
)
IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
VISIBLE = np.array([[1, 2, 9, 14], [0, 5, 6, 15]], np.int32)  # Of 16 patches.


def judge(torch, model):
  """(loss, predictions) of transformers, with VISIBLE what its encoder sees."""
  noise = np.ones((2, 16), np.float32)
  np.put_along_axis(noise, VISIBLE, 0, axis=1)
  pixels = torch.from_numpy(np.moveaxis(IMAGES, -1, 1).astype(np.float32))
  found = model.eval()(pixels, noise=torch.from_numpy(noise))
  return float(found.loss), found.logits.numpy()


def compute(found):
  """The same of ours."""
  image = jnp.asarray(IMAGES, jnp.float32)
  visible = jnp.asarray(VISIBLE)
  module = found.objective.module
  with jax.default_matmul_precision("highest"):
    predicted = module.apply({"params": found.params}, image, visible)
  batch = {"image": image, "mask": jnp.ones(2, bool)}
  total, count = found.objective.compute_metrics(predicted, visible, batch)[
    "loss"
  ]
  return float(total / count), np.asarray(predicted)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_directory_of_transformers(torch, transformers, tmp_path, normalise):
  """The predictions of all patches, and the loss, to 1e-5 of their size."""
  config = transformers.ViTMAEConfig(
    image_size=32,
    patch_size=8,
    intermediate_size=256,
    decoder_intermediate_size=128,
    norm_pix_loss=normalise,
    **SIZES,
    **DECODER,
  )
  torch.manual_seed(0)
  model = transformers.ViTMAEForPreTraining(config)
  # Where it is not loaded, its fixed positions are zero otherwise.
  model.vit.embeddings.initialize_weights()
  model.decoder.initialize_weights(16)
  for name, parameter in model.named_parameters():
    if "pos" not in name:  # Biases and norms, too, are not what they begin as.
      parameter.add_(0.1 * torch.randn_like(parameter))
  model.save_pretrained(str(tmp_path / "theirs"))
  loss, logits = judge(torch, model)
  found = load_autoencoder(str(tmp_path / "theirs"))
  assert found.objective.normalise == normalise
  ours, predicted = compute(found)
  np.testing.assert_allclose(
    predicted, logits, atol=1e-5 * np.abs(logits).max()
  )
  assert ours == pytest.approx(loss, rel=1e-5)
  # The encoder alone is read as any other.
  encoder = load_weights(str(tmp_path / "theirs"))
  assert encoder.num_classes == 0 and encoder.size == (32, 32)
  # And what we write of it is what transformers wrote.
  save_autoencoder(found, str(tmp_path / "ours"))
  again, keys = transformers.ViTMAEForPreTraining.from_pretrained(
    str(tmp_path / "ours"), output_loading_info=True
  )
  assert not any(keys.values()), keys
  for (name, a), (_, b) in zip(
    model.state_dict().items(), again.state_dict().items(), strict=True
  ):
    # The positions are computed here in float32.
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5 if "pos" in name else 0)


def test_what_we_train(torch, transformers, tmp_path):
  """Fixed positions of ours become an array of theirs."""
  model = models.make_model(
    0,
    variant="mu/8",
    width=64,
    depth=2,
    mlp_dim=256,
    num_heads=4,
    position="sincos_2d",
    gelu="exact",
    dtype="float32",
  )
  objective = MAE(model, decoder_width=32, decoder_depth=2, decoder_heads=2)
  params = objective.module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))[
    "params"
  ]
  weights = Weights(
    params={
      path: np.asarray(x)
      for path, x in flatten(params).items()
      if not path.startswith("mae/")
    },
    variant="mu/8",
    fields=dict(
      width=64,
      depth=2,
      mlp_dim=256,
      num_heads=4,
      position="sincos_2d",
      gelu="exact",
      dtype="float32",
    ),
    num_classes=0,
    preprocess=Preprocess(height=32, width=32, channels=3),
  )
  found = Autoencoder(weights, objective, params)
  save_autoencoder(found, str(tmp_path / "ours"))
  judged = transformers.ViTMAEForPreTraining.from_pretrained(
    str(tmp_path / "ours")
  )
  loss, logits = judge(torch, judged)
  ours, predicted = compute(found)
  np.testing.assert_allclose(
    predicted, logits, atol=1e-5 * np.abs(logits).max()
  )
  assert ours == pytest.approx(loss, rel=1e-5)


def test_timm_s_encoder(timm, torch, tmp_path):
  """timm publishes the encoder alone, vit_base_patch16_224.mae and the like."""
  from safetensors.torch import save_file

  torch.manual_seed(0)
  model = timm.create_model(
    "vit_base_patch16_224.mae",
    pretrained=False,
    embed_dim=64,
    depth=2,
    num_heads=4,
    img_size=32,
    patch_size=8,
  ).eval()
  assert model.num_classes == 0
  save_file(model.state_dict(), str(tmp_path / "model.safetensors"))
  pixels = torch.from_numpy(np.moveaxis(IMAGES, -1, 1).astype(np.float32))
  weights = load_weights(
    str(tmp_path / "model.safetensors"), num_heads=4, source_size=(32, 32)
  )
  params = {"params": weights.tree}
  with jax.default_matmul_precision("highest"):
    ours = weights.model.apply(params, jnp.asarray(IMAGES, jnp.float32))
  np.testing.assert_allclose(ours, model(pixels).numpy(), atol=1e-5)
