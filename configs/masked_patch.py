# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""Masked patch prediction (ViT paper, appendix B.1.2): no labels are read.

  python -m vit_jax.main --config=configs/masked_patch.py --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/masked_patch.py:dataset=imagenet,steps=100000
  python -m vit_jax.main --workdir=DIR \
      --config=configs/masked_patch.py:dataset=images:PHOTOS
  python -m vit_jax.main --config=configs/masked_patch.py:dataset=digits \
      --workdir=DIR

Its encoder is then fine-tuned, or probed, like any other:

  python -m vit_jax.main --config=configs/finetune.py:dataset=folder:PHOTOS \
      --workdir=TUNED --config.init=DIR
  python -m vit_jax.evaluate DIR --evals=knn,linear

The paper's: 79.9 % on ImageNet after fine-tuning B/16, 2 % above training from
scratch and 4 % below supervised pre-training.
The paper's cost: not known; 1M steps of 4,096 images of JFT-300M.
Ours, measured: on digits alone, with a model of 0.14 M parameters, in
docs/studies.md.

Arguments: dataset, jft300m, imagenet21k, imagenet, folder:PATH, digits, or
images:PATH, which has no classes; model; rate, 0.5 or 0.15 of the patches;
target, mean_colour, downsized or pixels; steps.

The paper's are Adam, batch 4096, learning rate 2e-4, 10k steps of warm-up and
cosine decay, and that half of the patches and their mean colour are best. It
does not say how images are cropped: here as in its other pre-training, by
TensorFlow's random boxes, and with flips; nor whether weights decay: here they
do not. The JFT-300M of the paper is not public. Of a folder, batch and steps
follow the number of images as in configs/finetune.py, with a tenth of the
images held out; these, and all of the digits' recipe, are ours.
"""

from ml_collections import ConfigDict

from configs import arguments, photographs, pretraining

TARGETS = ("mean_colour", "downsized", "pixels")
CHOICES = {
  "dataset": (*pretraining.DATASETS, "digits"),
  "model": ("B/16", "B/32", "L/16"),
  "rate": (0.5, 0.15),
  "target": TARGETS,
}

# Four layers of 64 for the digits, with patches of 2 x 2 of their 8 x 8 pixels.
DIGITS = dict(
  variant="mu/4", width=64, depth=4, mlp_dim=128, num_heads=4, dtype="float32"
)


def get_config(text=""):
  """Arguments: dataset, model, rate, target, steps."""
  args = arguments.parse(
    text,
    {"target": TARGETS},
    **dict(dataset="jft300m", model="B/16", rate=0.5, target="mean_colour"),
    steps=0,
  )
  objective = dict(name="masked_patch", rate=args.rate, target=args.target)
  config = make_config(args.dataset, args.model, args.steps)
  return ConfigDict(config | dict(objective=objective))


def make_config(dataset, model, steps):
  """The config of a data set, without its objective."""
  name, _, path = dataset.partition(":")
  optim = dict(name="adam", lr=2e-4, schedule="cosine", warmup_steps=10_000)
  data = dict(
    size=224, crop="distorted_box", resize="bilinear", augment=dict(flip=True)
  )
  if dataset in pretraining.DATASETS:
    splits = pretraining.DATASETS[dataset]
    return dict(
      model=dict(variant=model),
      data=data | dict(source=splits["source"], train=splits["train"]),
      optim=optim,
      train=dict(batch_size=4096, steps=steps or 1_000_000, log_every=50),
      evals={
        key: dict(kind="loss", every=10_000) | section
        for key, section in splits["evals"].items()
      },
      checkpoint=dict(every=1000, keep=2),
    )
  length, test = photographs.Length(128, 1000), "test"
  if name in photographs.KINDS and path:
    images = photographs.count_images(dataset)
    length = photographs.choose_length(images) if images else length
    source = dict(data, source=dataset, train="train")
    model = dict(variant=model)
  elif dataset == "digits":
    source = dict(
      source="tfds:digits",
      size=16,
      crop="random_resized",
      crop_area=(0.6, 1.0),
      resize="bilinear",
      threads=1,
    )
    model, optim["lr"] = DIGITS, 1e-3
  else:
    raise ValueError(
      f"dataset={dataset} is none of {', '.join(CHOICES['dataset'])}, "
      f"folder:PATH and images:PATH"
    )
  steps = steps or length.steps
  tenth = max(1, steps // 10)
  evals = dict(test=dict(kind="loss", split=test, every=tenth))
  if name != "images":
    evals["knn"] = dict(kind="knn", split=test, every=5 * tenth)
  return dict(
    model=model,
    data=source,
    optim=optim | dict(warmup_steps=tenth),
    train=dict(
      batch_size=length.batch,
      steps=steps,
      log_every=min(50, tenth),
      allow_cpu=True,
    ),
    evals=evals,
    checkpoint=dict(every=min(500, 2 * tenth), keep=2),
  )
