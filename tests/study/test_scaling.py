# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Saturating power laws, and the study that fits them."""

import json

import numpy as np
import pytest

from vit_jax.study import power_law, scaling
from vit_jax.study.__main__ import main

X = np.array([1e9, 3e9, 1e10, 3e10, 1e11, 3e11])


@pytest.mark.parametrize(
  ("a", "b", "c", "d"), [(0.1, 0.5, 0.4, 0.0), (0.0, 0.8, 0.25, 0.0)]
)
def test_a_law_is_found_again(a, b, c, d):
  """Along a valley of c and d errors differ by less than a seed's, 5e-4."""
  error = a + b * (X / 1e9 + d) ** -c
  law = power_law.fit(X, error)
  np.testing.assert_allclose(law(X), error, atol=5e-4)
  assert law.a == pytest.approx(a, abs=0.01)
  assert law.c == pytest.approx(c, abs=0.02)


def test_the_best_exponent_is_found_along_the_valley():
  """Where exponent and shift make up for one another, and there is noise."""
  x = [1.0, 2.37, 4.25, 32.96, 88.83, 100.69, 117.91, 145.33]
  error = [0.3934, 0.2035, 0.129, 0.0762, 0.0871, 0.0741, 0.0735, 0.0845]
  law = power_law.fit(np.array(x), np.array(error))
  # By least squares of SciPy, from 30 starts: a, b, c and d.
  best = power_law.PowerLaw(0.0790171, 12.218021, 2.862969, 2.59115, 1.0)
  assert law.c == pytest.approx(best.c, abs=0.02)
  losses = [np.square(z(np.array(x)) - error).sum() for z in (law, best)]
  assert losses[0] < 1.0001 * losses[1]


def test_the_exponent_stays_within_its_limits():
  x = np.geomspace(1, 50, 6)
  law = power_law.fit(x, 0.1 + np.exp(-x / 3))  # No power falls so.
  assert law.c == power_law.EXPONENTS[1]
  about = dict(study="compute", scale="x", axis="C", metric="5-shot")
  found = dict(line="ViT", points=[(1, 0.5, 1)] * 6, band=None)
  page = scaling.explain(
    {"laws": [about | found | {"law": law._asdict()}], "without": []}
  )
  assert any("ViT, compute: 4 is the largest exponent" in x for x in page)


def test_what_does_not_fall_has_a_flat_law():
  law = power_law.fit(X, np.linspace(0.2, 0.3, 6))
  np.testing.assert_allclose(law(X), 0.25, atol=1e-12)


def test_too_few_points_have_no_law():
  with pytest.raises(ValueError, match="3 different points"):
    power_law.fit(X[[0, 1, 2, 2]], np.full(4, 0.5))


def write_study(path, seeds, count=6, study="compute"):
  """Writes study.json of two lines."""
  rng, rows = np.random.default_rng(0), []
  for family, c in (("ViT", 0.5), ("ResNet", 0.2)):
    for x in X[:count]:
      error = 0.1 + 0.5 * (x / 1e9) ** -c + 0.004 * rng.normal(size=seeds)
      fields = {"family": family, "training FLOPs": x}
      by_seed = {str(i): 1 - value for i, value in enumerate(error.tolist())}
      values = {"5-shot": {"by_seed": by_seed}}
      rows.append({"fields": fields, "values": values})
  path.mkdir()
  found = dict(
    study=study, scale="digits", metrics={"tuned": "y", "5-shot": "x"}
  )
  (path / "study.json").write_text(json.dumps(found | {"points": rows}))


def test_the_study_of_others(tmp_path, capsys):
  write_study(tmp_path / "a", 3)
  write_study(tmp_path / "b", 1)
  of = f"--of={tmp_path / 'a'},{tmp_path / 'b'}"
  main(["scaling", of, f"--workdir={tmp_path / 'out'}"])
  found = json.loads((tmp_path / "out/study.json").read_text())
  lines = capsys.readouterr().out.splitlines()
  page = (tmp_path / "out/study.md").read_text()
  for line, law in zip(lines[2:6], found["laws"], strict=True):
    cell = f"{100 * law['law']['a']:.1f}"
    assert line.startswith(law["line"]) and f" {cell} " in line
    assert f"| {cell} |" in page
  *several, _, _ = found["laws"]
  for law in several:
    low, high = law["band"]["c"]
    assert low < law["law"]["c"] < high
    below, above = np.asarray(law["band"]["error"])
    assert (below <= above).all() and len(law["at"]) == len(below)
  assert [law["band"] for law in found["laws"][2:]] == [None, None]
  assert "Lines of one seed have no interval." in page
  assert (tmp_path / "out/study.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    ([], "give --of=DIR,DIR"),
    (["--of=nowhere"], "--of=nowhere has no study.json"),
    (["--of={}/few,"], "give a study's --workdir"),
    (["--of={0}/few,{0}/few/"], "has a directory twice: name each once"),
    (["--of={}/list"], "is a study of another kind"),
    (["--of={}/cut"], "cut/study.json cannot be read"),
    (["--of={}/cut"], "the study's command, given again, writes it anew"),
    (["--of={}/bare"], "bare/study.json has no points as a study has"),
    (["--of={}/odd"], "odd/study.json has no points as a study has"),
    (
      ["--of={}/few"],
      "ViT, compute: 3 of the 4 points that a law needs",
    ),
    (["--of={}/pooling"], "is a study pooling: laws are fitted to compute"),
    (["--of={}/few", "--seeds=1"], "scaling trains nothing"),
  ],
)
def test_what_has_no_law_is_said(flags, words, tmp_path, capsys):
  write_study(tmp_path / "few", 2, count=3)
  write_study(tmp_path / "pooling", 2, study="pooling")
  texts = {"list": "[]", "cut": '{"study": ', "bare": '{"study": "compute"}'}
  texts["odd"] = '{"study": "compute", "scale": "x", "metrics": {}}'
  for name, text in texts.items():
    (tmp_path / name).mkdir()
    (tmp_path / name / "study.json").write_text(text)
  flags = [flag.format(tmp_path) for flag in flags]
  with pytest.raises(SystemExit) as caught:
    main(["scaling", *flags, f"--workdir={tmp_path / 'out'}"])
  assert caught.value.code == 2
  assert words in " ".join(capsys.readouterr().err.split())
  assert not (tmp_path / "out").exists()


def test_of_compute_only_what_nothing_cheaper_beats_counts(tmp_path, capsys):
  """Of two sizes, one for too short; of the ResNets three are left."""
  write_study(tmp_path / "compute", 2)
  path = tmp_path / "compute/study.json"
  found = json.loads(path.read_text())
  for row in found["points"]:
    index = X.tolist().index(row["fields"]["training FLOPs"])
    if index in (2, 3, 4) and row["fields"]["family"] == "ResNet":
      row["values"]["5-shot"]["by_seed"] = {"0": 0.1, "1": 0.1}
  found["points"].append(
    {
      "fields": {"family": "ViT", "training FLOPs": 2e10},
      "values": {"5-shot": {"by_seed": {"0": 0.2, "1": 0.2}}},
    }
  )
  path.write_text(json.dumps(found))
  flags = [f"--of={tmp_path}/compute", f"--workdir={tmp_path / 'out'}"]
  main(["scaling", *flags])
  (law,) = json.loads((tmp_path / "out/study.json").read_text())["laws"]
  assert law["line"] == "ViT" and [x for x, *_ in law["points"]] == X.tolist()
  said = capsys.readouterr().out
  assert "ResNet, compute: 3 of the 4 points that a law needs" in said
  about = "compute, digits: C is training FLOPs, E of the accuracy 5-shot."
  assert said.count(about) == 1 and "seeds, as before" not in said
  found["points"][0]["values"]["5-shot"]["by_seed"].pop("1")
  path.write_text(json.dumps(found))
  main(["scaling", *flags])
  said = capsys.readouterr().out
  assert "ViT, compute: its points have 1 to 2 seeds, as before all" in said
