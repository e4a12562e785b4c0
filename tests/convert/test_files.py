# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
import pickle
import resource
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from etils import epath

from tests.support.weights import read_arrays
from vit_jax.config import ConfigError
from vit_jax.convert import files, storing

RNG = np.random.default_rng(0)
ARRAYS = {
  "params/encoder/kernel": RNG.normal(size=(3, 4)).astype(np.float32),
  "params/encoder/bias": RNG.normal(size=5).astype(ml_dtypes.bfloat16),
  "half": RNG.normal(size=(2, 1, 3)).astype(np.float16),
  "step": np.array(7, np.int32),
  "none": np.zeros((0, 3), np.float32),
  "mask": np.array([True, False]),
  "Größe": np.arange(3, dtype=np.uint8),
}
SQUARE = np.arange(12, dtype=np.float32).reshape(3, 4)
LAYOUTS = {
  "fortran": np.asfortranarray(SQUARE),
  "strided": np.repeat(SQUARE, 2, axis=1)[:, ::2],
  "swapped": SQUARE.astype(">f4"),
}
NOTES = {"format": "pt", "b": "2", "a": "ä"}


class Trap(str):
  """The name of a file that is made when this is unpickled."""

  def __reduce__(self):
    return open, (str(self), "w")


@pytest.fixture(params=["npz", "safetensors"])
def kind(request):
  return request.param


def write(path, arrays, overwrite=False, kind="npz"):
  if kind == "npz":
    storing.write_npz(path, arrays, overwrite=overwrite)
  else:
    storing.write_safetensors(path, arrays, NOTES, overwrite=overwrite)


def check_equal(arrays, expected):
  assert arrays.keys() == expected.keys()
  for name, array in arrays.items():
    native = expected[name].astype(expected[name].dtype.newbyteorder("="))
    assert array.dtype == native.dtype and array.dtype.isnative
    assert array.shape == native.shape and array.flags.c_contiguous
    assert array.tobytes() == native.tobytes(), name


def check_refused(path, match):
  """Reading must fail with an error that names the file and says why."""
  with pytest.raises(files.CheckpointError, match=match) as error:
    read_arrays(path)
  assert str(path) in str(error.value)


def make_header(dtype="<f4", shape=(2, 3), version=1):
  """A .npy header, which may lie."""
  text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}\n"
  size = struct.pack("<H" if version == 1 else "<I", len(text))
  return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode()


def write_zip(path, members, method=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, "w", method) as archive:
    for name, data in members:
      archive.writestr(name, data)


@pytest.mark.parametrize("as_path", [str, epath.Path])
def test_what_is_written_is_read(tmp_path, kind, as_path):
  # Names of files say nothing, and directories are made.
  path = as_path(tmp_path / "new" / "directory" / "weights.bin")
  write(path, ARRAYS | LAYOUTS, kind=kind)
  check_equal(read_arrays(path), ARRAYS | LAYOUTS)
  assert os.listdir(tmp_path / "new" / "directory") == ["weights.bin"]


def test_other_writers_are_read(tmp_path):
  for save in (np.savez, np.savez_compressed):
    save(tmp_path / "x.npz", **ARRAYS, **LAYOUTS)
    check_equal(read_arrays(tmp_path / "x.npz"), ARRAYS | LAYOUTS)
  safetensors.numpy.save_file(ARRAYS, tmp_path / "x", {"k": "v"})
  check_equal(read_arrays(tmp_path / "x"), ARRAYS)
  data = make_header(version=2) + bytes(24)
  write_zip(tmp_path / "x", [("x.npy", data)])
  zeros = {"x": np.zeros((2, 3), np.float32)}
  check_equal(read_arrays(tmp_path / "x"), zeros)


def test_zeros_that_deflate_shrinks_most_are_read(tmp_path):
  zeros = {"head": np.zeros((1000, 4000), np.float32)}
  np.savez_compressed(tmp_path / "x.npz", **zeros)
  assert (tmp_path / "x.npz").stat().st_size < 16_000_000 / 1000
  check_equal(read_arrays(tmp_path / "x.npz"), zeros)


def test_other_readers_read_it(tmp_path):
  write(tmp_path / "x.npz", ARRAYS)
  with np.load(tmp_path / "x.npz", allow_pickle=False) as loaded:
    assert loaded["params/encoder/bias"].dtype == np.dtype("V2")
    typed = {name: loaded[name].view(ARRAYS[name].dtype) for name in loaded}
  check_equal(typed, ARRAYS)
  write(tmp_path / "x", ARRAYS, kind="safetensors")
  with safetensors.safe_open(str(tmp_path / "x"), "np") as file:
    check_equal({name: file.get_tensor(name) for name in file.keys()}, ARRAYS)
    assert file.metadata() == NOTES


def test_equal_arrays_give_equal_bytes(tmp_path, kind):
  write(tmp_path / "a", ARRAYS, kind=kind)
  write(tmp_path / "b", dict(reversed(ARRAYS.items())), kind=kind)
  assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
  if kind == "npz":
    with zipfile.ZipFile(tmp_path / "a") as archive:
      dates = {member.date_time for member in archive.infolist()}
    assert dates == {(1980, 1, 1, 0, 0, 0)}
  else:  # With more than one note, the library orders them by chance.
    storing.write_safetensors(tmp_path / "c", ARRAYS, {"format": "pt"})
    safetensors.numpy.save_file(ARRAYS, tmp_path / "d", {"format": "pt"})
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()


@pytest.mark.parametrize(
  "data, match",
  [
    (b"", "empty file"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "run `git lfs pull`"),
    (b"<!doctype html><title>404</title>", "text beginning '<!doctype"),
    (b"\x89HDF\r\n\x1a\n\0\0\0", "is HDF5: read it with h5py"),
    (b"\x1f\x8b\x08\0", "compressed"),
    (pickle.dumps({"a": 1}, protocol=2), "holds a pickle.*save_file"),
    (pickle.dumps({"a": 1}, protocol=5), "holds a pickle"),
    (b"\xff\xd8\xff\xe0\0", "unknown file type"),
    (b"PK\x03\x04", "not a zip file.*fetch"),
    (b"PK\x05\x06" + bytes(18), "holds no arrays"),
    (struct.pack("<Q", 2) + b"{}", "holds no arrays"),
    (struct.pack("<Q", 1 << 60) + b"{}", "unknown file type"),
    (struct.pack("<Q", 1 << 20) + b"{}", "as a safetensors file.*fetch"),
    (struct.pack("<Q", 90_000) + b"{" * 90_000, "as a safetensors file"),
  ],
)
def test_other_files_are_named(tmp_path, data, match):
  (tmp_path / "weights.npz").write_bytes(data)
  check_refused(tmp_path / "weights.npz", match)


def test_what_can_not_be_opened_is_named(tmp_path):
  check_refused(tmp_path / "x", "No such file")
  check_refused(tmp_path, "directory without weights")
  (tmp_path / "file").touch()
  check_refused(tmp_path / "file" / "x", "Not a directory")
  (tmp_path / "model.ckpt.index").touch()
  check_refused(tmp_path / "model.ckpt", "TensorFlow checkpoint")
  (tmp_path / "model.ckpt.data-00000").write_bytes(b"\xff\0")
  check_refused(tmp_path / "model.ckpt.data-00000", "TensorFlow")
  assert issubclass(files.CheckpointError, ConfigError)


def test_no_pickle_is_opened(tmp_path):
  trap = Trap(tmp_path / "ran")
  pickle.loads(pickle.dumps(trap)).close()
  (tmp_path / "ran").unlink()  # It works; now it must not.
  objects = {"fine": np.ones(2), "a/trap": np.array([trap], dtype=object)}
  np.savez(tmp_path / "objects.npz", **objects)
  check_refused(tmp_path / "objects.npz", "array 'a/trap' .*objects.*any code")
  data = pickle.dumps(trap, protocol=2)
  (tmp_path / "old.pt").write_bytes(data)
  check_refused(tmp_path / "old.pt", "holds a pickle.*save_file")
  members = [("archive/data.pkl", data), ("archive/data/0", bytes(8))]
  write_zip(tmp_path / "new.pt", members)
  check_refused(tmp_path / "new.pt", "holds a pickle.*save_file")
  assert not (tmp_path / "ran").exists()


def test_a_file_cut_anywhere_is_refused(tmp_path, kind):
  write(tmp_path / "whole", ARRAYS, kind=kind)
  data = (tmp_path / "whole").read_bytes()
  for length in [*range(0, 40), *range(40, len(data), 29), len(data) - 1]:
    (tmp_path / "cut").write_bytes(data[:length])
    check_refused(tmp_path / "cut", None)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_is_found(tmp_path, save):
  save(tmp_path / "x.npz", first=np.ones(3), second=RNG.normal(size=1000))
  data = bytearray((tmp_path / "x.npz").read_bytes())
  data[len(data) // 2] ^= 1
  (tmp_path / "x.npz").write_bytes(data)
  check_refused(tmp_path / "x.npz", "array 'second': .*(CRC|decompress).*fetch")


@pytest.mark.parametrize(
  "header, match",
  [
    (make_header(shape=(2, 4)), "claims to be .*32 bytes, but holds 24"),
    (make_header(shape=(1 << 50,)), "but holds 24"),
    (make_header(shape=(-2, -3)), "but holds 24"),
    (make_header(shape=(1 << 62, 0)), "but holds 24"),
    (make_header(shape="(2, 'a')"), "shape is not valid.*fetch"),
    (make_header(shape="(" * 5000), "array 'x': "),
    (make_header(dtype="<U6", shape=(1,)), "holds <U6, not numbers"),
    (make_header(dtype="V3", shape=(8,)), "not numbers"),
    (make_header(dtype=[("a", "<f4"), ("b", "<i2")]), "not numbers"),
    (make_header(dtype="nonsense"), "array 'x': "),
    (make_header(version=3), "array 'x': .*3_0"),
    (make_header()[:20], "array 'x': "),
  ],
)
def test_lying_headers_are_refused(tmp_path, header, match):
  write_zip(tmp_path / "x.npz", [("x.npy", header + bytes(24))])
  check_refused(tmp_path / "x.npz", match)


def patch_sizes(path, size, packed=None):
  """Makes the directory of a zip of one member claim other sizes."""
  data = bytearray(path.read_bytes())
  start = data.rindex(b"PK\x01\x02")
  if packed is not None:
    data[start + 20 : start + 24] = struct.pack("<I", packed)
  data[start + 24 : start + 28] = struct.pack("<I", size)
  path.write_bytes(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_lies_takes_no_memory(tmp_path, method):
  path = tmp_path / "x.npz"
  count = 900_000_000
  header = make_header(shape=(count,))
  write_zip(path, [("x.npy", header + bytes(24))], method)
  patch_sizes(path, len(header) + 4 * count)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  check_refused(path, "bytes long, claims 3600.* at most 1073741824")
  patch_sizes(path, 1 << 29)
  check_refused(path, "array 'x' claims 536870912 bytes in .*fetch")
  # A bold one claims that those bytes are there, too.
  patch_sizes(path, len(header) + 4 * count, packed=len(header) + 4 * count)
  check_refused(path, "bytes long, claims 3600")
  used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  assert used < 100_000  # KiB, of four million that were claimed.


def test_a_member_shorter_than_it_claims_is_refused(tmp_path):
  header = make_header(shape=(1000,))
  path = tmp_path / "x.npz"
  write_zip(path, [("x.npy", header + bytes(24))], zipfile.ZIP_DEFLATED)
  patch_sizes(path, len(header) + 4000)
  check_refused(path, "array 'x' ends after 24 bytes")


def test_odd_zips_are_refused(tmp_path, monkeypatch):
  path = tmp_path / "x.npz"
  data = make_header() + bytes(24)
  with pytest.warns(UserWarning, match="Duplicate"):
    write_zip(path, [("a.npy", data), ("a.npy", data)])
  check_refused(path, "array 'a' occurs twice")
  write_zip(path, [("a.npy", data), ("config.json", b"{}")])
  check_refused(path, "not a .npz file: .*'config.json'")
  write_zip(path, [("a.npy", bytes(1 << 20))], zipfile.ZIP_BZIP2)
  check_refused(path, "array 'a' is compressed")
  write(path, {"a": np.ones(100), "b": np.ones(100)}, overwrite=True)
  monkeypatch.setattr(files, "MAX_BYTES", 1500)
  check_refused(path, "bytes.* 1,500")


@pytest.mark.parametrize(
  "header, match",
  [
    (("F32", [3], [0, 8]), "header.*fetch"),
    (("F32", [2], [0, 16]), "header"),
    (("F32", [1 << 60], [0, 8]), "header"),
    (("F32", [1 << 63, 2], [0, 8]), "header"),
    (("F32", [-2], [0, 8]), "header"),
    (("O", [1], [0, 8]), "header"),
    (("F8_E4M3", [8], [0, 8]), "array 'a' .*F8_E4M3.*convert it"),
  ],
)
def test_bad_safetensors_are_refused(tmp_path, header, match):
  entry = dict(zip(("dtype", "shape", "data_offsets"), header, strict=True))
  text = json.dumps({"a": entry}).encode()
  (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
  check_refused(tmp_path / "x", match)


def test_directories_resolve_to_their_weights(tmp_path):
  weights = {"b": "2.safetensors", "a": "1.safetensors", "c": "2.safetensors"}
  index = tmp_path / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": weights}))
  shards = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
  for shard in shards:
    shard.touch()
  assert files.resolve(tmp_path) == files.resolve(str(index)) == shards
  (tmp_path / "1.safetensors").unlink()
  with pytest.raises(files.CheckpointError, match="1 of the 2 .* 1.safe"):
    files.resolve(tmp_path)
  # One whole file wins, as it does elsewhere.
  whole = tmp_path / "model.safetensors"
  whole.touch()
  assert files.resolve(tmp_path) == files.resolve(str(whole)) == [whole]


@pytest.mark.parametrize(
  "name", ["../secret", "/etc/passwd", "a/../../secret", "..", "", "..\\secret"]
)
def test_an_index_can_not_point_elsewhere(tmp_path, name):
  index = tmp_path / "model" / "model.safetensors.index.json"
  index.parent.mkdir()
  index.write_text(json.dumps({"weight_map": {"a": name}}))
  with pytest.raises(files.CheckpointError, match="not the name of a file"):
    files.resolve(tmp_path / "model")
  for text in ("", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'):
    index.write_text(text)
    with pytest.raises(files.CheckpointError, match="not an index"):
      files.resolve(index)


@pytest.mark.parametrize(
  "name, match",
  [
    ("README.md", "directory without weights: what is read"),
    ("weights.npz", "name a file of it: weights.npz"),
    ("pytorch_model.bin", "pytorch_model.bin in it holds a pickle"),
    ("saved_model.pb", "TensorFlow"),
    ("_METADATA", "Orbax"),
  ],
)
def test_a_directory_without_weights_is_refused(tmp_path, name, match):
  (tmp_path / name).touch()
  with pytest.raises(files.CheckpointError, match=match):
    files.resolve(tmp_path)


def test_a_file_is_overwritten_only_when_asked_and_whole(
  tmp_path, kind, monkeypatch
):
  path = tmp_path / "x"
  path.write_text("old")
  with pytest.raises(files.CheckpointError, match="x exists"):
    write(path, ARRAYS, kind=kind)

  def fail(_):
    assert os.path.getsize(tmp_path / ".x.writing") > 100  # On its way.
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(os, "fsync", fail)
    with pytest.raises(files.CheckpointError, match="x cannot .*No space"):
      write(path, ARRAYS, overwrite=True, kind=kind)
  assert path.read_text() == "old" and os.listdir(tmp_path) == ["x"]
  write(path, ARRAYS, overwrite=True, kind=kind)
  check_equal(read_arrays(path), ARRAYS)


def test_what_can_not_be_read_back_is_not_written(tmp_path, kind):
  for array in (np.array([None]), np.ones(2, ml_dtypes.float8_e4m3fn)):
    with pytest.raises(files.CheckpointError, match="array 'b'"):
      write(tmp_path / "x", {"a": np.ones(2), "b": array}, kind=kind)
  with pytest.raises(files.CheckpointError, match="__metadata__"):
    write(tmp_path / "x", {"__metadata__": np.ones(2)}, kind=kind)
  (tmp_path / "file").touch()
  with pytest.raises(files.CheckpointError, match="x cannot be written"):
    write(tmp_path / "file" / "x", ARRAYS, kind=kind)
  (tmp_path / "directory").mkdir()
  with pytest.raises(files.CheckpointError, match="directory cannot be"):
    write(tmp_path / "directory", ARRAYS, overwrite=True, kind=kind)
  assert sorted(os.listdir(tmp_path)) == ["directory", "file"]


def test_object_stores_know_no_renames_and_are_copied(
  tmp_path, kind, monkeypatch
):
  monkeypatch.setattr(files, "is_local", lambda path: False)
  monkeypatch.setattr("vit_jax.storage.files.is_local", lambda path: False)
  monkeypatch.setattr(os, "replace", None)
  write(tmp_path / "x", ARRAYS, kind=kind)
  copies = tmp_path / "copies"
  copies.mkdir()
  os.utime(copies, (0, 0))
  monkeypatch.setattr(files.tempfile, "tempdir", str(copies))
  check_equal(read_arrays(tmp_path / "x"), ARRAYS)
  assert (copies.stat().st_mtime > 0) == (kind == "safetensors")
  assert not os.listdir(copies)
