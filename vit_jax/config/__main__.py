# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The reference of all config keys: python -m vit_jax.config

Prints the page docs/config_reference.md. Keys, types and defaults are what
`resolve` checks configs against; meanings are the Attributes (or Args) of the
docstring of the class or function that takes the section's keys.
"""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from vit_jax.config.command_line import make_parser
from vit_jax.config.schema import describe, parameters
from vit_jax.config.training import Train

COMMAND = "python -m vit_jax.config > docs/config_reference.md"

INTRODUCTION = f"""\
# Config keys

Every key that a config may set, in a recipe or as `--config.SECTION.KEY=VALUE`.
Any other key is an error before anything is compiled. In types, `[1, inf)` is a
range that includes 1, `(0, 1)` one that excludes both ends. Letters are sizes:
B batch, H and W pixels, P patch side, N tokens, D width, L layers, M MLP width,
K heads, C head size, R pre-logits, Y classes, s label slots.
[Configuration](configuration.md) explains recipes and the choices behind these
keys. [All pages](README.md)

This page is generated from the code: `{COMMAND}`.
"""

INTRODUCTIONS = {
  "model": "`python -m vit_jax.models` lists the variants. Fields marked "
  "*by variant* come from the variant; any field can be replaced. See "
  "[models](configuration.md#models).",
  "data": "See [data](data.md).",
  "objective": "`name` chooses the loss. See "
  "[distillation](pretrained.md#distillation) and "
  "[learning without labels](self_supervised.md).",
  "optim": "See [optimizers](configuration.md#optimizers).",
  "train": "`steps`, `epochs` or `examples` sets the length of the run. See "
  "[running](running.md).",
  "mesh": "One size may be -1, the rest of the devices. See "
  "[devices and mesh](configuration.md#devices-and-mesh).",
  "checkpoint": "See [checkpoints](running.md#checkpoints).",
  "transfer": "Handling of the weights that `init` names. See "
  "[starting a run](pretrained.md#starting-a-run).",
  "hosts": "Times are in seconds. See "
  "[several hosts](running.md#several-hosts).",
  "evals": "Any number of evaluations, each a section with a name of its own, "
  "as `--config.evals.test.split=test`; `kind` chooses the evaluator.",
}

# Keys that choose a constructor, which does not document them itself.
SELECTORS = {
  "variant": "The model, as B/16, R50+B/16, R50x1 or Mixer-B/16.",
  "name": "The objective.",
}


@dataclasses.dataclass(frozen=True)
class Key:
  """A config key as the page shows it."""

  name: str
  type: str
  default: str
  meaning: str


@dataclasses.dataclass(frozen=True)
class Group:
  """Keys that are valid together: one table of the page.

  Attributes:
    section: the name of the config section.
    keys: in the order of the constructor.
    heading: the choice that selects these keys, "" if there is none.
    text: shown between heading and table.
  """

  section: str
  keys: tuple[Key, ...]
  heading: str
  text: str


def parse_fields(docstring: str | None) -> dict[str, str]:
  """Name -> meaning from "Attributes:" and "Args:" of a Google docstring.

  "a, b: meaning" documents both names.
  """
  fields = {}
  text = inspect.cleandoc(docstring or "")
  for block in re.findall(
    r"^(?:Attributes|Args):\n((?:(?:  .*)?\n)*)", text + "\n", re.MULTILINE
  ):
    entries = re.split(r"\n(?=\w)", textwrap.dedent(block).strip())
    for entry in filter(None, entries):
      names, _, meaning = entry.partition(":")
      for name in names.split(","):
        fields[name.strip()] = " ".join(meaning.split())
  return fields


def format_meaning(text: str) -> str:
  """A docstring entry as a sentence in a cell of a Markdown table."""
  if re.match(r"a |[a-z]{2}", text):
    text = text[0].upper() + text[1:]
  if text and text[-1] not in ".!?":
    text += "."
  parts = text.replace("|", r"\|").split("`")
  parts[::2] = (
    part.replace("*", r"\*").replace("<", r"\<") for part in parts[::2]
  )
  return "`".join(parts)


def format_default(defaults: Mapping[str, Any], varying: str) -> str:
  """The default of a key for a cell of the table.

  Args:
    defaults: choice (as "lion") -> default with it.
    varying: the text if there are more than two exceptions.
  """
  shown = {
    choice: "required" if x is inspect.Parameter.empty else f"`{x!r}`"
    for choice, x in defaults.items()
  }
  texts = list(shown.values())
  common = max(texts, key=texts.count)
  others = [f"{choice}: {x}" for choice, x in shown.items() if x != common]
  if others and (varying or len(others) > 2):
    return varying
  return common + (f" ({', '.join(others)})" if others else "")


def make_group(
  section: str,
  choices: Mapping[str, Mapping[str, inspect.Parameter]],
  constructors: Sequence[Callable],
  heading: str = "",
  text: str = "",
  notes: Mapping[str, str] | None = None,
  varying: str = "",
) -> Group:
  """Collects the keys of one table.

  Args:
    section: the name of the config section.
    choices: a choice (as "adam") -> the keys that are valid with it.
    constructors: their docstrings document the keys.
    heading: see `Group`.
    text: see `Group`.
    notes: key -> a sentence to add to its meaning.
    varying: shown as the default where the choices differ.
  """
  meanings = dict(SELECTORS)
  for constructor in constructors:
    # Of a class also what it takes over from others.
    for part in reversed(getattr(constructor, "__mro__", (constructor,))):
      meanings |= parse_fields(part.__doc__)
  # The choice with the most keys first, for the order of the constructor.
  by_size = sorted(choices.values(), key=len, reverse=True)
  annotations = {
    key: parameter.annotation
    for allowed in by_size
    for key, parameter in allowed.items()
  }
  keys = []
  for key, annotation in annotations.items():
    if dataclasses.is_dataclass(annotation):
      nested = {"": parameters(annotation)}
      keys += make_group(f"{section}.{key}", nested, [annotation]).keys
      continue
    defaults = {
      choice: allowed[key].default
      for choice, allowed in choices.items()
      if key in allowed
    }
    meaning = format_meaning(meanings.get(key, ""))
    if notes and key in notes:
      meaning += f" {notes[key]}"
    default = format_default(defaults, varying)
    keys.append(Key(f"{section}.{key}", describe(annotation), default, meaning))
  return Group(section, tuple(keys), heading, text)


def collect_groups() -> list[Group]:
  """Collects all config keys, section by section."""
  # The sections know every constructor, and so stand above this package.
  from vit_jax import models, optim, sections
  from vit_jax.checkpoint import CheckpointOptions
  from vit_jax.convert.transfer import Transfer
  from vit_jax.data.pipeline import Data
  from vit_jax.devices.mesh import make_mesh
  from vit_jax.evaluators import EVALUATORS, Evaluation
  from vit_jax.hosts.coordination import Timeouts
  from vit_jax.objectives import OBJECTIVES

  simple = {
    "data": Data,
    "train": Train,
    "mesh": make_mesh,
    "checkpoint": CheckpointOptions,
    "transfer": Transfer,
    "hosts": Timeouts,
  }
  groups = []
  for section, get_allowed in sections.SECTIONS.items():
    if section == "model":
      families = {}
      for name in models.NAMES:
        families.setdefault(models.get_row(name)[0], []).append(name)
      for constructor, names in families.items():
        choices = {name: get_allowed({"variant": name}) for name in names}
        group = make_group(
          section,
          choices,
          [constructor],
          heading=constructor.__name__,
          text=f"Variants: {', '.join(names)}.",
          varying="by variant",
        )
        groups.append(group)
    elif section == "objective":
      for name, constructor in OBJECTIVES.items():
        allowed = get_allowed({"name": name})
        _set_choices(allowed, "name", OBJECTIVES)
        heading = f"`objective.name={name}`"
        groups.append(
          make_group(section, {"": allowed}, [constructor], heading)
        )
    elif section == "optim":
      choices, notes = _compare_optimizers(get_allowed)
      groups.append(make_group(section, choices, [optim.Optim], notes=notes))
    else:
      allowed = get_allowed({})
      groups.append(make_group(section, {"": allowed}, [simple[section]]))
  for kind, constructor in EVALUATORS.items():
    allowed = parameters(Evaluation) | parameters(constructor)
    _set_choices(allowed, "kind", EVALUATORS)
    constructors = [constructor, Evaluation]
    heading = f"`evals.NAME.kind={kind}`"
    groups.append(
      make_group("evals.NAME", {"": allowed}, constructors, heading)
    )
  return groups


def _set_choices(
  allowed: dict[str, inspect.Parameter], key: str, table: Mapping[str, Any]
) -> None:
  """Shows the names of a table as the type of the key that chooses one."""
  allowed[key] = allowed[key].replace(annotation=Literal[tuple(table)])


def _compare_optimizers(
  get_allowed: Callable,
) -> tuple[dict[str, dict[str, inspect.Parameter]], dict[str, str]]:
  """Finds the optim keys of every optimizer, and a note for those of some.

  Args:
    get_allowed: content of the optim section -> the keys that are valid.
  """
  rsqrt = {"schedule": "rsqrt"}  # The schedule that has all keys.
  names, schedules = (
    get_args(get_allowed(rsqrt)[key].annotation) for key in ("name", "schedule")
  )
  by_name = {name: get_allowed({"name": name} | rsqrt) for name in names}
  by_schedule = {name: get_allowed({"schedule": name}) for name in schedules}
  notes = {}
  for selector, choices in (("name", by_name), ("schedule", by_schedule)):
    for key in {key for allowed in choices.values() for key in allowed}:
      having = [name for name, allowed in choices.items() if key in allowed]
      if len(having) < len(choices):
        notes[key] = f"Only with `optim.{selector}` {' or '.join(having)}."
  return by_name, notes


def make_page() -> str:
  """The page, as Markdown."""
  lines = [INTRODUCTION]
  section = None
  for group in collect_groups():
    if group.section != section:
      section = group.section
      title = section.partition(".")[0]
      lines.append(f"## {title}\n\n{INTRODUCTIONS[title]}\n")
    if group.heading:
      lines.append(f"### {group.heading}\n")
    if group.text:
      lines.append(f"{group.text}\n")
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    lines += [
      f"| `{key.name}` | `{key.type}` | {key.default} | {key.meaning} |"
      for key in group.keys
    ]
    lines.append("")
  lines.append(
    "## init\n\n"
    "A key without a section, `str or None`, default `None`: the weights that "
    "a run starts from, as `--config.init=B_16.npz`, a run's directory or "
    "`augreg:B/16`. See [starting a run](pretrained.md#starting-a-run)."
  )
  return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
  """Prints the page."""
  make_parser("config", __doc__).parse_args(argv)
  print(make_page(), end="")


if __name__ == "__main__":
  main()
