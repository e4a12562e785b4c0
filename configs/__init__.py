# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Recipe cards: --config=configs/NAME.py[:key=value,...]"""
