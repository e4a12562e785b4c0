# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""README and docs: links, paths, test names and commands that exist."""

import importlib.util
import re
import shlex

import pytest

from tests.support import ROOT
from vit_jax import sections
from vit_jax.config import recipe

README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"  # Its examples name new files.
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, *DOCS]
TEXTS = [*PAGES, *sorted((ROOT / ".github").rglob("*.md"))]


def get_id(path):
  """The path of a page below the root."""
  return str(path.relative_to(ROOT))


def find_links(path):
  """(file, anchor) of every relative link of a page."""
  text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
  for target in re.findall(r"\]\(([^)\s]+)\)", text):
    if "://" not in target:
      name, _, anchor = target.partition("#")
      yield (path.parent / name).resolve() if name else path, anchor


def find_anchors(path):
  """The anchors that GitHub gives to the headings of a page."""
  text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
  for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
    yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def find_all(pattern, paths=TEXTS):
  """Sorted matches of a pattern in the texts of several files."""
  texts = [path.read_text() for path in paths]
  return sorted(
    {found for text in texts for found in re.findall(pattern, text)}
  )


def find_commands():
  """Words of every command of the docs that has a --config."""
  for path in PAGES:
    text = path.read_text().replace("\\\n", " ")
    for line in re.findall(r"python -m vit_jax\..*--config=.*", text):
      line = re.split("`| #", line)[0]
      if line.count("'") % 2:  # The end of an outer quotation.
        line = line.rstrip("'")
      words = shlex.split(line)
      if not any("..." in word for word in words):
        yield get_id(path), words


def test_readme_is_short():
  assert len(README.read_text().splitlines()) < 250


@pytest.mark.parametrize("path", [*TEXTS, CONTRIBUTING], ids=get_id)
def test_links_resolve(path):
  for file, anchor in find_links(path):
    assert file.exists(), file
    assert not anchor or anchor in find_anchors(file), f"{file}#{anchor}"


def test_every_page_is_reached_from_the_readme_and_leads_back():
  index = ROOT / "docs/README.md"
  linked = {page: {file for file, _ in find_links(page)} for page in PAGES}
  assert index in linked[README]
  for page in DOCS:
    assert page == index or page in linked[README] | linked[index], page
    assert page == index or index in linked[page], f"{page} has no way back"


def test_every_page_is_in_the_menu_of_the_site():
  menu = re.findall(
    r"^  - .+: (.+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE
  )
  pages = {path.name for path in (ROOT / "docs").glob("*.md")}
  assert pages <= set(menu)


def test_paths_exist():
  """Also every recipe of a command; a name in capitals is a placeholder."""
  found = find_all(r"(?<![\w/])(?:tests|vit_jax|configs|launch|docs)/[\w./]*\w")
  assert "configs/digits.py" in found
  missing = [name for name in found if not (ROOT / name).exists()]
  assert not [name for name in missing if not re.search("[A-Z]", name)]


def test_tests_exist():
  code = "\n".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
  defined = set(re.findall(r"def (test_\w+)", code))
  assert set(find_all(r"`(test_\w+)`")) <= defined


def test_modules_of_commands_exist():
  for name in find_all(r"python -m ((?:vit_jax|tests)[a-z_.]*[a-z])"):
    spec = importlib.util.find_spec(name)
    assert spec, name
    is_package = spec.submodule_search_locations is not None
    assert not is_package or importlib.util.find_spec(f"{name}.__main__"), name


def test_make_targets_exist():
  targets = re.findall(
    r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE
  )
  assert set(find_all(r"(?:`|^|\n)make (\w+)")) <= set(targets)


def test_configs_of_commands_are_valid():
  """Every override of a documented command is a key, with a value that fits."""
  commands = list(find_commands())
  assert len(commands) > 20
  for page, words in commands:
    flags = dict(word.partition("=")[::2] for word in words if "=" in word)
    if "NAME" in flags["--config"] or "stesp" in str(words):
      continue
    overrides = [word for word in words if word.startswith("--config.")]
    config = recipe.load_config(flags["--config"], overrides)
    assert sections.resolve(config), page
