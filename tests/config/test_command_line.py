# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a user types, in processes of their own."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.support import ROOT
from vit_jax import config, sections
from vit_jax.config import command_line, recipe
from vit_jax.devices import detection

VERBS = [
  *("main", "predict", "evaluate", "features", "analyze", "report", "doctor"),
  "soup",
  *("prepare.__main__", "models.__main__", "convert.__main__"),
  *("study.__main__", "benchmark.__main__", "plan.__main__"),
  "export.__main__",
  "config.__main__",
]
DIGITS = "--config=configs/digits.py"
LIST = "__main__"  # Which lists the others.


def run(*arguments, **environment):
  """Runs `python -m ARGUMENTS` as a user would."""
  return subprocess.run(
    [sys.executable, "-m", *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env=os.environ | environment,
  )


def test_ctrl_c_is_one_line(capsys):
  """Also where it is lost at first, as in a callback that may not raise."""

  class Callback:
    def __del__(self):
      raise KeyboardInterrupt

  # Which a shell lets what it starts in the background ignore.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    with pytest.raises(SystemExit) as caught, command_line.reported():
      Callback()  # And away.
      time.sleep(9)
  finally:
    signal.signal(signal.SIGINT, before)
  assert caught.value.code == config.INTERRUPTED
  assert capsys.readouterr().err == "interrupted\n"


def test_ctrl_c_while_a_verb_imports_is_one_line():
  code = """
import os, signal, sys, time
sys.argv = ["-m"]  # As Python has it while it looks for a verb.
signal.signal(signal.SIGINT, signal.default_int_handler)
import vit_jax
os.kill(os.getpid(), signal.SIGINT)
time.sleep(9)
"""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
  )
  assert (done.returncode, done.stderr) == (config.INTERRUPTED, "interrupted\n")


def test_who_takes_train_for_a_command_is_told():
  command = [sys.executable, "-m", "vit_jax.train", "--config=digits"]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 2 and done.stdout == ""
  assert done.stderr.endswith("vit_jax.main is the command that trains\n")


@pytest.mark.parametrize(
  ("error", "status"), [(config.ConfigError, 2), (config.RunError, 1)]
)
def test_errors_are_one_line_and_a_status(error, status, capsys):
  with pytest.raises(SystemExit) as caught, command_line.reported():
    raise error("the disk is full")
  assert caught.value.code == status
  assert capsys.readouterr().err == "error: the disk is full\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb, capsys):
  with pytest.raises(SystemExit) as caught:
    importlib.import_module(f"vit_jax.{verb}").main(["--help"])
  assert caught.value.code == 0
  name = verb.removesuffix(".__main__")
  assert f"usage: python -m vit_jax.{name}" in capsys.readouterr().out


def test_verbs_are_named_as_they_are_started(capsys, monkeypatch):
  from vit_jax import predict

  started = [sys.executable, "-u", "/usr/bin/vit-jax", "predict", "--help"]
  monkeypatch.setattr(sys, "orig_argv", started)
  with pytest.raises(SystemExit):
    predict.main(["--help"])
  with pytest.raises(SystemExit), command_line.reported():
    raise config.ConfigError("python -m vit_jax.doctor explains why")
  out, error = capsys.readouterr()
  assert "usage: vit-jax predict" in out and "\n  vit-jax predict runs" in out
  assert "python -m" not in out
  assert error == "error: vit-jax doctor explains why\n"


def test_every_verb_is_asked_for_help():
  package = ROOT / "vit_jax"
  found = {
    ".".join(path.relative_to(package).with_suffix("").parts)
    for path in package.rglob("*.py")
    if '__name__ == "__main__"' in path.read_text()
  }
  assert found == {*VERBS, LIST}


def test_missing_data_end_in_seconds_with_the_command_that_prepares(tmp_path):
  tick = time.monotonic()
  done = run(
    "vit_jax.main",
    "--config=configs/vit_l16.py",
    f"--workdir={tmp_path / 'run'}",
    f"--config.data.dir={tmp_path / 'data'}",
  )
  assert done.returncode == 2
  assert "'tfds:imagenet21k' is not prepared" in done.stderr
  assert "python -m vit_jax.prepare imagenet21k" in done.stderr
  assert "Traceback" not in done.stderr
  assert not (tmp_path / "run").exists()
  # Seconds on an idle machine; the bound leaves room for a busy one.
  assert time.monotonic() - tick < 60


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--config=configs/digits.py"], "--workdir is missing"),
    (["--config=configs/digits.py", "--workdir="], "--workdir is empty"),
    (["--workdir=x"], "--config is missing"),
    (
      ["--config=configs/digits.py", "--wrkdir=x"],
      "unknown flag '--wrkdir=x'; did you mean '--workdir'?",
    ),
    (
      ["--config=configs/digits.py", "--lr=0.1"],
      "a key of the config is --config.SECTION.KEY=VALUE",
    ),
    (
      ["--config=configs/digits.py", "--workdir=x", "--config.lr=0.1"],
      "unknown config section 'lr'; did you mean 'optim.lr'?",
    ),
    (
      [
        "--config=configs/digits.py",
        "--workdir=x",
        "--config.train.steps",
        "9",
      ],
      "unknown flag '9'",
    ),
    (["--config=configs/x.py", "--workdir=x"], "configs/x.py does not exist"),
    (["--config=configs/digits.py:a=1", "--workdir=x"], "unknown argument"),
    (
      ["--config=configs/digits.py", "--workdir=x", "--config.train.stesp=1"],
      "unknown config key 'train.stesp'; did you mean 'train.steps'?",
    ),
    (
      ["--config=configs/digits.py", "--workdir=x", "--config.data.seed=1"],
      "unknown config key 'data.seed'; did you mean 'train.seed'?",
    ),
    (
      ["--config=configs/digits.py", "--workdir=x", "--wrokdir=y"],
      "unknown flag '--wrokdir=y'",
    ),
    (
      ["--config=configs/digits.py", "--workdir=x", "--config.train.lr.x=1"],
      "unknown config key 'train.lr'; did you mean 'optim.lr'?",
    ),
    (
      ["--config=configs/digits.py", "--workdir=x", "--config.optim.lr.x=1"],
      "lr is a key, not a section",
    ),
    (["--config=configs", "--workdir=x"], "configs is a directory"),
    *(
      (["--config=configs/digits.py", "--workdir=x", f"--config.{key}="], says)
      for key, says in (
        ("data.dir", "data.dir is empty"),
        ("data.source", "data.source is empty"),
        ("init", "init='' must be"),
        ("data.resize", "data.resize='' (str) must be one of"),
      )
    ),
  ],
)
def test_bad_flags(arguments, message, capsys, monkeypatch):
  from vit_jax import main

  monkeypatch.chdir(ROOT)
  with pytest.raises(SystemExit) as caught:
    main.main(arguments)
  assert caught.value.code == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(
  ("verb", "arguments", "message"),
  [
    ("prepare.__main__", ["digits", "--data_dir="], "--data_dir is empty"),
    ("models.__main__", ["--to="], "--to is empty"),
    ("study.__main__", ["seeds", "--seeds="], "--seeds is empty"),
    ("plan.__main__", ["--sweep", "--batch_sizes="], "--batch_sizes is empty"),
    ("predict", ["run", "a.png", "--out="], "--out is empty"),
    ("convert.__main__", ["a", "b", "--to="], "--to is empty"),
    ("benchmark.__main__", ["infer", "--weights="], "--weights is empty"),
    ("benchmark.__main__", ["train", "--steps=x"], "a whole number from 1 on"),
    ("benchmark.__main__", ["input", "--seconds=nan"], "seconds, above 0"),
    ("benchmark.__main__", ["input", "--seconds=0"], "seconds, above 0"),
    (
      "benchmark.__main__",
      ["infer", "--batch=1", "--batches=2"],
      "--batch and --batches",
    ),
    (
      "benchmark.__main__",
      ["infer", "--weights=x", "--model=B/16"],
      "--model has no effect",
    ),
  ],
)
def test_flags_that_are_empty_wrong_or_too_many(
  verb, arguments, message, capsys
):
  with pytest.raises(SystemExit) as caught:
    importlib.import_module(f"vit_jax.{verb}").main(arguments)
  assert caught.value.code == 2
  assert message in capsys.readouterr().err


def test_a_warning_is_a_line_like_any_other():
  code = (
    "import logging\n"
    "from vit_jax.config.command_line import reported\n"
    "with reported():\n"
    "  logging.getLogger('vit_jax.storage').warning('the disk is slow')\n"
    "  from vit_jax.config import command_line\n"
    "  command_line.warnings.warn_explicit(\n"
    "    'the size is a guess', UserWarning, command_line.__file__, 7)\n"
    "  command_line.warnings.warn('not ours')\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
  )
  shown = done.stderr.splitlines()
  assert shown[:2] == ["the disk is slow", "the size is a guess"]
  assert shown[2].startswith("<string>:") and "not ours" in shown[2]


@pytest.mark.parametrize(
  ("encoding", "shown"),
  [
    ("utf-8:strict", b"\xff \xe6\x97\xa5"),
    ("UTF8", b"\xff \xe6\x97\xa5"),
    ("ascii", b"\\udcff \\u65e5"),
  ],
)
def test_names_of_any_bytes_are_printed(encoding, shown):
  code = (
    "from vit_jax.config.command_line import reported\n"
    "with reported():\n"
    "  print('\\udcff \\u65e5')\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    **dict(cwd=ROOT, capture_output=True),
    env=os.environ | {"PYTHONIOENCODING": encoding},
  )
  assert done.stdout.strip() == shown and not done.returncode


@pytest.mark.parametrize(
  ("text", "value"),
  [
    ("3", 3),
    ("1e-3", 1e-3),
    ("true", True),
    ("False", False),
    ("none", None),
    ("B/16", "B/16"),
    ("tfds:digits", "tfds:digits"),
    ("(0.5, 1.0)", (0.5, 1.0)),
    ("8,12", (8, 12)),
    ("(8, 12)", (8, 12)),
    ("train[:90%]", "train[:90%]"),
  ],
)
def test_values(text, value):
  assert recipe.parse_value(text) == value


def test_a_recipe_is_found_from_anywhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  overrides = ["--config.train.steps=10", "--config.mesh.fsdp=4"]
  path = ROOT / "configs/vit_b16.py"
  loaded = recipe.load_config(f"{path}:epochs=30", overrides)
  assert loaded["train"]["epochs"] == 30
  assert loaded["train"]["steps"] == 10 and loaded["mesh"] == {"fsdp": 4}


@pytest.mark.parametrize("text", ["8,12", "(8, 12)", "[8, 12]"])
def test_one_number_becomes_a_height_and_a_width(text):
  path = str(ROOT / "configs/digits.py")
  assert recipe.load_config(path, [])["data"]["size"] == 16
  loaded = recipe.load_config(path, [f"--config.data.size={text}"])
  assert sections.resolve(loaded)["data"]["size"] == (8, 12)


def test_what_is_no_recipe_says_so(tmp_path):
  with pytest.raises(config.ConfigError, match="README.md is not a Python"):
    recipe.load_config(str(ROOT / "README.md"), [])
  (tmp_path / "empty.py").write_text("")
  with pytest.raises(config.ConfigError, match=r"empty.py .*get_config\(\)"):
    recipe.load_config(str(tmp_path / "empty.py"), [])


def test_a_recipe_that_takes_no_arguments_says_so(tmp_path):
  path = tmp_path / "plain.py"
  path.write_text("def get_config():\n  return {}\n")
  with pytest.raises(config.ConfigError, match="takes no argument"):
    recipe.load_config(f"{path}:a=1", [])


def test_doctor():
  done = run("vit_jax.doctor", JAX_PLATFORMS="cpu")
  assert done.returncode == 0, done.stderr
  assert "unset it to use an accelerator" in done.stdout
  report = json.loads(run("vit_jax.doctor", "--json").stdout.splitlines()[-1])
  assert report["versions"]["jax"] and report["devices"]


@pytest.mark.parametrize(
  ("machine", "installed", "expected"),
  [
    (("tpu",), {}, "pip install 'vit_jax[tpu]'"),
    (("tpu",), {"libtpu": "1"}, "another process uses it"),
    (("gpu",), {}, "pip install 'vit_jax[cuda]'"),
    (("gpu",), {"jax-cuda13-plugin": "1"}, "CUDA version with the driver's"),
    ((), {}, "No accelerator was found"),
  ],
)
def test_doctor_explains(machine, installed, expected, monkeypatch):
  monkeypatch.delenv("JAX_PLATFORMS", raising=False)
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  monkeypatch.setattr(detection, "has_tpu", lambda: "tpu" in machine)
  monkeypatch.setattr(detection, "has_gpu", lambda: "gpu" in machine)
  assert expected in detection.explain("cpu", installed)
  assert detection.explain("tpu", installed) == "jax uses the TPU."


def test_a_platform_that_does_not_start_is_explained():
  """jax fails loudly when told to use what is not there."""
  done = run("vit_jax.doctor", JAX_PLATFORMS="cuda")
  assert done.returncode == 0, done.stderr
  assert "jax cannot start: " in done.stdout
  assert "JAX_PLATFORMS=cuda asks for an accelerator" in done.stdout
  done = run(
    *("vit_jax.main", "--config=configs/digits.py", "--workdir=x"),
    JAX_PLATFORMS="cuda",
  )
  assert done.returncode == 2
  assert done.stderr.startswith("error: jax cannot start: ")


@pytest.mark.parametrize(
  "command", [("models", "Ti/16", "--json"), ("doctor",), ("plan", "--help")]
)
def test_a_machine_without_a_tpu_hears_nothing_of_it(command):
  """Though libtpu is installed, to plan with."""
  verb, *arguments = command
  environment = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith(("TPU_", "JAX_PLATFORMS"))
  }
  done = subprocess.run(
    [sys.executable, "-m", f"vit_jax.{verb}", *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env=environment,
  )
  assert done.returncode == 0 and done.stderr == ""


RECIPES = {
  "def get_config(:\n": ":1: not valid Python",
  "def get_config():\n  return {}['x']\n": ":2: it raises KeyError",
  "x = 1 / 0\n": ":1: it raises ZeroDivisionError",
  "import no_such_package\n": ":1: it imports 'no_such_package'",
  "import sys\nsys.exit(0)\n": r":2: it calls sys.exit\(0\)",
  "def get_config():\n  pass\n": "returns None, not a dictionary",
  "def get_config():\n  return [1]\n": r"returns \[1\], not a dictionary",
  "def get_config():\n  return {1: {}}\n": "the key 1 of its config",
  "d = {}\nd['a'] = d\ndef get_config():\n  return d\n": "nested",
  "get_config = 3\n": "does not define get_config",
  "def get_config(a):\n  return {}\n": "needs an argument",
  "def get_config():\n  return get_config()\n": ":2: it raises Recursion",
  "def get_config():\n  raise ValueError('x' * 9000)\n": r"9,000 characters",
  "x = 1\0\n": "null bytes",
  "def get_config():\n"
  "  from ml_collections import ConfigDict, config_dict\n"
  "  c = ConfigDict({'train': {}})\n"
  "  c.train.steps = config_dict.required_placeholder(int)\n"
  "  return c\n": r"leaves train.steps open: set --config.train.steps=",
}


@pytest.mark.parametrize(("text", "message"), RECIPES.items())
def test_a_recipe_that_fails_says_where_and_why(tmp_path, text, message):
  path = tmp_path / "r.py"
  path.write_text(text)
  with pytest.raises(config.ConfigError, match=message) as error:
    recipe.load_config(str(path), [])
  assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ("https://x.org/c.py", "download it first"),
    ("~nouser/c.py", "no user"),
    ("c" * 3000, "3,000 characters"),
    ("file:///c.py", "on a disk"),
  ],
)
def test_addresses_of_recipes(given, message):
  with pytest.raises(config.ConfigError, match=message) as error:
    recipe.load_config(given, [])
  assert len(str(error.value)) < 600


@pytest.mark.parametrize(
  "text",
  [
    *("train." + "k" * 5000 + "=1", "k" * 5000 + ".a=1"),
    *("train.steps=" + "9" * 5000, "train.steps=0x" + "f" * 8000),
    *("data.size=[" + "1," * 5000 + "]", "data.size=" + "(" * 3000),
    *("data.size={[]: 1}", "train..steps=1", "=1", "train.steps"),
    *("train.steps=" + "9" * 30, f"train.batch_size={2**40}"),
    *("data.workers=1000000", "data.threads=1000000"),
    *("evals.a/b.split=test", "evals.a b.split=test", "evals.spike.split=x"),
    *("model.width=1" + "0" * 30, "optim.warmup_steps=" + "9" * 30),
  ],
)
def test_absurd_overrides_are_refused_in_short(text):
  with pytest.raises(config.ConfigError) as error:
    path = str(ROOT / "configs/digits.py")
    sections.resolve(recipe.load_config(path, [f"--config.{text}"]))
  assert max(map(len, str(error.value).split())) <= 200


@pytest.mark.parametrize(
  ("verb", "arguments"),
  [
    ("models.__main__", ["x" * 5000]),
    ("models.__main__", ["--checkpoints", "x" * 5000]),
    ("plan.__main__", [DIGITS, "--topology=" + "x" * 5000]),
    ("plan.__main__", [DIGITS, "--topology=v5e:1x1" + "0" * 5000]),
    ("prepare.__main__", ["x" * 5000]),
    ("prepare.__main__", ["folder:" + "x" * 5000]),
    ("predict", ["--top=" + "9" * 5000, "run", "a.png"]),
    ("predict", ["--" + "x" * 5000, "run", "a.png"]),
  ],
)
def test_long_arguments_are_refused_in_short(
  verb, arguments, capsys, monkeypatch, tmp_path
):
  monkeypatch.chdir(ROOT)
  if verb == "prepare.__main__":
    arguments = [*arguments, f"--data_dir={tmp_path}"]
  with pytest.raises(SystemExit) as caught:
    importlib.import_module(f"vit_jax.{verb}").main(arguments)
  assert caught.value.code == 2
  said = capsys.readouterr().err
  assert max(map(len, said.split())) <= 200 and len(said) < 3000


@pytest.mark.parametrize(
  "key", ["hosts.heartbeat_timeout", "hosts.progress_timeout"]
)
def test_no_time_is_beyond_what_timers_count(key):
  path = str(ROOT / "configs/digits.py")
  with pytest.raises(config.ConfigError, match=f"{key}.*1e6"):
    sections.resolve(recipe.load_config(path, [f"--config.{key}=1e300"]))


def test_an_argument_without_a_value_is_refused():
  path = str(ROOT / "configs/digits.py")
  with pytest.raises(config.ConfigError, match="'variant=' has no value"):
    recipe.load_config(f"{path}:variant=", [])


def test_the_package_lists_its_verbs_and_names():
  import vit_jax

  assert {"load", "train", "predict", "__version__"} <= set(dir(vit_jax))
  done = run("vit_jax")
  listed = re.findall(r"^  (\w+)  ", done.stdout, re.MULTILINE)
  assert listed == sorted(x.removesuffix(".__main__") for x in VERBS)
  assert "Recipes, as --config=digits: augreg, " in done.stdout
