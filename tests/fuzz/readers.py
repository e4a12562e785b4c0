# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every reader of untrusted files, as a function of one file's bytes."""

import dataclasses
import io
import json
import os
import pathlib
import struct
import tarfile
import tempfile
from collections.abc import Callable

import ml_dtypes
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath
from PIL import Image

from tests.support.weights import read_arrays
from vit_jax.config import ConfigError
from vit_jax.convert import files, manifest, storing
from vit_jax.convert.manifest_checks import check_manifest
from vit_jax.convert.published import find_recommended
from vit_jax.data import fingerprint, sources, tfds_builders, transforms
from vit_jax.data import records as array_records
from vit_jax.data.preprocess import MAX_CHANNELS, Preprocess
from vit_jax.metrics.progress import Progress
from vit_jax.prepare import archives, image_list, listing
from vit_jax.storage import untrusted

CORPUS = pathlib.Path(__file__).parent / "corpus"

# Smaller than they are, so that many inputs reach them in little time.
BOUNDS = (
  *((transforms, "MAX_PIXELS", 1 << 22), (untrusted, "UNPACK_FLOOR", 1 << 24)),
  *(
    (archives, "MAX_HEADERS", 1 << 16),
    (tfds_builders, "MAX_CLASSES", 1 << 16),
  ),
  (untrusted, "MAX_TEXT", 1 << 20),
)


@dataclasses.dataclass(frozen=True)
class Reader:
  """A reader of one kind of file.

  Attributes:
    file: the name of the file that the bytes are written to.
    read: (its directory) reads it, and asserts what must hold of the result.
    seeds: makes valid files.
    prepare: (directory) writes the files beside it.
    error: class of errors that it may raise.
  """

  file: str
  read: Callable[[epath.Path], None]
  seeds: Callable[[], list[bytes]]
  prepare: Callable[[epath.Path], None] = lambda directory: None
  error: type[Exception] = ConfigError


def read_weights(path):
  arrays = read_arrays(path)
  size = sum(array.nbytes for array in arrays.values())
  assert size <= untrusted.compute_unpack_limit(os.path.getsize(path))
  assert all(array.dtype.kind in "biufcV" for array in arrays.values())


def make_npz():
  found = []
  arrays = {
    "a/b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "c": np.asfortranarray(np.ones((3, 2), ">f8")),
    "d": np.ones((), ml_dtypes.bfloat16),
  }
  for save in (np.savez, np.savez_compressed):
    file = io.BytesIO()
    save(file, **arrays)
    found.append(file.getvalue())
  return found


def make_safetensors():
  header = {
    "__metadata__": {"format": "pt"},
    "a": dict(dtype="F32", shape=[2, 3], data_offsets=[0, 24]),
    "b": dict(dtype="BF16", shape=[4], data_offsets=[24, 32]),
    "c": dict(dtype="I64", shape=[0], data_offsets=[32, 32]),
  }
  text = json.dumps(header).encode()
  return [struct.pack("<Q", len(text)) + text + bytes(32)]


def read_index(directory):
  for path in files.resolve(directory):
    assert path.parent == directory, path
  assert set() < set(read_arrays(directory)) <= {"a", "b"}


def prepare_index(directory):
  for number, name in enumerate("ab", 1):
    array = {name: np.full(number, number, np.float32)}
    storing.write_safetensors(directory / f"{number}.safetensors", array, {})


def make_index():
  shards = {"a": "1.safetensors", "b": "2.safetensors"}
  return [json.dumps({"metadata": {}, "weight_map": shards}).encode()]


def check_section(path, kind):
  found = check_manifest(manifest.load_manifest(path), kind)["preprocess"]
  if found:
    assert 1 <= found.channels <= MAX_CHANNELS
    assert len(found.mean) == len(found.std) == found.channels
    assert max(found.size) <= 16384


MANIFEST = {
  "model": {"variant": "B/16", "gelu": "tanh", "depth": 2, "stem": [1, 2]},
  "num_classes": 2,
  "class_names": ["a", "b"],
  "cross_entropy": "softmax",
  "preprocess": Preprocess(
    height=224, width=224, channels=3, crop=0.875
  ).to_json(),
}
HUGGING_FACE = {
  "model_type": "vit",
  "architectures": ["ViTForImageClassification"],
  "hidden_act": "gelu",
  "hidden_size": 768,
  "num_attention_heads": 12,
  "num_channels": 3,
  "image_size": 224,
  "id2label": {"0": "a", "1": "b"},
}
TIMM = {
  "architecture": "vit_base_patch16_224",
  "num_classes": 2,
  "global_pool": "token",
  "label_names": ["a", "b"],
  "model_args": {"num_heads": 12, "act_layer": "gelu_tanh"},
  "pretrained_cfg": {
    "input_size": [3, 224, 224],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "crop_pct": 0.9,
  },
}


def dump(*values):
  return lambda: [json.dumps(value).encode() for value in values]


def read_manifest(directory):
  for kind in ("vit", None):
    check_section(directory / "x.npz", kind)


def read_recommended(directory):
  assert find_recommended("B/16", directory).parent == directory


def make_recommended():
  head = "name,ds,final_val,filename\n"
  return [(head + "B/16,i21k,0.4,B_16\nB/16,i21k,0.5,B_16\n").encode()]


def read_labels(directory, file):
  progress = Progress(stream=io.StringIO())
  source = image_list.load_image_list(
    str(directory / file), "x", str(directory), progress
  )
  for split in source.splits.values():
    for i in range(len(split.keys)):
      path = pathlib.Path(os.path.abspath(split.locate(i).split(".tar#")[0]))
      assert path.is_relative_to(directory), path
      try:
        name, _, labels = split.load(i)
      except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        continue  # What `prepare` says of an image, and goes on.
      except ConfigError:
        raise
      except (OSError, ValueError):
        continue
      assert name and len(labels) <= source.slots


def make_jsonl():
  lines = [
    {"image": "a.jpg", "labels": ["cat", "sofa"], "split": "train"},
    {"image": "x.tar#b.jpg", "labels": ["cat"], "split": "val"},
  ]
  return ["".join(json.dumps(line) + "\n" for line in lines).encode()]


def make_csv():
  return [b"image,labels,split\na.jpg,cat|sofa,train\nx.tar#b.jpg,cat,test\n"]


def prepare_labels(directory):
  (directory / "a.jpg").write_bytes(b"an image")
  (directory / "x.tar").write_bytes(make_tar()[0])


def read_tar(directory):
  path = str(directory / "x.tar")
  try:
    image_list.list_members(path, "x")
  except (OSError, tarfile.TarError):
    pass  # Which `find_members` explains.
  archive = listing.list_archive(path)
  for i in range(len(archive.offsets)):
    _, data = archive.read(i)
    assert len(data) <= os.path.getsize(path)


def make_tar():
  found = []
  for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
      names = ["b.jpg", "d/c.png", "e.jpg"]
      if form != tarfile.USTAR_FORMAT:
        names.append("ä" * 90 + ".jpg")
      for number, name in enumerate(names):
        member = tarfile.TarInfo(name)
        member.size = 3 * number
        archive.addfile(member, io.BytesIO(bytes(member.size)))
      link = tarfile.TarInfo("../l.jpg")
      link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
      archive.addfile(link)
    found.append(file.getvalue())
  return found


def read_image(directory):
  data = (directory / "x").read_bytes()
  for channels in (1, 3):
    image = transforms.decode(data, channels)
    assert image.dtype == np.uint8 and image.shape[2:] == (channels,)
    assert image.shape[0] * image.shape[1] <= transforms.MAX_PIXELS


def make_images():
  rng = np.random.default_rng(0)
  image = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8))
  exif = Image.Exif()
  exif[0x0112] = 6
  kinds = [
    *((image, "JPEG", dict(exif=exif)), (image, "PNG", dict(exif=exif))),
    *((image, "JPEG", dict(progressive=True)), (image, "BMP", {})),
    *((image.quantize(5), "GIF", {}), (image.quantize(5), "PNG", {})),
    *((image, "WEBP", {}), (image, "WEBP", dict(lossless=True))),
    *((image, "TIFF", {}), (image, "TIFF", dict(compression="tiff_lzw"))),
    *((image, "PPM", {}), (image, "JPEG2000", {})),
    (image.convert("CMYK"), "JPEG", {}),
    (image.convert("I;16"), "PNG", {}),
    (image.convert("I;16"), "TIFF", dict(compression="tiff_adobe_deflate")),
  ]
  found = []
  for picture, kind, options in kinds:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    found.append(file.getvalue())
  return found


# The library wants blocks of 64 KiB, most of which are nothing.
BLOCK = 1 << 16


def read_array_record(directory):
  path = directory / "x"
  data = path.read_bytes()
  middle = int.from_bytes(data[:2], "little")
  head, tail = data[2 : 2 + middle], data[2 + middle :]
  path.write_bytes(
    head[:BLOCK].ljust(BLOCK, b"\0") + tail[:BLOCK].ljust(BLOCK, b"\0")
  )
  read = array_records.Records([array_records.Part(str(path), 0, 4)])
  for i in range(4):
    assert len(read[i]) < 1 << 24


def make_array_record():
  with tempfile.NamedTemporaryFile() as file:
    writer = ArrayRecordWriter(file.name, "group_size:1,uncompressed")
    for number in range(4):
      writer.write(bytes([65 + number]) * (5 + number))
    writer.close()
    data = pathlib.Path(file.name).read_bytes()
  head, tail = (x.rstrip(b"\0") for x in (data[:BLOCK], data[BLOCK:]))
  return [len(head).to_bytes(2, "little") + head + tail]


INFO = "dataset_info.json"


def read_set(directory):
  info = sources.load_info("tfds:small", str(directory.parent.parent))
  assert info.num_classes <= tfds_builders.MAX_CLASSES
  for split in tfds_builders.open_builder(directory).info.splits.values():
    assert {path.parent for path in split.filepaths[:9]} <= {directory}


# As TFDS writes them.
_CLASSES = "tensorflow_datasets.core.features."
FEATURES = {
  "featuresDict": {
    "features": {
      "image": {
        "image": {
          "dtype": "uint8",
          "encodingFormat": "png",
          "shape": {"dimensions": ["8", "8", "1"]},
        },
        "pythonClassName": f"{_CLASSES}image_feature.Image",
      },
      "label": {
        "classLabel": {"numClasses": "2"},
        "pythonClassName": f"{_CLASSES}class_label_feature.ClassLabel",
      },
    }
  },
  "pythonClassName": f"{_CLASSES}features_dict.FeaturesDict",
}
SPLIT = {
  "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
  "name": "train",
  "numBytes": "9",
  "shardLengths": ["3", "4"],
}
SET = {
  "fileFormat": "array_record",
  "moduleName": "somewhere.else",
  "name": "small",
  "splits": [SPLIT],
  "version": "1.0.0",
}


def prepare_set(directory):
  (directory / INFO).write_text(json.dumps(SET))
  (directory / "features.json").write_text(json.dumps(FEATURES))
  (directory / "label.labels.txt").write_text("a\nb\n")


def read_plan(directory):
  facts = fingerprint.describe_set(directory, ())
  assert len(facts["what it was prepared from"]) == 16


PLAN = {"name": "x", "verified": True, "splits": {"train": [7, "00ff"]}}

READERS = {
  "npz": Reader("x.npz", lambda d: read_weights(d / "x.npz"), make_npz),
  "safetensors": Reader("x", lambda d: read_weights(d / "x"), make_safetensors),
  "index": Reader(
    "model.safetensors.index.json",
    read_index,
    make_index,
    prepare_index,
  ),
  "manifest": Reader("x.npz.json", read_manifest, dump(MANIFEST)),
  "config": Reader(
    "config.json",
    lambda d: check_section(d / "x.safetensors", "vit"),
    dump(HUGGING_FACE, TIMM),
  ),
  "recommended": Reader(
    "index.csv",
    read_recommended,
    make_recommended,
    lambda d: (d / "B_16.npz").touch(),
  ),
  "jsonl": Reader(
    "m.jsonl", lambda d: read_labels(d, "m.jsonl"), make_jsonl, prepare_labels
  ),
  "csv": Reader(
    "m.csv", lambda d: read_labels(d, "m.csv"), make_csv, prepare_labels
  ),
  "tar": Reader("x.tar", read_tar, make_tar),
  "image": Reader("x", read_image, make_images, error=ValueError),
  "array_record": Reader("x", read_array_record, make_array_record),
  "dataset_info": Reader(INFO, read_set, dump(SET), prepare_set),
  "features": Reader(
    "features.json",
    read_set,
    dump(FEATURES),
    prepare_set,
  ),
  "plan": Reader(fingerprint.PLAN, read_plan, dump(PLAN), prepare_set),
}
