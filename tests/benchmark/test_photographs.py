# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import importlib.util

import numpy as np
import pytest

from vit_jax.benchmark import photographs
from vit_jax.benchmark.rival import Rival
from vit_jax.data import pipeline, sources, transforms
from vit_jax.data.info import DataError


def test_photographs_are_of_the_size_of_photographs(tmp_path):
  photographs.write(tmp_path, 6)
  source = sources.open_source(f"folder:{tmp_path}", "train+test")
  assert len(source) == 6 and {x["label"] for x in source} == {0, 1}
  for example in source:
    assert 70_000 < len(example["image"]) < 150_000
    image = transforms.decode(example["image"], 3)
    assert image.shape == (375, 500, 3)
    assert 15 < image.std() < 100
  first, second = (photographs.encode(i) for i in (0, 1))
  assert first != second
  photographs.encode.cache_clear()
  assert photographs.encode(0) == first


def test_a_texture_falls_with_the_frequency():
  field = photographs.make_field(0)
  assert field.std() == pytest.approx(1)
  power = np.abs(np.fft.rfft2(field)) ** 2
  bands = [power[a : 2 * a, a : 2 * a].mean() for a in (8, 32, 128)]
  # Four times the frequency, a sixteenth of the power, or a little more.
  assert 8 < bands[0] / bands[1] < 32 and 8 < bands[1] / bands[2] < 32


def test_a_rival_that_is_not_there_is_named(tmp_path):
  with pytest.raises(DataError, match="folder:DIR"):
    Rival(pipeline.Data(source="synthetic:10"), 8)
  with pytest.raises(DataError, match="data.resize of bilinear, area"):
    Rival(pipeline.Data(source=f"folder:{tmp_path}", resize="lanczos"), 8)
  if importlib.util.find_spec("tensorflow"):
    pytest.skip("TensorFlow is there")
  photographs.write(tmp_path, 2)
  data = pipeline.Data(source=f"folder:{tmp_path}")
  with pytest.raises(DataError, match=r"vit_jax\[tf\]"):
    Rival(data, 8)
