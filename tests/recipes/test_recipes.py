# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every recipe, for every value of every argument, one at a time, and as every
document has it: built from shapes alone, and the training step of one of each
family lowered.
"""

import ast
import hashlib
import importlib
import re
import shlex

import cv2
import jax
import numpy as np
import pytest

from configs import arguments, photographs
from tests.support import ROOT, build, lower
from tests.support.masks import make_shapes
from tests.support.shared import get_shared_root
from tests.support.weights import VIT, make_weights
from vit_jax.config import ConfigError
from vit_jax.config.frozen import FrozenDict
from vit_jax.config.recipe import load_config
from vit_jax.convert.writing import save_weights
from vit_jax.data import formats
from vit_jax.devices import fitting
from vit_jax.experiment import Experiment
from vit_jax.optim.multipliers import describe_frozen, make_trained_mask
from vit_jax.sharding import get_path
from vit_jax.study import sweep, vtab

HELPERS = {
  "__init__",
  "arguments",
  "augmentation",
  "photographs",
  "pretraining",
  "views",
}
NAMES = sorted(
  path.stem
  for path in (ROOT / "configs").glob("*.py")
  if path.stem not in HELPERS
)
DOCUMENTS = [
  ROOT / "README.md",
  *(ROOT / "docs").rglob("*.md"),
  *(ROOT / f"configs/{name}.py" for name in NAMES),
]


def get_variants():
  """FILE and FILE:key=value for every documented value of every argument."""
  for name in NAMES:
    module = importlib.import_module(f"configs.{name}")
    yield f"configs/{name}.py"
    for key, values in getattr(module, "CHOICES", {}).items():
      yield from (f"configs/{name}.py:{key}={value}" for value in values)
  yield "configs/digits.py:variant=Ti/2"
  # One of every kind of model; hybrids want more pixels than digits have.
  yield "configs/digits.py:variant=Mixer-B/4"
  yield "configs/digits.py:variant=R50x1"


def get_commands():
  """Every command of a document with a recipe, or with one of its own: what
  follows python -m vit_jax."""
  for path in DOCUMENTS:
    for line in path.read_text().replace("\\\n", "").splitlines():
      _, python, command = line.partition("python -m vit_jax.")
      # A form that is no name, and the typing error that the README shows.
      skipped = "configs/NAME.py" in line or "stesp" in line
      if command.count("'") % 2:  # A variable's value, quoted as a whole.
        command = command.rpartition("'")[0]
      named = "--config=configs/" in command or command.startswith("study vtab")
      if python and named and not skipped:
        yield shlex.split(command, comments=True)


def get_documented():
  """(recipe, overrides) of every run that a document's command makes."""
  for verb, *command in get_commands():
    given = (x for x in command if x.startswith("--config="))
    recipe = next(given, f"--config={vtab.RECIPE}").removeprefix("--config=")
    overrides = tuple(x for x in command if x.startswith("--config."))
    runs = [recipe]
    if verb == "study" and command[0] == "vtab":
      flags = dict(x.removeprefix("--").partition("=")[::2] for x in command)
      model, dev = flags.get("model", "B/16"), "dev" in flags
      tasks = vtab.list_tasks(flags.get("tasks"))
      runs = [vtab.make_recipe(recipe, x, model, dev) for x in tasks]
    if verb == "study" and command[0] == "sweep":
      points, dev = sweep.load_sweep(str(ROOT / recipe))
      runs = [sweep.add(recipe, point | dev) for point in points]
      runs += [sweep.add(recipe, point) for point in points]
    yield from ((run, overrides) for run in runs)


RUNS = list(
  dict.fromkeys([*((v, ()) for v in get_variants()), *get_documented()])
)


def get_parts(config):
  """What decides which operations the model and the rest of a step have.

  A number is a size or a constant; whether it is zero, or there at all, decides
  what is computed. Of a model's name the kind counts.
  """

  def blur(value):
    if isinstance(value, dict):
      return {key: blur(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
      return sorted({repr(blur(x)) for x in value})
    if isinstance(value, int | float) and not isinstance(value, bool):
      return bool(value)
    return "a path" if isinstance(value, str) and "/" in value else value

  model = dict(config["model"])
  kind = re.match(r"R\d+x|R\w*\+|Mixer|", model.pop("variant"))[0]
  rest = config["objective"], config["data"]["augment"], config["optim"]
  return [repr((re.sub(r"\d+", "", kind), blur(model))), repr(blur(rest))]


def shorten(exp):
  """The config of an Experiment with fewer blocks, which are alike."""
  model, short = exp.model, {}
  if hasattr(model, "depth"):
    short |= dict(depth=min(model.depth, 2))
  if hasattr(model, "unroll"):
    short |= dict(unroll=1)
  if hasattr(model, "stages"):
    short |= dict(stages=(1,) * len(model.stages))
  return FrozenDict({**exp.config, "model": {**exp.config["model"], **short}})


@pytest.fixture(scope="session")
def is_first(tmp_path_factory):
  """A function that tells if no test has lowered a step with a part yet."""
  root = get_shared_root(tmp_path_factory) / "lowered"
  root.mkdir(exist_ok=True)

  def check(part):
    try:
      (root / hashlib.sha256(part.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
      return False
    return True

  return check


@pytest.fixture(scope="module")
def same_states():
  """Recipes of one model and optimizer have one state, traced once."""
  make, made = Experiment.init_state.func, {}

  def get_init_state(exp):
    sections = exp.config["objective"], exp.config["optim"]
    key = repr((exp.model, exp.image_shape, *sections))
    if key not in made:
      made[key] = make(exp)
    return made[key]  # JAX knows functions that it has traced.

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Experiment, "init_state", property(get_init_state))
    yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """A folder of the classes that documents name."""
  root = tmp_path_factory.mktemp("photos")
  named = re.findall(r"folder:\w+#([\w+]+)", " ".join(run for run, _ in RUNS))
  image = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
  for name in {"cat", "dog", *(x for names in named for x in names.split("+"))}:
    (root / name).mkdir()
    for i in range(80):
      (root / name / f"{i}.png").write_bytes(image)
  return root


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
  """A folder of images and masks."""
  return make_shapes(
    tmp_path_factory.mktemp("masked"), train=160, size=(16, 20)
  )


@pytest.fixture(scope="module")
def get_teacher(tmp_path_factory):
  """recipe -> a small model of its classes, in place of an earlier run."""

  def get(recipe):
    path = tmp_path_factory.mktemp("teacher") / "run"
    digits = "digits.py" in recipe
    weights = make_weights(
      VIT | dict(variant="mu/4"),
      size=(16, 16),
      channels=1 if digits else 3,
      classes=10 if digits else 1000,
    )
    save_weights(weights, str(path), "vit_jax")
    return path

  return get


@pytest.mark.parametrize(
  ("recipe", "overrides"), RUNS, ids=[" ".join([r, *o]) for r, o in RUNS]
)
def test_recipes_are_built_and_one_of_each_family_lowered(
  recipe,
  overrides,
  is_first,
  same_states,
  photos,
  masked,
  get_teacher,
  tmp_path,
  monkeypatch,
):
  monkeypatch.chdir(ROOT)
  recipe = re.sub(r"(folder|images):\w+", rf"\1:{photos}", recipe)
  recipe, *overrides = (
    re.sub(r"teacher=runs/\w+", f"teacher={get_teacher(recipe)}", text)
    for text in (recipe, *overrides)
  )
  if "segmentation.py" in recipe:
    overrides.append(f"--config.data.source=segmentation:{masked}")
  directory = f"--config.data.dir={tmp_path}"
  config = load_config(recipe, [*overrides, directory])
  with monkeypatch.context() as patch:
    # To fit a step into memory traces its model twice.
    patch.setattr(fitting, "get_memory", lambda device: None)
    exp = build(config)
  if any([is_first(part) for part in get_parts(exp.config)]):
    exp = Experiment(shorten(exp))
    assert "stablehlo.dot_general" in lower(exp).as_text()
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_opens_with_its_commands(name):
  doc = ast.get_docstring(ast.parse((ROOT / f"configs/{name}.py").read_text()))
  assert f"--config=configs/{name}.py" in doc.split("\n\n")[1]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_a_recipe_of_a_paper_has_its_result_and_cost_apart_from_ours(name):
  doc = ast.get_docstring(ast.parse((ROOT / f"configs/{name}.py").read_text()))
  for start in ("The paper's[,:]", "The paper's cost: ", "Ours, measured: "):
    assert re.search(f"^{start}", doc, re.MULTILINE), start


def test_documents_have_commands_of_every_recipe():
  """Or the tests above would be of less than they say."""
  documented = {run.partition(":")[0] for run, _ in get_documented()}
  assert documented >= {f"configs/{name}.py" for name in NAMES}
  verbs = [command[0] for command in get_commands()]
  assert {"main", "study"} <= set(verbs) and len(verbs) > 30


def test_the_arguments_of_the_readme_are_taken():
  """Each row of its table has recipes, and the arguments that each takes."""
  found = set()
  for line in (ROOT / "README.md").read_text().splitlines():
    if line.startswith("| `configs/"):
      files, text = line.split("|")[1:3]
      for name in re.findall(r"`(?:configs/)?(\w+)\.py`", files):
        load_config(f"{ROOT}/configs/{name}.py:{text.strip(' `')}", [])
        found.add(name)
  assert found == set(NAMES)


def test_fine_tuning_on_a_folder_starts_from_a_file(photos):
  source = f"folder:{photos}#cat+dog"
  argument = str(ROOT / f"configs/finetune.py:dataset={source},res=32")
  exp = build(load_config(argument, ["--config.init=B_16.npz"]))
  assert exp.info.class_names == ("cat", "dog")
  assert exp.image_shape == (32, 32, 3)
  assert exp.config["init"] == "B_16.npz"
  # Of a few images batches are small, and epochs at most 50.
  count = photographs.count_images(source)
  length = photographs.choose_length(count)
  assert count == 160 and length == (16, 500)
  assert (exp.train.batch_size, exp.steps) == length
  assert exp.optim.warmup_steps == round(exp.steps / 5)
  assert exp.train.allow_cpu and exp.train.log_every <= exp.steps // 10
  assert exp.config["evals"]["test"]["split"] == "test"


def test_fine_tuning_on_a_prepared_set_follows_its_number_of_images(
  data_dir, monkeypatch, tmp_path
):
  monkeypatch.setattr("vit_jax.data.sources.DATA_DIR", data_dir)
  argument = (
    f"{ROOT}/configs/finetune.py:model=Ti/16,dataset=tfds:digits,res=32"
  )
  exp = build(load_config(argument, []))
  assert (exp.train.batch_size, exp.steps) == (128, 500)  # Of 1,437 images.
  assert exp.train.allow_cpu and exp.config["data"]["train"] == "train"
  assert exp.config["evals"]["test"]["split"] == "test"
  # The digits have as many where no run has written them yet.
  monkeypatch.setattr("vit_jax.data.sources.DATA_DIR", str(tmp_path))
  assert load_config(argument, [])["train"]["batch_size"] == 128
  config = load_config(f"{argument},data_dir={data_dir}", [])
  assert config["train"]["batch_size"] == 128
  assert config["data"]["dir"] == data_dir
  # One that is not there yet is no error of the recipe.
  config = load_config(argument.replace("digits", "nothing"), [])
  assert (config["train"]["batch_size"], config["train"]["steps"]) == (512, 500)


def test_what_photographs_are_fine_tuned_with(photos):
  """Every option is an argument, and the suffixes are those that are read."""
  assert photographs.SUFFIXES == frozenset(formats.SUFFIXES)
  text = f"dataset=folder:{photos}#cat+dog,res=32,freeze=backbone,balance=1"
  argument = str(ROOT / f"configs/finetune.py:{text},stop=3,steps=77,batch=16")
  exp = build(load_config(argument, []))
  assert (exp.steps, exp.train.batch_size, exp.optim.warmup_steps) == (
    *(77, 16),
    15,
  )
  assert (exp.train.stop_by, exp.train.patience) == ("test/loss", 3)
  assert len(exp.objective.class_weights) == 2
  trained = make_trained_mask(exp.optim, exp.abstract_state.params)
  names = jax.tree_util.tree_leaves_with_path(trained)
  assert {get_path(keys) for keys, is_trained in names if is_trained} == {
    *("head/bias", "head/kernel")
  }
  [line] = describe_frozen(exp.optim, exp.abstract_state.params)
  assert line.startswith(f"{len(names) - 2} of {len(names)} arrays are frozen")


@pytest.mark.parametrize(
  ("images", "batch", "steps"),
  [
    *((2, 8, 10), (60, 8, 370), (100, 8, 500), (1_000, 64, 500)),
    *((3_680, 256, 500), (6_000, 512, 500), (19_999, 512, 500)),
    *((20_000, 512, 1_950), (200_000, 512, 10_000), (10**6, 512, 20_000)),
  ],
)
def test_batch_and_steps_follow_the_number_of_images(images, batch, steps):
  assert photographs.choose_length(images) == (batch, steps)
  size = photographs.choose_eval_batch(batch)
  assert size <= 64 and (size % batch == 0 or batch % size == 0)


def test_a_path_may_have_commas(tmp_path):
  odd = tmp_path / "cats, and dogs"
  argument = f"{ROOT}/configs/finetune.py:dataset=folder:{odd},res=32"
  config = load_config(argument, [])
  assert config["data"]["source"] == f"folder:{odd}"
  assert config["data"]["size"] == 32


@pytest.mark.parametrize(
  ("recipe", "message"),
  [
    (
      "vit_b16.py:epochs=14",
      "B/16 has no row for dataset=imagenet21k,epochs=14; set "
      "dataset=jft300m,epochs=7; dataset=imagenet21k,epochs=90 or 30; "
      "dataset=imagenet,epochs=300",
    ),
    ("vit_l16.py:dataset=jft", "must be one of jft300m, imagenet21k, "),
    ("vit_l16.py:model=B/16", "unknown argument 'model=B/16'"),
    (
      "hybrid.py:dataset=imagenet21k",
      "R50+B/16 has no row for dataset=imagenet21k; set "
      "dataset=jft300m,epochs=7",
    ),
    ("bit.py:model=R50x3", "must be one of R50x1, R50x2, R101x1, "),
    ("augreg.py:dataset=imagenet,epochs=30", "is trained for 300 epochs"),
    ("augreg.py:aug=strong3", "must be one of none, light1, "),
    (
      "finetune.py:protocol=augreg,dataset=flowers",
      "protocol=augreg; set one of imagenet, pets, cifar100, resisc45",
    ),
    ("finetune.py:dataset=folder", "pets, flowers, folder:PATH, tfds:NAME"),
    (
      f"finetune.py:dataset={ROOT}/configs",
      f"is a folder: set dataset=folder:{ROOT}/configs",
    ),
    ("finetune.py:dataset=pets:x", "dataset=pets:x is not in protocol=vit"),
    ("finetune.py:dataset=folder:x,data_dir=y", "dataset=folder:x is none"),
    ("finetune.py:protocol=bit", "must be one of vit, augreg"),
    ("finetune.py:epochs=3", "a key of the config, as train.batch_size"),
    ("finetune.py:res=384,res=224", "argument res is given more than once"),
    ("finetune.py:balance=1", "dataset=folder:PATH"),
    ("finetune.py:steps=-1", "steps must not be negative"),
    ("finetune.py:model=B/0", "model='B/0' has no patch size"),
    ("vtab.py:model=foo/x", "model='foo/x' has no patch size"),
    ("vtab.py:dev=7", "must be one of 0, 1"),
  ],
)
def test_what_no_recipe_has_is_named(recipe, message):
  with pytest.raises(ConfigError, match=re.escape(message)):
    load_config(f"{ROOT}/configs/{recipe}", [])


@pytest.mark.parametrize("value", ["(2, 15)", "[2, 15.5]"])
def test_randaugment_is_set_on_the_command_line(value, tmp_path):
  overrides = [
    f"--config.data.dir={tmp_path}",
    f"--config.data.augment.randaugment={value}",
    "--config.data.augment.cutmix=1.0",
  ]
  exp = build(load_config(str(ROOT / "configs/digits.py"), overrides))
  layers, magnitude = exp.data.augment.randaugment
  assert layers == 2 and magnitude in (15.0, 15.5)
  assert "stablehlo.gather" in lower(exp).as_text()


def test_arguments():
  args = arguments.parse("a=2,b=x:y", a=1, b="", c=0.5)
  assert (args.a, args.b, args.c) == (2, "x:y", 0.5)
  with pytest.raises(ValueError, match=r"did you mean data=...\?"):
    arguments.parse("dta=x", data="")
  with pytest.raises(ValueError, match="'a=x' must be int"):
    arguments.parse("a=x", a=1)
  with pytest.raises(ValueError, match="must be one of 30, 90"):
    arguments.parse("epochs=31", {"epochs": (30, 90)}, epochs=90)
