# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every notebook is executed, with shorter runs, in a kernel as a reader has
it; and what it shows on its page is whole."""

import base64
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile

import nbformat
import PIL.Image
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from tests.support import ROOT

# Settings of the shortened runs, and the number of pictures in line.
NOTEBOOKS = {
  "finetune_photographs": (dict(SIZE=16, STEPS=40, STAND_IN_STEPS=5), 5),
  "look_inside": (dict(STEPS=5), 7),
  "paper_figure": (dict(STEPS=5, LIMIT=8), 3),
  "pretrain_in_miniature": (dict(STEPS=5, TRANSFER_STEPS=6), 2),
}


def read(name):
  return nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)


def get_text(cell):
  """Text of all outputs of a cell."""
  found = []
  for output in cell.get("outputs", []):
    found.append(output.get("text", ""))
    data = output.get("data", {})
    found += [x for kind, x in data.items() if kind.startswith("text/")]
  return "".join(found)


def get_pictures(notebook):
  """Every picture in line, decoded."""
  for cell in notebook.cells:
    for output in cell.get("outputs", []):
      if png := output.get("data", {}).get("image/png"):
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(png)))
        picture.load()
        yield picture


def check_pictures(name, notebook):
  pictures = list(get_pictures(notebook))
  assert len(pictures) == NOTEBOOKS[name][1]
  for picture in pictures:
    assert min(picture.size) >= 100
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 10, "it is empty"


@pytest.fixture
def execute(tmp_path, data_dir, monkeypatch):
  """Executes a notebook in `tmp_path`; returns it with its outputs."""
  for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
    monkeypatch.setenv(name, str(tmp_path / "jupyter"))
  monkeypatch.setenv("TFDS_DATA_DIR", data_dir)
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")

  def run(name):
    notebook = read(name)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    place = tags.index(["parameters"]) + 1
    settings = [f"{k} = {x!r}" for k, x in NOTEBOOKS[name][0].items()]
    settings.append("__import__('pathlib').Path('pid').write_text(")
    settings.append("  str(__import__('os').getpid()))")
    cell = nbformat.v4.new_code_cell("\n".join(settings))
    notebook.cells.insert(place, cell)
    last = "'tensorflow' in sys.modules"
    notebook.cells.append(nbformat.v4.new_code_cell(last))
    client = NotebookClient(
      notebook,
      kernel_name="python3",
      timeout=300,
      resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    return notebook

  return run


def check_run(workdir):
  """A run that is done, each row of which was written once."""
  result = json.loads((workdir / "result.json").read_text())
  assert 0 <= result["accuracy"] <= 1
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  steps = [row["step"] for row in map(json.loads, lines) if "lr" in row]
  assert steps and steps == sorted(set(steps))
  assert steps[-1] == result["steps"]
  return result


def test_a_run_that_is_done_is_not_repeated(execute, tmp_path):
  """Nor is it by another notebook, which looks at the same model."""
  result = tmp_path / "runs/digits/result.json"
  written = []
  for name in ("look_inside", "paper_figure"):
    notebook = execute(name)
    check_pictures(name, notebook)
    assert get_text(notebook.cells[-1]) == "False"
    assert check_run(result.parent)["steps"] == NOTEBOOKS[name][0]["STEPS"]
    written.append(result.stat().st_mtime_ns)
  assert len(set(written)) == 1


def test_transfer(execute, tmp_path):
  notebook = execute("pretrain_in_miniature")
  check_pictures("pretrain_in_miniature", notebook)
  assert get_text(notebook.cells[-1]) == "False"
  found = [
    check_run(tmp_path / "runs" / name)
    for name in ("many", "pre-trained", "from_scratch")
  ]
  assert [x["steps"] for x in found] == [5, 6, 6]
  # Every fifth of the digits from 0 to 6, and of 7 to 9.
  assert [x["total"] for x in found] == [257, 107, 107]


def test_a_notebook_that_was_cut_off_goes_on(execute, tmp_path):
  """The kernel is killed once a checkpoint is there, and begins anew."""
  runs = tmp_path / "runs"
  checkpoints = runs / "photographs/checkpoints"

  def kill():
    until = time.monotonic() + 240
    while not any(x.name.isdecimal() for x in checkpoints.glob("*")):
      if time.monotonic() > until:
        return
      time.sleep(0.005)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

  killer = threading.Thread(target=kill)
  killer.start()
  with pytest.raises(DeadKernelError):
    execute("finetune_photographs")
  killer.join()
  assert not (runs / "photographs/result.json").exists()
  saved = max(int(x.name) for x in checkpoints.iterdir() if x.name.isdecimal())
  assert saved < 40
  done = (runs / "stand_in/result.json").stat().st_mtime_ns

  notebook = execute("finetune_photographs")
  check_pictures("finetune_photographs", notebook)
  assert get_text(notebook.cells[-1]) == "False"
  assert (runs / "stand_in/result.json").stat().st_mtime_ns == done
  result = check_run(runs / "photographs")
  assert (result["steps"], result["total"]) == (40, 20)
  text = "".join(map(get_text, notebook.cells))
  assert f"resuming after step {saved}" in text


def test_the_first_cell_installs(tmp_path):
  """A wheel, into a directory, as pip is told by its variables."""
  wheel = tmp_path / "a folder/vit_jax-9.9-py3-none-any.whl"
  wheel.parent.mkdir()
  files = {
    "vit_jax/__init__.py": "",
    "vit_jax-9.9.dist-info/METADATA": "Name: vit_jax\nVersion: 9.9\n",
    "vit_jax-9.9.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
    "vit_jax-9.9.dist-info/RECORD": "",
  }
  with zipfile.ZipFile(wheel, "w") as archive:
    for name, text in files.items():
      archive.writestr(name, text)
  cell = read("look_inside").cells[1].source
  code = cell.replace('SOURCE = ""', f"SOURCE = {str(wheel)!r}")
  assert code != cell
  target = tmp_path / "target"
  pip = dict(PIP_TARGET=str(target), PIP_NO_DEPS="1", PIP_NO_INDEX="1")
  subprocess.run([sys.executable, "-c", code], env=os.environ | pip, check=True)
  assert (target / "vit_jax/__init__.py").exists()


@pytest.mark.parametrize(
  "source, error",
  [("", "set SOURCE"), ("no/such.whl", "there is no"), ("bad.whl", "nothing")],
)
def test_the_first_cell_says_what_is_wrong(
  source, error, tmp_path, monkeypatch
):
  """Where pip's own words go to a terminal that nobody sees."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  (tmp_path / "bad.whl").touch()
  cell = read("look_inside").cells[1].source
  with pytest.raises(AssertionError, match=error):
    exec(cell.replace('SOURCE = ""', f"SOURCE = {source!r}"), {})


def test_there_are_no_others():
  files = (ROOT / "notebooks").iterdir()
  assert {x.name for x in files} == {f"{name}.ipynb" for name in NOTEBOOKS}


def test_set_up_is_the_same():
  cells = {tuple(x.source for x in read(n).cells[1:3]) for n in NOTEBOOKS}
  assert len(cells) == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_page_is_whole(name):
  """The outputs that it has here are of one run from the top to the end."""
  path = ROOT / f"notebooks/{name}.ipynb"
  assert path.stat().st_size < 1 << 20
  notebook = read(name)
  nbformat.validate(notebook)
  assert notebook.metadata.kernelspec.name == "python3"
  cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
  counts = [cell.execution_count for cell in cells]
  assert counts == list(range(1, len(cells) + 1))
  assert "THIS IS A CPU" in get_text(cells[1])
  assert "two CPU cores" in notebook.cells[0].source
  outputs = [output for cell in cells for output in cell.outputs]
  assert not [x for x in outputs if x.output_type == "error"]
  check_pictures(name, notebook)
  text = "".join(map(get_text, cells))
  assert "done in" in text and "already finished" not in text
  places = ("/work", "/tmp", "/root", "/home", "/Users", socket.gethostname())
  assert not [place for place in places if place in text]
