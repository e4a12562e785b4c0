# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""AugReg's grid of pre-training ("How to train your ViT?", arXiv 2106.10270).

  python -m vit_jax.main --config=configs/augreg.py --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/augreg.py:model=S/16,epochs=30
  python -m vit_jax.main --workdir=DIR \
      --config=configs/augreg.py:model=Ti/16,data=imagenet2012
  python -m vit_jax.main --workdir=DIR \
      --config=configs/augreg.py:model=L/16,wd=0.03,reg=0.1,aug=strong1

The paper's: results of the whole grid, which are not recorded here.
The paper's cost: not known.
Ours, measured: nothing yet.

Arguments: model; data, imagenet21k for 30 or 300 epochs or imagenet2012 for
300; wd, the weight decay; reg, the rate of dropout and of stochastic depth;
aug, a row of augmentation.py. The defaults are wd=0.1, reg=0 and the aug of the
model in the authors' released code. It has none for hybrids: that of the ViT of
about the same cost is ours.

The linear head is the paper's; the sigmoid loss with its head bias, -10 on
ImageNet-21k and -6.9 on ImageNet, and the central crop of evaluation are the
released code's. On ImageNet 1 % of train is held out as minival, and the result
is that of the validation split.
"""

from configs import arguments, augmentation, pretraining

# Model -> data set -> the default of `aug`.
MODELS = {
  "Ti/16": dict(imagenet21k="none", imagenet2012="light1"),
  "S/32": dict(imagenet21k="none", imagenet2012="medium1"),
  "S/16": dict(imagenet21k="light1", imagenet2012="medium2"),
  "B/32": dict(imagenet21k="light2", imagenet2012="medium2"),
  "B/16": dict(imagenet21k="light2", imagenet2012="medium2"),
  "L/16": dict(imagenet21k="medium2", imagenet2012="medium2"),
}
# Ours.
MODELS["R+Ti/16"] = MODELS["Ti/16"]
MODELS["R26+S/32"] = MODELS["S/16"]
MODELS["R50+L/32"] = MODELS["L/16"]

EPOCHS = {"imagenet21k": (30, 300), "imagenet2012": (300,)}
HEAD_BIAS = {"imagenet21k": -10.0, "imagenet2012": -6.9}

CHOICES = {
  "model": tuple(MODELS),
  "data": tuple(EPOCHS),
  "epochs": EPOCHS["imagenet21k"],
  "wd": (0.1, 0.03),
  "reg": (0.0, 0.1),
  "aug": tuple(augmentation.AUGREG),
}


def get_config(text=""):
  """Arguments: model, data, epochs, wd, reg, aug."""
  args = arguments.parse(
    text,
    CHOICES,
    model="B/16",
    data="imagenet21k",
    epochs=300,
    wd=0.1,
    reg=0.0,
    aug="",
  )
  if args.epochs not in EPOCHS[args.data]:
    raise ValueError(
      f"epochs={args.epochs}: data={args.data} is trained for 300 epochs"
    )
  aug = args.aug or MODELS[args.model][args.data]
  return pretraining.make_config(
    args.data,
    model=dict(
      variant=args.model,
      head_bias=HEAD_BIAS[args.data],
      dropout=args.reg,
      stochastic_depth=args.reg,
    ),
    sigmoid=True,
    optim=dict(lr=1e-3, schedule="cosine", weight_decay=args.wd, clip_norm=1.0),
    epochs=args.epochs,
    augment=augmentation.AUGREG[aug],
    eval_crop=0.875,
  )
