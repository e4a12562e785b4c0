# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes and a checkpoint that one of them cannot read."""

from tests.support.processes import NAME, finish, read_run, start_together


def test_all_hosts_go_back_where_one_cannot_read(tmp_path, data_dir):
  flags = ["--config.train.steps=4", "--config.train.log_every=1"]
  # Each process reads what it holds alone.
  flags += ["--config.checkpoint.every=2", "--config.mesh.fsdp=-1"]
  workdir = tmp_path / "run"
  for process in start_together(2, workdir, data_dir, *flags):
    finish(process)
  result, rows = read_run(workdir)
  newest = workdir / "checkpoints" / "4" / "state" / "ocdbt.process_1"
  files = [path for path in newest.rglob("*") if path.is_file()]
  assert files
  for path in files:
    path.write_bytes(b"")
  (workdir / "result.json").unlink()
  processes = start_together(2, workdir, data_dir, *flags)
  first, second = (finish(process) for process in processes)
  text = "the checkpoint of step 4 is damaged: "
  assert text in first and f"(host 1 ({NAME}))" in first
  assert "going back to step 2" in first and "resuming after step 2" in first
  assert "going back to step 2" in second
  again, rows_again = read_run(workdir)
  assert again["params_sha256"] == result["params_sha256"]
  assert [row["step"] for row in rows_again] == [row["step"] for row in rows]
  # The damaged one was written again.
  assert "finished at step 4" in finish(
    start_together(1, workdir, data_dir, *flags)[0]
  )
