# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from PIL import Image

from vit_jax.config import ConfigError
from vit_jax.data import folder
from vit_jax.runtime.run import Run
from vit_jax.train import train


@pytest.fixture
def photos(tmp_path):
  for name in ("cat", "dog"):
    (tmp_path / "photos" / name).mkdir(parents=True)
    for i in range(5):
      path = tmp_path / "photos" / name / f"{i}.png"
      Image.new("RGB", (8, 8), (i, 0, 0)).save(path)
  return tmp_path / "photos"


def test_weights_that_are_not_there_leave_nothing(config, tmp_path):
  config["init"] = str(tmp_path / "none.npz")
  workdir = tmp_path / "runs" / "photos"
  with pytest.raises(ConfigError, match="none.npz"):
    train(config, str(workdir))
  assert list(tmp_path.iterdir()) == []
  # What was there before stays, empty or not.
  workdir.mkdir(parents=True)
  with pytest.raises(ConfigError, match="none.npz"):
    train(config, str(workdir))
  assert list(workdir.iterdir()) == []
  (workdir / "notes.txt").write_text("mine")
  with pytest.raises(ConfigError, match="none.npz"):
    train(config, str(workdir))
  assert (workdir / "notes.txt").read_text() == "mine"


def test_no_step_is_no_start(config, photos, tmp_path):
  """All images turn out to be damaged, once the workdir has been written."""
  for path in photos.rglob("*.png"):
    path.write_bytes(path.read_bytes()[:40])
  folder.load_folder.cache_clear()
  config["data"] |= dict(source=f"folder:{photos}", size=8)
  config["evals"] = {}
  with pytest.raises(ConfigError, match="8 of 8 images.*1: repair or rem"):
    train(config, str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()


def test_a_run_that_has_begun_keeps_its_files(config, tmp_path, monkeypatch):
  read = Run.next_batch

  def fail(run):
    if run.step == 2:
      raise ConfigError("no more")
    return read(run)

  monkeypatch.setattr(Run, "next_batch", fail)
  with pytest.raises(ConfigError, match="no more"):
    train(config, str(tmp_path / "run"))
  assert (tmp_path / "run" / "config.json").exists()
