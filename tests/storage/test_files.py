# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import csv
import io
import os

import pytest
from etils import epath

from vit_jax.storage.files import replacing_directory, to_csv


def test_rows_of_csv_are_read_back_as_they_are():
  row = ["a,b", 'q"q', "x\ny", "x\ry", "x\r\n", "\udcff", "", " s ", "=1", "日"]
  text = to_csv(row) + to_csv(["\r"]) + to_csv([0.5, 1])
  found = list(csv.reader(io.StringIO(text, newline="")))
  assert found == [row, ["\r"], ["0.5", "1"]]
  assert to_csv(["a", 1]) == "a,1\n"


def test_a_directory_is_replaced_whole_or_stays(tmp_path):
  path = epath.Path(tmp_path / "new" / "out")
  with replacing_directory(path) as directory:
    (directory / "a").write_text("1")
    assert not path.exists()
  killed = path.with_name(".out.writing")
  killed.mkdir()
  (killed / "half").touch()
  with pytest.raises(KeyError), replacing_directory(path) as directory:
    assert not os.listdir(directory)
    (directory / "b").write_text("2")
    raise KeyError
  assert os.listdir(path.parent) == ["out"] and os.listdir(path) == ["a"]
  with replacing_directory(path) as directory:
    (directory / "b").write_text("2")
  assert os.listdir(path.parent) == ["out"] and os.listdir(path) == ["b"]
  path.rename(path.with_name(".out.old"))  # Killed between two names.
  with pytest.raises(KeyError), replacing_directory(path):
    raise KeyError
  assert os.listdir(path.parent) == ["out"] and os.listdir(path) == ["b"]
