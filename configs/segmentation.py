# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""Semantic segmentation: a class for each pixel, of folders of masks.

  python -m vit_jax.main --config=configs/segmentation.py:dataset=MASKED \
      --workdir=DIR --config.init=B_16.npz
  python -m vit_jax.main --workdir=DIR --config.init=L_16.npz \
      --config=configs/segmentation.py:dataset=MASKED,model=L/16,head=pup

MASKED/train/images/NAME.jpg has its classes in MASKED/train/masks/NAME.png, and
likewise MASKED/validation (docs/segmentation.md).

The paper's: SETR (Zheng et al., 2021, arXiv 2012.15840) with L/16 from
ImageNet-21k, mIoU of ADE20K's validation images at one scale: 48.06 % (naive),
48.58 % (pup), as its repository lists them.
The paper's cost: not known; 160,000 steps of 16 images of 512 px.
Ours, measured: nothing yet on ADE20K; docs/segmentation.md has small sets.

Arguments: dataset, the folder; model; head, linear, naive or pup; res, pixels;
steps, 0 for 127 epochs, which are 160,000 steps of 16 images of ADE20K; batch;
lr.

As there: SGD with momentum 0.9, no weight decay, a learning rate of 0.001 for
batches of 16 and ten times that for the head, flips. Unlike there: the rate
falls by a cosine, not by a power of 0.9, and gradients are clipped; boxes of an
image are resized, whose aspect changes; there are no auxiliary losses; heads
have LayerNorm instead of BatchNorm; evaluation sees the whole image at once.
"""

from ml_collections import ConfigDict

from configs import arguments

CHOICES = {
  "model": ("B/16", "L/16", "B/32", "S/16"),
  "head": ("linear", "naive", "pup"),
  "res": (512, 480, 384, 224),
}


def get_config(text=""):
  """Arguments: dataset, model, head, res, steps, batch, lr."""
  args = arguments.parse(
    text,
    {"head": CHOICES["head"]},
    **dict(dataset="MASKED", model="B/16", head="linear", res=512),
    **dict(steps=0, batch=16, lr=0.0),
  )
  length = dict(steps=args.steps) if args.steps else dict(epochs=127)
  return ConfigDict(
    dict(
      model=dict(variant=args.model),
      data=dict(
        source=f"segmentation:{args.dataset}",
        train="train",
        size=args.res - args.res % arguments.parse_patch(args.model),
        crop="random_resized",
        crop_area=(0.25, 1.0),
        resize="bilinear",
        augment=dict(flip=True),
      ),
      objective=dict(name="segmentation", head=args.head),
      optim=dict(
        name="sgd",
        lr=args.lr or 0.001 * args.batch / 16,
        b1=0.9,
        multipliers=(("^segmentation/", 10.0),),
        schedule="cosine",
        clip_norm=1.0,
      ),
      train=dict(batch_size=args.batch, log_every=50, allow_cpu=True) | length,
      evals=dict(
        validation=dict(kind="segmentation", split="validation", every=1000)
      ),
      checkpoint=dict(every=500, keep=2),
    )
  )
