# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights that fill the memory: one array beside them; and several files."""

import contextlib
import json
import os
import tracemalloc

import jax
import numpy as np
import pytest

from tests.support.weights import (
  check_params,
  check_refused,
  check_same,
  edit,
  make_weights,
  read_arrays,
)
from vit_jax.checkpoint import allocator
from vit_jax.convert import files, storing
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import FORMATS
from vit_jax.convert.weights import load_weights
from vit_jax.convert.writing import check_target, save_weights

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def large():
  """A model of 77 MB, most of it in arrays of 6 layers."""
  return make_weights(
    dict(variant="mu/16", depth=6, width=512, mlp_dim=2048, num_heads=8)
  )


@contextlib.contextmanager
def tracing():
  """Yields a function: the bytes that arrays and objects took at most."""
  tracemalloc.start()
  try:
    yield lambda: tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize("form", ["authors", "big_vision_scanned", "timm"])
def test_a_model_is_in_memory_once(form, large, tmp_path):
  size = sum(array.nbytes for array in large.params.values())
  assert size > 60 << 20
  path = str(tmp_path / f"x{FORMATS[form].suffix}")
  with tracing() as get_peak:
    save_weights(large, path, form)
    assert get_peak() < 0.3 * size
  with tracing() as get_peak:
    found = load_weights(path)
    assert size < get_peak() < 1.3 * size
  # As the class token's position is added to it in big_vision.
  left = {"cls", "Transformer/posembed_input/pos_embedding"}
  left = left if form.startswith("big") else set()
  params = large.params.items()
  check_params(
    {path: x for path, x in found.params.items() if path not in left},
    {path: x for path, x in params if path not in left},
  )


def test_jax_shares_what_was_read(large, tmp_path):
  save_weights(large, str(tmp_path / "x.npz"), "authors")
  found = load_weights(str(tmp_path / "x.npz"))
  kernels = {n: x for n, x in found.params.items() if x.nbytes > 1 << 20}
  assert len(kernels) > 5
  for array in kernels.values():
    placed = jax.device_put(array)
    assert placed.unsafe_buffer_pointer() == array.ctypes.data
  for shape in ((), (0, 3), (5,), (3, 4)):
    made = allocator.allocate(shape, np.int16)
    assert made.shape == shape and made.dtype == np.int16
    assert made.ctypes.data % 64 == 0 or not made.size


def test_what_is_not_needed_is_not_read(tmp_path):
  weights = make_weights()
  path = tmp_path / "x.npz"
  save_weights(weights, str(path), "authors", prefix="opt/target/")
  state = {"opt/state/step": np.arange(100_000.0)}
  edit(str(path), lambda arrays: arrays | state)
  data = path.read_bytes()
  place = data.index(state["opt/state/step"].tobytes())
  path.write_bytes(data[:place] + b"\1" + data[place + 1 :])
  check_params(load_weights(str(path)).params, weights.params)
  with pytest.raises(CheckpointError, match="opt/state/step.*CRC"):
    read_arrays(path)


@pytest.fixture
def several(tmp_path):
  """A directory of Hugging Face's in several files, and its weights."""
  weights = make_weights(
    class_names=tuple("abcde"), preprocess=dict(resize="bilinear_antialias")
  )
  save_weights(weights, str(tmp_path / "m"), "hugging_face", shard_size=100_000)
  return tmp_path / "m", weights


def test_several_files(several):
  directory, weights = several
  index = json.loads((directory / INDEX).read_text())
  names = sorted(set(index["weight_map"].values()))
  count = len(names)
  assert count == 3 and names[1] == "model-00002-of-00003.safetensors"
  assert index["metadata"] == {"total_size": 4 * 56_581}
  for name in names:
    arrays = read_arrays(directory / name)
    assert {n for n, x in index["weight_map"].items() if x == name} == set(
      arrays
    )
    assert sum(array.nbytes for array in arrays.values()) <= 100_000
  for path in (directory, directory / INDEX):
    check_same(load_weights(str(path)), weights)
  # Without our manifest theirs says as much.
  (directory / "model.safetensors.json").unlink()
  check_same(load_weights(str(directory)), weights)


def test_an_array_larger_than_a_file_is_alone(tmp_path):
  arrays = {
    name: np.zeros(size)
    for name, size in zip("abcd", (2, 9, 1, 1), strict=True)
  }
  written = storing.write_shards(files.locate(tmp_path), arrays, {}, 24)
  assert [sorted(read_arrays(path)) for path in written[1:]] == [
    *(["a"], ["b"], ["c", "d"])
  ]


def test_files_of_before_are_replaced(several):
  directory, weights = several
  before = set(os.listdir(directory))
  with pytest.raises(CheckpointError, match="index.json exists"):
    save_weights(weights, str(directory), "hugging_face")
  how = dict(overwrite=True)
  whole = save_weights(weights, str(directory), "hugging_face", **how)
  assert {path.name for path in whole} == set(os.listdir(directory))
  assert whole[0].name == "model.safetensors"
  check_same(load_weights(str(directory)), weights)
  save_weights(
    weights, str(directory), "hugging_face", shard_size=100_000, **how
  )
  assert set(os.listdir(directory)) == before
  save_weights(
    weights, str(directory), "hugging_face", shard_size=150_000, **how
  )
  assert len(os.listdir(directory)) < len(before)
  check_same(load_weights(str(directory)), weights)


def test_what_does_not_fit_its_index_is_named(several):
  directory, _ = several
  second = directory / "model-00002-of-00003.safetensors"
  arrays = read_arrays(second)
  name = sorted(arrays)[0]
  less = {n: x for n, x in arrays.items() if n != name}
  storing.write_safetensors(second, less, {}, overwrite=True)
  check_refused(str(directory), second.name, repr(name), "fetch both")
  # In another file than the index says.
  first = directory / "model-00001-of-00003.safetensors"
  moved = {name: arrays[name]}
  edit(str(first), lambda found: found | moved)
  check_refused(str(directory), second.name, repr(name), "fetch both")
  storing.write_safetensors(second, arrays, {}, overwrite=True)
  check_refused(str(directory), second.name, first.name, name, "repeats")
  second.unlink()
  check_refused(str(directory), second.name, "1 of the 3 files")
  text = (directory / INDEX).read_text()
  twice = text.replace('"weight_map": {', f'"weight_map": {{"{name}": "x",', 1)
  (directory / INDEX).write_text(twice)
  check_refused(str(directory), INDEX, f"has {name!r} twice")


@pytest.mark.parametrize(
  ("path", "form"),
  [("m", "timm"), ("m.safetensors", "hugging_face"), ("m.npz", "authors")],
)
def test_where_several_files_have_no_reader(path, form, tmp_path):
  with pytest.raises(CheckpointError, match="shard_size is for directories"):
    check_target(str(tmp_path / path), form, shard_size=1000)


@pytest.mark.parametrize(
  "form, suffix, shard_size",
  [
    ("authors", ".npz", None),
    ("timm", ".safetensors", None),
    ("timm", "", None),
    ("hugging_face", "", 100_000),
  ],
)
def test_weights_have_a_name_once_what_tells_of_them_has(
  form, suffix, shard_size, several, tmp_path, monkeypatch
):
  """So nobody reads them with what was written of others, at any moment."""
  _, weights = several
  path, how = tmp_path / f"a{suffix}", dict(overwrite=True)
  how |= dict(shard_size=shard_size) if shard_size else {}
  for _ in range(2):  # The second time they are replaced.
    moments = []
    replace = os.replace

    def watch(source, target, moments=moments, replace=replace):
      folder = path if not suffix else tmp_path
      moments.append((os.path.basename(target), {*os.listdir(folder)}))
      replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    save_weights(weights, str(path), form, **how)
    monkeypatch.undo()
    *earlier, (last, _) = moments
    readable = INDEX if shard_size else f"a{suffix}" if suffix else files.WHOLE
    assert last == readable
    sides = [there for name, there in earlier if name.endswith(".json")]
    assert sides and not any(readable in there for there in sides)
