# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""docs/config_reference.md: up to date, complete, a meaning for every key."""

import pytest

from tests.support import ROOT
from vit_jax import sections
from vit_jax.config import __main__ as reference


@pytest.fixture(scope="module")
def groups():
  """The tables of the page."""
  return reference.collect_groups()


def test_the_page_is_up_to_date():
  page = (ROOT / "docs/config_reference.md").read_text()
  assert page == reference.make_page(), f"run: {reference.COMMAND}"


def test_every_key_has_a_meaning(groups):
  keys = [key for group in groups for key in group.keys]
  missing = sorted({key.name for key in keys if not key.meaning})
  assert not missing, f"the docstrings of their constructors lack {missing}"


def test_every_key_of_a_resolved_config_is_listed(config, groups):
  listed = {key.name for group in groups for key in group.keys}

  def walk(prefix, content):
    for key, value in content.items():
      name = f"{prefix}.{key}"
      if isinstance(value, dict):
        walk(name, value)
      else:
        assert name in listed

  resolved = dict(sections.resolve(config))
  assert resolved.pop("init") is None
  (evaluation,) = resolved.pop("evals").values()
  for section, content in {**resolved, "evals.NAME": evaluation}.items():
    walk(section, content)


def test_a_docstring_is_parsed():
  docstring = """First line.

  Attributes:
    one: of the
      batch: B.
    two, three: both.

  Raises:
    Error: always.
  """
  fields = {"one": "of the batch: B.", "two": "both.", "three": "both."}
  assert reference.parse_fields(docstring) == fields
  assert reference.parse_fields(None) == {}
