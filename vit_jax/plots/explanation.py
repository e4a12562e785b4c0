# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of an analysis, and the page that holds them."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

import vit_jax
from vit_jax.plots.attention import draw_distance, draw_entropy, draw_maps
from vit_jax.plots.layers import draw_norms, draw_similarity
from vit_jax.plots.page import Figure, Page, Section
from vit_jax.plots.pictures import draw_overlay, draw_picture
from vit_jax.plots.weights import draw_components, draw_positions

FEW = 10  # Below so many images, means over them say little.


@dataclasses.dataclass(frozen=True)
class Shown:
  """An image that is shown.

  Attributes:
    path: of its file.
    pixels: as the model saw it.
    classes: (index, name, probability) of the likeliest classes.
  """

  path: str
  pixels: UInt8[np.ndarray, "H W 3"]
  classes: Sequence[tuple[int, str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explained:
  """What a page says of the model and its images beside the arrays.

  Attributes:
    name: path of the run or weights.
    kind: name of the model, as "B/16".
    size: (H, W) of its input.
    prefix: tokens before the patches.
    registers: those of them that are registers.
    position: its kind of position embedding; None for other models.
    outliers: share of the patches that are outliers, by layer; or None.
    factor: of the median, above which they are.
    count: n, the number of images.
    shown: the first of them.
  """

  name: str
  kind: str
  size: tuple[int, int]
  prefix: int
  registers: int
  position: str | None
  outliers: np.ndarray | None
  factor: float
  count: int
  shown: Sequence[Shown]


def draw_all(
  arrays: Mapping[str, np.ndarray], about: Explained
) -> dict[str, bytes]:
  """Draws what there is of an analysis: name of a file -> PNG.

  Args:
    arrays: from `analysis.explain.explain`.
    about: the rest.
  """
  found = {}
  for i, shown in enumerate(about.shown):
    found[f"image_{i + 1:02d}"] = draw_picture(shown.pixels)
    if "rollout" in arrays:
      rollout = draw_overlay(shown.pixels, arrays["rollout"][i])
      found[f"rollout_{i + 1:02d}"] = rollout
    if "pooling" in arrays:
      mean = arrays["pooling"][i].mean(axis=0)
      found[f"pooling_{i + 1:02d}"] = draw_overlay(shown.pixels, mean)
    if "maps" in arrays:
      found[f"heads_{i + 1:02d}"] = draw_maps(arrays["maps"][i])
  if "distance" in arrays:
    diagonal = math.hypot(*about.size)
    found["distance"] = draw_distance(arrays["distance"], diagonal)
    tokens = arrays["norms"].shape[-1]
    found["entropy"] = draw_entropy(arrays["entropy"], tokens)
  if "similarity" in arrays:
    found["similarity"] = draw_similarity(arrays["similarity"])
  if "norms" in arrays and about.outliers is not None:
    found["norms"] = draw_norms(
      *(arrays["norms"], about.outliers, about.prefix - about.registers),
      about.registers,
    )
  if "positions" in arrays:
    found["positions"] = draw_positions(arrays["positions"])
  components = arrays["components"], arrays["variances"]
  found["components"] = draw_components(*components)
  return found


def make_page(
  arrays: Mapping[str, np.ndarray],
  figures: Mapping[str, bytes],
  about: Explained,
  bad: Sequence[tuple[str, str]],
) -> Page:
  """Makes the page of an analysis.

  Args:
    arrays: from `analysis.explain.explain`.
    figures: from `draw_all`.
    about: the rest.
    bad: (path, why) of images that cannot be read.
  """
  height, width = about.size
  facts = [
    ("model", about.kind),
    ("input", f"{height} × {width} px"),
    ("images", f"{about.count:,}"),
  ]
  if "maps" in arrays:
    layers, heads, *grid = arrays["maps"].shape[1:]
    facts += [
      ("layers × heads", f"{layers} × {heads}"),
      ("patches", f"{grid[0]} × {grid[1]}"),
    ]
  return Page(
    title=f"What {os.path.basename(about.name.rstrip('/')) or about.name} sees",
    lead=f"{about.name}, explained by vit_jax.analyze. Every array behind a "
    f"figure is in arrays.npz, beside this page.",
    facts=facts,
    sections=[
      _show_images(arrays, figures, about),
      _show_attention(figures, about),
      _show_layers(arrays, figures, about),
      _show_parameters(figures),
      Section(title="Notes", notes=_list_missing(arrays, about, bad)),
    ],
    foot=f"vit_jax {vit_jax.__version__}; docs/analysis.md has the formula and "
    f"the source of each quantity.",
  )


def _show_images(
  arrays: Mapping[str, np.ndarray],
  figures: Mapping[str, bytes],
  about: Explained,
) -> Section:
  """Images, with their rollout beside them."""
  cards, heads = [], []
  # Of several folders, which may be the classes, that of each image is named.
  folders = {os.path.dirname(shown.path) for shown in about.shown}
  for i, shown in enumerate(about.shown):
    number, folder = f"{i + 1:02d}", os.path.dirname(shown.path)
    name = os.path.basename(shown.path)
    if len(folders) > 1:
      name = os.path.join(os.path.basename(folder), name)
    pngs = [(figures[f"image_{number}"], f"{name}, as the model saw it")]
    if f"rollout_{number}" in figures:
      where = _describe_peak(arrays["rollout"][i])
      text = f"attention rollout over {name}; strongest {where}"
      pngs.append((figures[f"rollout_{number}"], text))
    # Names may have a comma.
    caption = "; ".join(f"{x} ({100 * p:.1f} %)" for _, x, p in shown.classes)
    cards.append(Figure(pngs, name, caption, "photo"))
    if f"pooling_{number}" in figures:
      text = f"weights of the attention pooling over {name}"
      what = "The patches that the head pools, mean of its heads."
      png = figures[f"pooling_{number}"]
      heads.append(Figure([(png, text)], name, what, "photo"))
    if f"heads_{number}" in figures:
      text = f"a map for each head and layer of {name}"
      png = figures[f"heads_{number}"]
      heads.append(Figure([(png, text)], name, kind="map"))
  text, number = "The image as the model saw it", len(about.shown)
  if number < about.count:
    text = f"{number:,} of {about.count:,} images. {text}"
  if "rollout" in arrays:
    text += (
      ", and attention rollout over it: how much of each patch reaches what "
      "the head reads, after all layers; violet is the smallest share of the "
      "image, yellow the largest. Under each are its file and its "
      "likeliest classes"
    )
  return Section(
    title="Images",
    text=f"{text}.",
    figures=cards,
    layout="small",
    folded=heads,
    folded_title="The maps of every head and layer",
  )


def _describe_peak(weights: np.ndarray) -> str:
  """Where a map is largest, in words."""
  y, x = np.unravel_index(weights.argmax(), weights.shape)
  rows, columns = weights.shape
  tall = ("at the top", "in the middle", "at the bottom")[int(3 * y / rows)]
  wide = ("left", "centre", "right")[int(3 * x / columns)]
  return f"{tall}, {wide}"


def _show_attention(figures: Mapping[str, bytes], about: Explained) -> Section:
  """Distance and entropy, by head and depth."""
  found = []
  if "distance" in figures:
    text = "mean attention distance of every head in pixels, by depth"
    found.append(
      Figure(
        [(figures["distance"], text)],
        "Mean attention distance.",
        f"How far a patch looks, in pixels of the input; mean over "
        f"{about.count:,} images. Small is local, as a convolution.",
      )
    )
    text = "entropy of the attention of every head in bits, by depth"
    found.append(
      Figure(
        [(figures["entropy"], text)],
        "Entropy of attention.",
        "How widely a token looks: 0 bits is one token alone, and a bit more "
        "is twice as many. Near 0 in many heads is a sign of instability.",
      )
    )
  return Section(title="Attention by depth", figures=found)


def _show_layers(
  arrays: Mapping[str, np.ndarray],
  figures: Mapping[str, bytes],
  about: Explained,
) -> Section:
  """Similarity of layers, and norms of tokens."""
  found = []
  if "similarity" in figures:
    samples = int(arrays["samples"])
    found.append(
      Figure(
        [(figures["similarity"], "linear CKA of each layer with each other")],
        "Similarity of layers.",
        f"Linear CKA over {samples:,} patches of the images; blocks along the "
        f"diagonal are layers that do alike.",
        "map",
      )
    )
  if "norms" in figures and about.outliers is not None:
    share = 100 * float(about.outliers[-1])
    found.append(
      Figure(
        [(figures["norms"], "norms of tokens and share of outliers, by depth")],
        "Norms of tokens.",
        f"Outliers are patches whose norm is above {about.factor:g} times the "
        f"median of their image: {share:.2f} % after the last layer. Large "
        f"models without registers keep what concerns the whole image in them.",
      )
    )
  return Section(title="Layers", figures=found)


def _show_parameters(figures: Mapping[str, bytes]) -> Section:
  """Filters and positions."""
  found = [
    Figure(
      [(figures["components"], "principal components of the first filters")],
      "Filters of the first layer.",
      "Their principal components, and the share of the variance of each; of a "
      "trained model they resemble waves of low frequency.",
      "map",
    )
  ]
  if "positions" in figures:
    text = "cosine similarity of each position embedding with each other"
    found.append(
      Figure(
        [(figures["positions"], text)],
        "Similarity of position embeddings.",
        "Each tile is a position, at its place; a pixel of it is how alike the "
        "embedding of another position is.",
        "map",
      )
    )
  return Section(title="Parameters", figures=found)


def _list_missing(
  arrays: Mapping[str, np.ndarray],
  about: Explained,
  bad: Sequence[tuple[str, str]],
) -> list[str]:
  """What cannot be shown, and why."""
  missing = []
  if "rollout" not in arrays:
    missing.append(
      f"Attention (rollout, maps of heads, distance, entropy): {about.kind} "
      f"has no attention."
    )
  if "norms" not in arrays:
    missing.append(f"Norms of tokens: {about.kind} has no tokens.")
  if "positions" not in arrays:
    why = f"{about.kind} adds no position embedding to its tokens"
    if about.position:
      why += f" (model.position={about.position!r})"
    missing.append(f"Similarity of position embeddings: {why}.")
  if "similarity" not in arrays:
    missing.append("Similarity of layers: it needs two layers or more.")
  if about.count < FEW and {"distance", "entropy"} & arrays.keys():
    missing.append(
      f"{about.count:,} images are few: distance and entropy are means over "
      f"them, and the paper takes 128."
    )
  missing += [f"{name}: {why}." for name, why in bad]
  return missing
