# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
r"""One encoder, learned without labels in four ways: what a study compares.

  python -m vit_jax.study without_labels --scale=digits --workdir=DIR
  python -m vit_jax.main --workdir=DIR \
      --config=configs/without_labels.py:scale=laptop,dataset='folder:PHOTOS'

  digits  a ViT of 0.14 M parameters on the embedded digits
  laptop  the same at 24 px on small photographs, as CIFAR-10's
  card    the encoder of S/16 with patches of 4 at 32 px, on the same
  pod     S/16 on ImageNet for 100 epochs

The paper's: nothing. It only says of masked patches that 2 % are gained over
training from scratch (section 4.6), with B/16 on JFT.
The paper's cost: not known.
Ours, measured: at digits, in docs/studies.md.

All of it is ours, so that the ways differ in little else: the same encoder with
fixed sines and cosines for positions and mean pooling, as many steps, Adam, one
learning rate for all of them but DINO, at digits and laptop. The objectives
have the settings of their recipes, but for what is small at the first three
scales: heads, decoder, views. MoCo's patch projection stays at random, as in
its paper.

`few` is the paper's few-shot probe (section 4.1), of 5 images of a class, with
ten drawings.

Arguments: objective, masked_patch, mae, moco, dino, or none, which is the
encoder at random: one step, with all of it frozen; phase, pretrain, or
finetune, which trains everything with Adam on the few labelled images, the
first 10 % of the digits, 1 % beyond, for as many steps wherever it starts;
scale; steps of pre-training, 0 for the scale's own; dataset, "" for the scale's
own, which at laptop and card are made-up images.
"""

from ml_collections import ConfigDict

from configs import arguments, digits

SCALES = ("digits", "laptop", "card", "pod")
DATASETS = dict(
  digits="tfds:digits",
  laptop="synthetic:10",
  card="synthetic:10",
  pod="tfds:imagenet2012",
)
OBJECTIVES = ("none", "masked_patch", "mae", "moco", "dino")

SMALL = digits.SMALL | dict(dtype="float32")
MODELS = dict(
  digits=SMALL,
  laptop=SMALL,
  card=dict(variant="S/4", num_heads=12),
  pod=dict(variant="S/16", num_heads=12),
)
# Pixels, batch size, steps of pre-training, flip.
SIZES = dict(
  digits=(16, 128, 300, False),
  laptop=(24, 128, 400, True),
  card=(32, 512, 20_000, True),
  pod=(224, 1024, 125_000, True),
)
# Percent of the training images that have labels, the first; batch size, steps.
TUNED = dict(
  digits=(10, 64, 100),
  laptop=(1, 64, 100),
  card=(1, 128, 1000),
  pod=(1, 512, 2500),
)
LR = dict(digits=1e-3, laptop=1e-3, card=1e-3, pod=6e-4)
LR_DINO = dict(digits=5e-4, laptop=5e-4)  # At 1e-3 it stays collapsed.

# Heads of the scales digits and laptop, and of card.
HEADS = dict(
  masked_patch=dict(target="mean_colour"),
  mae=dict(decoder_width=64, decoder_depth=2, decoder_heads=4),
  moco=dict(hidden=256, outputs=64, temperature=0.2, momentum=0.99),
  dino=dict(
    hidden=256,
    bottleneck=64,
    outputs=256,
    temperature_epochs=0.0,
    teacher_temperature=0.02,
    momentum=0.99,
  ),
)
CARD = dict(
  masked_patch=HEADS["masked_patch"],
  mae=dict(decoder_width=192, decoder_depth=4, decoder_heads=3),
  moco=HEADS["moco"] | dict(hidden=2048, outputs=256),
  dino=HEADS["dino"]
  | dict(hidden=1024, bottleneck=256, outputs=4096, teacher_temperature=0.04),
)
# At the scale pod the others have their defaults, those of their papers.
POD = dict(masked_patch=HEADS["masked_patch"])


def get_config(text=""):
  """Arguments: objective, phase, scale, steps, dataset."""
  args = arguments.parse(
    text,
    dict(objective=OBJECTIVES, phase=("pretrain", "finetune"), scale=SCALES),
    **dict(objective="mae", phase="pretrain", scale="digits", dataset=""),
    steps=0,
  )
  size, batch, steps, flip = SIZES[args.scale]
  steps = args.steps or steps
  model = MODELS[args.scale] | dict(position="sincos_2d", pool="gap")
  small = args.scale in ("digits", "laptop")
  data = dict(
    source=args.dataset or DATASETS[args.scale],
    train="train",
    size=size,
    crop="random_resized",
    crop_area=(0.3, 1.0) if small else (0.08, 1.0),
    resize="bilinear_antialias",
    augment=dict(flip=flip),
  )
  evals = dict(
    few=dict(
      kind="fewshot",
      split="validation" if args.scale == "pod" else "test",
      train_split="train" if args.scale == "digits" else "train[:10%]",
      shots=(5,),
      seeds=10,
    )
  )
  optim = dict(
    name="adam",
    lr=LR[args.scale],
    schedule="cosine",
    weight_decay=0.1,
    clip_norm=1.0,
  )
  if args.phase == "finetune":
    percent, batch, steps = TUNED[args.scale]
    data["train"] = f"train[:{percent}%]"
    split = evals.pop("few")["split"]
    evals["test"] = dict(kind="classification", split=split)
    objective = dict(label_smoothing=0.1)
  else:
    objective = choose_objective(args.objective, args.scale)
    data |= choose_views(args.objective, size)
    if args.objective == "dino":
      optim["lr"] = LR_DINO.get(args.scale, optim["lr"])
    if args.objective == "moco":
      optim["multipliers"] = (("^embedding/", 0.0),)
    if args.objective == "none":
      steps, optim["multipliers"] = 1, ((".*", 0.0),)
  train = dict(
    batch_size=batch,
    steps=steps,
    log_every=max(1, steps // 10),
    report=False,
  )
  if small:
    train["allow_cpu"] = True
  return ConfigDict(
    dict(
      model=model,
      data=data,
      objective=objective,
      optim=optim | dict(warmup_steps=max(1, steps // 10)),
      train=train,
      evals=evals,
      checkpoint=dict(every=min(1000, max(1, steps // 2)), keep=1),
    )
  )


def choose_objective(name, scale):
  """The section of an objective; at random it is of one that never trains."""
  name = "masked_patch" if name == "none" else name
  heads = {"card": CARD, "pod": POD}.get(scale, HEADS)
  return dict(name=name, **heads.get(name, {}))


def choose_views(name, size):
  """What is added to `data`, for the objectives that compare views."""
  if name == "moco":
    return dict(views=dict(count=2, colour="moco"))
  if name != "dino":
    return {}
  small = size < 96  # Half of a side; 96 of 224 pixels in the paper.
  return dict(
    views=dict(
      count=2,
      local=2 if small else 8,
      local_size=size // 8 * 4 if small else 96,
      local_area=(0.1, 0.4) if small else (0.05, 0.4),
      colour="dino",
    )
  )
