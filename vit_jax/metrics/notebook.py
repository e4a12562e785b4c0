# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Progress in a notebook: a bar that moves, and lines below it."""

import html
import sys
from typing import Any

from vit_jax.metrics.progress import Progress


class NotebookProgress(Progress):
  """Reports progress in a cell of a notebook.

  What a terminal rewrites in place is one output here, which is replaced and
  keeps its place; lines that stay are printed below it. They go to standard
  output: a notebook shows what is on standard error as errors.
  """

  def __init__(self, enabled: bool = True):
    super().__init__(enabled, sys.stdout)
    self.live = self._enabled
    self._display: Any = None

  def show(self, step: int, steps: int, **values: Any) -> None:
    """Shows the state of training as a bar; arguments as of `Progress`."""
    bar = f'<progress value="{step}" max="{steps}"></progress> '
    self._replace(self.describe(step, steps, **values), bar)

  def rewrite(self, line: str) -> None:
    """Replaces the last line."""
    self._replace(line)

  def show_doing(self, line: str) -> None:
    """Shows what takes a while in place of the bar."""
    self._replace(line)

  def end(self) -> None:
    """What is shown from here on is another output."""
    self._display = None

  def _replace(self, line: str, bar: str = "") -> None:
    if not self._enabled:
      return
    from IPython.display import display

    text = f"<code>{html.escape(line).replace('  ', '&emsp;')}</code>"
    data = {"text/plain": line, "text/html": bar + text}
    if self._display is None:
      self._display = display(data, raw=True, display_id=True)
    else:
      self._display.update(data, raw=True)


def make_progress(enabled: bool = True) -> Progress:
  """Makes what reports progress where this process runs."""
  shell = sys.modules.get("IPython")
  # IPython in a terminal has no kernel; what is imported may be half so.
  shell = shell and getattr(shell, "get_ipython", lambda: None)()
  if hasattr(shell, "kernel"):
    return NotebookProgress(enabled)
  return Progress(enabled)
