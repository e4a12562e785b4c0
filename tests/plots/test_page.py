# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import base64
import re

from vit_jax.plots.page import Figure, Page, Section, Table


def make(*sections, title="A page"):
  """The HTML of a page of these sections."""
  return Page(title, "", [], sections, "the end").render()


def test_what_a_page_is_given_is_text():
  bad = '<script>alert("&")</script>'
  figure = Figure([(b"png", bad)], bad, bad)
  section = Section(
    title=bad,
    text=bad,
    figures=[figure],
    tables=[Table([[bad, bad]], [bad], folded=bad)],
    commands=[bad],
    notes=[bad],
    folded=[figure],
    folded_title=bad,
  )
  text = Page(bad, bad, [(bad, bad)], [section, section], bad).render()
  assert "<script" not in text
  assert text.count("&lt;script&gt;alert(&#34;&amp;&#34;)") > 25


def test_empty_sections_are_left_out():
  text = make(
    Section(title="Empty", text="a paragraph"),
    Section(title="Full", notes=["a note"]),
  )
  assert "Empty" not in text and "Full" in text
  assert "<nav" not in text  # Of one section there is nothing to choose.


def test_pictures_are_in_the_page():
  png = bytes(range(256))
  text = make(Section(title="One", figures=[Figure([(png, "all bytes")])]))
  (data,) = re.findall('src="data:image/png;base64,([^"]+)"', text)
  assert base64.b64decode(data) == png
  assert 'alt="all bytes"' in text


def test_numbers_stay_on_one_line():
  table = Table([["98.33 %", "1,437", "98.33 %", "2 of 36", "a long name"]])
  figure = Figure([(b"png", "")], caption="cat (98.3 %), dog (1.0 %)")
  text = make(Section(title="One", figures=[figure], tables=[table]))
  cells = re.findall('<td class="figure">([^<]+)', text)
  assert cells == ["1,437", "98.33 %", "2 of 36"]
  assert "<td>a long name</td>" in text
  assert "cat (98.3\N{NO-BREAK SPACE}%), dog (1.0\N{NO-BREAK SPACE}%)" in text


def test_no_percent_sign_begins_a_line():
  said = "of 23.10 to 66.82 %"
  cells = [Table([["cell", said]])]
  parts = Section(
    title="One", text=f"text {said}", notes=[f"note {said}"], tables=cells
  )
  page = Page("A page", f"lead {said}", [("95 % interval", said)], [parts], "")
  text = page.render()
  assert text.count("66.82\N{NO-BREAK SPACE}%") == 5
  assert "66.82 %" not in text
