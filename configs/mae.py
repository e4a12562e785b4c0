# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""Masked autoencoders (He et al., 2022, arXiv 2111.06377): no labels are read.

  python -m vit_jax.main --config=configs/mae.py --workdir=DIR
  python -m vit_jax.main --config=configs/mae.py:model=L/16 --workdir=DIR
  python -m vit_jax.main --config=configs/mae.py:dataset=images:PHOTOS \
      --workdir=DIR
  python -m vit_jax.main --config=configs/mae.py:dataset=digits --workdir=DIR

Then, from its encoder:

  python -m vit_jax.main --workdir=TUNED --config.init=DIR \
      --config=configs/mae.py:stage=finetune
  python -m vit_jax.evaluate DIR --evals=knn,linear

The paper's, on ImageNet after 1,600 epochs and fine-tuning at 224 px (table 3):
83.6 % with B/16, 85.9 % with L/16, 86.9 % with H/14.
The paper's cost: 31 hours for 1,600 epochs of L/16 on 128 TPU v3 cores.
Ours, measured: on digits alone, with a model of 0.14 M parameters, in
docs/studies.md.

Arguments: stage, pretrain or finetune; dataset, imagenet, folder:PATH, digits,
or images:PATH, which has no classes, to pre-train; model; epochs, 0 for the
stage's own: 800 for pretrain, and 100 (B) or 50 (L, H) for finetune.

Pre-training is the authors' code: 75 % of the patches hidden, normalised
pixels, a decoder of 8 blocks of width 512, AdamW with b2 0.95, a learning rate
of 1.5e-4 and batch 4096 / 256 times that, weight decay 0.05, 40 epochs of
warm-up, cosine; flips and boxes of 20 to 100 % of the area, resized by Pillow's
bicubic method, no colours. Fine-tuning too: layer-wise decay 0.65 (B) or 0.75,
stochastic depth 0.1, 0.2, 0.3 by size, mixup 0.8 and cutmix 1, label smoothing
0.1, RandAugment (2, 9), erasing 0.25, mean pooling with a new norm after it,
batch 1024, 5 epochs of warm-up, 5e-4 (B) or 1e-3 per 256 images.

Unlike the code: a fine-tuned model has no class token, which the code keeps and
does not read; RandAugment has one magnitude, the code's varies by 0.5; mixup or
cutmix is chosen for each image, not for each batch; what is erased gets uniform
noise, not normal; the class token and [mask] do not decay; the class token
begins at zero, and the patch projection from LeCun's normal distribution; the
frequencies of the encoder's positions are those of configs/vit_s16.py,
1 / 10,000 among them; values are scaled to [-1, 1], not by ImageNet's
statistics.

Of a folder, batch and length follow the number of images as in
configs/finetune.py, with a tenth of the images held out; that, and all of the
digits' recipe, is ours.
"""

from ml_collections import ConfigDict

from configs import arguments, photographs

CHOICES = {
  "stage": ("pretrain", "finetune"),
  "dataset": ("imagenet", "digits"),
  "model": ("B/16", "L/16", "H/14"),
}
EPOCHS = {"pretrain": 800, "finetune": 50}
WARMUP = {"pretrain": 40, "finetune": 5}

# Fine-tuning: epochs, learning rate of 256 images, layer-wise decay, stochastic
# depth.
TUNED = {
  "B/16": (100, 5e-4, 0.65, 0.1),
  "L/16": (50, 1e-3, 0.75, 0.2),
  "H/14": (50, 1e-3, 0.75, 0.3),
}

# Four layers of 64 for the digits, with patches of 2 x 2 of their 8 x 8 pixels.
DIGITS = dict(
  variant="mu/4", width=64, depth=4, mlp_dim=128, num_heads=4, dtype="float32"
)
DIGITS_DECODER = dict(decoder_width=64, decoder_depth=2, decoder_heads=4)


def get_config(text=""):
  """Arguments: stage, dataset, model, epochs."""
  args = arguments.parse(
    text,
    {"stage": CHOICES["stage"], "model": CHOICES["model"]},
    **dict(stage="pretrain", dataset="imagenet", model="B/16", epochs=0),
  )
  name, _, path = args.dataset.partition(":")
  small = name == "digits"
  kinds = photographs.KINDS[: 2 if args.stage == "pretrain" else 1]
  if args.dataset not in CHOICES["dataset"] and not (name in kinds and path):
    raise ValueError(
      f"dataset={args.dataset} is none of {', '.join(CHOICES['dataset'])}, "
      f"{' and '.join(f'{kind}:PATH' for kind in kinds)}"
    )
  config = pretrain(args) if args.stage == "pretrain" else finetune(args)
  config["data"] |= dict(
    source="tfds:imagenet2012" if name == "imagenet" else args.dataset
  )
  if small:
    config["model"] |= DIGITS
    config["data"] |= dict(
      source="tfds:digits", size=16, resize="bilinear", threads=1
    )
    config["data"]["augment"] = dict(
      config["data"]["augment"], flip=False, cutmix=0.0, randaugment=None
    )
    if args.stage == "pretrain":
      config["objective"] |= DIGITS_DECODER
  set_length(config, args)
  return ConfigDict(config)


def pretrain(args):
  """The sections of pre-training, but for data and length."""
  return dict(
    model=dict(variant=args.model, position="sincos_2d"),
    data=dict(
      size=224,
      crop="random_resized",
      crop_area=(0.2, 1.0),
      resize="bicubic",
      augment=dict(flip=True),
    ),
    objective=dict(name="mae"),
    optim=dict(
      name="adam", lr=1.5e-4, b2=0.95, weight_decay=0.05, schedule="cosine"
    ),
    train=dict(batch_size=4096, log_every=50),
    evals=dict(test=dict(kind="loss")),
    checkpoint=dict(every=1000, keep=2),
  )


def finetune(args):
  """The same of fine-tuning."""
  _, lr, decay, depth = TUNED[args.model]
  return dict(
    model=dict(
      variant=args.model,
      position="sincos_2d",
      pool="gap",
      fc_norm=True,
      stochastic_depth=depth,
    ),
    data=dict(
      size=224,
      crop="random_resized",
      resize="bicubic",
      eval_crop=0.875,
      augment=dict(
        flip=True, randaugment=(2, 9.0), mixup=0.8, cutmix=1.0, erasing=0.25
      ),
    ),
    objective=dict(label_smoothing=0.1),
    optim=dict(
      name="adam",
      lr=lr,
      layer_decay=decay,
      weight_decay=0.05,
      schedule="cosine",
      end_lr=1e-6,
    ),
    train=dict(batch_size=1024, log_every=50),
    evals=dict(test=dict(kind="classification")),
    checkpoint=dict(every=1000, keep=2),
  )


def set_length(config, args):
  """Sets batch, epochs or steps, and the evaluations' split and interval."""
  train, optim, test = (
    config["train"],
    config["optim"],
    config["evals"]["test"],
  )
  epochs = args.epochs or EPOCHS[args.stage]
  if args.stage == "finetune" and not args.epochs:
    epochs = TUNED[args.model][0]
  if args.dataset == "imagenet":
    optim["warmup_epochs"] = WARMUP[args.stage]
    train["epochs"] = epochs
    test |= dict(split="validation", every=10_000)
    config["data"]["train"] = "train"
    optim["lr"] *= train["batch_size"] / 256
    return
  length = photographs.Length(128, 1000)
  kind = args.dataset.partition(":")[0]
  folder = kind in photographs.KINDS
  if folder and (images := photographs.count_images(args.dataset)):
    length = photographs.choose_length(images)
  train["batch_size"] = length.batch
  if args.epochs:
    train["epochs"], optim["warmup_epochs"] = epochs, max(1, epochs // 10)
  else:
    train["steps"], optim["warmup_steps"] = length.steps, length.steps // 10
  tenth = max(1, length.steps // 10)
  train |= dict(log_every=min(50, tenth), allow_cpu=True)
  test |= dict(split="test", every=tenth)
  if args.stage == "pretrain" and kind != "images":
    config["evals"]["knn"] = dict(kind="knn", split="test", every=5 * tenth)
  config["checkpoint"]["every"] = min(500, 2 * tenth)
  # For batches of 4096 the rate is 2.4e-3; small ones take about half of it.
  optim["lr"] = 1e-3
