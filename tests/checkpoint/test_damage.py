# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that differ from what was written: found, and never used."""

import gc
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from orbax.checkpoint import v1 as ocp

from tests.checkpoint.samples import (
  ABSTRACT,
  is_equal,
  make_state,
  restore,
)
from vit_jax.checkpoint import (
  Checkpointer,
  CheckpointOptions,
  checkpointer,
  load_params,
)
from vit_jax.checkpoint.metadata import DamagedError, to_tree
from vit_jax.checkpoint.reading import (
  group_arrays,
  load_metadata,
  reading,
  verify,
)
from vit_jax.config import ConfigError, RunError
from vit_jax.storage import untrusted


def list_files(directory):
  root = pathlib.Path(directory)
  return sorted(path for path in root.rglob("*") if path.is_file())


def look(directory):
  """Everything that a reader could have changed."""
  return {
    path: (path.stat().st_mtime_ns, path.read_bytes())
    for path in list_files(directory)
  }


def flip(path, position):
  content = bytearray(path.read_bytes())
  content[position] ^= 1 << (position % 8)
  path.write_bytes(content)


def check(directory, caplog):
  """What is restored is one of the states that were saved, or the one before.

  Returns the step, and whether somebody was told.
  """
  caplog.clear()
  state = restore(directory)
  step = int(state.step)
  assert is_equal(state, make_state(step))
  warned = "going back to step 1" in caplog.text
  assert warned == (step == 1)
  # Parameters alone may be sound where the rest of the state is not.
  caplog.clear()
  params = load_params(directory)
  taken = next(n for n in (1, 2) if is_equal(params, make_state(n).params))
  assert taken >= step and ("taking step 1" in caplog.text) == (taken == 1)
  return step


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8, 0.999])
def test_no_flipped_bit_gives_another_state(directory, caplog, share):
  steps = []
  for path in list_files(directory / "2"):
    content = path.read_bytes()
    if not content:
      continue
    flip(path, int(share * len(content)))
    steps.append(check(directory, caplog))
    path.write_bytes(content)
  assert steps.count(1) >= 3
  assert check(directory, caplog) == 2


def test_every_bit_of_the_weights_counts(directory, caplog):
  """The file that holds the arrays, at many places."""
  path = max(list_files(directory / "2"), key=lambda x: x.stat().st_size)
  size = path.stat().st_size
  found = set()
  for position in range(0, size, size // 20):
    flip(path, position)
    found.add(check(directory, caplog))
    flip(path, position)
  assert found <= {1, 2} and 1 in found


@pytest.mark.parametrize("left", [0.0, 0.5, None])
def test_a_file_that_is_cut_or_gone_is_found(directory, caplog, left):
  went_back = 0
  for path in list_files(directory / "2"):
    content = path.read_bytes()
    path.unlink()
    if left is not None:
      path.write_bytes(content[: int(left * len(content))])
    # A checkpoint without its last file is none: nobody needs to be told.
    if path.name == "_CHECKPOINT_METADATA" and left is None:
      assert int(restore(directory).step) == 1
    else:
      went_back += check(directory, caplog) == 1
    path.write_bytes(content)
  assert went_back >= 3


def rewrite(directory, change):
  """Step 2 as another program would write it, with the same metadata."""
  path = directory / "2"
  metadata = ocp.checkpointables_metadata(path).custom_metadata
  path.rmtree()
  tree = {"state": to_tree(change(make_state(2)))}
  ocp.save_checkpointables(path, tree, custom_metadata=metadata)


@pytest.mark.parametrize(
  ("change", "reason"),
  [
    (
      lambda state: state.replace(params={"head": {"bias": jnp.ones(24)}}),
      r"params/head/bias .*\b1 more\b",
    ),
    (
      lambda state: jax.tree.map(
        lambda x: x.astype("float16") if x.shape == (16, 24) else x, state
      ),
      r"opt_state/1/mu/head/kernel .*\b1 more\b",
    ),
    (
      lambda state: state.replace(aux={"more": jnp.ones(3)}),
      r"aux/more ",
    ),
    (
      lambda state: jax.tree.map(
        lambda x: x[::-1] if x.shape == (24,) else x, state
      ),
      r"params/head/bias ",
    ),
  ],
  ids=["missing", "dtype", "more", "order"],
)
def test_an_array_that_is_missing_or_another_is_named(
  directory, caplog, change, reason
):
  rewrite(directory, change)
  assert check(directory, caplog) == 1
  assert re.search(f"2: .*{reason}.*; taking step 1", caplog.text)


def test_reading_changes_nothing(directory):
  left = pathlib.Path(directory) / "3.orbax-checkpoint-tmp" / "state"
  left.mkdir(parents=True)
  (left / "half").write_bytes(b"x")
  flip(max(list_files(directory / "2"), key=lambda x: x.stat().st_size), 99)
  before = look(directory)
  load_params(directory)
  with pytest.raises(ConfigError):
    load_params(directory, "7")
  assert look(directory) == before


def test_a_step_that_was_asked_for_is_not_another(directory):
  for path in list_files(directory / "2" / "state"):
    path.write_bytes(b"")
  with pytest.raises(ConfigError, match=r"no checkpoint .*:\n .*/2"):
    load_params(directory, "2")
  assert is_equal(load_params(directory, "1"), make_state(1).params)


def test_a_run_without_a_sound_checkpoint_does_not_start_again(directory):
  for path in list_files(directory):
    if path.parent.name == "state":
      path.write_bytes(b"")
  with pytest.raises(ConfigError) as error:
    restore(directory)
  assert "\n  the checkpoint of step 2 is damaged: " in str(error.value)
  assert "\n  the checkpoint of step 1 is damaged: " in str(error.value)


def test_the_step_of_a_damaged_checkpoint_is_saved_again(
  directory, monkeypatch
):
  flip(max(list_files(directory / "2"), key=lambda x: x.stat().st_size), 99)
  save = ocp.save_checkpointables_async

  def watch(path, *args, **options):
    # Before any host gets there: what Orbax deletes, other hosts look for.
    assert path.name == "2" and not path.exists()
    return save(path, *args, **options)

  monkeypatch.setattr(ocp, "save_checkpointables_async", watch)
  with Checkpointer(directory, CheckpointOptions()) as opened:
    assert int(opened.restore(ABSTRACT).step) == 1
    opened.save(2, make_state(2))
    opened.finish()
  assert is_equal(restore(directory), make_state(2))


def test_another_state_is_no_damage(directory):
  """A config that slipped through is refused, and nothing is gone back to."""
  other = ABSTRACT.replace(params={"head": {"bias": ABSTRACT.step}})
  with Checkpointer(directory, CheckpointOptions()) as opened:
    with pytest.raises(ConfigError) as error:
      opened.restore(other)
  text = str(error.value)
  assert "  - params/head/bias bfloat16[24]\n  + params/head/bias int" in text
  assert "  - params/head/kernel float32[16,24]\n" in text


def test_formats_before_and_after(directory, caplog):
  path = directory / "2" / "_CHECKPOINT_METADATA"
  content = json.loads(path.read_text())
  metadata = content["custom_metadata"]["vit_jax"]
  assert metadata["format"] == 1 and metadata["config"] == {"x": 2}
  from vit_jax.checkpoint.metadata import seal

  content["custom_metadata"] = seal(metadata | {"format": 2})
  path.write_text(json.dumps(content))
  with pytest.raises(ConfigError, match="format 2 .* up to 1: upgrade"):
    restore(directory)
  with pytest.raises(ConfigError, match="upgrade"):
    load_params(directory)
  content["custom_metadata"] = None
  path.write_text(json.dumps(content))
  (directory / "1").rmtree()
  with pytest.raises(ConfigError, match="before format 1; .*--config.init"):
    restore(directory)
  assert is_equal(load_params(directory), make_state(2).params)
  assert "2: it has no checksums" in caplog.text


def test_arrays_that_claim_more_than_their_files_hold(directory, monkeypatch):
  monkeypatch.setattr(untrusted, "UNPACK_FLOOR", 0)
  assert is_equal(restore(directory), make_state(2))
  monkeypatch.setattr(untrusted, "UNPACK_RATIO", 0)
  with pytest.raises(ConfigError, match=r"arrays claim [\d,]+ bytes in files"):
    restore(directory)
  with pytest.raises(ConfigError, match=r"claim [\d,]+ bytes in files of"):
    load_params(directory)


def test_hosts_verify_parts(directory):
  """Each host reads its share, and together they read it all."""
  path = directory / "2"
  _, tree = load_metadata(path)
  groups = group_arrays(tree, size=2000)
  assert sorted(sum(groups, [])) == [
    *("health/bad_step", "health/bad_tensor", "health/count", "health/passed"),
    *("opt_state/0", "opt_state/1/mu/head/kernel"),
    *("params/head/bias", "params/head/kernel", "step"),
  ]
  assert max(map(len, groups)) > 1 and len(groups) > 1
  verify(path)
  flip(max(list_files(path), key=lambda x: x.stat().st_size), 99)
  failed = 0
  for index in range(2):
    try:
      verify(path, index, 2)
    except DamagedError:
      failed += 1
  assert failed >= 1


def test_old_ones_stay_until_a_newer_one_is_sound(
  tmp_path, monkeypatch, caplog
):
  """A disk that changes what it was given, from step 3 on."""
  directory = epath.Path(tmp_path)
  sync = checkpointer.sync

  def damage(path):
    sync(path)
    if int(path.name) >= 3:
      flip(max(list_files(path), key=lambda x: x.stat().st_size), 99)

  monkeypatch.setattr(checkpointer, "sync", damage)
  with Checkpointer(directory, CheckpointOptions(keep=1)) as opened:
    for step in (1, 2, 3, 4):
      opened.save(step, make_state(step))
    with pytest.raises(RunError, match="last checkpoint, of step 4 in"):
      opened.finish()
  assert sorted(p.name for p in directory.iterdir()) == ["2", "3", "4"]
  assert "checkpoint of step 3 is damaged: " in caplog.text
  caplog.set_level(logging.WARNING)
  assert int(restore(directory).step) == 2


def test_the_newest_the_rare_and_the_best_are_kept(tmp_path):
  directory = epath.Path(tmp_path)
  options = CheckpointOptions(
    keep=2, keep_every=4, keep_best=1, best="test/accuracy"
  )
  scores = {}
  with Checkpointer(directory, options, scores=scores) as opened:
    for step, score in enumerate([0.1, 0.2, 0.9, 0.4, 0.5, 0.6, 0.7, 0.8], 1):
      opened.save(step, make_state(step))
      scores[step] = score
    opened.finish()
  assert sorted(p.name for p in directory.iterdir()) == ["3", "4", "7", "8"]
  assert is_equal(load_params(directory, "3"), make_state(3).params)


def test_a_deletion_that_was_cut_short_is_finished(directory):
  for path in list_files(directory / "1" / "state"):
    path.unlink()
  (directory / "deleting_1").write_text("")
  assert int(restore(directory).step) == 2
  assert sorted(p.name for p in directory.iterdir()) == ["2"]


def test_what_is_given_up_is_given_up_for_a_sound_one(directory, caplog):
  """A rollback asks first, and is not told of one that has rotted since."""
  with Checkpointer(directory, CheckpointOptions(keep=1)) as opened:
    opened.restore(ABSTRACT)
    flip(max(list_files(directory / "2"), key=lambda x: x.stat().st_size), 99)
    assert opened.find_sound_step() == 1
    assert "the checkpoint of step 2 is damaged: " in caplog.text
    assert opened.find_latest_step() == 1
    # What is in nobody's checkpoint any more is saved again when asked for.
    opened.save(2, make_state(2), wait=True)
    opened.finish()
  assert is_equal(restore(directory), make_state(2))
  shutil.rmtree(directory / "2")
  with Checkpointer(directory, CheckpointOptions()) as opened:
    assert opened.find_sound_step() is None


def test_the_last_sound_one_outlives_the_next_save(directory):
  """Step 2 was trusted once; only step 1 is sound when step 3 is written."""
  with Checkpointer(directory, CheckpointOptions(keep=1)) as opened:
    opened.restore(ABSTRACT)
    flip(max(list_files(directory / "2"), key=lambda x: x.stat().st_size), 99)
    assert int(opened.restore(ABSTRACT).step) == 1
    opened.save(3, make_state(3), wait=True)
    assert {"1", "3"} <= {path.name for path in directory.iterdir()}
    opened.finish()
  assert [path.name for path in directory.iterdir()] == ["3"]


def swap(directory):
  (directory / "1").rename(directory / "other")
  (directory / "2").rename(directory / "1")
  (directory / "other").rename(directory / "2")


def test_the_step_is_the_records_and_not_the_names(directory, caplog):
  """Swapped, copied and renamed by hand: never another step's state."""
  shutil.copytree(directory / "1", directory / "7")
  assert check(directory, caplog) == 2
  assert "7: it holds step 1" in caplog.text
  with pytest.raises(ConfigError, match="7: it holds step 1") as error:
    load_params(directory, "7")
  assert "rename 7" not in str(error.value)  # It is a copy.
  with pytest.raises(DamagedError, match="holds step 1"):
    verify(directory / "7")
  shutil.rmtree(directory / "7")
  swap(directory)
  for read in (restore, load_params):
    with pytest.raises(ConfigError) as error:
      read(directory)
    for name, step in (("2", "1"), ("1", "2")):
      assert re.search(rf"{name}\b.*: it holds step {step}", str(error.value))
    last = str(error.value).splitlines()[-1]
    assert f"rename 2 to 1 and 1 to 2 in {directory}" in last
    assert "put a copy" not in last
  with pytest.raises(ConfigError, match="2: it holds step 1"):
    load_params(directory, "2")
  swap(directory)
  assert check(directory, caplog) == 2


def test_a_run_saves_over_a_step_of_another_name(directory):
  shutil.copytree(directory / "1", directory / "3")
  with Checkpointer(directory, CheckpointOptions()) as opened:
    assert int(opened.restore(ABSTRACT).step) == 2
    opened.save(3, make_state(3))
    opened.finish()
  assert is_equal(restore(directory), make_state(3))


def test_a_name_that_is_no_step_is_said_with_those_that_are(directory):
  with pytest.raises(ConfigError, match="step best in .*, but of 1, 2"):
    load_params(directory, "best")


def test_ctrl_c_is_no_damage():
  """Orbax makes other errors of it, after which an older one was taken."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    with pytest.raises(KeyboardInterrupt), reading():
      os.kill(os.getpid(), signal.SIGINT)
      raise ValueError("Event loop is closed")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt, match="^$"), reading():
      for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
      raise AssertionError("a second one ends it")
  finally:
    signal.signal(signal.SIGINT, before)


def test_one_file_that_is_cut_is_one_error(tmp_path, caplog, monkeypatch):
  """Each of its arrays fails, and Orbax would leave those that are not read."""
  lost = []
  monkeypatch.setattr(sys, "unraisablehook", lost.append)
  monkeypatch.setattr(sys, "excepthook", lambda *error: lost.append(error))
  rng = np.random.default_rng(0)  # Zeros would be written as nothing.
  tree = {f"a{x}": jnp.asarray(rng.random((512, 512 + x))) for x in range(24)}
  ocp.save_checkpointables(tmp_path / "state", {"state": tree})
  largest = max(list_files(tmp_path), key=lambda path: path.stat().st_size)
  os.truncate(largest, largest.stat().st_size // 2)
  wanted = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
  )
  caplog.clear()
  with pytest.raises(DamagedError) as error, reading():
    ocp.load_checkpointables(tmp_path / "state", {"state": wanted})
  text = str(error.value)
  assert re.search(r'Error reading .*"a\d+', text) and len(text) < 330
  del error
  gc.collect()  # Tasks whose error nobody took are told of then.
  time.sleep(0.3)  # Reads that go on would end meanwhile.
  assert not lost and not caplog.records
