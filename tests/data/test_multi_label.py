# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Images with several labels, from files to a trained model."""

import io

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.support import build, lower
from vit_jax.config import ConfigError
from vit_jax.convert.load import load
from vit_jax.data import pipeline, sources
from vit_jax.runtime.preflight import describe
from vit_jax.train import train

# Image -> its labels: the brightness of its four quarters, by class.
LABELS = [[0], [1, 2], [3], [2, 0, 3], [1], [0, 1], [3, 2], [2]] * 5


def get_png(labels):
  image = np.zeros((8, 8, 3), np.uint8)
  for label in labels:
    row, column = divmod(label, 2)
    image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255
  return cv2.imencode(".png", image)[1].tobytes()


def make_builder(slots):
  """TFDS's builder of such a set; a class for TFDS makes names of classes."""

  class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = "quarters"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      label = tfds.features.ClassLabel(num_classes=4)
      return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict(
          {
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.Sequence(label, length=slots),
          }
        ),
      )

    def _split_generators(self, dl_manager):
      del dl_manager
      return {"train": self.generate(), "test": self.generate()}

    def generate(self):
      for i, labels in enumerate(LABELS):
        padded = labels + [-1] * ((slots or len(labels)) - len(labels))
        yield i, {"image": io.BytesIO(get_png(labels)), "label": padded}

    _generate_examples = generate

  Builder.__module__ = __name__
  return Builder


@pytest.fixture(params=[3, None], ids=["padded", "of any length"])
def quarters(request, tmp_path):
  builder = make_builder(request.param)(
    data_dir=str(tmp_path), file_format="array_record"
  )
  builder.download_and_prepare()
  return request.param


def test_what_is_read(quarters, tmp_path):
  info = sources.load_info("tfds:quarters", str(tmp_path))
  assert info.num_classes == 4 and info.label_slots == (quarters or 0)
  source = sources.open_source("tfds:quarters", "test", str(tmp_path))
  data = pipeline.Data(source="tfds:quarters", size=8, label_slots=3, threads=2)
  dataset = pipeline.make_eval_dataset(
    data, 3, source, batch_size=48, rows=range(48)
  )
  batch = dataset[0]
  assert batch["label"].shape == (48, 3) and batch["label"].dtype == np.int32
  assert (batch["label"][40:] == -1).all() and batch["mask"].sum() == 40
  for image, labels in zip(batch["image"][:40], batch["label"], strict=False):
    bright = image[::4, ::4, 0].reshape(4) > 0
    found = np.zeros(4, bool)
    found[labels[labels >= 0]] = True
    np.testing.assert_array_equal(found, bright)


def test_a_run_is_scored_on_all_labels(quarters, config, tmp_path):
  config["data"] = dict(
    source="tfds:quarters", dir=str(tmp_path), size=8, crop="none", threads=2
  )
  if quarters is None:
    with pytest.raises(ConfigError, match="set --config.data.label_slots"):
      build(config)
    config["data"]["label_slots"] = 3
  config["objective"] = dict(cross_entropy="sigmoid")
  config["train"] |= dict(steps=4, batch_size=40)
  config["evals"] = {"test": dict(split="test", batch_size=24)}
  assert build(config).abstract_batch["label"].shape == (40, 3)
  result = train(config, str(tmp_path / "run"))
  model, preprocess = load(str(tmp_path / "run"))
  logits = np.asarray(model(preprocess([get_png(x) for x in LABELS])))
  truth = np.zeros((40, 4))
  for row, labels in zip(truth, LABELS, strict=True):
    row[labels] = 1
  losses = np.logaddexp(0, logits) - truth * logits
  hits = truth[np.arange(40), logits.argmax(axis=1)]
  assert (result["correct"], result["total"]) == (hits.sum(), 40)
  assert result["loss"] == pytest.approx(losses.sum(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize(
  ("loss", "slots", "warned"),
  [("softmax", 3, True), ("sigmoid", 3, False), ("softmax", 1, False)],
)
def test_a_softmax_of_several_labels_is_warned_of(config, loss, slots, warned):
  config["data"]["label_slots"] = slots
  config["objective"] = dict(cross_entropy=loss)
  lines = []
  describe(build(config), lines.append)
  found = [x for x in lines if f"up to {slots} labels" in x]
  assert len(found) == warned
  assert all(x.startswith("warning: ") and "=sigmoid" in x for x in found)


def test_mixup_of_several_labels(quarters, config, tmp_path):
  config["data"] = dict(
    source="tfds:quarters",
    dir=str(tmp_path),
    size=8,
    label_slots=4,
    augment=dict(mixup=0.5),
  )
  text = lower(build(config)).as_text()
  assert "tensor<16x4xi32>" in text
