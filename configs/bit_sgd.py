# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""BiT's own pre-training with SGD (Kolesnikov et al., 2020, arXiv 1912.11370).

  python -m vit_jax.main --config=configs/bit_sgd.py --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/bit_sgd.py:model=R152x2,dataset=imagenet

The paper's: not recorded here.
The paper's cost: not known; the code names 32 minutes on a TPUv3-128 for R50x1
  on ImageNet.
Ours, measured: nothing yet.

Arguments: model; dataset, imagenet21k or imagenet. `bit.py` trains the same
models with Adam, as the ViT paper does.

All is that of the authors' released code (big_vision, bit_i21k.py and
bit_i1k.py): 90 epochs, batch 4096, momentum 0.9 in bfloat16, clip 1, a cosine,
and for ImageNet-21k and ImageNet a learning rate of 0.48 and 1.6, 5,000 and
1,000 steps of warm-up, the sigmoid loss with a head bias of -10 and softmax.
Its weight decay of 4.8e-4 and 1.6e-3 is multiplied by the schedule but not by
the peak learning rate; by both, as here, it is 1e-3. The paper's own schedule
falls in steps. On ImageNet 1 % of train is held out as minival, and the result
is that of the validation split.

Unlike the code: on ImageNet it trains a ResNet with activations after the
convolutions, here it is the paper's, with activations before; the root pool
pads with zeros, as in the published files, not with minus infinity; the
momentum is rounded to bfloat16 between steps, but decays by 0.9 in float32, not
by 0.8984, the nearest bfloat16; evaluations are every 10,000 steps, not every
1,000.
"""

from configs import arguments, pretraining

# Data set -> peak learning rate, weight decay as the code counts it, steps of
# warm-up.
ROWS = {
  "imagenet21k": (0.48, 4.8e-4, 5_000),
  "imagenet": (1.6, 1.6e-3, 1_000),
}
CHOICES = {
  "model": ("R50x1", "R101x1", "R152x2", "R152x4"),  # Of the public files.
  "dataset": tuple(ROWS),
}


def get_config(text=""):
  """Arguments: model, dataset."""
  args = arguments.parse(text, CHOICES, model="R50x1", dataset="imagenet21k")
  lr, decay, warmup = ROWS[args.dataset]
  sigmoid = args.dataset == "imagenet21k"
  return pretraining.make_config(
    args.dataset,
    model=dict(variant=args.model, head_bias=-10.0 if sigmoid else 0.0),
    sigmoid=sigmoid,
    optim=dict(
      name="sgd",
      lr=lr,
      b1=0.9,
      momentum_dtype="bfloat16",
      schedule="cosine",
      warmup_steps=warmup,
      weight_decay=decay / lr,
      clip_norm=1.0,
    ),
    epochs=90,
    augment=dict(flip=True),
    eval_crop=0.875,
  )
