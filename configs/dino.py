# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""DINO (Caron et al., 2021, arXiv 2104.14294): no labels are read.

  python -m vit_jax.main --config=configs/dino.py --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/dino.py:model=B/16,epochs=400,local=10
  python -m vit_jax.main --config=configs/dino.py:dataset=images:PHOTOS \
      --workdir=DIR
  python -m vit_jax.main --config=configs/dino.py:dataset=digits --workdir=DIR

The encoder, which is the teacher's, is then fine-tuned, or probed, like any:

  python -m vit_jax.main --workdir=TUNED --config.init=DIR \
      --config=configs/finetune.py:model=S/16,dataset=folder:PHOTOS,res=224

The paper's: S/16 on ImageNet, by k-NN and a linear probe, 69.3 and 74.0 % after
100 epochs, as its authors' files have it.
The paper's cost: 1.75 days of 8 GPUs, for these 100 epochs.
Ours, measured: on digits alone, with a model of 0.14 M parameters, in
docs/studies.md.

Arguments: dataset, imagenet, digits, folder:PATH, or images:PATH, which has no
classes; model; epochs, on ImageNet; local, the number of small views.

The paper's (section 3.2, appendix C) are AdamW, batch 1024, learning rate 5e-4
for each 256 images, 10 epochs of warm-up, cosine decay to 1e-6, two views at
224 px and small ones at 96, a head of 2048, 2048 and 256 with 65,536 outputs,
temperatures 0.1 and 0.04, which rises to 0.07 in 30 epochs, weight decay that
rises from 0.04 to 0.4 along a cosine, a teacher's momentum of 0.996 that rises
to 1, and a centre's of 0.9. From its released code
are 8 small views of 5 to 40 % and large ones of 40 to 100 % of an image, their
colours (data.views.colour=dino), Pillow's bicubic resizing, the first epoch
without the last layer, stochastic depth of 0.1, and the clipping of gradients
at 3, which it does for each array and we for all.

Otherwise than there: the class token and positions do not decay; the encoder
begins as the ViT authors' does, there from a normal distribution of 0.02; the
teacher's temperature rises with each step, there with each epoch, and so for
0.3 of the epochs where they are fewer than 100; values are scaled to [-1, 1],
there by ImageNet's statistics; blurs are Gaussian, there of boxes; 1 % of train
is held out, as in our other recipes. Of a folder, batch and steps follow the
number of images, as in configs/finetune.py; these, and all of the digits'
recipe, are ours.
"""

from ml_collections import ConfigDict

from configs import arguments, views

CHOICES = {"dataset": views.SETS, "model": ("S/16", "B/16")}


def get_config(text=""):
  """Arguments: dataset, model, epochs, local."""
  args = arguments.parse(
    text,
    {"model": CHOICES["model"]},
    **dict(dataset="imagenet", model="S/16", epochs=100, local=8),
  )
  config = views.make_run(args.dataset, epochs=args.epochs, batch_size=1024)
  data = dict(
    resize="bicubic",
    crop_area=(0.4, 1.0),
    views=dict(
      count=2,
      local=args.local,
      local_size=96,
      local_area=(0.05, 0.4),
      colour="dino",
    ),
  )
  model = dict(variant=args.model, gelu="exact", stochastic_depth=0.1)
  objective = dict(temperature_epochs=0.3 * args.epochs)
  batch = config["train"]["batch_size"]
  lr = 5e-4 * batch / 256
  if args.dataset == "digits":
    model, lr = dict(views.DIGITS, dtype="float32"), 1e-3
    data["views"] |= dict(local_size=8, local_area=(0.2, 0.5))
    objective = dict(
      hidden=256,
      bottleneck=64,
      outputs=1024,
      temperature_epochs=0.0,
      teacher_temperature=0.04,
    )
  else:
    data |= dict(eval_crop=0.875)
  return ConfigDict(
    config
    | dict(
      model=model,
      data=config["data"] | data,
      objective=dict(name="dino", momentum=0.996) | objective,
      optim=dict(
        name="adam",
        lr=lr,
        end_lr=1e-6,
        schedule="cosine",
        weight_decay=0.04,
        weight_decay_end=0.4,
        clip_norm=3.0,
        **views.scale(config, args.dataset, 0.1),
      ),
    )
  )
