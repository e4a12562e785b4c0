# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The same work done by tf.data, for `benchmark input --against=tf_data`.

A process of its own, for TensorFlow takes threads and memory. It reads one line
of JSON, {"files": paths, "size": [h, w], "area": [least, most], "batch_size":
B, "threads": number, "methods": names}, says "ready", then answers each line
"METHOD SECONDS" with the images per second that it made in this time.

TensorFlow decodes only the box of a JPEG, resizes it and rounds it to uint8.
"""

import importlib
import json
import sys
import time
from typing import Any

AHEAD = 4  # Batches that are begun before they are asked for, at most.


def make_batches(tf: Any, work: dict[str, Any], method: str) -> Any:
  """Makes endless batches, uint8 [B H W 3].

  Args:
    tf: TensorFlow.
    work: what is to be done, see above.
    method: how images are resized, as "bilinear".
  """

  def read(path):
    data = tf.io.read_file(path)
    shape = tf.io.extract_jpeg_shape(data)
    begin, size, _ = tf.image.sample_distorted_bounding_box(
      shape,
      tf.zeros([0, 0, 4], tf.float32),
      area_range=work["area"],
      min_object_covered=0.0,
      use_image_if_no_bounding_boxes=True,
    )
    box = tf.concat([begin[:2], size[:2]], axis=0)
    image = tf.io.decode_and_crop_jpeg(data, box, channels=3)
    image = tf.image.resize(image, work["size"], method=method)
    return tf.cast(image, tf.uint8)

  files = tf.data.Dataset.from_tensor_slices(work["files"])
  images = files.shuffle(len(work["files"])).repeat()
  images = images.map(read, num_parallel_calls=work["threads"])
  return iter(images.batch(work["batch_size"]).prefetch(2))


def main() -> None:
  """Measures until there are no more lines."""
  # By its name: the package itself never needs TensorFlow.
  tf = importlib.import_module("tensorflow")
  work = json.loads(sys.stdin.readline())
  batches = {name: make_batches(tf, work, name) for name in work["methods"]}
  print("ready", flush=True)
  for line in sys.stdin:
    method, seconds = line.split()
    for _ in range(AHEAD):
      next(batches[method]).numpy()
    began, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < float(seconds):
      count += len(next(batches[method]).numpy())
    speed = count / passed
    # They are made now, not in the turn of the other.
    time.sleep(AHEAD * work["batch_size"] / speed)
    print(speed, flush=True)
