# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Adds to the pages that mkdocs builds those that are not in docs/.

The README and the like lie in the root of the repository, where readers look
for them, and the reference of the Python names is made of their docstrings.
"""

import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parent.parent
# File of the root -> page. docs/README.md is the index of the site.
PAGES = {
  "README.md": "overview.md",
  "CONTRIBUTING.md": "contributing.md",
  "CHANGELOG.md": "changelog.md",
  "LICENSE": "licence.md",
  "CITATION.cff": "citation.md",
}
REFERENCE = {
  "Use": [
    "vit_jax.convert.load.load",
    "vit_jax.convert.load.Model",
    "vit_jax.config.recipe.get_config",
    "vit_jax.train.train",
    "vit_jax.runtime.callbacks.Callback",
    "vit_jax.evaluate.evaluate",
    "vit_jax.predict.predict",
    "vit_jax.features.features",
    "vit_jax.analyze.analyze",
    "vit_jax.analyze.Analysis",
  ],
  "Models": [
    "vit_jax.models.make_model",
    "vit_jax.models.vit.ViT",
    "vit_jax.models.resnet.ResNet",
    "vit_jax.models.mixer.MlpMixer",
  ],
  "What the model attends to": [
    "vit_jax.analysis.rollout",
    "vit_jax.analysis.attention",
    "vit_jax.analysis.similarity",
    "vit_jax.analysis.positions",
    "vit_jax.analysis.filters",
    "vit_jax.analysis.norms",
  ],
  "Errors": [
    "vit_jax.config.errors.ConfigError",
    "vit_jax.config.errors.RunError",
  ],
}


def make_reference() -> str:
  """The page of all Python names that are kept stable."""
  lines = [
    "# Reference",
    "",
    "[From Python](python.md) shows how to use it.",
    "",
  ]
  for title, names in REFERENCE.items():
    lines += [f"## {title}", ""]
    for name in names:
      lines += [f"::: {name}", ""]
  return "\n".join(lines)


def on_files(files, config):
  """Adds the pages; mkdocs calls it."""
  for name, page in PAGES.items():
    text = (ROOT / name).read_text()
    if not name.endswith(".md"):
      text = f"# {name}\n\n```\n{text}```\n"
    # Seen from docs/, what lies there is beside the page.
    text = re.sub(r"\]\(docs/", "](", text)
    files.append(File.generated(config, page, content=text))
  files.append(File.generated(config, "api.md", content=make_reference()))
  return files


def on_page_markdown(markdown, page, config, files):
  """Leads links out of docs/ to the pages that are made of their files."""
  up = "../" * page.file.src_uri.count("/")
  for name, target in PAGES.items():
    markdown = markdown.replace(f"]({up}../{name}", f"]({up}{target}")
    if page.file.src_uri in PAGES.values():
      markdown = markdown.replace(f"]({name}", f"]({target}")
  return markdown
