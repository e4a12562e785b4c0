# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""benchmark train, compile and infer: what they say that they measured."""

import contextlib
import io
import json
import re
import sys
import tempfile

import jax
import pytest

from tests.support import build
from tests.support.weights import make_tiny_weights
from vit_jax.benchmark import __main__ as command
from vit_jax.benchmark import startup, turns
from vit_jax.benchmark.peer import make_task
from vit_jax.benchmark.step import choose_batch_size
from vit_jax.config import ConfigError
from vit_jax.convert.writing import save_weights
from vit_jax.devices.specs import SPECS
from vit_jax.train import train

SMALL = ["--model=mu/4", "--size=16", "--batch=16", "--json"]
QUICK = ["--warmup=1", "--steps=2", "--repeats=2"]
DIGITS = "--config=configs/digits.py"
# B/16 has these parameters in the paper's models and in timm.
BASE = 86_567_656


def run(capsys, *arguments):
  """The JSON and the table of a command."""
  command.main([*arguments])
  shown = capsys.readouterr()
  return json.loads(shown.out.splitlines()[-1]), shown.err


@pytest.mark.profiler
def test_the_step_and_the_loop_are_timed_and_traced(tmp_path, capsys):
  directory = tmp_path / "profile"
  flags = ["--loop", f"--trace={directory}"]
  found, table = run(capsys, "train", *SMALL, *QUICK, *flags)
  assert found["model"] == "mu/4" and found["batch_size"] == 16
  assert found["size"] == [16, 16] and found["classes"] == 1000
  assert found["dtype"] == "float32"  # On a CPU.
  assert found["machine"]["devices"] == jax.device_count()
  assert found["machine"]["versions"]["jax"] == jax.__version__
  assert {x["key"] for x in found["choices"]} >= {
    *("model.attention", "model.unroll", "model.remat", "train.accumulate")
  }
  programs = found["programs"]
  assert list(programs) == ["vit_jax", "whole loop"]
  for program in programs.values():
    assert program["seconds"]["repeats"] == 2 and program["mfu"] is None
    speed = program["images_per_second"]
    # Of two values the median is their mean, which 16 / x does not keep.
    assert 16 / program["seconds"]["max"] == pytest.approx(speed["min"])
  assert 0 <= found["data_wait"]["median"] <= 1
  memory = found["memory"]
  assert memory["in_place"] <= memory["output"]
  assert memory["arguments"] < memory["total"]
  assert list(directory.glob("plugins/profile/*/*.xplane.pb"))
  kernels, parts = found["trace"]["kernels"], found["trace"]["parts"]
  assert any("encoderblock/MlpBlock_0" in x["scope"] for x in kernels)
  assert {x["phase"] for x in kernels} == {"forward", "backward", ""}
  assert {"optimizer", "checks", "block MlpBlock_0"} <= {
    x["part"] for x in parts
  }
  assert sum(x["seconds"] for x in parts) == pytest.approx(
    found["trace"]["seconds"]
  )
  assert "mu/4 with adam" in table and "optimizer" in table


def test_a_recipe_is_timed_as_it_is(data_dir, capsys):
  found, _ = run(
    capsys,
    *("train", "--config=configs/digits.py", "--json", *QUICK),
    f"--config.data.dir={data_dir}",
  )
  assert found["batch_size"] == 128 and found["parameters"] == 136_778


def test_the_compilation_is_timed_as_a_loop_and_unrolled(capsys):
  found, table = run(
    capsys, "compile", *SMALL, "--config.model.depth=2", "--repeats=2"
  )
  programs = found["programs"]
  unrolls = [
    {y["key"]: y["value"] for y in x["choices"]}["model.unroll"]
    for x in programs
  ]
  assert programs[0]["name"] == "as it comes"
  assert sorted(unrolls) == [1, 2]
  for program in programs:
    seconds = program["seconds"]
    assert all(x["repeats"] == 2 and x["median"] > 0 for x in seconds.values())
    assert seconds["all"]["max"] >= seconds["compile"]["min"]
    assert program["memory"]["temporaries"] > 0 and program["error"] is None
  assert "as it comes" in table


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["train", "--trace=gs://bucket/x"], "a profile is kept on a disk"),
    (["train", "--trace=/dev/null/x"], "/dev/null is not a directory"),
    (["train", "--model=R50x1", "--size=300000"], "the images of a batch take"),
    (["checkpoint", "--workdir=/dev/null/x"], "/dev/null is not a directory"),
    (["infer", "--batch=1000000000"], "a batch of 1,000,000,000 images"),
    (["startup", "--config.foo=1"], "unknown config section 'foo'"),
    (["startup", "--config.data.dir=/dev/null", DIGITS], "cannot be written"),
  ],
)
def test_what_cannot_be_measured_is_refused_before(arguments, message, capsys):
  model = [] if "--model=R50x1" in arguments else ["--model=mu/4", "--size=16"]
  if arguments[-1] == DIGITS:
    model = ["--repeats=1"]
  with pytest.raises(SystemExit) as caught:
    command.main([*arguments, *model])
  assert caught.value.code == 2
  assert message in capsys.readouterr().err


def test_weights_of_grey_images_are_timed(tmp_path, capsys):
  weights = make_tiny_weights((16, 16), channels=1)
  save_weights(weights, str(tmp_path / "x.npz"), "authors")
  found, _ = run(
    capsys,
    *("infer", f"--weights={tmp_path / 'x.npz'}", "--json", *QUICK),
    *("--batches=1", "--dtypes=float32"),
  )
  assert found["size"] == [16, 16]


def test_inference_is_timed_by_batch_and_dtype(capsys):
  found, table = run(
    capsys,
    *("infer", "--model=mu/4", "--size=16", "--json", *QUICK),
    *("--batches=1,4", "--dtypes=float32"),
  )
  (speed,) = found["speeds"]
  assert found["parameters"] == 47_912 and speed["dtype"] == "float32"
  assert list(speed["batches"]) == ["1", "4"]
  assert speed["batches"]["4"]["seconds"]["repeats"] == 2
  latency = speed["latency"]
  assert latency["min"] <= latency["median"] <= latency["p99"]
  assert latency["p99"] <= latency["max"]
  assert "99th percentile" in table


def test_the_lines_of_a_run_end_the_stages_of_a_start(config):
  config["evals"] = {}
  config["train"] |= dict(steps=1, log_every=1)
  shown = io.StringIO()
  with contextlib.redirect_stderr(shown):
    with tempfile.TemporaryDirectory() as workdir:
      train(config, workdir)
  ended = [
    stage
    for line in shown.getvalue().splitlines()
    for stage, pattern in startup.ENDS.items()
    if pattern.match(line)
  ]
  assert ended == list(startup.ENDS)


@pytest.mark.parametrize(
  ("kind", "variant", "size", "batch"),
  [
    ("NVIDIA H100 80GB HBM3", "B/16", 224, 256),
    ("NVIDIA H100 80GB HBM3", "L/16", 224, 128),
    ("NVIDIA H100 80GB HBM3", "H/14", 224, 64),
    ("TPU v5 lite", "B/16", 224, 64),
    ("unheard of", "B/16", 224, 64),
  ],
)
def test_a_batch_suits_the_device(kind, variant, size, batch):
  spec = next((x for k, x in SPECS.items() if re.fullmatch(k, kind)), None)
  assert choose_batch_size({"variant": variant}, size, spec) == batch


def make_config(**sections):
  return {
    "model": dict(variant="B/16") | sections.pop("model", {}),
    "data": dict(source="synthetic:1000") | sections.pop("data", {}),
    "optim": dict(lr=1e-3) | sections.pop("optim", {}),
    "train": dict(steps=1, batch_size=8),
    **sections,
  }


@pytest.mark.usefixtures("unknown_memory")
def test_a_peer_is_told_what_the_step_does():
  task = make_task(build(make_config(model=dict(pool="gap", dropout=0.1))))
  assert task.model.name == "vit_base_patch16_224"
  assert task.model.fields["embed_dim"] == 768
  assert task.model.fields["depth"] == 12
  assert task.model.fields["global_pool"] == "avg"
  assert not task.model.fields["class_token"]
  assert task.model.fields["proj_drop_rate"] == 0.1
  assert (task.dtype, task.batch_size) == ("bfloat16", 8)
  assert (
    task.model.parameters == BASE - 2 * 768
  )  # No class token, nor its position.


@pytest.mark.usefixtures("unknown_memory")
def test_what_timm_does_otherwise_is_named_at_once():
  config = make_config(
    model=dict(representation_size=768, pool="map"),
    data=dict(augment=dict(mixup=0.2, randaugment=(2, 10))),
    optim=dict(name="lion"),
  )
  with pytest.raises(ConfigError) as caught:
    make_task(build(config))
  message = str(caught.value)
  for key in ("representation_size", "pool", "mixup", "randaugment", "adam"):
    assert key in message
  with pytest.raises(ConfigError, match="Mixer-B/16"):
    make_task(build(make_config(model=dict(variant="Mixer-B/16"))))


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["train", "--rounds=2"], "--against"),
    (["train", "--against=timm", "--loop"], "--loop"),
    (["train", "--against=timm", "--trace=here"], "--trace"),
    (["infer", "--rounds=2"], "--against"),
    (["infer", "--against=timm", "--batches=1,8"], "--batches"),
    (["infer", "--config.model.nosuch=1"], "'model.nosuch'"),
    (["infer", "--config.model.attention=flash"], "needs a TPU, and this is"),
    (["infer", "--weights=x", "--config.model.depth=3"], "--config.model has"),
    (["train", "--config.model=5"], "model=5 must be a section"),
    (["compile", "--topology=v5e"], "v5e:"),
    (["train", "--seconds=3"], "unknown flag '--seconds"),
  ],
)
def test_flags_that_do_not_go_together(arguments, said, capsys):
  with pytest.raises(SystemExit) as caught:
    command.main(arguments)
  assert caught.value.code == 2
  assert said in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "infer"])
def test_timm_is_asked_for_before_anything_is_compiled(
  verb, monkeypatch, capsys
):
  for name in ("torch", "timm"):
    monkeypatch.setitem(sys.modules, name, None)  # As if not installed.
  monkeypatch.setattr(turns, "compare", lambda *_: pytest.fail("compiles"))
  with pytest.raises(SystemExit) as caught:
    command.main([verb, "--against=timm"])
  assert caught.value.code == 2
  assert "needs torch and timm, not installed" in capsys.readouterr().err


@pytest.mark.parametrize("verb", command.VERBS)
def test_every_verb_has_help(verb, capsys):
  with pytest.raises(SystemExit) as caught:
    command.main([verb, "--help"])
  assert caught.value.code == 0
  assert f"vit_jax.benchmark {verb}" in capsys.readouterr().out
