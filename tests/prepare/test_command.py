# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The command: interrupted and begun again, without a network, with wrong
flags."""

import functools
import http.server
import importlib.util
import os
import signal
import subprocess
import threading

import cv2
import numpy as np
import pytest

from tests.support import fakes
from tests.support.forked import Forked
from vit_jax.config import INTERRUPTED, ConfigError
from vit_jax.data import sources
from vit_jax.prepare import dataset
from vit_jax.prepare.__main__ import main

# The command, with files so small that it writes many.
PROGRAM = """
import functools, sys
from vit_jax.prepare import writing
from vit_jax.prepare.__main__ import main
writing.write = functools.partial(writing.write, shard_bytes=100_000)
main(sys.argv[1:])
"""

# Before that: it stands still in the middle of its third file.
STOPPING = """
import itertools, signal, time
from vit_jax.prepare import shards

# A shell ignores it for what runs in its background.
signal.signal(signal.SIGINT, signal.default_int_handler)

written, write = itertools.count(), shards.write_examples

def stop(examples):
  yield next(iter(examples))
  print("third", flush=True)
  while True:
    time.sleep(0.01)

def write_and_stop(path, examples, meter):
  stopping = next(written) == 2
  return write(path, stop(examples) if stopping else examples, meter)

shards.write_examples = write_and_stop
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Three hundred images of noise, 5 MB."""
  root = tmp_path_factory.mktemp("in") / "photos"
  rng = np.random.default_rng(0)
  for name in ("cat", "dog"):
    (root / name).mkdir(parents=True)
    for i in range(150):
      image = rng.integers(0, 256, (128, 128, 3), np.uint8)
      assert cv2.imwrite(str(root / name / f"{i}.jpg"), image)
  return root


def start(*arguments, program=PROGRAM):
  """The command in a process of its own."""
  return Forked(
    ["-c", program, *map(str, arguments)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
  )


def read_files(directory):
  """name -> bytes of every file in a directory."""
  return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_killed_process_goes_on_and_writes_the_same_bytes(photos, tmp_path):
  arguments = (f"folder:{photos}", "--data_dir")
  whole = start(*arguments, tmp_path / "whole")
  expected, directory = tmp_path / "whole", tmp_path / "killed" / "photos"
  half = directory / "1.0.0.incomplete"
  killed = []
  for send, status in (
    (signal.SIGKILL, -signal.SIGKILL),
    (signal.SIGINT, INTERRUPTED),
  ):
    # Two shards more than before, of about fifty, and some of the next.
    process = start(*arguments, tmp_path / "killed", program=STOPPING + PROGRAM)
    assert process.stdout.readline() == "third\n"
    process.send_signal(send)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert sources.find_directory("photos", str(tmp_path / "killed")) is None
    killed.append({x.name: x.stat().st_ino for x in half.glob("photos-*")})
  assert "interrupted: " in said
  assert "Traceback" not in said
  process = start(*arguments, tmp_path / "killed")
  printed, said = process.communicate()
  assert process.returncode == 0, said
  assert "continuing after" in said
  assert printed.startswith(f"ready: {directory}/1.0.0\n")
  whole.communicate()
  expected = read_files(expected / "photos" / "1.0.0")
  assert 40 < len(expected) < 70
  assert read_files(directory / "1.0.0") == expected
  # What was whole was not written again; the last may lack its report.
  for inodes in killed:
    kept = [
      (directory / "1.0.0" / name).stat().st_ino == inode
      for name, inode in sorted(inodes.items(), reverse=True)
    ]
    assert kept.count(False) <= 1 and len(kept) >= 2


def test_a_full_disk_is_said_and_the_command_goes_on(photos, tmp_path):
  """A limit on the size of files fails as a full disk does."""
  arguments = (f"folder:{photos}", "--data_dir", tmp_path)
  full = "import resource as r\nr.setrlimit(r.RLIMIT_FSIZE, (70_000, 70_000))\n"
  process = start(*arguments, program=full + PROGRAM)
  _, said = process.communicate()
  assert process.returncode == 2
  assert f"photos cannot be written to {tmp_path}/photos: " in said
  assert "File too large" in said and "same command again" in said
  assert "Traceback" not in said
  process = start(*arguments)
  printed, said = process.communicate()
  assert process.returncode == 0 and printed.startswith("ready: "), said


def test_names_that_are_no_text_and_what_is_held_out(tmp_path, capsys):
  image = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
  composed, apart = "\xe9toile".encode(), "e\u0301toile".encode()
  for number, name in enumerate((b"caf\xe9", composed, apart)):
    folder = os.fsencode(tmp_path / "in") + b"/" + name
    os.makedirs(folder)
    for i in range(4):
      with open(folder + b"/%d_%d.png" % (number, i), "wb") as file:
        file.write(image)
  main([f"folder:{tmp_path / 'in'}", f"--data_dir={tmp_path}", "--name=pets"])
  said = capsys.readouterr().err
  assert "caf\\xe9 is a class whose folder's name is not UTF-8" in said
  assert "'e\\u0301toile', '\\xe9toile'" in said
  info = sources.load_info("tfds:pets", str(tmp_path))
  assert info.class_names == ("caf\\xe9", "\xe9toile")
  listed = (tmp_path / "pets/1.0.0/held_out.txt").read_bytes().splitlines()
  assert len(listed) == info.splits["test"].num_examples == 2
  assert all(
    os.path.exists(os.fsencode(tmp_path / "in/") + b"/" + x) for x in listed
  )


def test_what_the_command_prints(photos, tmp_path, capsys):
  argv = [f"folder:{photos}", f"--data_dir={tmp_path}", "--name=pets"]
  main(argv)
  out, err = capsys.readouterr()
  size = sum(x.stat().st_size for x in tmp_path.glob("pets/1.0.0/*-of-*"))
  assert out == (
    f"ready: {tmp_path}/pets/1.0.0\n"
    f"  train 270, test 30; {size:,} bytes\n"
    f"  use it with: --config.data.source=tfds:pets "
    f"--config.data.dir={tmp_path}\n"
  )
  assert "2 classes, images: train 270, test 30, held out" in err
  assert len(sources.open_source("tfds:pets", "train", str(tmp_path))) == 270
  main(argv)
  assert capsys.readouterr().out == out


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["digits", "--name=x"], "--name is only for folder:DIR and manifest:FILE"),
    (["folder:x", "--root=x"], "--root is only for manifest:FILE"),
    (
      ["manifest:x", "--manual_dir=x"],
      "--manual_dir is only for sets",
    ),
    (
      ["digits", "--max_unreadable=2"],
      "--max_unreadable=2.0 is not",
    ),
    (["folder:"], "'folder:' lacks a path"),
    (["folder:/nowhere"], "there is no folder /nowhere"),
    (["manifest:/nowhere.csv"], "manifest:/nowhere.csv: there is no such file"),
    (["folder:/x", "--name=X"], "invalid name of a set: 'X'"),
    (["imagenet2012"], "ILSVRC2012_devkit_t12.tar.gz from image-net.org"),
    (["imagenet21k"], "prepare imagenet21k --manual_dir=DIR_OF_ARCHIVES"),
    (
      ["imagenet2012", "--manual_dir=/nowhere"],
      "there is neither /nowhere/ILS",
    ),
    (["imagenet21k", "--manual_dir=/nowhere"], "there is no such folder"),
    (["jft300m"], "python -m vit_jax.prepare manifest:FILE --name=jft300m"),
    (["cifr10"], "did you mean 'cifar10'?"),
    (["imagenet12k"], "did you mean 'imagenet21k'?"),
  ],
)
def test_a_wrong_command_is_one_message(argv, message, tmp_path, capsys):
  with pytest.raises(SystemExit) as caught:
    main([*argv, f"--data_dir={tmp_path / 'data'}"])
  assert caught.value.code == 2
  assert message in capsys.readouterr().err
  assert not (tmp_path / "data").exists()


def test_imagenet_by_its_name(tmp_path, monkeypatch, capsys):
  """With the facts of three classes in the place of a thousand."""
  facts = fakes.write_imagenet2012(tmp_path / "in")
  monkeypatch.setattr(
    dataset.imagenet,
    "load_imagenet2012",
    functools.partial(dataset.imagenet.load_imagenet2012, facts=facts),
  )
  data_dir = str(tmp_path / "data")
  path = dataset.prepare_dataset("imagenet2012", data_dir, str(tmp_path / "in"))
  assert "listing" in capsys.readouterr().err
  # What is ready needs no archives.
  assert dataset.prepare_dataset("imagenet2012", data_dir) == path
  assert len(sources.open_source("tfds:imagenet2012", "train", data_dir)) == 12


def test_a_set_of_tfds(tmp_path, capsys):
  """One that needs no network; TFDS itself says nothing."""
  main(["digits", f"--data_dir={tmp_path}"])
  out, err = capsys.readouterr()
  assert out.startswith(
    f"ready: {tmp_path}/digits/1.0.0\n  train 1,437, test 360"
  )
  assert out.endswith(f"tfds:digits --config.data.dir={tmp_path}\n")
  assert err == ""


@pytest.mark.skipif(
  importlib.util.find_spec("tensorflow") is not None,
  reason="TensorFlow is installed",
)
def test_a_builder_that_needs_tensorflow(tmp_path, capsys):
  folder = tmp_path / "in" / "CheXpert-v1.0-small"
  folder.mkdir(parents=True)
  for name in ("train.csv", "valid.csv"):
    (folder / name).write_text("Path,Sex\na.jpg,M\n")
  flags = [f"--manual_dir={tmp_path / 'in'}", f"--data_dir={tmp_path}"]
  with pytest.raises(SystemExit):
    main(["chexpert", *flags])
  assert "pip install 'vit_jax[tf]'" in capsys.readouterr().err


def test_a_name_is_made_of_the_folder():
  assert dataset.make_name("/a/My Photos-2.v1/") == "my_photos_2"
  assert dataset.make_name("/a/list.jsonl") == "list"


class Handler(http.server.BaseHTTPRequestHandler):
  """A host that answers, if only that it has nothing."""

  def do_HEAD(self):
    self.send_error(404)

  def log_message(self, *_):
    pass


def test_without_a_network_it_is_said_at_once(tmp_path):
  server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  up = f"http://127.0.0.1:{server.server_port}/x.tar"
  down = "http://127.0.0.1:1/x.tar"  # Nobody listens there.
  data_dir = sources.resolve_data_dir(str(tmp_path))
  try:
    dataset.check_network("cifar10", None, data_dir)
    dataset.check_network("cifar10", [down, up], data_dir)
    with pytest.raises(ConfigError) as caught:
      dataset.check_network("cifar10", [down], data_dir)
  finally:
    server.shutdown()
    server.server_close()
  message = str(caught.value)
  assert "cifar10 cannot be downloaded" in message and "127.0.0.1:1" in message
  assert f"copy its directory to {tmp_path}" in message
  # What was downloaded before is enough.
  (tmp_path / "downloads" / "cifar10").mkdir(parents=True)
  (tmp_path / "downloads" / "cifar10" / "x.tar.INFO").write_text("{}")
  dataset.check_network("cifar10", [down], data_dir)
