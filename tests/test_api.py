# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The package from Python: its page is run as it is read."""

import doctest
import inspect
import re
import subprocess
import sys

import vit_jax
from tests.support import ROOT
from vit_jax.data import sources


def test_the_page_is_run(tmp_path, data_dir, monkeypatch, capfd):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sources, "DATA_DIR", data_dir)
  page = (ROOT / "docs/python.md").read_text()
  blocks = re.findall("```pycon\n(.+?)```", page, re.DOTALL)
  test = doctest.DocTestParser().get_doctest(
    "\n".join(blocks), {}, "docs/python.md", None, None
  )
  results = doctest.DocTestRunner(verbose=False).run(test)
  assert results.attempted > 15 and not results.failed, capfd.readouterr().out


def test_examples_of_docstrings():
  found = [
    path
    for path in (ROOT / "vit_jax").rglob("*.py")
    if "\n  >>> " in path.read_text()
  ]
  for path in found:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    module = __import__(name, fromlist=["x"])
    results = doctest.testmod(module)
    assert results.attempted and not results.failed, name
  assert found


def test_names_complete_and_import_nothing():
  code = """
import sys, time
tick = time.perf_counter()
import vit_jax
names = dir(vit_jax)
print(*sorted(sys.modules), sep=",")
print(*names, sep=",")
"""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
  )
  modules, names = (set(x.split(",")) for x in done.stdout.splitlines())
  assert not modules & {"jax", "numpy", "flax", "vit_jax.train"}
  assert names >= set(vit_jax.__all__)


def test_a_verb_is_its_module_and_its_function():
  import vit_jax.train as module  # The name stays callable.
  from vit_jax.train import train

  assert vit_jax.train is sys.modules["vit_jax.train"] is module
  assert inspect.signature(vit_jax.train) == inspect.signature(train)
  for name in vit_jax.VERBS:
    assert callable(getattr(vit_jax, name))
