# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Studies: several runs, compared. One file is one study.

A study has `SEEDS`, its default seeds; `run(recipe, workdir, flags, seeds) ->
summary`, which decides which runs there are, has `runs` train them, and returns
the content of the study's file; and `format_table(summary) -> str`, which
formats it for people. It may have `save(summary, workdir)`, which writes other
files than study.json; `RECIPE`, the recipe where none is given; and
`add_flags(parser)`, of flags that are further arguments of `run`.

In every summary `runs` is result.json by the name of a run, and `failed` has
the others, if the study goes on without them. `paper` has what the ViT paper
found.
"""
