# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes, one file each: --config=configs/NAME.py[:key=value,...]"""
