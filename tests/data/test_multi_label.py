# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Images with several labels, from files to a trained model."""

import collections
import csv
import dataclasses
import io
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.metrics import average_precision_score

from tests.support import build, lower
from vit_jax.config import ConfigError
from vit_jax.convert.load import load
from vit_jax.data import pipeline, sources
from vit_jax.data.transforms import decode
from vit_jax.evaluate import evaluate
from vit_jax.evaluators import classification
from vit_jax.runtime import preflight
from vit_jax.runtime.preflight import check_splits, describe
from vit_jax.sections import resolve
from vit_jax.train import train

# Image -> its labels: the brightness of its four quarters, by class.
LABELS = [[0], [1, 2], [3], [2, 0, 3], [1], [0, 1], [3, 2], [2]] * 5


def get_png(number):
  """No two are alike, so no two are equally likely to be of a class."""
  labels, image = LABELS[number], np.zeros((8, 8, 3), np.uint8)
  for label in labels:
    row, column = divmod(label, 2)
    image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255 - number
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
        yield i, {"image": io.BytesIO(get_png(i)), "label": padded}

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
  config["train"] |= dict(steps=4, batch_size=40, report=True)
  config["evals"] = {"test": dict(split="test", batch_size=24, every=2)}
  config["checkpoint"] = dict(every=2, keep_best=1, best="test/map")
  assert build(config).abstract_batch["label"].shape == (40, 3)
  result = train(config, str(tmp_path / "run"))
  model, preprocess = load(str(tmp_path / "run"))
  logits = np.asarray(model(preprocess([get_png(i) for i in range(40)])))
  truth = np.zeros((40, 4))
  for row, labels in zip(truth, LABELS, strict=True):
    row[labels] = 1
  losses = np.logaddexp(0, logits) - truth * logits
  hits = truth[np.arange(40), logits.argmax(axis=1)]
  assert (result["correct"], result["total"]) == (hits.sum(), 40)
  assert result["loss"] == pytest.approx(losses.sum(axis=1).mean(), rel=1e-5)
  expected = pytest.approx(average_precision_score(truth, logits), rel=1e-6)
  assert result["map"] == expected
  written = json.loads(
    (tmp_path / "run/evaluation/evaluation.json").read_text()
  )
  again = evaluate(tmp_path / "run", out=tmp_path / "out", batch_size=40)
  for found in (written, again):
    assert found["map"] == expected and "confusions" not in found
    assert [row["support"] for row in found["classes"]] == [15, 15, 20, 15]
  with (tmp_path / "out/predictions.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  assert collections.Counter(row["label"] for row in rows) == {
    " ".join(map(str, x)): 5 for x in LABELS
  }


@pytest.mark.parametrize("loss", ["sigmoid", "softmax"])
def test_all_classes_are_ranked(
  quarters, config, fill_state, tmp_path, loss, monkeypatch
):
  config["data"] = dict(
    source="tfds:quarters", dir=str(tmp_path), size=8, crop="none", threads=2
  )
  config["data"]["label_slots"] = 3
  config["objective"] = dict(cross_entropy=loss)
  config["evals"] = {"test": dict(split="test", batch_size=24)}
  exp = build(config, jax.devices())
  state, evaluator = fill_state(exp), exp.evaluators["test"]
  _, scores = evaluator.score(state, 2)
  source = sources.open_source("tfds:quarters", "test", str(tmp_path))
  images = np.stack([decode(x["image"], 3) for x in source])
  logits = exp.model.apply(
    {"params": state.ema}, jnp.float32(images / 127.5 - 1)
  )
  take = dict(sigmoid=jax.nn.log_sigmoid, softmax=jax.nn.log_softmax)[loss]
  # In float32, of another batch.
  np.testing.assert_allclose(scores.ranking, take(logits), atol=1e-4)
  truth = (scores.label[:, :, None] == np.arange(4)).any(axis=1)
  found = dict(evaluator.run(state))
  assert found["map"] == average_precision_score(truth, scores.ranking)
  monkeypatch.setattr(classification, "MAX_SCORES", 159)
  too_many = build(config, jax.devices()).evaluators["test"]
  assert "map" not in dict(too_many.run(state))


def test_one_label_has_no_map(config):
  config["checkpoint"] = dict(keep_best=1, best="test/map")
  with pytest.raises(ConfigError, match="one each: take 'test/accuracy'"):
    build(config)


def test_too_many_scores_choose_no_checkpoint(quarters, config, tmp_path):
  config["data"] = dict(source="tfds:quarters", dir=str(tmp_path), size=8)
  config["data"]["label_slots"] = 3
  config["checkpoint"] = dict(keep_best=1, best="test/map")
  info = sources.load_info("tfds:quarters", str(tmp_path))
  whole = resolve(config | {"evals": {"test": dict(split="test")}})
  check_splits(whole, info)
  most = preflight.MAX_SCORES // 40
  check_splits(whole, dataclasses.replace(info, num_classes=most))
  with pytest.raises(ConfigError, match="best='test/map' .* 40 images of"):
    check_splits(whole, dataclasses.replace(info, num_classes=most + 1))


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
