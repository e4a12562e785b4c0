# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Progress in a real kernel, as a front end receives it."""

import nbformat
from nbclient import NotebookClient

from vit_jax.metrics.notebook import make_progress
from vit_jax.metrics.progress import Progress

CODE = """
import sys
from vit_jax.metrics.notebook import make_progress
progress = make_progress()
values = dict(images_per_second=1234.5, data_wait=0.034, seconds_left=61.0)
for step in (5, 10):
  progress.show(step, 10, loss=0.5, **values)
  progress.say(f"said {step}")
progress.end()
progress.rewrite("3 of 4 <files>")
print("an error", file=sys.stderr)
make_progress(enabled=False).say("unseen")
"""


def test_a_bar_moves_and_lines_stay_below_it(tmp_path, monkeypatch):
  for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
    monkeypatch.setenv(name, str(tmp_path / "jupyter"))
  notebook = nbformat.v4.new_notebook()
  notebook.cells = [nbformat.v4.new_code_cell(CODE)]
  NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
  outputs = notebook.cells[0].outputs
  bar, count = [x for x in outputs if x.output_type == "display_data"]
  streams = {"stdout": "", "stderr": ""}
  for output in outputs:
    if output.output_type == "stream":
      streams[output.name] += output.text
  line = "step 10/10 100%  loss 0.5000  1,234 images/s  data 3%  1m01s left"
  assert bar.data["text/plain"] == line
  assert bar.data["text/html"].startswith('<progress value="10" max="10">')
  assert streams == {"stdout": "said 5\nsaid 10\n", "stderr": "an error\n"}
  assert count.data["text/html"] == "<code>3 of 4 &lt;files&gt;</code>"


def test_elsewhere_it_is_lines():
  assert type(make_progress()) is Progress
