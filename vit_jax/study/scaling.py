# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `scaling`: power laws through what other studies found.

Nothing is trained. Of each line of a study, as ViT or ResNet, the error rate is
fitted over compute or data; bands are of drawings of the seeds.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.plots.studies import draw_laws
from vit_jax.storage.paths import expand, locate
from vit_jax.storage.untrusted import load_json
from vit_jax.study import power_law, runs, table
from vit_jax.study.paper_study import COMPUTE, list_measured
from vit_jax.study.points import find_frontier

SEEDS = ()
RECIPE = "study"
ROUNDS = 200  # Drawings.
BAND = (2.5, 97.5)  # Percent of them.
# Study -> the field of its lines, the quantity along them, and whether only
# points count that nothing cheaper beats: models of all sizes are on one line.
AXES = {
  "compute": ("family", COMPUTE, True),
  "data_scale": ("model", "percent of the images", False),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that only this study has."""
  parser.add_argument(
    "--of",
    metavar="DIR,DIR",
    help="directories of studies compute and data_scale",
  )


def run(
  recipe: str,
  workdir: epath.Path,
  flags: Sequence[str],
  seeds: Sequence[int],
  *,
  of: str | None = None,
) -> dict[str, Any]:
  """Fits a law to every line of other studies.

  Args:
    recipe, flags, seeds: of no effect, as nothing is trained.
    workdir: directory of study.json.
    of: directories of the others, joined by commas.

  Returns:
    `laws`, see `fit_lines`, and those `without` one, for want of points.

  Raises:
    ConfigError: for a directory without a study that can be fitted, or given
      twice.
  """
  if not of:
    raise ConfigError(
      "scaling fits what other studies found: give --of=DIR,DIR, directories "
      "of compute or data_scale"
    )
  if flags or seeds:
    raise ConfigError("scaling trains nothing: give --of and --workdir alone")
  paths = of.split(",")
  if len({os.fspath(expand(path)) for path in paths}) < len(paths):
    raise ConfigError(f"--of={of} has a directory twice: name each once")
  found = [law for path in paths for law in fit_lines(path)]
  laws = [law for law in found if "law" in law]
  few = [law for law in found if "law" not in law]
  if not laws:
    lines = "; ".join(explain_few(law) for law in few)
    raise ConfigError(
      f"--of={of}: {lines} (of compute, points that nothing cheaper beats): "
      f"end the study, or train at a scale of more points"
    )
  return {"study": "scaling", "laws": laws, "without": few}


def fit_lines(path: str) -> list[dict[str, Any]]:
  """Fits the lines of a study.

  Args:
    path: its directory.

  Returns:
    Of each line its `study`, `scale`, `metric`, `axis`, `line`, the `points`
    [(C, mean E, seeds)], `law` as of `PowerLaw`, and of several seeds `band`,
    the intervals of `a` and `c` and, at each C of `at`, of E. Those of too few
    points have no `law`.
  """
  file = locate(path) / "study.json"
  if not path or not file.exists():
    raise ConfigError(
      f"--of={path or '...,'} has no study.json: give a study's --workdir"
    )
  again = "the study's command, given again, writes it anew"
  try:
    found = load_json(file)
  except ConfigError as error:
    raise ConfigError(f"{error}\n  {again}") from error
  study = found.get("study") if isinstance(found, dict) else None
  if study not in AXES:
    raise ConfigError(
      f"--of={path} is a study {study or 'of another kind'}: laws are fitted "
      f"to {' and '.join(AXES)}"
    )
  field, axis, front = AXES[study]
  lines: dict[str, list[tuple[float, list[float]]]] = {}
  try:
    metric = list_measured(found)[0]
    about = dict(study=study, scale=found["scale"], metric=metric, axis=axis)
    for row in found["points"]:
      if by_seed := row["values"].get(metric, {}).get("by_seed"):
        errors = [1 - float(value) for value in by_seed.values()]
        point = (float(row["fields"][axis]), errors)
        lines.setdefault(row["fields"][field], []).append(point)
  # It may have been edited, or be of another version.
  except (LookupError, TypeError, ValueError, AttributeError) as error:
    raise ConfigError(
      f"{file} has no points as a study has: {again}"
    ) from error
  if not lines:
    raise ConfigError(f"--of={path} has no result yet: train it first")
  made = []
  for line, points in lines.items():
    if front:
      pairs = [(c, -float(np.mean(errors))) for c, errors in points]
      points = [points[i] for i in find_frontier(pairs)]
    enough = len({c for c, _ in points}) >= power_law.FEWEST
    law = fit_line(sorted(points)) if enough else {}
    given = [(c, float(np.mean(z)), len(z)) for c, z in sorted(points)]
    made.append({**about, "line": line, "points": given, **law})
  return made


def explain_few(law: Mapping[str, Any]) -> str:
  """Says that a line of `fit_lines` has too few points."""
  return (
    f"{law['line']}, {law['study']}: {len(law['points'])} of the "
    f"{power_law.FEWEST} points that a law needs at least"
  )


def fit_line(points: Sequence[tuple[float, list[float]]]) -> dict[str, Any]:
  """Fits a line, given as (C, E of each seed) by C; see `fit_lines`."""
  x = np.asarray([point[0] for point in points])
  errors = [point[1] for point in points]
  law = power_law.fit(x, np.asarray([np.mean(z) for z in errors]))
  at = np.geomspace(x.min(), x.max(), 40)
  band = None
  if min(map(len, errors)) > 1:
    drawn = power_law.resample(x, errors, ROUNDS)
    curves = np.percentile([one(at) for one in drawn], BAND, axis=0)
    band = {
      "a": np.percentile([one.a for one in drawn], BAND).tolist(),
      "c": np.percentile([one.c for one in drawn], BAND).tolist(),
      "error": curves.tolist(),
    }
  return {
    "law": law._asdict(),
    "at": at.tolist(),
    "error": law(at).tolist(),
    "band": band,
  }


def make_table(summary: Mapping[str, Any]) -> list[list[str]]:
  """Makes a row a law."""
  made = [["line", "study", "points", "a (%)", "95 % of a", "c", "95 % of c"]]
  for law in summary["laws"]:
    band, found = law["band"], law["law"]
    remains, exponent = "-", "-"
    if band:
      remains = " to ".join(f"{100 * z:.1f}" for z in band["a"])
      exponent = " to ".join(f"{z:.2f}" for z in band["c"])
    made.append(
      [
        *(law["line"], f"{law['study']}, {law['scale']}"),
        *(str(len(law["points"])), f"{100 * found['a']:.1f}", remains),
        *(f"{found['c']:.2f}", exponent),
      ]
    )
  return made


def explain(summary: Mapping[str, Any]) -> list[str]:
  """Says what was fitted, and how far it goes."""
  texts = [
    "E = a + b (C + d)^-c, with E the error rate: a is what remains however "
    "much is spent, c how fast the rest shrinks. The form is that of Scaling "
    "Vision Transformers (Zhai et al., 2022); the paper fits none.",
    "Intervals have 95 % of the laws that are fitted to drawings of the seeds. "
    "They say nothing about C beyond the points.",
  ]
  about = ("study", "scale", "axis", "metric")
  for key in dict.fromkeys(
    tuple(law[x] for x in about) for law in summary["laws"]
  ):
    study, scale, axis, metric = key
    texts.append(f"{study}, {scale}: C is {axis}, E of the accuracy {metric}.")
  low, high = power_law.EXPONENTS
  for law in summary["laws"]:
    inside = low < law["law"]["c"] < high
    if len(law["points"]) == power_law.FEWEST and inside:
      texts.append(
        f"{law['line']}, {law['study']}: as many parameters as points, so that "
        f"the law passes near all of them whatever they are."
      )
  for law in summary["laws"]:
    if (c := law["law"]["c"]) in (low, high):
      texts.append(
        f"{law['line']}, {law['study']}: {c:g} is the "
        f"{'least' if c == low else 'largest'} exponent that is tried, and so "
        f"its points do not tell how fast it falls."
      )
  texts += [f"{explain_few(law)}, and so none." for law in summary["without"]]
  if any(law["study"] == "compute" for law in summary["laws"]):
    texts.append(
      "Of compute those points count that nothing cheaper of their line beats."
    )
  for law in summary["laws"]:
    seeds = [number for _, _, number in law["points"]]
    if min(seeds) < max(seeds):
      texts.append(
        f"{law['line']}, {law['study']}: its points have {min(seeds)} to "
        f"{max(seeds)} seeds, as before all runs have ended."
      )
  if any(law["band"] is None for law in summary["laws"]):
    texts.append("Lines of one seed have no interval.")
  return texts


def save(summary: Mapping[str, Any], workdir: epath.Path) -> None:
  """Writes study.json, its page study.md and its figure study.png."""
  lines = ["# Power laws", "", *table.format_markdown(make_table(summary)), ""]
  lines += [x for text in explain(summary) for x in (text, "")]
  lines += ["![Power laws](study.png)", ""]
  png = draw_laws(summary["laws"])
  page = "\n".join(lines)
  runs.save(summary, workdir, others={"study.png": png, "study.md": page})
  print(f"page: {workdir / 'study.md'}", file=sys.stderr, flush=True)


def format_table(summary: Mapping[str, Any]) -> str:
  """Formats the study for people."""
  lines = ["power laws of the error"]
  lines += table.format_text(make_table(summary), 2)
  return "\n".join([*lines, "", *explain(summary)])
