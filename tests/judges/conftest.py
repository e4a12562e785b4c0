# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The judges, imported when a test first asks: `make test` collects this
directory where none of them is installed."""

import pytest

from vit_jax.benchmark import timm_step


@pytest.fixture(scope="session")
def torch():
  """torch without gradients, and no way to the hub."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("HF_HUB_OFFLINE", "1")
    import torch

    torch.set_num_threads(2)
    with torch.no_grad():
      yield torch


@pytest.fixture(scope="session")
def timm(torch):
  """timm, also where torchvision is missing."""
  return timm_step.import_timm()[1]


@pytest.fixture(scope="session")
def transformers(torch):
  import transformers

  transformers.utils.logging.disable_progress_bar()
  return transformers
