# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The package.

The lower bound of every requirement is tried by `make lowest`, which installs
them and runs the tests; below each upper bound lies the newest release that the
tests were run on."""

import os
import pathlib
import re
import shutil

import setuptools
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
  r'__version__ = "(.+)"', (ROOT / "vit_jax/__init__.py").read_text()
)[1]

REQUIREMENTS = [
  "absl-py>=2.1,<3",
  "array_record>=0.8.1,<0.9",
  "clu>=0.0.12,<0.1",
  "etils[epath,epy]>=1.12,<2",
  "flatbuffers>=24.3.25,<26",  # jax.export writes with it.
  "flax>=0.12.6,<0.13",
  "fsspec>=2026.2,<2027",
  "grain>=0.2.15,<0.3",
  "importlib_resources>=6,<8",  # TFDS imports it and does not ask for it.
  "jax>=0.9.1,<0.13",
  "jaxtyping>=0.3.3,<0.4",
  "jinja2>=3.1.4,<4",
  "matplotlib>=3.9,<4",
  "ml_collections>=1.0,<2",
  "numpy>=2.0,<3",
  "opencv-python-headless>=4.11.0.86,<6",
  "optax>=0.2.8,<0.3",
  "orbax-checkpoint>=0.12,<0.13",
  "pillow>=11.3,<14",  # Its wheels read AVIF from there on.
  "safetensors>=0.4.2,<0.9",
  "scikit-learn>=1.5,<2",  # Holds the images of the digits.
  "simplejpeg>=1.8,<2",  # Decodes JPEGs to memory that is there.
  "tensorboardX>=2.6.4,<3",
  "tensorflow-datasets>=4.9.10,<4.10",
  "tensorstore>=0.1.84,<0.2",  # Of Orbax; reads parts of an array back.
]

GCS = "gcsfs>=2026.2,<2027"  # What etils reads and writes gs:// with.

COMPLETION = "argcomplete>=3.5,<4"  # Of verbs and flags, by the Tab key.

HEIF = "pillow-heif>=1.1,<2"  # Reads photographs of phones.

WANDB = "wandb>=0.31,<1"  # One of train.loggers.

# The compiler of TPUs, which needs none: what plans are made with.
LIBTPU = (
  "libtpu>=0.0.35,<0.1; platform_system == 'Linux' "
  "and platform_machine == 'x86_64'"
)

# What `vit_jax.export` writes ONNX with, and compares it in. With onnx 1.19 and
# onnxruntime 1.22 or 1.26 a ResNet had other logits, by 0.06 of the largest.
ONNX = ["onnx>=1.23.2,<2", "onnxruntime>=1.32,<2"]

EXTRAS = {
  "tpu": ["jax[tpu]", GCS],
  "gcs": [GCS],
  "cuda": ["jax[cuda13]"],
  "plan": [LIBTPU],
  "heic": [HEIF],
  "completion": [COMPLETION],
  "wandb": [WANDB],
  # For sets whose builders need it, and to write a SavedModel.
  "tf": [
    "tensorflow-cpu>=2.20,<3; platform_system == 'Linux' "
    "and platform_machine == 'x86_64'",
    "tensorflow>=2.20,<3; platform_system != 'Linux' "
    "or platform_machine != 'x86_64'",
  ],
  "onnx": ONNX,
  "dev": [
    COMPLETION,
    GCS,
    HEIF,
    LIBTPU,
    *ONNX,
    "beartype>=0.21,<0.24",
    "hypothesis>=6.112,<7",
    "ipykernel>=6.29,<8",
    "mypy==2.4.1",
    "nbclient>=0.10,<0.12",  # Executes the notebooks.
    "pre-commit>=4.7,<5",
    "pytest>=8.3,<10",
    "pytest-xdist>=3.6,<4",
    "pyyaml>=6.0.1,<7",
    "ruff==0.17.5",
    "tensorboard>=2.21,<3",  # Reads back what runs write for it.
  ],
  # What `make docs` builds the pages with.
  "docs": ["mkdocs>=1.6,<2", "mkdocstrings[python]>=1.0,<2"],
  # What `make fuzz` looks for inputs with; there are no wheels for others.
  "fuzz": [
    "atheris>=3.0,<4; platform_system == 'Linux' and platform_machine == "
    "'x86_64' and python_version < '3.14'",
  ],
  # And timm, which `make judges` installs without what it asks for: that is
  # torchvision, and its models do not use it.
  "judges": [
    WANDB,
    "huggingface_hub>=2.4,<3",
    "pyyaml>=6.0.1,<7",
    "torch==2.13.0",
    "transformers>=5.20,<6",
  ],
}

if os.environ.get("VIT_JAX_LOWEST"):
  # Of [dev] what users have, too; its tools are of any version.
  own = (COMPLETION, GCS, HEIF, LIBTPU)
  REQUIREMENTS = [
    re.sub(r">=([^,;]+),[^;]*", r"==\1", line) for line in [*REQUIREMENTS, *own]
  ]


class BuildWithRecipes(build_py):
  """Puts configs/ where an installed package has the recipes.

  See vit_jax/config/packaged.py. Were configs/ a package for setuptools, then
  `pip install -e` would leave an import hook, which comes last: beside a clone
  called vit_jax that folder would be taken for the package.
  """

  def run(self):
    super().run()
    if not self.editable_mode:
      target = pathlib.Path(self.build_lib, "vit_jax/recipes/configs")
      target.mkdir(parents=True, exist_ok=True)
      for path in (ROOT / "configs").glob("*.py"):
        shutil.copy(path, target)


setuptools.setup(
  name="vit_jax",
  version=VERSION,
  description="Vision Transformers in JAX and Flax, from a laptop to a pod",
  long_description=(ROOT / "README.md").read_text(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  license_files=["LICENSE"],
  packages=setuptools.find_packages(include=["vit_jax", "vit_jax.*"]),
  package_dir={"": "."},
  cmdclass={"build_py": BuildWithRecipes},
  package_data={
    "vit_jax": ["py.typed"],
    "vit_jax.data": ["relatives.json"],
    "vit_jax.plots": ["page.html"],
  },
  entry_points={"console_scripts": ["vit-jax = vit_jax.__main__:main"]},
  python_requires=">=3.11",
  install_requires=REQUIREMENTS,
  extras_require=EXTRAS,
)
