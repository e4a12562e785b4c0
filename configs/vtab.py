# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""VTAB-1k: 19 tasks, 1,000 training images each (ViT paper, appendix B.1.1).

  python -m vit_jax.prepare caltech101
  python -m vit_jax.main --config=configs/vtab.py --workdir=DIR \
      --config.init=B_16.npz
  python -m vit_jax.main --workdir=DIR --config.init=L_16.npz \
      --config=configs/vtab.py:model=L/16,task=clevr_count

All of them that are prepared, with their means by group beside the paper's:

  python -m vit_jax.study vtab --workdir=DIR --model=L/16 --init=L_16.npz

The paper's, means of three runs (table 2; --config.train.seed=N): H/14-JFT
77.63 %, L/16-JFT 76.28 %, L/16-I21k 72.72 %; beside them BiT-L, 76.29 %.
The paper's cost: not known.
Ours, measured: nothing yet.

Arguments: task, one of TASKS; model; dev=1, which trains on 800 of the images
and evaluates on the other 200, to choose hyper-parameters. So the paper chose
one learning rate and one schedule for all tasks, which are these.

From the paper: the learning rate, steps, batch, clipping and 384 px (378 for
patches of 14 px) of table 4, for every task. From BiT (Kolesnikov et al.,
2020), whose pre-processing the paper follows: random crops of 384 of 448 px and
flips, except where they would change the label (BiT's supplement F). Ours:
crops of that share of an image, but of varying aspect ratio (random_resized:
of TensorFlow's boxes none fits one area exactly), resized bilinearly. From
AugReg (Steiner et al., 2022), for as many steps: 200 of warm-up. From the
released code of fine-tuning, which has no VTAB: momentum in bfloat16, and the
dropout of finetune.py.
"""

from ml_collections import ConfigDict

from configs import arguments, finetune

TASKS = (
  # Natural, specialised and structured.
  *("caltech101", "cifar100", "dtd", "flowers102", "pets", "sun397", "svhn"),
  *("patch_camelyon", "eurosat", "resisc45", "retinopathy"),
  *("clevr_count", "clevr_dist", "dmlab", "kitti_dist"),
  *("dspr_loc", "dspr_ori", "snorb_azim", "snorb_elev"),
)

# BiT, supplement F.
NO_FLIP = ("dspr_ori", "snorb_azim", "dspr_loc")
NO_CROP = ("clevr_count", "clevr_dist", "dmlab", "kitti_dist", "dspr_loc")
AREA = (384 / 448) ** 2

CHOICES = {
  "task": TASKS,
  "model": ("B/16", "B/32", "L/16", "L/32", "H/14"),
  "dev": (0, 1),
}


def get_config(text=""):
  """Arguments: task, model, dev."""
  choices = {key: CHOICES[key] for key in ("task", "dev")}
  args = arguments.parse(text, choices, task="caltech101", model="B/16", dev=0)
  train, test = "train800val200", "test"
  if args.dev:
    train, test = "train800", "val200"
  patch = arguments.parse_patch(args.model)
  config = dict(
    model=finetune.make_model(args.model),
    data=dict(
      source=f"vtab:{args.task}",
      train=train,
      size=384 - 384 % patch,
      crop="none" if args.task in NO_CROP else "random_resized",
      crop_area=(AREA, AREA),
      resize="bilinear",
      augment=dict(flip=args.task not in NO_FLIP),
    ),
    optim=dict(
      name="sgd",
      lr=0.01,
      b1=0.9,
      momentum_dtype="bfloat16",
      schedule="cosine",
      warmup_steps=200,
      clip_norm=1.0,
    ),
    train=dict(batch_size=512, steps=2500, log_every=50),
    evals=dict(test=dict(kind="classification", split=test)),
    checkpoint=dict(every=500, keep=1),
  )
  return ConfigDict(config)
