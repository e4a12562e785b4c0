# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of studies, for a terminal and in Markdown."""

from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def format_text(rows: Rows, left: int = 1) -> list[str]:
  """Formats rows as lines; the first row is the head.

  Args:
    rows: cells.
    left: number of first columns that are aligned to the left.
  """
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = []
  for row in rows:
    cells = [
      f"{cell:{width}}" if i < left else f"{cell:>{width}}"
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    lines.append("  ".join(cells).rstrip())
  return lines


def format_markdown(rows: Rows) -> list[str]:
  """Formats rows as lines of a table in Markdown."""
  head, *rest = rows
  lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
  return lines + [f"| {' | '.join(row)} |" for row in rest]
