# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""All figures, as PNGs, and the pages of HTML that hold them.

matplotlib and jinja2 are imported in this package only, and by the function
that needs them: they are not loaded where nothing is drawn.
"""
