# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The figures that a test draws, before they are pixels."""

import pytest

from vit_jax.plots import style


@pytest.fixture
def drawn(monkeypatch):
  """Returns the axes of the last figure; each is checked to have its names."""
  opened = []

  class Kept(style.Drawing):
    def __init__(self):
      opened.append(self)

  monkeypatch.setattr(style, "Drawing", Kept)

  def get_axes():
    found = opened[-1].figure.axes
    for axes in found:
      shown = axes.axison and axes.get_visible()
      if shown and axes.xaxis.get_visible() and len(axes.get_xticks()):
        shared = axes.get_shared_x_axes().get_siblings(axes)
        names = [x.get_xlabel() for x in shared]
        assert any(names) or opened[-1].figure.get_supxlabel() or is_bar(axes)
      if shown and axes.yaxis.get_visible() and len(axes.get_yticks()):
        shared = axes.get_shared_y_axes().get_siblings(axes)
        names = [x.get_ylabel() for x in shared]
        assert any(names) or opened[-1].figure.get_supylabel()
    return found

  return get_axes


def is_bar(axes):
  """Whether axes are those of a colour bar, which has one axis."""
  return axes.get_label() == "<colorbar>"
