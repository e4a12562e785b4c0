# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Hosts (processes) of a run: coordination, preemption and the watchdog."""
