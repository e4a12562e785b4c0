# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pre-training of the ViT paper: the rows of table 3 (appendix B.1).

All rows: Adam with b1 0.9 and b2 0.999, batch 4096, 10k steps of linear
warm-up, 224 px. The head of ViTs has a tanh layer, that of ResNets is linear,
as in BiT.

Not from the paper, but from the authors' released code and its maintainers: the
sigmoid loss with its head bias of -10, the end of the linear decay at 1e-5, the
images held out of training, that weight decay is of kernels alone, and
TensorFlow's random boxes (distorted_box), resized bilinearly; evaluation
resizes the whole image likewise. Their later code (big_vision) keeps Adam's
first moment in bfloat16, which this paper does not say: here it is float32.
"""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from configs import arguments


class Row(NamedTuple):
  """A row: models with the same hyper-parameters.

  Attributes:
    models: names of the models.
    dataset: a key of DATASETS.
    epochs: lengths of the runs.
    lr: peak learning rate.
    schedule: "linear" or "cosine" decay.
    weight_decay: weight decay, multiplied by the learning rate.
    dropout: rate.
    clip_norm: global norm to which gradients are clipped, or None.
  """

  models: tuple[str, ...]
  dataset: str
  epochs: tuple[int, ...]
  lr: float
  schedule: str
  weight_decay: float
  dropout: float
  clip_norm: float | None = None


VITS = ("B/16", "B/32", "L/16", "L/32", "H/14")

# Of every row, and of the later papers, too.
ADAM = dict(name="adam", b1=0.9, b2=0.999, warmup_steps=10_000)

TABLE_3 = (
  Row(("B/16", "B/32"), "jft300m", (7,), 8e-4, "linear", 0.1, 0.0),
  Row(("L/32",), "jft300m", (7,), 6e-4, "linear", 0.1, 0.0),
  Row(("L/16",), "jft300m", (7, 14), 4e-4, "linear", 0.1, 0.0),
  Row(("H/14",), "jft300m", (14,), 3e-4, "linear", 0.1, 0.0),
  Row(("R50x1", "R50x2"), "jft300m", (7,), 1e-3, "linear", 0.1, 0.0),
  Row(("R101x1",), "jft300m", (7,), 8e-4, "linear", 0.1, 0.0),
  Row(("R152x1", "R152x2"), "jft300m", (7,), 6e-4, "linear", 0.1, 0.0),
  Row(("R50+B/16", "R50+B/32"), "jft300m", (7,), 8e-4, "linear", 0.1, 0.0),
  Row(("R50+L/32",), "jft300m", (7,), 2e-4, "linear", 0.1, 0.0),
  Row(("R50+L/16",), "jft300m", (7, 14), 4e-4, "linear", 0.1, 0.0),
  Row(("B/16", "B/32"), "imagenet21k", (90,), 1e-3, "linear", 0.03, 0.1),
  Row(("L/16", "L/32"), "imagenet21k", (30, 90), 1e-3, "linear", 0.03, 0.1),
  Row(VITS, "imagenet", (300,), 3e-3, "cosine", 0.3, 0.1, clip_norm=1.0),
)

# Not in the paper's table: B for as many epochs as its L; H/14, for which the
# paper has a result (table 5) but no hyper-parameters, with those of L.
OURS = (
  Row(("B/16", "B/32"), "imagenet21k", (30,), 1e-3, "linear", 0.03, 0.1),
  Row(("H/14",), "imagenet21k", (90,), 1e-3, "linear", 0.03, 0.1),
)

# R = D in pre-training.
WIDTHS = {"S": 384, "B": 768, "L": 1024, "H": 1280}

# Images held out of training, to monitor it. result.json has the first of
# several evaluations by name: on ImageNet that of the validation split.
HELD_OUT = dict(
  train="train[51200:]", evals=dict(held_out=dict(split="train[:51200]"))
)
DATASETS = {
  "jft300m": dict(source="tfds:jft300m", **HELD_OUT),
  "imagenet21k": dict(source="tfds:imagenet21k", **HELD_OUT),
  "imagenet": dict(
    source="tfds:imagenet2012",
    train="train[:99%]",
    evals=dict(
      imagenet=dict(split="validation"), minival=dict(split="train[99%:]")
    ),
  ),
}


def get_representation_size(model: str) -> int:
  """R for the name of a ViT or a hybrid, as "R50+B/16"."""
  return WIDTHS[model.rpartition("+")[2].partition("/")[0]]


def make_config(
  dataset: str,
  *,
  model: dict[str, Any],
  sigmoid: bool = False,
  optim: dict[str, Any],
  epochs: int,
  batch_size: int = 4096,
  augment: dict[str, Any],
  eval_crop: float | None = None,
) -> ConfigDict:
  """Makes a config of pre-training at 224 px.

  Args:
    dataset: a key of DATASETS.
    model: keys of the model section.
    sigmoid: uses the sigmoid loss instead of softmax.
    optim: the optim section.
    epochs: passes over the images that are not held out.
    batch_size: global batch size (B).
    augment: the section data.augment.
    eval_crop: share of the smaller side that evaluation crops, or None.
  """
  splits = DATASETS[dataset]
  objective = dict(cross_entropy="sigmoid") if sigmoid else {}
  return ConfigDict(
    dict(
      model=model,
      data=dict(
        source=splits["source"],
        train=splits["train"],
        size=224,
        crop="distorted_box",
        resize="bilinear",
        eval_crop=eval_crop,
        eval_resize="area" if eval_crop else None,
        augment=augment,
      ),
      objective=dict(name="supervised") | objective,
      optim=optim,
      train=dict(batch_size=batch_size, epochs=epochs, log_every=50),
      evals={
        name: dict(kind="classification", every=10_000) | section
        for name, section in splits["evals"].items()
      },
      checkpoint=dict(every=1000, keep=2),
    )
  )


def get_rows(model: str, dataset: str) -> list[Row]:
  """The rows for a model on a data set, the paper's before ours."""
  rows = (*TABLE_3, *OURS)
  return [row for row in rows if model in row.models and row.dataset == dataset]


def get_epochs(model: str, dataset: str) -> tuple[int, ...]:
  """The numbers of epochs that a model is trained for on a data set."""
  return tuple(n for row in get_rows(model, dataset) for n in row.epochs)


def make_choices(models: tuple[str, ...], dataset: str) -> dict[str, tuple]:
  """The allowed values of a recipe's arguments, for its defaults.

  Args:
    models: models of the recipe, the default first; with one model there is no
      argument `model`.
    dataset: default data set.
  """
  sets = tuple(name for name in DATASETS if get_rows(models[0], name))
  choices = {"dataset": sets, "epochs": get_epochs(models[0], dataset)}
  return choices | ({"model": models} if len(models) > 1 else {})


def parse_config(
  text: str, models: tuple[str, ...], dataset: str
) -> ConfigDict:
  """Makes the config of a recipe of table 3 from its arguments.

  Args:
    text: dataset=NAME, epochs=N and, in recipes of several models, model=NAME.
    models: models of the recipe, the default first.
    dataset: default data set.

  Raises:
    ValueError: for a combination that is in no row, with those that are.
  """
  choices = {"dataset": tuple(DATASETS)}
  defaults = dict(dataset=dataset, epochs=0)
  if len(models) > 1:
    choices["model"] = models
    defaults["model"] = models[0]
  args = arguments.parse(text, choices, **defaults)
  return pretrain(getattr(args, "model", models[0]), args.dataset, args.epochs)


def pretrain(model: str, dataset: str, epochs: int) -> ConfigDict:
  """Makes the config of a row of table 3.

  Args:
    model: name, as "B/16".
    dataset: a key of DATASETS.
    epochs: number of epochs of the row; 0 is the paper's longest.

  Raises:
    ValueError: as `get_config`.
  """
  rows = get_rows(model, dataset)
  if rows and not epochs:
    epochs = rows[0].epochs[-1]
  row = next((row for row in rows if epochs in row.epochs), None)
  if row is None:
    known = "; ".join(
      f"dataset={name},epochs={' or '.join(map(str, get_epochs(model, name)))}"
      for name in DATASETS
      if get_rows(model, name)
    )
    given = f"dataset={dataset}" + (f",epochs={epochs}" if epochs else "")
    raise ValueError(f"{model} has no row for {given}; set {known}")
  softmax = dataset == "imagenet"  # The others' images may have more labels.
  fields = dict(head_bias=0.0 if softmax else -10.0)
  if "/" in model:  # A ResNet's name has no patch size.
    fields |= dict(
      representation_size=get_representation_size(model), dropout=row.dropout
    )
  return make_config(
    dataset,
    model=dict(variant=model) | fields,
    sigmoid=not softmax,
    optim=ADAM
    | dict(
      lr=row.lr,
      schedule=row.schedule,
      end_lr=1e-5 if row.schedule == "linear" else 0.0,
      weight_decay=row.weight_decay,
      clip_norm=row.clip_norm,
    ),
    epochs=epochs,
    augment=dict(flip=True),
  )
