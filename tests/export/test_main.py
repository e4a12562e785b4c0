# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The command, from a run to a directory that can be served."""

import importlib.util
import json

import numpy as np
import pytest
from etils import epath
from PIL import Image
from sklearn import datasets

import vit_jax
from tests.support.weights import RESNET, VIT, make_weights
from vit_jax.convert import save_weights
from vit_jax.export import __main__ as command
from vit_jax.export import check, onnx, stablehlo

NAMES = ("ant", "bee", "cat", "dog", "eel")
SIZE = (32, 32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run of a small model, and two photographs as files."""
  root = tmp_path_factory.mktemp("export")
  weights = make_weights(VIT, size=SIZE, class_names=NAMES)
  save_weights(weights, str(root / "run"))
  (root / "photos").mkdir()
  for i, image in enumerate(datasets.load_sample_images().images):
    Image.fromarray(image).save(root / "photos" / f"{i}.png")
  return root


def export(capsys, *arguments, status=0):
  """What the command prints; its exit status is checked."""
  if status:
    with pytest.raises(SystemExit) as caught:
      command.main(list(map(str, arguments)))
    assert caught.value.code == status
  else:
    command.main(list(map(str, arguments)))
  return capsys.readouterr()


@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
def test_a_directory_has_all_that_serving_needs(run, form, tmp_path, capsys):
  out = tmp_path / "served"
  shown = export(
    *(capsys, run / "run", f"--to={form}", f"--out={out}", "--json"),
    *("--with_preprocess", "--images", run / "photos"),
  )
  done = json.loads(shown.out.splitlines()[-1])
  assert len(shown.out.splitlines()) == 1
  record = json.loads((out / "export.json").read_text())
  assert done == record | {"out": str(out), "bytes": done["bytes"]}
  assert record["input"] == dict(
    name="image", dtype="uint8", height=32, width=32, channels=3
  )
  assert record["manifest"] == json.loads(
    (run / "run/manifest.json").read_text()
  )
  assert tuple(record["manifest"]["class_names"]) == NAMES
  found = record["comparison"]
  assert found["error"] <= 1e-5 and found["number"] == found["agree"] == 2
  assert {x.name for x in out.iterdir()} == {*record["files"], "export.json"}
  # What is written is what was compared, and it is what predict sees.
  model, preprocess = vit_jax.load(run / "run")
  files = sorted((run / "photos").iterdir())
  load = {"onnx": onnx.load, "stablehlo": stablehlo.load}[form]
  logits = load(epath.Path(out))(preprocess.cut(files))
  wanted = np.asarray(model(preprocess(files)))
  scale = np.abs(wanted).max()
  np.testing.assert_allclose(logits / scale, wanted / scale, atol=1e-5)


def test_weights_are_read_back(run, tmp_path, capsys):
  shown = export(capsys, run / "run", "--to=npz", f"--out={tmp_path / 'npz'}")
  assert "of 8 images of the same class" in shown.out
  assert {x.name for x in (tmp_path / "npz").iterdir()} == {
    *("model.npz", "model.npz.json", "export.json")
  }
  model, _ = vit_jax.load(tmp_path / "npz/model.npz")
  assert model.class_names == NAMES


def test_what_cannot_be_compared_is_said(run, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  shown = export(
    capsys, run / "run", "--to=timm", f"--out={tmp_path / 'timm'}", "--json"
  )
  assert json.loads(shown.out)["comparison"] is None
  assert "pip install torch timm" in shown.err
  assert (tmp_path / "timm/model.safetensors").exists()


@pytest.mark.parametrize(
  ("form", "extra"), [("onnx", "onnx"), ("saved_model", "tf")]
)
def test_a_missing_extra_is_one_error(
  run, form, extra, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  out = tmp_path / "out"
  shown = export(capsys, run / "run", f"--to={form}", f"--out={out}", status=2)
  assert f'pip install "vit_jax[{extra}]"' in shown.err
  assert not shown.out and not out.exists()


def test_an_export_is_replaced_only_if_asked(run, tmp_path, capsys):
  out = tmp_path / "out"
  arguments = capsys, run / "run", "--to=npz", f"--out={out}"
  export(*arguments)
  before = (out / "export.json").stat().st_ino
  assert "--overwrite" in export(*arguments, status=2).err
  export(*arguments, "--overwrite")
  assert (out / "export.json").stat().st_ino != before
  other = tmp_path / "thesis"
  other.mkdir()
  (other / "chapter.tex").write_text("years of work")
  arguments = capsys, run / "run", "--to=npz", f"--out={other}", "--overwrite"
  assert "chapter.tex" in export(*arguments, status=2).err
  assert (other / "chapter.tex").exists()


def test_other_logits_leave_what_was_there(run, tmp_path, capsys, monkeypatch):
  out = tmp_path / "out"
  arguments = capsys, run / "run", "--to=npz", f"--out={out}"
  export(*arguments)
  monkeypatch.setitem(check.TOLERANCE, "float32", -1.0)
  shown = export(*arguments, "--overwrite", status=1)
  assert "tolerance is -1" in shown.err
  assert {x.name for x in tmp_path.iterdir()} == {"out"}
  assert (out / "export.json").exists()


@pytest.mark.parametrize(
  ("arguments", "fact"),
  [
    (["--to=npz", "--with_preprocess"], "--with_preprocess"),
    (["--to=onnx", "--platforms=cpu"], "--platforms"),
    (["--to=stablehlo", "--platforms=cpu,gpu"], "'gpu'"),
    (["--to=onnx", "--images", "none.png"], "none.png"),
    (["--to=onnx", "--size=33"], "33"),
    (["--to=onnx", "--out=gs://bucket/out"], "gs://bucket/out"),
  ],
)
def test_bad_arguments_end_with_status_2(
  run, arguments, fact, tmp_path, capsys
):
  out = [] if "--out" in str(arguments) else [f"--out={tmp_path / 'out'}"]
  shown = export(capsys, run / "run", *out, *arguments, status=2)
  assert fact in shown.err and "Traceback" not in shown.err
  assert not list(tmp_path.iterdir())


def test_what_a_format_cannot_express_is_named(tmp_path, capsys):
  save_weights(make_weights(RESNET, size=SIZE), str(tmp_path / "run"))
  shown = export(
    *(capsys, tmp_path / "run", "--to=hugging_face"),
    f"--out={tmp_path / 'out'}",
    status=2,
  )
  assert "hugging_face" in shown.err and "ResNet" in shown.err
  assert {x.name for x in tmp_path.iterdir()} == {"run"}


def test_positions_are_resampled_to_another_size(run, tmp_path, capsys):
  out = tmp_path / "out"
  arguments = "--to=onnx", f"--out={out}", "--size=64,32", "--json"
  done = json.loads(export(capsys, run / "run", *arguments).out)
  assert (done["input"]["height"], done["input"]["width"]) == (64, 32)
  assert done["comparison"]["error"] <= 1e-5


@pytest.mark.parametrize(("channels", "which"), [(1, "digits"), (4, "photo")])
def test_there_are_real_images_for_any_channels(channels, which):
  weights = make_weights(VIT, size=SIZE, channels=channels)
  pixels, said = check.read_images([], weights.preprocess)
  assert pixels.shape == (8, *SIZE, channels) and which in said
  assert len(np.unique(pixels)) > 10
