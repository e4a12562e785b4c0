# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The commands on the page of a run."""

import shlex

from vit_jax.plots.run_files import RunFiles


def list_commands(run: RunFiles) -> list[str]:
  """Lists the command of a run, and those that begin with it."""
  path = shlex.quote(run.path)
  train = f"python -m vit_jax.main --config=RECIPE --workdir={path}"
  use = f"python -m vit_jax.predict {path} IMAGE ..."
  if run.keys.get("objective.name") == "segmentation":
    use += " --masks=DIR"
  elif run.manifest.get("num_classes") == 0:
    use = f"python -m vit_jax.evaluate {path} --evals=knn,fewshot,linear"
  return [
    (run.result or {}).get("command", train),
    use,
    f"python -m vit_jax.analyze {path} --images=FOLDER --out=DIR",
    f"python -m vit_jax.convert {path} {choose_target(run)}",
    f"python -m vit_jax.report {path}",
  ]


def choose_target(run: RunFiles) -> str:
  """Chooses what to convert a run to, that its model can be written to."""
  if "model.position" not in run.keys:  # No ViT.
    return "model.npz"
  if run.keys["model.position"] == "sincos_2d":
    return "model.npz --to=big_vision"
  if run.keys["model.position"] != "learned_1d":
    return "model"  # Our own format.
  small = run.keys.get("model.representation_size") is None
  return "model.safetensors" if small else "model.npz"
