# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images without classes."""

import cv2
import numpy as np
import pytest

from tests.support import build
from vit_jax.config import ConfigError
from vit_jax.config.recipe import load_config
from vit_jax.data import sources, unlabelled
from vit_jax.sections import resolve
from vit_jax.train import train

SMALL = dict(
  data=dict(size=8, resize="bilinear"),
  model=dict(variant="mu/4", dtype="float32"),
  objective=dict(name="mae", decoder_width=8, decoder_depth=1, decoder_heads=2),
  optim=dict(lr=1e-3),
  train=dict(steps=2, batch_size=8, log_every=1, allow_cpu=True, report=False),
)


def write(path, seed, size=(9, 12)):
  path.parent.mkdir(parents=True, exist_ok=True)
  values = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
  assert cv2.imwrite(str(path), values)


@pytest.fixture
def photos(tmp_path):
  """Forty images, of which some lie in folders that mean nothing."""
  for i in range(40):
    where = ("", "2024/", "2024/trip/", "train of thought/")[i % 4]
    write(tmp_path / f"{where}{i}.png", i)
  (tmp_path / "broken.jpg").write_text("I am no picture")
  (tmp_path / "notes.txt").write_text("hello")
  return tmp_path


def test_all_images_below_are_read_and_a_tenth_is_held_out(photos):
  found = unlabelled.load_images(str(photos))
  assert {k: len(x) for k, x in found.splits.items()} == dict(train=36, test=4)
  paths = {path for x in found.splits.values() for path, _ in x.items}
  assert paths == {str(x) for x in photos.rglob("*.png")}
  assert len(found.info.held_out) == 4
  text = found.describe()
  assert "no classes, images: train 36, test 4, held out: a tenth" in text
  assert "1 .txt" in text and "broken.jpg" in text
  example = found.open("train[:10%]")[0]
  assert example["label"] == -1 and example["image"].startswith(b"\x89PNG")
  # The same images are held out wherever the folder lies.
  moved = photos.rename(photos.parent / "moved")
  again = unlabelled.load_images(str(moved))
  assert again.info.held_out == found.info.held_out
  assert again.facts == found.facts


def test_folders_of_splits_keep_what_is_held_out(tmp_path):
  for split, count in (("Train/a", 6), ("train/b", 2), ("val", 3), ("old", 2)):
    for i in range(count):
      write(tmp_path / split / f"{i}.png", i)
  found = unlabelled.load_images(str(tmp_path))
  sizes = {k: len(x) for k, x in found.splits.items()}
  assert sizes == dict(train=8, validation=3, test=3)
  assert not found.info.held_out
  assert "left out, in no split: 2 images" in found.describe()
  source = f"images:{tmp_path}"
  facts = sources.compute_fingerprint(source, ["train", "test"], None)
  assert facts["train examples"] == 8 and facts["test examples"] == 3


def test_a_folder_without_images_is_named(tmp_path):
  (tmp_path / "a.jpg").write_text("I am no picture")
  with pytest.raises(ConfigError, match=r"no images to train on(.|\n)*a\.jpg"):
    unlabelled.load_images(str(tmp_path))
  with pytest.raises(ConfigError, match="there is no folder"):
    unlabelled.load_images(str(tmp_path / "none"))


def test_a_flat_folder_of_classes_is_told_the_way(photos):
  with pytest.raises(ConfigError, match=f"images:{photos}"):
    sources.load_info(f"folder:{photos}")


@pytest.mark.parametrize("source", ["images:DIR", "mix:1*images:A,1*images:B"])
def test_what_reads_classes_is_refused(source):
  config = {k: x for k, x in SMALL.items() if k != "objective"}
  config["data"] = config["data"] | dict(source=source, train="train")
  with pytest.raises(ConfigError, match="no classes, which .*'supervised'"):
    resolve(config)
  with pytest.raises(ConfigError, match="evals.few.*has none: take 'loss'"):
    evals = dict(few=dict(kind="fewshot", split="test"))
    resolve(config | dict(objective=dict(name="mae"), evals=evals))


@pytest.mark.parametrize("recipe", ["mae", "masked_patch", "dino", "moco"])
def test_recipes_take_them(recipe, photos):
  config = resolve(load_config(f"{recipe}:dataset=images:{photos}", []))
  assert config["data"]["source"] == f"images:{photos}"
  kinds = {x["kind"] for x in config["evals"].values()}
  assert kinds == ({"loss"} if recipe in ("mae", "masked_patch") else set())


def test_a_run_learns_from_them_and_from_mixtures(photos, tmp_path_factory):
  tmp_path = tmp_path_factory.mktemp("runs")
  evals = dict(test=dict(kind="loss", split="test"))
  source = f"images:{photos}"
  data = SMALL["data"] | dict(source=source, train="train")
  result = train(SMALL | dict(data=data, evals=evals), str(tmp_path / "run"))
  assert result["total"] == 4 and np.isfinite(result["loss"])
  assert len((tmp_path / "run/held_out.txt").read_text().split("\n")) == 5
  mixed = data | dict(source=f"mix:1*{source},2*synthetic:3")
  assert build(SMALL | dict(data=mixed)).num_classes == 0
