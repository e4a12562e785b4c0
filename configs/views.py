# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the recipes share that compare views of an image: the data sets.

ImageNet as in the papers; folders and digits are ours.
"""

from configs import photographs, pretraining

SETS = ("imagenet", "digits")  # And folder:PATH and images:PATH.

# Four layers of 64 for the digits, enlarged to 16 px.
DIGITS = dict(variant="mu/4", width=64, depth=4, mlp_dim=128, num_heads=4)


def make_run(dataset, *, epochs, batch_size):
  """The sections data, train, evals and checkpoint of a data set.

  A k-NN on the encoder's output is what tells how a run goes: its loss does
  not. It reads the labels, training does not.

  Args:
    dataset: imagenet, digits, folder:PATH, or images:PATH, which has no k-NN.
    epochs: passes over ImageNet.
    batch_size: that on ImageNet.

  Raises:
    ValueError: for another data set.
  """
  data = dict(size=224, crop="random_resized", augment=dict(flip=True))
  train = dict(log_every=50)
  kind, _, path = dataset.partition(":")
  if dataset == "imagenet":
    splits = pretraining.DATASETS["imagenet"]
    probe = dict(kind="fewshot", split="validation", shots=(10,))
    return dict(
      data=data | dict(source=splits["source"], train=splits["train"]),
      train=train | dict(batch_size=batch_size, epochs=epochs),
      evals=dict(
        fewshot=probe | dict(every=10_000),
        imagenet=dict(kind="knn", split="validation"),
      ),
      checkpoint=dict(every=1000, keep=2),
    )
  if dataset == "digits":
    length = photographs.Length(256, 1000)
    data |= dict(source="tfds:digits", size=16, threads=1, augment={})
  elif kind in photographs.KINDS and path:
    images = photographs.count_images(dataset)
    length = photographs.Length(128, 1000)
    if images:
      length = photographs.choose_length(images)
    data |= dict(source=dataset)
  else:
    raise ValueError(
      f"dataset={dataset} is none of {', '.join(SETS)}, folder:PATH and "
      f"images:PATH"
    )
  tenth = max(1, length.steps // 10)
  probes = dict(test=dict(kind="knn", split="test", every=5 * tenth))
  return dict(
    data=data,
    train=dict(
      batch_size=length.batch,
      steps=length.steps,
      log_every=min(50, tenth),
      allow_cpu=True,
    ),
    evals={} if kind == "images" else probes,
    checkpoint=dict(every=min(500, 2 * tenth), keep=2),
  )


def scale(config, dataset, share):
  """The length of a phase: a share of the epochs, or of the steps."""
  train = config["train"]
  if dataset == "imagenet":
    return dict(warmup_epochs=share * train["epochs"])
  return dict(warmup_steps=max(1, round(share * train["steps"])))
