# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""tf.data at the work of our input, in a process of its own: see `tf_data`."""

import json
import os
import subprocess
import sys

from vit_jax.data import pipeline, sources
from vit_jax.data.info import DataError
from vit_jax.devices.machine import count_cores

PROGRAM = "from vit_jax.benchmark.tf_data import main; main()"

METHODS = ("bilinear", "area")  # Of data.resize: what both do alike.

MISSING = "tf.data does not run: install TensorFlow, pip install 'vit_jax[tf]'"


class Rival:
  """tf.data in a process of its own, see `tf_data`."""

  def __init__(self, data: pipeline.Data, batch_size: int):
    """Starts it, and waits until it is ready: importing TensorFlow takes time.

    Raises:
      DataError: if the source is no folder, tf.data has no such crop or resize,
        or TensorFlow is not there.
    """
    if data.crop != "distorted_box" or data.resize not in METHODS:
      raise DataError(
        f"--against=tf_data has data.crop=distorted_box and data.resize of "
        f"{', '.join(METHODS)}; set them instead of {data.crop}, {data.resize}"
      )
    self.methods = (data.resize,)
    if not data.source.startswith("folder:"):
      raise DataError(
        "--against=tf_data reads files: give --config.data.source=folder:DIR, "
        "or photographs"
      )
    source = sources.open_source(data.source, data.train, data.dir)
    work = dict(
      files=[example["name"] for example in source],
      size=data.shape,
      area=data.crop_area,
      batch_size=batch_size,
      threads=count_cores(),
      methods=self.methods,
    )
    self._process = subprocess.Popen(
      [sys.executable, "-c", PROGRAM],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
      text=True,
    )
    try:
      self._ask(json.dumps(work))
    except DataError:
      self.close()
      raise

  def _ask(self, line: str) -> str:
    """Writes a line, and reads the answer."""
    try:
      assert self._process.stdin is not None
      print(line, file=self._process.stdin, flush=True)
    except BrokenPipeError as error:
      raise DataError(MISSING) from error
    assert self._process.stdout is not None
    answer = self._process.stdout.readline()
    if not answer:
      raise DataError(MISSING)
    return answer

  def measure(self, method: str, seconds: float) -> float:
    """Measures images per second of one method of resizing."""
    return float(self._ask(f"{method} {seconds}"))

  def close(self) -> None:
    """Ends it."""
    self._process.kill()
    self._process.wait()
