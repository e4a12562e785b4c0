# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Studies: several runs of a recipe, compared. One file is one study.

A study has `SEEDS`, its default seeds; `run(recipe, workdir, flags, seeds) ->
summary`, which trains and returns the content of study.json; and
`format_table(summary) -> str`, which formats it for people.
"""
