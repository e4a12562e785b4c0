# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The ViT paper's table 3 (appendix B.1), row by row, and what its rows share.

All: Adam with b1 0.9 and b2 0.999, batch 4096, 10k steps of linear warm-up, 224
px. A ViT's head has one tanh layer, a ResNet's is linear, as BiT's.

Not from the paper: the sigmoid loss with its head bias of -10, the linear
decay's end at 1e-5 and the images kept out of training (the authors' released
code and its maintainers' words).
"""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from configs import arguments


class Row(NamedTuple):
  """Models that are trained alike.

  Attributes:
    models: their names.
    data: a key of DATA.
    epochs: the lengths of the runs.
    lr: the peak learning rate.
    schedule: how it goes down.
    weight_decay: times the learning rate.
    dropout: rate.
    clip_norm: of gradients, or None.
  """

  models: tuple[str, ...]
  data: str
  epochs: tuple[int, ...]
  lr: float
  schedule: str
  weight_decay: float
  dropout: float
  clip_norm: float | None = None


VITS = ("B/16", "B/32", "L/16", "L/32", "H/14")

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
  Row(VITS, "imagenet2012", (300,), 3e-3, "cosine", 0.3, 0.1, clip_norm=1.0),
)

# Not in the paper's table: B for as long as its L; H/14, of which the paper has
# a result (table 5) and no hyper-parameters, as L.
OURS = (
  Row(("B/16", "B/32"), "imagenet21k", (30,), 1e-3, "linear", 0.03, 0.1),
  Row(("H/14",), "imagenet21k", (90,), 1e-3, "linear", 0.03, 0.1),
)

# R is D in pre-training: the tanh layer keeps the width.
WIDTHS = {"S": 384, "B": 768, "L": 1024, "H": 1280}

# Images kept out of training, to watch it. The first by name of several
# evaluations makes result.json: of ImageNet that is the validation split.
HELD_OUT = dict(
  train="train[51200:]", evals=dict(held_out=dict(split="train[:51200]"))
)
DATA = {
  "jft300m": HELD_OUT,
  "imagenet21k": HELD_OUT,
  "imagenet2012": dict(
    train="train[:99%]",
    evals=dict(
      imagenet=dict(split="validation"), minival=dict(split="train[99%:]")
    ),
  ),
}


def get_representation_size(model: str) -> int:
  """R of a ViT or a hybrid, as "R50+B/16"."""
  return WIDTHS[model.rpartition("+")[2].partition("/")[0]]


def make_config(
  data: str,
  *,
  model: dict[str, Any],
  sigmoid: bool = False,
  optim: dict[str, Any],
  epochs: int,
  batch_size: int = 4096,
  augment: dict[str, Any],
  eval_crop: float | None = None,
) -> ConfigDict:
  """Pre-training at 224 px with Adam, as all recipes of it have it.

  Args:
    data: a key of DATA.
    model, optim: what these sections have besides.
    sigmoid: whether the loss is the sigmoid one, or softmax.
    epochs: passes over the images that are not held out.
    batch_size: B.
    augment: section of `data`.
    eval_crop: share of the small side that evaluation is shown, or None.
  """
  splits = DATA[data]
  objective = dict(cross_entropy="sigmoid") if sigmoid else {}
  return ConfigDict(
    dict(
      model=model,
      data=dict(
        source=f"tfds:{data}",
        train=splits["train"],
        size=224,
        crop="inception",
        eval_crop=eval_crop,
        augment=augment,
      ),
      objective=dict(name="supervised") | objective,
      optim=dict(name="adam", b1=0.9, b2=0.999, warmup_steps=10_000) | optim,
      train=dict(batch_size=batch_size, epochs=epochs, log_every=50),
      evals={
        name: dict(kind="classification", every=10_000) | section
        for name, section in splits["evals"].items()
      },
      checkpoint=dict(every=1000, keep=2),
    )
  )


def get_rows(model: str, data: str) -> list[Row]:
  """The rows of a model on a data set, the paper's before ours."""
  rows = (*TABLE_3, *OURS)
  return [row for row in rows if model in row.models and row.data == data]


def get_epochs(model: str, data: str) -> tuple[int, ...]:
  """The lengths of the runs of a model on a data set."""
  return tuple(n for row in get_rows(model, data) for n in row.epochs)


def get_choices(models: tuple[str, ...], data: str) -> dict[str, tuple]:
  """The values of a card's arguments, `epochs` for the default model and data.

  Args:
    models: of the card, the default first; of one there is no argument.
    data: the default.
  """
  sets = tuple(name for name in DATA if get_rows(models[0], name))
  choices = {"data": sets, "epochs": get_epochs(models[0], data)}
  return choices | ({"model": models} if len(models) > 1 else {})


def get_config(text: str, models: tuple[str, ...], data: str) -> ConfigDict:
  """A recipe of table 3 from the arguments of its card.

  Args:
    text: data=NAME, epochs=N and, of a card of several models, model=NAME.
    models: of the card, the default first.
    data: the default.

  Raises:
    ValueError: for what neither the paper has nor we do, with what there is.
  """
  choices = {"data": tuple(DATA)}
  defaults = dict(data=data, epochs=0)
  if len(models) > 1:
    choices["model"] = models
    defaults["model"] = models[0]
  args = arguments.parse(text, choices, **defaults)
  return pretrain(getattr(args, "model", models[0]), args.data, args.epochs)


def pretrain(model: str, data: str, epochs: int) -> ConfigDict:
  """A row of table 3.

  Args:
    model: as "B/16".
    data: a key of DATA.
    epochs: a length that the row has; 0 is the paper's longest.

  Raises:
    ValueError: as `get_config`.
  """
  rows = get_rows(model, data)
  if rows and not epochs:
    epochs = rows[0].epochs[-1]
  row = next((row for row in rows if epochs in row.epochs), None)
  if row is None:
    there = "; ".join(
      f"data={name},epochs={' or '.join(map(str, get_epochs(model, name)))}"
      for name in DATA
      if get_rows(model, name)
    )
    what = f"data={data}" + (f",epochs={epochs}" if epochs else "")
    raise ValueError(f"{model} is trained with {there}; not with {what}")
  softmax = data == "imagenet2012"  # The others' images may have more labels.
  fields = dict(head_bias=0.0 if softmax else -10.0)
  if "/" in model:  # A ResNet's name has no patch size.
    fields |= dict(
      representation_size=get_representation_size(model), dropout=row.dropout
    )
  return make_config(
    data,
    model=dict(variant=model) | fields,
    sigmoid=not softmax,
    optim=dict(
      lr=row.lr,
      schedule=row.schedule,
      end_lr=1e-5 if row.schedule == "linear" else 0.0,
      weight_decay=row.weight_decay,
      clip_norm=row.clip_norm,
    ),
    epochs=epochs,
    augment=dict(flip=True),
  )
