# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import csv
import io

from vit_jax.storage.files import to_csv


def test_rows_of_csv_are_read_back_as_they_are():
  row = ["a,b", 'q"q', "x\ny", "x\ry", "x\r\n", "\udcff", "", " s ", "=1", "日"]
  text = to_csv(row) + to_csv(["\r"]) + to_csv([0.5, 1])
  found = list(csv.reader(io.StringIO(text, newline="")))
  assert found == [row, ["\r"], ["0.5", "1"]]
  assert to_csv(["a", 1]) == "a,1\n"
