# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The preemption notice of Google Compute Engine (GCE).

Before a spot VM is preempted its metadata server sets instance/preempted to
TRUE (Compute Engine's documentation, "Detect preemption of Spot VMs"). A
pending maintenance event does not count: it may last for hours, in which every
resumed run would end at once.
"""

import os
import urllib.request

PATH = "computeMetadata/v1/instance/preempted"
WAIT_SECONDS = 60  # Until the server answers though nothing has changed.


def find_server() -> str:
  """Returns the metadata server's host, which GCE_METADATA_HOST overrides."""
  return os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")


def ask_server(etag: str | None = None) -> tuple[bool, str]:
  """Asks the metadata server whether this VM is being preempted.

  Args:
    etag: etag of the last answer: waits until the answer changes, for at most
      WAIT_SECONDS. None asks at once.

  Returns:
    True if this VM is being preempted, and the etag of the answer.

  Raises:
    OSError: if no server answers, or its answer is not TRUE or FALSE.
  """
  query = ""
  if etag is not None:
    query = f"?wait_for_change=true&last_etag={etag}&timeout_sec={WAIT_SECONDS}"
  request = urllib.request.Request(
    f"http://{find_server()}/{PATH}{query}",
    headers={"Metadata-Flavor": "Google"},
  )
  # No proxy: it would ask about the machine that it runs on.
  opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
  timeout = 5 if etag is None else 2 * WAIT_SECONDS
  with opener.open(request, timeout=timeout) as got:
    answer = got.read(16).decode(errors="replace").strip()
    if answer not in ("TRUE", "FALSE") or not got.headers["ETag"]:
      raise OSError(f"{got.url}: answer {answer!r} is not TRUE or FALSE")
    return answer == "TRUE", got.headers["ETag"]
