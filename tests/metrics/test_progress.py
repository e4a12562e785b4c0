# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import io
import logging
import os
import sys
import termios

import pytest

from vit_jax.metrics.progress import Progress, format_duration


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (0.4, "0s"),
    (59.6, "1m00s"),
    (185.0, "3m05s"),
    (7620.0, "2h07m"),
    (2 * 86400.0, "2d00h"),
    (3 * 86400.0 + 4 * 3600, "3d04h"),
    (136_515 * 86400.0, "136,515d"),
  ],
)
def test_durations(seconds, text):
  assert format_duration(seconds) == text


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_a_terminal_sees_one_line_that_changes():
  stream = Terminal()
  progress = Progress(stream=stream)
  for step in (5, 10):
    progress.show(
      step,
      10,
      loss=0.5,
      images_per_second=1234.5,
      data_wait=0.034,
      seconds_left=61.0,
    )
  progress.say("done")
  progress.end()
  line = (
    "step {:2}/10 {:4.0%}  loss 0.5000  1,234 images/s  data 3%  1m01s left"
  )
  expected = "".join("\r\x1b[2K" + line.format(s, s / 10) for s in (5, 10))
  assert stream.getvalue() == expected + "\ndone\n"
  progress.show(
    10,
    10,
    loss=0.5,
    images_per_second=1.0,
    data_wait=0.0,
    seconds_left=0.0,
    mfu=0.4321,
  )
  progress.end()
  assert stream.getvalue().endswith("MFU 43.2%  data 0%  0s left\n")


def test_what_takes_a_while_is_shown_on_a_terminal_until_it_is_done():
  stream, clear = Terminal(), "\r\x1b[2K"
  progress = Progress(stream=stream)
  progress.rewrite("step 5")
  for text in ("evaluating a", "evaluating b"):
    progress.show_doing(text)
  progress.say("a 1, b 2")
  progress.show_doing("evaluating c")
  progress.end()
  shown = f"{clear}step 5\n{clear}evaluating a{clear}{clear}evaluating b"
  shown += f"{clear}a 1, b 2\n{clear}evaluating c{clear}"
  assert stream.getvalue() == shown
  log = io.StringIO()
  Progress(stream=log).show_doing("evaluating a")
  assert log.getvalue() == ""


def test_a_line_has_one_row_of_a_narrow_terminal():
  """A second row would stay there whenever the line is rewritten."""
  screen, end = os.openpty()
  with open(end, "w") as stream:
    line = "step 10/10 100%  loss 0.5000  1,234 images/s"
    for columns in (20, 80):
      termios.tcsetwinsize(end, (24, columns))
      Progress(stream=stream).rewrite(line)
      shown = line[: columns - 1]
      assert os.read(screen, 1000).decode() == f"\r\x1b[2K{shown}"
  os.close(screen)


def test_a_log_file_sees_a_line_a_report():
  stream = io.StringIO()
  progress = Progress(stream=stream)
  progress.show(
    5, 10, loss=0.5, images_per_second=1.0, data_wait=0.0, seconds_left=1.0
  )
  progress.say("done")
  assert stream.getvalue().splitlines()[1] == "done"
  assert "\x1b" not in stream.getvalue()


def test_warnings_of_the_package_stay_above_the_line():
  stream = Terminal()
  progress = Progress(stream=stream)
  log = logging.getLogger("vit_jax.data.unreadable")
  with progress.show_warnings():
    progress.show(
      1, 2, loss=0.5, images_per_second=1.0, data_wait=0.0, seconds_left=0.0
    )
    log.warning("two %s", "words")
    log.info("nobody sees this")
  assert stream.getvalue().endswith("left\ntwo words\n")
  assert logging.getLogger("vit_jax").handlers == []


def report(progress):
  progress.show(
    1, 2, loss=0.5, images_per_second=1.0, data_wait=0.0, seconds_left=0.0
  )
  progress.say("words")
  progress.end()


def test_a_reader_that_is_gone_stops_nothing():
  """As of `python -m vit_jax.main ... 2>&1 | head`."""
  read, write = os.pipe()
  with open(write, "w") as stream:
    os.close(read)
    with pytest.raises(BrokenPipeError):
      print("a line", file=stream, flush=True)
    progress = Progress(stream=stream)
    report(progress)
    os.dup2(os.open(os.devnull, os.O_WRONLY), write)  # For what is buffered.
  report(progress)  # The stream is closed now.


def test_no_stream_at_all_stops_nothing(monkeypatch, capsys):
  """As of `2>&-`; nothing goes to standard output in its place."""
  monkeypatch.setattr(sys, "stderr", None)
  progress = Progress()
  report(progress)
  assert not progress.live and capsys.readouterr().out == ""


def test_a_line_gives_way_to_other_output():
  stream = Terminal()
  progress = Progress(stream=stream)
  progress.rewrite("compiling")
  progress.clear()
  progress.clear()
  progress.end()
  assert stream.getvalue() == "\r\x1b[2Kcompiling\r\x1b[2K"
  log = io.StringIO()
  progress = Progress(stream=log)
  progress.rewrite("compiling")
  progress.clear()
  assert log.getvalue() == "compiling\n"
