# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run writes, its data and other runs stay apart."""

from contextlib import nullcontext

import pytest

from vit_jax.config import ConfigError
from vit_jax.runtime.apart import check_apart


@pytest.mark.parametrize(
  ("source", "workdir", "refused"),
  [
    ("folder:{}/flat", "{}/flat", True),
    ("folder:{}/flat", "{}/flat/a/../run", True),
    ("folder:{}/flat#a+b", "{}/flat/run", True),
    ("images:{}/flat", "{}/flat/run", True),
    ("mix:1*tfds:digits,2*folder:{}/flat", "{}/flat/run", True),
    ("folder:{}/flat", "{}/flat-run", False),
    ("folder:{}/flat", "gs://bucket/flat/run", False),
    # Beside train/ and test/ nothing is looked for.
    ("folder:{}/split", "{}/split/run", False),
    ("folder:{}/other", "{}/other/run", False),
    ("folder:{}/other", "{}/other/training/run", True),
    ("folder:{}/words", "{}/words/holdout_test/run", True),
    ("folder:{}/words", "{}/words/run", False),
    ("folder:{}/words#a+b", "{}/words/run", False),
    # A class that is called as a split.
    ("folder:{}/vehicles", "{}/vehicles/run", True),
    ("folder:{}/vehicles", "{}/vehicles/train/run", True),
    ("images:{}/split", "{}/split/run", False),
    ("images:{}/split", "{}/split/train/run", True),
    ("images:{}/words", "{}/words/holdout_test/run", False),
    ("images:{}/vehicles", "{}/vehicles/run", False),
    ("segmentation:{}/masked", "{}/masked/run", False),
    ("segmentation:{}/masked", "{}/masked/train/run", False),
    ("segmentation:{}/masked", "{}/masked/train/images/run", True),
    ("folder:{}/split", "{}/split/Test/run", True),
    ("folder:{}/split", "{}/split", True),
    ("folder:{}/split", "{}/split/train", True),
    ("folder:{}/split", "{}/split/train/a", True),
    ("folder:{}/flat", "{}/flat/a", True),
    ("images:{}/split", "{}/split/train", True),
    ("tfds:digits", "{}/flat", False),
  ],
)
def test_a_run_does_not_become_its_data(source, workdir, refused, tmp_path):
  folders = ("flat/a", "flat/b", "split/train/a", "split/test/a")
  folders += ("other/Training/a", "other/Training/b", "other/Val/a")
  folders += ("words/train/a", "words/train/b", "words/holdout_test/a")
  folders += ("vehicles/car", "vehicles/train", "masked/train/images")
  for folder in folders:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "1.png").touch()
  config = {"data": {"source": source.format(tmp_path)}}
  found = nullcontext()
  if refused:
    found = pytest.raises(ConfigError, match="--workdir=.* choose another")
  with found:
    check_apart(config, workdir.format(tmp_path))


def test_a_run_is_not_among_the_checkpoints_of_another(tmp_path):
  config = {"data": {"source": "tfds:digits"}}
  (tmp_path / "run/checkpoints").mkdir(parents=True)
  check_apart(config, f"{tmp_path}/run/checkpoints/new")  # Of no run.
  (tmp_path / "run/config.json").touch()
  check_apart(config, f"{tmp_path}/run")
  for name in ("run/checkpoints", "run/checkpoints/100", "run/checkpoints/a/b"):
    with pytest.raises(ConfigError, match=rf"--workdir={tmp_path}/run to cont"):
      check_apart(config, f"{tmp_path}/{name}")
