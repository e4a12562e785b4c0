# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import pytest


@pytest.fixture(scope="module", autouse=True)
def compilers_of_tpus(optimised):
  """libtpu ends a process over flags of a CPU, and plans are of real ones."""
