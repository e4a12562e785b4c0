# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a segmentation; tests/runs has one that was trained."""

import pytest

from vit_jax.config import ConfigError
from vit_jax.convert import segmentation


def test_jax_is_started_as_by_load(monkeypatch, tmp_path):
  """Without it libtpu logs errors where it is installed and no TPU is."""
  started = []
  monkeypatch.setattr(segmentation, "start_backend", lambda: started.append(1))
  with pytest.raises(ConfigError, match="no run of objective.name='segm"):
    segmentation.load_segmentation(str(tmp_path))
  assert started
