# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Import floors of the package, what is confined to one room, and its size."""

import ast
import graphlib
import re
import subprocess
import sys

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "vit_jax"

# A room is a package or a module in the root of vit_jax. It imports from the
# floors below its own and from itself, nothing else.
FLOORS = [
  {"config", "sharding"},
  {
    *("storage", "hosts", "devices", "optim", "models", "train_state"),
    "perturbations",
  },
  {"objectives", "data", "metrics", "train_step", "checkpoint"},
  {"convert", "evaluators", "prepare", "runtime", "analysis", "plots"},
  {"sections", "experiment", "trained", "examination"},
  {"train", "segmented"},
  {
    *("__main__", "main", "predict", "evaluate", "features", "analyze"),
    *("report", "doctor", "plan", "study", "benchmark", "soup", "export"),
  },
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
VERBS = len(FLOORS) - 1

# The modules in the root of the package, beside __init__ and the verbs.
IN_ROOT = {
  "examination",
  *("train", "train_step", "train_state"),
  *("experiment", "sections", "sharding", "trained", "segmented"),
}

# What only one room may import.
CONFINED = {
  "orbax": "checkpoint",
  "grain": "data",
  "tensorboardX": "metrics",
  "wandb": "metrics",
  "safetensors": "convert",
  "matplotlib": "plots",
  "jinja2": "plots",
  "onnx": "export",
  "onnxruntime": "export",
  "tensorflow": "export",
}

FILES = sorted(PACKAGE.rglob("*.py"))


def get_room(path):
  """The top-level module or package that a file belongs to."""
  return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_verb(path):
  """Whether `python -m` runs a file."""
  main = 'if __name__ == "__main__":' in path.read_text()
  return main or path.name == "__main__.py"


def get_floor(path):
  """The floor of a file; that of the verbs if `python -m` runs it."""
  return VERBS if is_verb(path) else FLOOR[get_room(path)]


def get_module(path):
  """The dotted name of a file's module."""
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts).removesuffix(".__init__")


def list_imports(tree, path):
  """Yields dotted names of everything that a syntax tree imports."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path} imports relatively"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def get_imports(path):
  """Returns the dotted names that a file imports, at any depth."""
  return list(list_imports(ast.parse(path.read_text()), path))


# Verbs within packages: at most the __main__.py beside them imports one.
IN_PACKAGES = {
  get_module(path) for path in FILES if is_verb(path) and path.parent != PACKAGE
}


def test_every_room_has_a_floor():
  rooms = {get_room(path) for path in FILES} - {"__init__"}
  assert rooms == set(FLOOR)


def test_the_root_holds_the_verbs_and_seven_modules():
  root = {path.stem for path in PACKAGE.glob("*.py")}
  assert root - {"__init__"} - FLOORS[VERBS] == IN_ROOT


def test_the_document_draws_the_same_floors():
  text = (ROOT / "docs/architecture.md").read_text()
  drawn = re.findall(r"^([0-6])  (.+)$", text, re.MULTILINE)
  assert {int(floor): set(rooms.split()) for floor, rooms in drawn} == dict(
    enumerate(FLOORS)
  )


def test_the_document_names_files_and_functions_that_exist():
  text = (ROOT / "docs/architecture.md").read_text()
  names = re.findall(r"`((?!__)[\w/]+(?:\.py|/))`", text)
  places = (PACKAGE, ROOT)
  missing = [x for x in names if not any((y / x).exists() for y in places)]
  assert names and not missing
  steps = re.findall(r"^\| `([\w/]+\.py)` \| `([\w.]+)` \|", text, re.MULTILINE)
  assert len(steps) > 30
  for file, function in steps:
    code = (PACKAGE / file).read_text()
    for name in function.split("."):
      assert re.search(rf"(def|class) {name}\b", code), f"{file}: {function}"


@pytest.mark.parametrize("path", FILES, ids=get_module)
def test_imports_go_strictly_downward(path):
  room = get_room(path)
  for name in get_imports(path):
    top, _, rest = name.partition(".")
    assert top not in ("configs", "launch", "tests")
    assert CONFINED.get(top, room) == room, f"{room} imports {top}"
    if rest and top == "vit_jax" and room != "__init__":
      other = rest.partition(".")[0]
      below = other == room or FLOOR[other] < get_floor(path)
      assert below, f"{get_module(path)} -> {other}"
      if not (other == room and path.name == "__main__.py"):
        # As `import a.b` and as `from a import b`.
        assert not {name, name.rpartition(".")[0]} & IN_PACKAGES, name


def test_the_facade_imports_lazily():
  tree = ast.parse((PACKAGE / "__init__.py").read_text())
  eager = [x for x in tree.body if isinstance(x, ast.Import | ast.ImportFrom)]
  names = {name for x in eager for name in list_imports(x, "__init__")}
  assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_no_module_imports_itself_in_a_circle():
  modules = {get_module(path): path for path in FILES}
  graph = {}
  for module, path in modules.items():
    names = get_imports(path)
    # `from a.b import c`: the module a.b.c where there is one, else a.b.
    found = {x if x in modules else x.rpartition(".")[0] for x in names}
    graph[module] = found & modules.keys() - {module, "vit_jax"}
  list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", FILES, ids=get_module)
def test_files_are_short_and_licensed(path):
  lines = path.read_text().splitlines()
  assert len(lines) <= 400
  assert lines[1] == "# SPDX-License-Identifier: Apache-2.0"
  assert ast.get_docstring(ast.parse(path.read_text()))


def run_python(code):
  """Runs code in a fresh interpreter and returns what it prints."""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.strip()


def test_importing_the_package_imports_nothing():
  code = "import sys, vit_jax; print('jax' in sys.modules, vit_jax.__version__)"
  assert run_python(code).startswith("False")


def test_only_what_draws_imports_the_libraries_that_draw():
  """Neither by the package, nor by training before it draws."""
  code = """
import sys, vit_jax, vit_jax.main, vit_jax.train, vit_jax.predict
import vit_jax.analyze, vit_jax.plots.explanation, vit_jax.plots.evaluation
print(sorted({"matplotlib", "jinja2"} & sys.modules.keys()))
"""
  assert run_python(code) == "[]"


def test_models_need_jax_flax_and_jaxtyping_only():
  code = "import sys, vit_jax.models; print(*sys.modules)"
  loaded = [n for n in run_python(code).split() if n.startswith("vit_jax.")]
  needed = set()
  for name in loaded:
    path = ROOT / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    needed |= {found.partition(".")[0] for found in get_imports(path)}
  needed -= {*sys.stdlib_module_names, "numpy"}  # jax brings numpy.
  assert needed == {"jax", "flax", "jaxtyping", "vit_jax"}


def test_command_line_modules_import_without_tensorflow():
  code = """
import sys

class Deny:
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] == "tensorflow":
      raise AssertionError("somebody imports TensorFlow")

sys.meta_path.insert(0, Deny())
import vit_jax.main, vit_jax.train, vit_jax.prepare, vit_jax.doctor
import vit_jax.study.__main__, vit_jax.convert.load, vit_jax.convert.__main__
print("tensorflow" in sys.modules)
"""
  assert run_python(code) == "False"
