# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the ViT paper found (Dosovitskiy et al., 2021, arXiv 2010.11929).

Studies have these numbers beside their own, under the paper's name.
"""

# Table 9: accuracy in percent on each task of VTAB-1k, by model and data of
# pre-training. Table 2 has their means of three runs: 77.63, 76.28 and 72.72.
_TASKS = (
  *("caltech101", "cifar100", "dtd", "flowers102", "pets", "sun397", "svhn"),
  *("patch_camelyon", "eurosat", "resisc45", "retinopathy"),
  *("clevr_count", "clevr_dist", "dmlab", "dspr_loc", "dspr_ori"),
  *("kitti_dist", "snorb_azim", "snorb_elev"),
)
_SCORES = {
  ("H/14", "JFT"): (
    *(95.3, 85.5, 75.2, 99.7, 97.2, 65.0, 88.9, 83.3, 96.7, 91.4, 76.6),
    *(91.7, 63.8, 53.1, 79.4, 63.3, 84.5, 33.2, 51.2),
  ),
  ("L/16", "JFT"): (
    *(95.4, 81.9, 74.3, 99.7, 96.7, 63.5, 87.4, 83.6, 96.5, 89.7, 77.1),
    *(86.4, 63.1, 49.7, 74.5, 60.5, 82.2, 36.2, 51.1),
  ),
  ("L/16", "ImageNet-21k"): (
    *(90.8, 84.1, 74.1, 99.3, 92.7, 61.0, 80.9, 82.5, 95.6, 85.2, 75.3),
    *(70.3, 56.1, 41.9, 74.7, 64.9, 79.9, 30.5, 41.7),
  ),
}
VTAB = {
  key: {
    task: percent / 100 for task, percent in zip(_TASKS, scores, strict=True)
  }
  for key, scores in _SCORES.items()
}

# Table 8: accuracy of the 5-shot probe on ImageNet, of a B/16.
POSITIONS = {
  ("none", "input"): 0.61382,
  ("learned_1d", "input"): 0.64206,
  ("learned_1d", "every_layer"): 0.63964,
  ("learned_1d", "shared"): 0.64292,
  ("learned_2d", "input"): 0.64001,
  ("learned_2d", "every_layer"): 0.64046,
  ("learned_2d", "shared"): 0.64022,
  ("relative", "input"): 0.64032,
}

# Table 6: exaFLOPs of pre-training on JFT-300M, by model and epochs.
EXAFLOPS = {
  "B/32 in 7 epochs": 55,
  "B/16 in 7": 224,
  "L/32 in 7": 196,
  "L/16 in 7": 783,
  "L/16 in 14": 1567,
  "H/14 in 14": 4262,
  "R50x1 in 7": 50,
  "R152x2 in 14": 1126,
  "R200x3 in 14": 3306,
  "R50+B/16 in 7": 274,
  "R50+L/16 in 14": 1668,
}

# Accuracy on ImageNet of a fine-tuned B/16: trained on ImageNet alone, and
# after JFT with labels (table 5); after masked patch prediction (B.1.2).
PRETRAINED = {"nothing": 0.7791, "labels": 0.8415, "mean_colour": 0.799}


def get_vtab(model: str) -> dict[str, dict[str, float]]:
  """Looks up the paper's accuracies of a model, by data of pre-training."""
  return {data: found for (name, data), found in VTAB.items() if name == model}
