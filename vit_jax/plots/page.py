# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pages of HTML: one file, without an address outside of itself.

A page says what it shows by `Page`, `Section`, `Figure` and `Table`; how it
looks stands in page.html. What a page is given is text, and is escaped.
"""

import base64
import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Literal

TEMPLATE = pathlib.Path(__file__).with_name("page.html")


@dataclasses.dataclass(frozen=True)
class Figure:
  """A picture, or two side by side.

  Attributes:
    pngs: (PNG, what is seen on it, for those who do not see it).
    title: its name.
    caption: what it shows, below it.
    kind: "lines" are drawn on white, and turned to dark where the reader's
      pages are; the colours of a "map" or "photo" stay.
  """

  pngs: Sequence[tuple[bytes, str]]
  title: str = ""
  caption: str = ""
  kind: Literal["lines", "map", "photo"] = "lines"


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows of cells, the first of which names its row.

  Attributes:
    rows: of texts.
    header: names of the columns; empty for none.
    folded: the name under which it is hidden until asked for; empty for not.
  """

  rows: Sequence[Sequence[str]]
  header: Sequence[str] = ()
  folded: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """A part of a page; what is empty of it is left out.

  Attributes:
    title: its heading.
    text: a paragraph.
    figures: pictures.
    layout: width of the pictures: "" for two beside one another, "small" for
      more, "wide" for one.
    tables: tables.
    commands: lines to be copied.
    notes: a list of sentences.
    folded: pictures that are hidden until asked for.
    folded_title: by what one asks for them.
  """

  title: str
  text: str = ""
  figures: Sequence[Figure] = ()
  layout: Literal["", "small", "wide"] = ""
  tables: Sequence[Table] = ()
  commands: Sequence[str] = ()
  notes: Sequence[str] = ()
  folded: Sequence[Figure] = ()
  folded_title: str = ""

  @property
  def is_empty(self) -> bool:
    """Whether it has nothing to show below its paragraph."""
    parts = (self.figures, self.tables, self.commands, self.notes, self.folded)
    return not any(parts)


@dataclasses.dataclass(frozen=True)
class Page:
  """A page of HTML.

  Attributes:
    title: its heading.
    lead: a sentence below.
    facts: (name, value), the few that are read first.
    sections: its parts; empty ones are left out.
    foot: the last line.
  """

  title: str
  lead: str
  facts: Sequence[tuple[str, str]]
  sections: Sequence[Section]
  foot: str

  def render(self) -> str:
    """The page as HTML."""
    import jinja2

    environment = jinja2.Environment(
      autoescape=True,
      undefined=jinja2.StrictUndefined,
      trim_blocks=True,
      lstrip_blocks=True,
    )
    environment.filters |= {"data": make_data_address, "glue": glue}
    environment.tests["figure"] = is_figure
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    shown = [section for section in self.sections if not section.is_empty]
    text = template.render(page=dataclasses.replace(self, sections=shown))
    # Names of files may be any bytes, which no encoding of a page can hold.
    return text.encode("utf-8", "replace").decode("utf-8")


def make_data_address(png: bytes) -> str:
  """A PNG as the address of an image, which holds the image itself."""
  return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def glue(text: str) -> str:
  """Keeps numbers and their percent signs on one line."""
  return re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)


def is_figure(cell: str) -> bool:
  """Whether a cell is a number, as "98.33 %", which no line may break."""
  return bool(re.fullmatch(r"[-\d.,]+( %| of [\d,]+)?", cell))
