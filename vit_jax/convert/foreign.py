# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Names of arrays that others wrapped or chose: prefixes, and foreign models.

A prefix (`module.`, `model.`, `backbone.`, ...) is found by the arrays that
every file of a format has. A model that none of ours is, is named for what it
is, by the arrays that no file of ours has.
"""

import re

from vit_jax.convert.files import CheckpointError
from vit_jax.convert.table import Arrays

# Arrays that every file of timm's and of Hugging Face's ViTs has; what precedes
# them in their names is a prefix.
ANCHORS = (
  ("patch_embed.proj.weight", "blocks.0.norm1.weight"),
  ("embeddings.cls_token", "embeddings.position_embeddings"),
)
NATIVE = "vit."  # Hugging Face's own prefix, a part of the names.

# What a file is -> the arrays that tell it (as ends of names, all of them
# needed), and what can be done. The first that fits is named.
FOREIGN: tuple[tuple[str, tuple[str, ...], str], ...] = (
  (
    "an adapter (LoRA) without its model",
    (r"\.lora_A(\.\w+)?\.weight",),
    "merge it into its model (peft's merge_and_unload) and save that",
  ),
  (
    "a DeiT with a distillation token",
    (r"(^|\.)(dist_token|distillation_token)",),
    "the models here have no such token; DeiTs that were trained without it "
    "(timm's vit-shaped deit_*_patch16_224) can be read",
  ),
  (
    "a DINOv3",
    (r"(^|\.)(rope_embed\.periods|storage_tokens)",),
    "its rotary positions are none of those here",
  ),
  (
    "a DINOv2 of Hugging Face",
    (r"embeddings\.mask_token", r"layer_scale1\.lambda1"),
    "take the same weights from timm, vit_*_patch14_dinov2",
  ),
  (
    "a DINOv2 as its authors publish it",
    (r"(^|\.)mask_token", r"blocks\.0\.(0\.)?ls1\.gamma"),
    "take the same weights from timm, vit_*_patch14_dinov2",
  ),
  (
    "a masked autoencoder with its decoder, as its authors publish it",
    (r"(^|module\.|model\.)decoder_pos_embed",),
    "take the encoder alone, as timm's vit_*_patch16_224.mae",
  ),
  (
    "an iBOT, BEiT or other model with a mask token",
    (r"(?<!decoder\.)\bmask_token",),
    "remove that array, which only its pre-training used",
  ),
  (
    "a Swin Transformer",
    (r"layers\.0\.blocks\.0\..*relative_position_bias_table",),
    "the models here are ViTs, hybrids, ResNets (BiT) and MLP-Mixers",
  ),
  (
    "a BEiT",
    (r"relative_position_bias_table",),
    "its positions are none of those here",
  ),
  (
    "a CLIP of OpenAI or OpenCLIP",
    (r"(^|\.)class_embedding", r"transformer\.resblocks\.0\..*"),
    "its image tower has a norm before the blocks, which no model here has",
  ),
  (
    "a SigLIP of Hugging Face",
    (r"vision_model\.head\.probe",),
    "take the image tower from timm, vit_*_siglip_*, or from big_vision",
  ),
  (
    "a CLIP of Hugging Face",
    (r"vision_model\.pre_layrnorm\.weight",),
    "its image tower has a norm before the blocks, which no model here has",
  ),
  (
    "the image tower of a CLIP, as timm has it",
    (r"(^|\.)norm_pre\.weight", r"blocks\.0\.norm1\.weight"),
    "its norm before the blocks is in no model here",
  ),
  (
    "a ViT of torchvision",
    (r"(^|\.)conv_proj\.weight", r"encoder_layer_0\.ln_1\.weight"),
    "take one of timm (vit_*) or of Hugging Face",
  ),
  (
    "an EVA-02",
    (r"blocks\.0\.attn\.q_proj\.weight", r"blocks\.0\.mlp\.fc1_g\.weight"),
    "its rotary positions are none of those here",
  ),
  (
    "a ResNet with batch normalisation",
    (r"(^|\.)(bn1|batch_norm\w*|normalization)\.running_mean",),
    "the ResNets here are BiT's, with group normalisation, from a .npz",
  ),
  (
    "a ConvNeXt",
    (r"stages\.0\.blocks\.0\.conv_dw\.weight|stages\.0\.layers\.0\.dwconv.*",),
    "the models here are ViTs, hybrids, ResNets (BiT) and MLP-Mixers",
  ),
)

# What a file of timm's is -> an array of it, those that our models have beside
# it, of which it has none, and what can be done.
LACKING: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
  (
    "a ViT without biases of query, key and value (qkv_bias=False)",
    "blocks.0.attn.qkv.weight",
    ("blocks.0.attn.qkv.bias",),
    "every model here has them; as zeros, which compute the same, they can be "
    "added to the file",
  ),
  (
    "a ViT without a norm after its blocks (final_norm=False)",
    "blocks.0.norm1.weight",
    ("norm.weight", "fc_norm.weight"),
    "every model here has one, and none that changes nothing",
  ),
  (
    "a ViT whose norms have no bias, as RMSNorm",
    "blocks.0.norm1.weight",
    ("blocks.0.norm1.bias",),
    "every model here has LayerNorm",
  ),
)


def check_foreign(arrays: Arrays) -> None:
  """Raises CheckpointError for a known model that is none of ours, by name."""
  for what, patterns, remedy in FOREIGN:
    found = [
      name
      for pattern in patterns
      for name in [n for n in arrays if re.search(f"({pattern})$", n)][:1]
    ]
    if len(found) < len(patterns):
      continue
    told = ", ".join(f"{name} {tuple(arrays[name].shape)}" for name in found)
    raise CheckpointError(f"it is {what}, as {told} tells: {remedy}")


def check_lacking(arrays: Arrays) -> None:
  """Raises CheckpointError for a ViT of timm's without what all of ours have.

  Args:
    arrays: under timm's names.
  """
  for what, there, lacking, remedy in LACKING:
    if there in arrays and arrays.keys().isdisjoint(lacking):
      raise CheckpointError(
        f"it is {what}, as it has {there} and no {' or '.join(lacking)}: "
        f"{remedy}"
      )


def strip_wrapper(arrays: Arrays) -> tuple[Arrays, str]:
  """Removes what precedes the names of timm's and Hugging Face's arrays.

  Returns:
    The arrays below the prefix, without it; and the prefix.

  Raises:
    CheckpointError: if there are several models.
  """
  prefixes = sorted({p for ends in ANCHORS for p in _find(arrays, ends)})
  if len(prefixes) > 1:
    shown = ", ".join(repr(p) if p else "no prefix" for p in prefixes)
    raise CheckpointError(
      f"it holds {len(prefixes)} models, whose names begin with {shown}: keep "
      f"the arrays of one of them"
    )
  prefix = prefixes[0] if prefixes else ""
  inner = {
    name.removeprefix(prefix): array
    for name, array in arrays.items()
    if name.startswith(prefix)
  }
  return inner, prefix


def _find(arrays: Arrays, ends: tuple[str, ...]) -> set[str]:
  """Finds the prefixes below which there is an array of each name."""
  found = [
    {name.removesuffix(end) for name in arrays if name.endswith(end)}
    for end in ends
  ]
  prefixes = set.intersection(*found)
  return {
    p.removesuffix(NATIVE) if ends is ANCHORS[1] else p
    for p in prefixes
    if not p or p.endswith((".", "/"))
  }
