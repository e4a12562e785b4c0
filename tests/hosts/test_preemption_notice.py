# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The preemption notice of GCE, from a local server in place of Google's."""

import contextlib
import http.server
import threading
import time
import urllib.parse

import pytest

from tests.support.processes import (
  ENDLESS,
  check_saved,
  finish,
  start,
  wait_for,
)
from vit_jax.config import ConfigError
from vit_jax.hosts import preemption_notice
from vit_jax.hosts.coordination import Hosts
from vit_jax.hosts.preemption import Preemption


class MetadataServer(http.server.BaseHTTPRequestHandler):
  """Metadata server that answers as Compute Engine's documentation says."""

  def do_GET(self):  # noqa: N802
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    if self.headers["Metadata-Flavor"] != "Google":
      return self.send_error(403)
    if url.path != "/computeMetadata/v1/instance/preempted":
      return self.send_error(404)
    if query.get("wait_for_change") == "true":
      with self.server.changed:
        self.server.changed.wait_for(
          lambda: self.server.etag != query["last_etag"],
          float(query["timeout_sec"]),
        )
    body = (b"FALSE", b"TRUE")[self.server.taken]
    self.send_response(200)
    self.send_header("ETag", self.server.etag)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)

  def log_message(self, *_):
    pass


@contextlib.contextmanager
def serving(handler=MetadataServer):
  server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
  server.changed, server.etag, server.taken = threading.Condition(), "a1", False
  threading.Thread(target=server.serve_forever, daemon=True).start()
  try:
    yield server, f"localhost:{server.server_port}"
  finally:
    server.shutdown()
    server.server_close()


def take(server):
  with server.changed:
    server.taken, server.etag = True, "b2"
    server.changed.notify_all()


def test_a_preemption_notice_ends_a_run_as_a_signal_does(tmp_path, data_dir):
  flags = [*ENDLESS, "--config.hosts.preemption_notice=gce"]
  with serving() as (server, host):
    process = start(tmp_path, data_dir, *flags, GCE_METADATA_HOST=host)
    wait_for(process, "step")
    take(server)
    text = finish(process, 42)
    assert check_saved(text, tmp_path, "GCE preemption notice")
    # A machine that is being preempted starts no run.
    process = start(tmp_path, data_dir, *flags, GCE_METADATA_HOST=host)
    text = finish(process, 42)
    assert text.startswith("GCE preemption notice: ended before the first step")


def test_the_notice_is_waited_for(monkeypatch):
  with serving() as (server, host):
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setenv("http_proxy", "http://localhost:1")  # Not asked.
    assert preemption_notice.ask_server() == (False, "a1")
    began = time.monotonic()
    threading.Timer(0.3, take, [server]).start()
    assert preemption_notice.ask_server("a1") == (True, "b2")
    assert time.monotonic() - began > 0.3
    monkeypatch.setattr(preemption_notice, "WAIT_SECONDS", 1)
    assert preemption_notice.ask_server("b2") == (True, "b2")


def test_a_missing_metadata_server_is_an_error(monkeypatch):
  """No server at all, and a server of another kind."""
  message = "hosts.preemption_notice=gce: .* server answers at local"
  for handler in (None, http.server.SimpleHTTPRequestHandler):
    with serving(handler or MetadataServer) as (_, host):
      monkeypatch.setattr(
        http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None
      )
      monkeypatch.setenv("GCE_METADATA_HOST", host if handler else "local:1")
      with (
        pytest.raises(ConfigError, match=message),
        Preemption().joined(Hosts(), "gce"),
      ):
        pass
