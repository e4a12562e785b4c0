# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The package as it is installed, without the checkout around it, and the
console script."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT
from vit_jax import __main__ as command
from vit_jax.config import packaged, recipe


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """What a wheel holds, in a directory of its own."""
  place = tmp_path_factory.mktemp("installed")
  arguments = ["build", f"--build-base={place / 'build'}"]
  subprocess.run(
    [sys.executable, "setup.py", "-q", *arguments, f"--build-lib={place}"],
    cwd=ROOT,
    check=True,
  )
  return place


def run(installed, cwd, *arguments, **environment):
  """Runs vit-jax of an installed package, from a directory of the user's."""
  environment = {"PYTHONPATH": str(installed), **environment}
  return subprocess.run(
    [sys.executable, "-c", "from vit_jax.__main__ import main; main()"]
    + [*arguments],
    cwd=cwd,
    capture_output=True,
    text=True,
    env=os.environ | environment,
  )


def test_a_packaged_recipe_trains_by_name(installed, tmp_path, data_dir):
  flags = [f"--config.data.dir={data_dir}", "--config.train.steps=1"]
  flags += ["--config.train.accumulate=1", "--config.model.remat=none"]
  done = run(
    installed, tmp_path, "main", "--config=digits", "--workdir=run", *flags
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "run/result.json").exists()
  done = run(
    installed, tmp_path, "main", "--config=configs/digits.py", "--workdir=x"
  )
  assert done.returncode == 2
  assert "the package's recipe is digits: --config=digits" in done.stderr
  # What the recipes lie in puts nothing else in the way of imports.
  assert [x.name for x in (installed / "vit_jax/recipes").iterdir()] == [
    "configs"
  ]
  assert not (installed / "configs").exists()


def test_the_package_is_found_beside_a_clone_of_its_name(tmp_path):
  """What `pip install -e` leaves is a line with the clone, and no hook."""
  subprocess.run(
    [sys.executable, "setup.py", "-q", "editable_wheel", f"-d{tmp_path}"],
    cwd=ROOT,
    check=True,
  )
  (wheel,) = tmp_path.glob("*.whl")
  with zipfile.ZipFile(wheel) as files:
    names = [x for x in files.namelist() if ".dist-info/" not in x]
    assert [x.rpartition(".")[2] for x in names] == ["pth"]
    assert pathlib.Path(files.read(names[0]).decode().strip()) == ROOT


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
  (tmp_path / "digits").mkdir()  # As a workdir may be called.
  monkeypatch.chdir(tmp_path)
  assert recipe.load_config("digits", [])["data"]["source"] == "tfds:digits"
  (tmp_path / "mine.py").write_text("def get_config(): return dict(a=1)")
  assert recipe.load_config("mine.py", []) == {"a": 1}


def test_a_copied_recipe_imports_those_of_the_package(tmp_path, monkeypatch):
  shutil.copy(ROOT / "configs/digits.py", tmp_path / "mine.py")
  elsewhere = [x for x in sys.path if pathlib.Path(x or ".").resolve() != ROOT]
  monkeypatch.setattr(sys, "path", elsewhere)
  for name in [x for x in sys.modules if x.partition(".")[0] == "configs"]:
    monkeypatch.delitem(sys.modules, name)
  config = recipe.load_config(f"{tmp_path}/mine.py:variant=Ti/2", [])
  assert config["model"]["variant"] == "Ti/2"


def test_a_config_by_name():
  config = recipe.get_config("finetune", model="Ti/16", dataset="cifar10")
  assert config.model.variant == "Ti/16"
  text = f"{ROOT}/configs/finetune.py:model=Ti/16,dataset=cifar10"
  assert config.to_dict() == recipe.load_config(text, [])
  with pytest.raises(recipe.ConfigError, match="did you mean 'finetune'"):
    recipe.get_config("fintune")
  with pytest.raises(recipe.ConfigError, match="unknown argument 'modle=B/16'"):
    recipe.get_config("finetune", modle="B/16")


def test_every_recipe_has_a_name():
  files = {path.stem for path in (ROOT / "configs").glob("*.py")}
  assert set(packaged.list_recipes()) == files - {
    *("__init__", "arguments", "augmentation", "photographs", "pretraining"),
    "views",
  }


@pytest.mark.parametrize(
  ("line", "found"),
  [
    ("vit-jax pre", {"predict", "prepare"}),
    ("vit-jax main --wor", {"--workdir"}),
    ("vit-jax main --config=vit_l", {"vit_l16", "vit_l32"}),
    ("vit-jax models --chec", {"--checkpoints"}),
    ("vit-jax study sw", {"sweep"}),
  ],
)
def test_the_tab_key(line, found, tmp_path):
  out = tmp_path / "out"
  environment = dict(
    _ARGCOMPLETE="1",
    COMP_LINE=line,
    COMP_POINT=str(len(line)),
    _ARGCOMPLETE_STDOUT_FILENAME=str(out),
    _ARGCOMPLETE_IFS="\n",
  )
  run(ROOT, tmp_path, **environment)
  assert {
    x.strip().rpartition("=")[2] for x in out.read_text().split("\n")
  } == (found)


def test_a_verb_runs_as_a_module_does(capsys, monkeypatch):
  monkeypatch.setattr(sys, "argv", ["vit-jax"])
  with pytest.raises(SystemExit) as caught:
    command.main(["models", "--help"])
  assert caught.value.code == 0
  assert "usage: python -m vit_jax.models" in capsys.readouterr().out
  with pytest.raises(SystemExit) as caught:
    command.main(["pridict"])
  assert caught.value.code == 2
  assert "did you mean 'predict'" in capsys.readouterr().err


def read_lock():
  """Name -> version in requirements.lock, on this Python and platform."""
  lines = (ROOT / "requirements.lock").read_text().splitlines()
  lines = [line for line in lines if line and not line.startswith("#")]
  found = map(Requirement, lines)
  return {
    canonicalize_name(x.name): str(x.specifier).removeprefix("==")
    for x in found
    if x.marker is None or x.marker.evaluate()
  }


@pytest.mark.parametrize("extra", ["", "dev", "docs", "cuda", "gcs", "heic"])
def test_the_lock_has_what_is_required(extra):
  lock, lines = read_lock(), metadata.requires("vit_jax")
  if any(line.startswith("jax==") for line in lines):
    pytest.skip("the lower bounds are installed, by make lowest")
  for line in lines:
    needed = Requirement(line)
    if needed.marker and not needed.marker.evaluate({"extra": extra}):
      continue
    name = canonicalize_name(needed.name)
    assert needed.specifier.contains(lock[name], prereleases=True), line


def test_images_hold_what_is_installed():
  text = (ROOT / "launch/Dockerfile").read_text()
  copied = {
    name
    for line in re.findall("^COPY (.+)$", text, re.MULTILINE)
    for name in line.split()[:-1]
  }
  assert all((ROOT / name).exists() for name in copied)
  kept = (ROOT / ".dockerignore").read_text().splitlines()
  assert copied == {x[1:] for x in kept if x.startswith("!")}
  stages = re.findall(r"^FROM base AS (\w+)$", text, re.MULTILINE)
  assert stages == ["cpu", "cuda", "tpu"]
  extras = re.findall(r'"\.\[([\w,]+)\]"', text)
  known = set(metadata.metadata("vit_jax").get_all("Provides-Extra"))
  assert {x for names in extras for x in names.split(",")} <= known
