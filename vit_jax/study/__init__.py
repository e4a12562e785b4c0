# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Studies: several runs of a recipe, compared. One file is one study.

A study has `SEEDS`, those it takes unless told; `run(recipe, workdir, flags,
seeds) -> summary`, which trains and returns what study.json holds; and
`format_table(summary) -> str`, the same for people.
"""
