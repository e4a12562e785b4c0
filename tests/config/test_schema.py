# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import copy
import dataclasses
import json
import pickle
from typing import Literal

import pytest

from vit_jax import config
from vit_jax.sections import resolve

GOOD = {
  "model": dict(variant="mu/4"),
  "data": dict(source="tfds:digits"),
  "optim": dict(lr=1e-3),
  "train": dict(batch_size=8, steps=1),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
  depth: int = 1


def build(model, *, rate: float, name: Literal["a", "b"] = "a", inner: Inner):
  """A constructor with every kind of parameter."""


@pytest.mark.parametrize(
  ("value", "annotation", "expected"),
  [
    (1, int, True),
    (1, float, True),
    (1.0, int, False),
    (True, int, False),
    (True, bool, True),
    ("1", int, False),
    (None, int | None, True),
    (None, int, False),
    ([1, 2.0], tuple[float, float], True),
    ([1, 2, 3], tuple[float, float], False),
    ((1, 2, 3), tuple[int, ...], True),
    (("a",), tuple[int, ...], False),
    ("a", Literal["a", "b"], True),
    ("c", Literal["a", "b"], False),
    (None, Literal["a", "b"], False),
    (None, Literal["a", "none"], True),
    ({"x": 1}, dict[str, int], True),
    (1, config.Count, True),
    (0, config.Count, False),
    (1.0, config.Count, False),
    (None, config.Count | None, True),
    (-1, config.Count | None, False),
    (0.0, config.Rate, True),
    (1, config.Rate, False),
    (0, config.Positive, False),
    (float("nan"), config.NotNegative, False),
    ((0.5, 1), tuple[config.Share, config.Share], True),
    ((60, 100), tuple[config.Share, config.Share], False),
  ],
)
def test_fits(value, annotation, expected):
  assert config.fits(value, annotation) is expected


def test_check_fills_in_defaults_at_every_depth():
  errors = []
  allowed = config.parameters(build)
  assert "model" not in allowed, "what code passes in is no config key"
  allowed["inner"] = allowed["inner"].replace(default=Inner())
  resolved = config.check("section", {"rate": 1}, allowed, errors)
  assert not errors
  assert resolved == {"rate": 1, "name": "a", "inner": {"depth": 1}}


def test_everything_wrong_is_reported_at_once():
  bad = {
    "model": dict(variant="mu/4", dept=3),
    "data": dict(
      source="tfds:digits", crop="distorted_bx", augment=dict(mixp=1)
    ),
    "optim": dict(schedule="cosine"),
    "train": dict(batch_size="8", stesp=1),
    "objective": dict(name="supervized"),
    "mdel": {},
    "evals": {"test": dict(split="test", evry=3)},
    "mesh": 8,
  }
  with pytest.raises(config.ConfigError, match="evals=None must be a section"):
    resolve(GOOD | {"evals": None})
  with pytest.raises(config.ConfigError) as caught:
    resolve(bad)
  facts = [
    ("'mdel'", "'model'"),
    ("'model.dept'", "'model.depth'"),
    (
      "data.crop='distorted_bx'",
      "'random_resized', 'none'",
      "did you mean 'distorted_box'",
    ),
    ("'data.augment.mixp'", "'data.augment.mixup'"),
    ("objective.name", "'supervized'", "'supervised'"),
    ("optim.lr", "missing", "(0, inf)"),
    ("'train.stesp'", "'train.steps'"),
    ("train.batch_size='8'", "int in [1, 2e9]"),
    ("mesh=8", "section"),
    ("'evals.test.evry'", "'evals.test.every'"),
  ]
  lines = str(caught.value).splitlines()
  assert len(lines) == len(facts)
  for words in facts:
    assert sum(all(x in line for x in words) for line in lines) == 1, words


SIZE = "int in [1, 2e9] or (int in [1, 2e9], int in [1, 2e9])"


@pytest.mark.parametrize(
  ("section", "key", "value", "message"),
  [
    ("data", "size", 0, SIZE),
    ("data", "size", (8, 0), SIZE),
    ("data", "size", (8, 8, 3), SIZE),
    ("data", "size", (8, 12.5), SIZE),
    ("train", "seed", -1, "int in [0, 4294967296)"),
    ("train", "batch_size", 0, "int in [1, 2e9]"),
    ("model", "dropout", 1.5, "float in [0, 1)"),
    ("model", "num_heads", 0, "int in [1, 2e9]"),
    ("optim", "ema", 2, "float in [0, 1) or None"),
    ("optim", "lr", 0, "float in (0, inf)"),
    ("data", "crop_area", (5, 100), "(float in (0, 1], float in (0, 1])"),
    ("checkpoint", "keep", 0, "int in [1, 2e9]"),
  ],
)
def test_numbers_out_of_their_range_are_refused(section, key, value, message):
  bad = {**GOOD, section: {**GOOD.get(section, {}), key: value}}
  with pytest.raises(config.ConfigError) as caught:
    resolve(bad)
  text = str(caught.value)
  assert text.startswith(f"{section}.{key}={value!r} ")
  assert text.endswith(f" {message}")


def test_the_old_name_of_a_key_leads_to_the_new_one():
  old = {**GOOD, "train": GOOD["train"] | {"max_passed": 3}}
  with pytest.raises(config.ConfigError) as caught:
    resolve(old)
  assert "'train.max_passed'" in str(caught.value)
  assert "'train.max_skipped_steps'" in str(caught.value)


CHANGES = {
  "set": lambda section: section.__setitem__("x", 1),
  "delete": lambda section: section.__delitem__(next(iter(section))),
  "merge": lambda section: section.__ior__({"x": 1}),
  "clear": lambda section: section.clear(),
  "pop": lambda section: section.pop(next(iter(section))),
  "popitem": lambda section: section.popitem(),
  "setdefault": lambda section: section.setdefault("x", 1),
  "update": lambda section: section.update(x=1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_resolved_config_cannot_be_changed(change):
  resolved = resolve(GOOD | {"evals": {"test": dict(split="test")}})
  before = json.dumps(resolved)
  for section in (
    resolved,
    resolved["train"],
    resolved["data"]["augment"],
    resolved["evals"]["test"],
  ):
    with pytest.raises(TypeError, match="cannot be changed"):
      change(section)
  assert json.dumps(resolved) == before


def test_a_resolved_config_is_a_plain_dictionary_once_copied():
  resolved = resolve(GOOD)
  assert json.loads(json.dumps(resolved))["train"]["batch_size"] == 8
  assert pickle.loads(pickle.dumps(resolved)) == resolved
  shallow = {**resolved, "init": "x"}
  assert type(shallow) is dict and resolved["init"] is None
  deep = copy.deepcopy(resolved)
  deep["train"]["steps"] = 2
  assert type(deep) is dict and resolved["train"]["steps"] == 1


def test_resolving_twice_changes_nothing():
  once = resolve(GOOD)
  assert resolve(once) is once
  assert resolve({**once}) == once
  assert once["model"]["width"] == 32
  assert once["data"]["crop_area"] == (0.05, 1.0)
  assert once["checkpoint"]["every"] is None and once["checkpoint"]["keep"] == 2


@pytest.mark.parametrize(
  ("variant", "message"),
  [
    ("Q/16", "is not a known model; did you mean"),
    ("b/16", "is not a known model; did you mean 'B/16'?"),
    ("B16", "is not a known model; did you mean 'B/16'?"),
    ("B/0", "is not a known model; did you mean"),
    ("R50+B/8", "is not a known model; did you mean 'R50+B/"),
    ("R50", "is not a known model; did you mean 'R50x1'?"),  # Not R50x3.
    ("R50x4", "is not a known model; did you mean 'R50x"),
  ],
)
def test_unknown_variants_are_named(variant, message):
  with pytest.raises(config.ConfigError, match="model") as caught:
    resolve(GOOD | {"model": dict(variant=variant)})
  assert message in str(caught.value)


def test_a_missing_variant_is_named():
  with pytest.raises(
    config.ConfigError, match="model.variant is missing; choose from: B/16"
  ):
    resolve(GOOD | {"model": {}})


@pytest.mark.parametrize(
  ("key", "meant"),
  [
    ("optim.beta1", "optim.b1"),
    ("optim.wd", "optim.weight_decay"),
    ("optim.decay", "optim.layer_decay"),
    ("data.mixup", "data.augment.mixup"),
    ("data.epochs", "train.epochs"),
    ("model.heads", "model.num_heads"),
    ("model.drop_path", "model.stochastic_depth"),
    ("train.image_size", "data.size"),
    ("train.teacher", "objective.teacher"),
    ("train.batchsize", "train.batch_size"),
    ("train.label_smothing", "objective.label_smoothing"),
  ],
)
def test_a_key_that_is_meant_is_named(key, meant):
  section, name = key.split(".")
  with pytest.raises(config.ConfigError) as caught:
    resolve(GOOD | {section: GOOD.get(section, {}) | {name: 1}})
  assert f"'{key}'; did you mean '{meant}'?" in str(caught.value)


@pytest.mark.parametrize(
  ("key", "variant"),
  [("optim.typo", "mu/4"), ("model.zzz", "R50x1"), ("mesh.x", "mu/4")],
)
def test_where_no_key_is_near_all_are_named(key, variant):
  section, name = key.split(".")
  given = GOOD | {"model": dict(variant=variant)}
  with pytest.raises(config.ConfigError) as caught:
    resolve(given | {section: given.get(section, {}) | {name: 1}})
  assert f"'{key}'; choose from: {section}." in str(caught.value)


def test_keys_of_another_choice_are_left_out_where_they_are_none():
  """A command line changes a recipe's keys, and cannot remove them."""
  good = GOOD | {
    "model": dict(variant="R50x1"),
    "objective": dict(name="mae"),
    "evals": {"test": dict(kind="loss", split="test")},
  }
  more = {
    "model": good["model"] | dict(dropout=None, adapter=None),
    "objective": good["objective"] | dict(label_smoothing=None, teacher=None),
    "evals": {"test": good["evals"]["test"] | dict(shots=None)},
  }
  assert resolve(good | more) == resolve(good)
  more["model"]["depth"] = 3
  more["objective"]["teacher"] = "runs/b16"
  more["evals"]["test"]["shots"] = (5,)
  with pytest.raises(config.ConfigError) as caught:
    resolve(good | more)
  assert str(caught.value).splitlines() == [
    f"{key} has no effect with {choice}: leave it out, or set it to None"
    for key, choice in (
      ("model.depth=3", "model.variant='R50x1'"),
      ("objective.teacher='runs/b16'", "objective.name='mae'"),
      ("evals.test.shots=(5,)", "evals.test.kind='loss'"),
    )
  ]


def test_an_old_value_names_what_to_set():
  """Not the nearest: what was the only crop is one of two."""
  with pytest.raises(config.ConfigError) as caught:
    resolve(GOOD | {"data": dict(source="tfds:digits", crop="inception")})
  for name in ("data.crop='inception'", "distorted_box", "random_resized"):
    assert name in str(caught.value)
