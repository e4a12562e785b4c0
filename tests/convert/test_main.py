# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""python -m vit_jax.convert, as a user types it."""

import json
import os
import re

import numpy as np
import pytest

from tests.support.weights import (
  HYBRID,
  MIXER,
  RESNET,
  VIT,
  check_params,
  check_same,
  make_weights,
)
from vit_jax.convert import __main__ as command
from vit_jax.convert.weights import load_weights
from vit_jax.convert.writing import save_weights
from vit_jax.plots.report import save_report


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
  """Relative paths, as users give them."""
  monkeypatch.chdir(tmp_path)


def run(capsys, *arguments):
  """Runs the command; what it prints on standard output."""
  command.main(list(arguments))
  printed = capsys.readouterr()
  assert not printed.err
  return printed.out


def list_all(directory="."):
  """Every file with its size and when it was changed."""
  found = {}
  for above, _, names in os.walk(directory):
    for path in (os.path.join(above, name) for name in names):
      stat = os.stat(path)
      found[path] = (stat.st_size, stat.st_mtime_ns)
  return found


def check_refused(capsys, *arguments, says):
  """The command ends in one message and status 2, and writes nothing."""
  before = list_all()
  with pytest.raises(SystemExit) as caught:
    command.main(list(arguments))
  assert caught.value.code == 2
  printed = capsys.readouterr()
  assert printed.err.startswith("error: ") and says in printed.err, printed.err
  assert "Traceback" not in printed.err and list_all() == before
  return printed


def test_around_and_back(capsys):
  """From a run through every default, to the same parameters."""
  weights = make_weights(class_names=tuple("abcde"))
  save_weights(weights, "run")
  text = run(capsys, "run", "x.safetensors")
  assert "vit_jax: mu/16, 56,581 parameters, 5 classes, 224x224 px" in text
  assert "written  x.safetensors (timm, " in text
  assert "written  x.safetensors.json (timm, " in text
  text = run(capsys, "x.safetensors", "x.npz")
  assert "         gelu=tanh (x.safetensors.json)\n" in text
  text = run(capsys, "x.npz", "again")
  assert "written  again (vit_jax, " in text
  check_same(load_weights("again"), weights)


@pytest.mark.parametrize(
  ("fields", "form"),
  [(VIT, "authors"), (HYBRID, "authors"), (RESNET, "bit"), (MIXER, "mixer")],
  ids=["vit", "hybrid", "resnet", "mixer"],
)
def test_the_format_of_an_npz_is_that_of_the_model(fields, form, capsys):
  weights = make_weights(fields)
  save_weights(weights, "run")
  assert f"written  x.npz ({form}, " in run(capsys, "run", "x.npz")
  found = load_weights("x.npz")
  assert found.form == form
  check_params(found.params, weights.params)


def test_what_the_file_leaves_open_is_said_with_its_source(capsys):
  weights = make_weights(width=48, num_heads=3, size=(48, 32))
  save_weights(weights, "x.safetensors", "timm")
  os.remove("x.safetensors.json")
  check_refused(capsys, "x.safetensors", "x.npz", says="--source_size=H,W")
  size = "--source_size=48,32"
  check_refused(capsys, "x.safetensors", "x.npz", size, says="--num_heads=K")
  text = run(
    *(capsys, "x.safetensors", "x.npz", size, "--num_heads=3"),
    *("--gelu=tanh", "--layer_norm_eps=1e-5"),
  )
  for line in (
    "num_heads=3 (given)",
    "gelu=tanh (given)",
    "layer_norm_eps=1e-05 (given)",
    "px=48x32 (given)",
  ):
    assert f"         {line}\n" in text
  found = load_weights("x.npz")
  check_params(found.params, weights.params)
  assert found.model.layer_norm_eps == 1e-5

  text = run(capsys, "x.safetensors", "y.npz", size, "--num_heads=3")
  assert "gelu=exact (the default of timm)\n" in text
  assert "layer_norm_eps=1e-06 (the default of timm)\n" in text
  save_weights(make_weights(HYBRID), "h.npz", "authors")
  os.remove("h.npz.json")
  text = run(capsys, "h.npz", "h.safetensors")
  assert "std_conv_eps_in=std (the default of vit_jax)\n" in text
  assert "px=224x224 (fits its 784 patches)\n" in text


def test_json_is_the_last_line(capsys):
  save_weights(make_weights(), "x.npz", "authors")
  command.main(["x.npz", "hf", "--to=hugging_face", "--json"])
  printed = capsys.readouterr()
  assert "written  hf/model.safetensors (hugging_face, " in printed.err
  done = json.loads(printed.out.splitlines()[-1])
  read = done["read"]
  assert (read["path"], read["format"], read["model"]) == (
    *("x.npz", "authors"),
    "mu/16",
  )
  assert read["parameters"] == 56_581 and read["num_classes"] == 5
  assert read["fields"]["depth"] == 2
  assert read["assumed"]["gelu"] == {"value": "tanh", "from": "x.npz.json"}
  assert done["written"]["format"] == "hugging_face"
  files = {file["path"]: file["bytes"] for file in done["written"]["files"]}
  assert files == {path: os.stat(path).st_size for path in files}
  assert {os.path.basename(path) for path in files} == set(os.listdir("hf"))
  printed = check_refused(capsys, "x.npz", "x.npz", "--json", says="x.npz")
  assert not printed.out


def test_several_files(capsys):
  save_weights(make_weights(), "x.npz", "authors")
  how = ("--to=hugging_face", "--shard_size=100KB")
  text = run(capsys, "x.npz", "hf", *how)
  lines = [line.split() for line in text.splitlines()]
  written = [words[1] for words in lines if words[0] == "written"]
  assert {os.path.basename(path) for path in written} == set(os.listdir("hf"))
  assert "hf/model-00003-of-00003.safetensors" in written
  run(capsys, "hf", "again.npz")
  check_same(load_weights("again.npz"), load_weights("x.npz"))
  for text, count in (("5GB", 5 * 10**9), ("7", 7), ("2kb", 2000)):
    assert command.parse_bytes(text) == count


def test_prefix_dtype_and_overwrite(capsys):
  weights = make_weights()
  save_weights(weights, "run")
  how = ("--prefix=opt/target/", "--dtype=bfloat16")
  run(capsys, "run", "x.npz", *how)
  with np.load("x.npz") as loaded:
    assert all(name.startswith("opt/target/") for name in loaded)
    assert {loaded[name].dtype for name in loaded} == {np.dtype("V2")}
  check_refused(capsys, "run", "x.npz", says="x.npz exists")
  run(capsys, "run", "x.npz", "--overwrite")
  check_same(load_weights("x.npz"), weights)
  run(capsys, "x.npz", "other")
  check_refused(capsys, "x.npz", "other", says="other exists")
  run(capsys, "x.npz", "other", "--overwrite")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["nowhere.npz", "y.npz"], "nowhere.npz does not exist"),
    (["x.npz", "https://a/y.npz"], "https:// are not read: download it"),
    (["x.npz", "y.pt"], "y.pt: suffix .pt"),
    (["x.npz", "y.pt"], "of vit_jax, authors, "),
    (["x.npz", "y", "--to=huging_face"], "did you mean 'hugging_face'?"),
    (["x.npz", "y.npz", "--to=tim"], "did you mean 'timm'?"),
    (["x.npz", "y.npz", "--to=timm"], "timm is written to *.safetensors"),
    (["x.npz", "x.npz", "--overwrite"], "x.npz would be overwritten"),
    (["x.npz", "./z/../x.npz", "--overwrite"], "x.npz would be overwritten"),
    (["x.npz", "link.npz", "--overwrite"], "x.npz would be overwritten"),
    (["x.npz", "z/up/x.npz", "--overwrite"], "x.npz would be overwritten"),
    (["run", "run", "--overwrite"], "run would be overwritten"),
    (["run/checkpoints/0", "run", "--overwrite"], "0 would be overwritten"),
    (["hf", "hf", "--to=timm", "--overwrite"], "hf would be overwritten"),
    (["several", "several", "--to=hugging_face", "--overwrite"], "overwritten"),
    (["x.npz", "y", "--to=hugging_face", "--shard_size=5GX"], "5GX must be"),
    (["x.npz", "y", "--to=hugging_face", "--shard_size=0"], "0 must be"),
    (["x.npz", "y", "--to=timm", "--shard_size=1GB"], "for directories of hug"),
    (["x.npz", "y.npz", "--source_size=7"], "stated size 7x7 px"),
    (["x.npz", "y.npz", "--source_size=1,2,3"], "must be H,W in pixels"),
    (["x.npz", "y.npz", "--source_size=true"], "must be H,W in pixels"),
    (["x.npz", "y.npz", "--layer_norm_eps=0"], "model.layer_norm_eps=0.0"),
    (["x.npz", "y.npz", "--num_heads=4"], "num_heads=4, but the arrays show 2"),
    (["x.npz", "y.npz", "--prefix=opt/target"], "did you mean 'opt/target/'?"),
    (["h.npz", "y", "--to=hugging_face"], "stem=(1, 1)"),
    (["h.npz", "y", "--to=mixer"], "mixer is written to *.npz"),
    (["text.npz", "y"], "text beginning 'not weights'"),
  ],
)
def test_errors(arguments, message, capsys):
  weights = make_weights()
  save_weights(weights, "x.npz", "authors")
  os.mkdir("z")
  os.symlink("x.npz", "link.npz")
  os.symlink("..", "z/up")
  if arguments[0] in ("run", "run/checkpoints/0"):
    save_weights(weights, "run")
  if arguments[0] == "hf":
    save_weights(weights, "hf", "hugging_face")
  if arguments[0] == "several":
    save_weights(weights, "several", "hugging_face", shard_size=100_000)
  if arguments[0] == "h.npz":
    save_weights(make_weights(HYBRID), "h.npz", "authors")
  with open("text.npz", "w") as file:
    file.write("not weights")
  check_refused(capsys, *arguments, says=message)


def test_bad_flags_end_in_status_2(capsys):
  for flags in (["--dtype=int8"], ["--num_heads=x"], ["--too=timm"]):
    with pytest.raises(SystemExit) as caught:
      command.main(["a", "b", *flags])
    assert caught.value.code == 2
    assert flags[0].partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
  "fields",
  [
    VIT,
    VIT | dict(representation_size=24),
    VIT | dict(pool="gap", position="sincos_2d"),
    VIT | dict(position="relative"),
    RESNET,
    MIXER,
  ],
)
def test_the_command_on_the_page_of_a_run_works(fields, capsys):
  weights = make_weights(fields)
  save_weights(weights, "run")
  model = weights.all_fields | {"variant": weights.variant}
  config = {"model": model, "train": {"steps": 1}}
  with open("run/config.json", "w") as file:
    json.dump(config, file)
  with open(save_report(["run"])) as file:
    (line,) = re.findall("python -m vit_jax.convert ([^<\n]+)", file.read())
  run(capsys, *line.split())
  name = line.split()[1]
  check_same(load_weights(name), weights)
