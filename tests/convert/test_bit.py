# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The epsilons of BiT's files: of bare ones, of teachers, and of older runs."""

import pytest

from tests.support.weights import RESNET, make_weights
from vit_jax.convert.teacher import load_teacher
from vit_jax.convert.weights import load_weights
from vit_jax.convert.writing import save_weights

NAMES = ("group_norm_eps", "std_conv_eps", "std_conv_eps_in")
RELEASED = (1e-5, 1e-10, "variance")
# What vit_jax had for its ResNets until November 2026, as they recorded it.
EARLIER = (1e-6, 1e-5, "std")


def get_epsilons(weights):
  return tuple(getattr(weights.model, name) for name in NAMES)


def test_a_bare_file_has_those_of_its_release(tmp_path):
  path = tmp_path / "BiT-M-R50x1.npz"
  save_weights(make_weights(RESNET), str(path), "bit")
  (tmp_path / "BiT-M-R50x1.npz.json").unlink()
  for weights in (load_weights(str(path)), load_teacher(str(path), "bfloat16")):
    assert get_epsilons(weights) == RELEASED
    assert {weights.origins[name] for name in NAMES} == {"the default of bit"}


def test_a_teacher_that_is_not_there_yet_does_too():
  teacher = load_teacher("bit-teacher-r152x2-224.npz", "bfloat16")
  assert not teacher.params and get_epsilons(teacher) == RELEASED


@pytest.mark.parametrize("name", ["x.npz", "run"])
def test_what_a_run_recorded_is_kept(name, tmp_path):
  earlier = dict(zip(NAMES, EARLIER, strict=True))
  form = "vit_jax" if name == "run" else "bit"
  save_weights(make_weights(RESNET, **earlier), str(tmp_path / name), form)
  assert get_epsilons(load_weights(str(tmp_path / name))) == EARLIER
