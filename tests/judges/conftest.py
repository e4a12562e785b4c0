# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The judges, imported when a test first asks: `make test` collects this
directory where none of them is installed."""

import importlib.machinery
import importlib.util
import sys
from unittest import mock

import pytest

# What timm imports of torchvision, for data that no test here reads.
TORCHVISION = (
  "torchvision",
  "torchvision.datasets",
  "torchvision.models",
  "torchvision.models.feature_extraction",
  "torchvision.ops",
  "torchvision.ops.misc",
  "torchvision.transforms",
  "torchvision.transforms.functional",
)


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
  found = importlib.util.find_spec("torchvision")
  with pytest.MonkeyPatch.context() as patch:
    for name in () if found else TORCHVISION:
      module = mock.MagicMock(name=name, __path__=[])
      module.__spec__ = importlib.machinery.ModuleSpec(name, None)
      patch.setitem(sys.modules, name, module)
    import timm
  return timm


@pytest.fixture(scope="session")
def transformers(torch):
  import transformers

  transformers.utils.logging.disable_progress_bar()
  return transformers
