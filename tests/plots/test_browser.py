# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pages in Chromium, where there is one: nothing overflows or complains."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from vit_jax.plots.curves import draw_curves
from vit_jax.plots.page import Figure, Page, Section, Table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
  *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
  *("--no-first-run", "--disable-background-networking", "--disable-sync"),
  *("--disable-component-update", "--enable-logging=stderr"),
)

# Writes into the title what does not fit: a page must not be wider than it is.
PROBE = """
<iframe id="page" style="width:390px;height:900px;border:0"></iframe>
<script>
const page = document.getElementById("page");
page.onload = () => {
  const inside = page.contentDocument;
  const broken = [...inside.images].filter(x => !x.naturalWidth).length;
  const wide = inside.documentElement.scrollWidth;
  document.body.append(`wide=${wide} broken=${broken} `);
  document.body.append(`images=${inside.images.length} end`);
};
page.src = "page.html";
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_page_fits_a_phone_and_complains_of_nothing(tmp_path):
  steps = np.arange(100)
  png = draw_curves({"a": (steps.tolist(), (1.0 * steps).tolist())}, "loss")
  figure = Figure([(png, "a curve")], "Loss.", "of a long_name_" * 20)
  sections = [
    Section(title="Curves", figures=[figure] * 3, folded=[figure]),
    Section(title="Table", tables=[Table([["x" * 40] * 6], ["y" * 30] * 6)]),
    Section(title="Commands", commands=["python -m " + "z" * 300]),
  ]
  page = Page("n" * 200, "lead", [("fact", "v" * 60)], sections, "foot")
  (tmp_path / "page.html").write_text(page.render())
  (tmp_path / "probe.html").write_text(PROBE)
  done = subprocess.run(
    [
      *(CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"),
      *("--allow-file-access-from-files", "--virtual-time-budget=5000"),
      *("--dump-dom", f"file://{tmp_path}/probe.html"),
    ],
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert "CONSOLE" not in done.stderr
  wide, broken, images = re.search(
    r"wide=(\d+) broken=(\d+) images=(\d+) end", done.stdout
  ).groups()
  assert int(wide) <= 390 and int(broken) == 0 and int(images) == 4
