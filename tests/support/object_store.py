# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""An object store on this machine: as much of Cloud Storage's JSON API as the
clients of a run use, etils (by gcsfs) and Orbax (by tensorstore).

Objects are written whole, read, listed and deleted. It refuses what would be a
rename, a copy or an append, and keeps a record of all that it is asked.
"""

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator

# No client can continue, copy or join objects, whichever way it asks.
REFUSED = re.compile(r"/(compose|rewriteTo|copyTo|moveTo)(/|$)")
BUCKET = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)")
OBJECTS = re.compile(r"(/upload|/download)?" + BUCKET.pattern + "/o")
OBJECT = re.compile(OBJECTS.pattern + "/(?P<name>.+)")
SESSION = re.compile(r"/session/(?P<id>\w+)")

# When it was made: the time is no part of what is tested.
TIME = "2026-01-01T00:00:00.000Z"


@dataclasses.dataclass(frozen=True)
class Request:
  """What was asked.

  Attributes:
    action: bucket, list, stat, read, upload, session, delete or refused.
    name: of the object, or the prefix of a list.
    status: of the answer.
  """

  action: str
  name: str
  status: int


class Error(Exception):
  """An answer that is none of success."""

  def __init__(self, status: int, message: str):
    super().__init__(message)
    self.status = status


class Store:
  """Buckets of objects behind a local address.

  Attributes:
    requests: every one since the start.
    page: the most entries of one answer to a list.
    fault: (action, name) -> the status of an answer that is an error, as 503;
      0 for the answer itself.
    url: of the server.
  """

  def __init__(self, url: str):
    self.url = url
    self._lock = threading.Lock()
    self._generation = 0
    self.clear()

  def clear(self) -> None:
    """Makes it empty, and sound."""
    self.page = 1000
    self.fault: Callable[[str, str], int] = lambda action, name: 0
    self.requests: list[Request] = []
    self._objects: dict[tuple[str, str], tuple[bytes, int]] = {}
    self._sessions: dict[str, tuple[str, str, dict, bytearray]] = {}

  def read(self, path: str) -> bytes:
    """The bytes of an object, gs://BUCKET/NAME."""
    bucket, _, name = path.removeprefix("gs://").partition("/")
    return self._objects[bucket, name][0]

  def put(self, path: str, data: bytes) -> None:
    """Makes an object as if a client had."""
    bucket, _, name = path.removeprefix("gs://").partition("/")
    with self._lock:
      self._write(bucket, name, data)

  def find(self, prefix: str) -> list[str]:
    """Names of the objects below gs://BUCKET/PREFIX, without it, sorted."""
    bucket, _, prefix = prefix.removeprefix("gs://").partition("/")
    with self._lock:
      names = sorted(n for b, n in self._objects if b == bucket)
    return [n.removeprefix(prefix) for n in names if n.startswith(prefix)]

  def get_uploads(self, prefix: str = "") -> list[str]:
    """Names of the objects that were made, in order, each time."""
    return [
      r.name
      for r in self.requests
      if (r.action, r.status) == ("upload", 200) and r.name.startswith(prefix)
    ]

  def answer(
    self, method: str, target: str, headers: dict[str, str], body: bytes
  ) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to a request."""
    parsed = urllib.parse.urlsplit(target)
    path = parsed.path
    query = dict(urllib.parse.parse_qsl(parsed.query))
    action, bucket, name = self._classify(method, path, query, body)
    try:
      if status := self.fault(action, name):
        raise Error(status, "the store will not")
      with self._lock:
        do = getattr(self, f"_{action}")
        result = do(bucket, name, query, headers, body)
    except Error as error:
      payload = to_json(error={"code": error.status, "message": str(error)})
      result = error.status, {}, b"" if error.status == 304 else payload
    self.requests.append(Request(action, name, result[0]))
    return result

  def _classify(self, method, path, query, body):
    """The action, bucket and name of a request."""
    if method in ("POST", "PUT") and (session := SESSION.fullmatch(path)):
      bucket, name, _, _ = self._sessions[session["id"]]
      query["id"] = session["id"]
      return "upload", bucket, name
    found = OBJECT.fullmatch(path)
    if REFUSED.search(path):
      return "refused", "", path
    if found and method in ("GET", "DELETE"):
      name = urllib.parse.unquote(found["name"])
      media = "read" if query.get("alt") == "media" else "stat"
      return media if method == "GET" else "delete", found["bucket"], name
    if (found := OBJECTS.fullmatch(path)) and method == "GET":
      return "list", found["bucket"], query.get("prefix", "")
    if found and method == "POST" and found[1] == "/upload":
      action = "session" if query["uploadType"] == "resumable" else "upload"
      name = query.get("name") or json.loads(get_parts(body)[0])["name"]
      return action, found["bucket"], name
    if (found := BUCKET.fullmatch(path)) and method == "GET":
      return "bucket", found["bucket"], ""
    return "refused", "", f"{method} {path}"

  def _refused(self, bucket, name, query, headers, body):
    raise Error(405, f"no object store does this: {name}")

  def _bucket(self, bucket, name, query, headers, body):
    return 200, {}, to_json(kind="storage#bucket", id=bucket, name=bucket)

  def _list(self, bucket, prefix, query, headers, body):
    """Names after the token, up to a page of them, folded at the delimiter."""
    delimiter = query.get("delimiter")
    limit = min(int(query.get("maxResults", self.page)), self.page)
    entries = {}
    for b, name in sorted(self._objects):
      end = query.get("endOffset")
      if b != bucket or not name.startswith(prefix) or (end and name >= end):
        continue
      rest = name[len(prefix) :]
      folded = delimiter and delimiter in rest
      if folded:
        name = prefix + rest.partition(delimiter)[0] + delimiter
      elif name < query.get("startOffset", ""):
        continue
      entries[name] = folded
    left = [name for name in entries if name > query.get("pageToken", "")]
    names = left[:limit]
    token = {"nextPageToken": names[-1]} if len(left) > limit else {}
    return (
      200,
      {},
      to_json(
        kind="storage#objects",
        items=[self._describe(bucket, n) for n in names if not entries[n]],
        prefixes=[n for n in names if entries[n]],
        **token,
      ),
    )

  def _stat(self, bucket, name, query, headers, body):
    self._get(bucket, name, query)
    return 200, {}, to_json(**self._describe(bucket, name))

  def _read(self, bucket, name, query, headers, body):
    data, generation = self._get(bucket, name, query)
    given = {
      "x-goog-generation": str(generation),
      "x-goog-metageneration": "1",
      "Content-Type": "application/octet-stream",
    }
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
    if not asked:
      return 200, given, data
    if asked[1]:
      start = int(asked[1])
      end = min(int(asked[2] or len(data)), len(data) - 1) + 1
    else:
      start, end = max(len(data) - int(asked[2]), 0), len(data)
    if start >= len(data):
      raise Error(416, f"{name} has {len(data)} bytes")
    given["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return 206, given, data[start:end]

  def _delete(self, bucket, name, query, headers, body):
    self._get(bucket, name, query)
    del self._objects[bucket, name]
    return 204, {}, b""

  def _session(self, bucket, name, query, headers, body):
    """Starts an upload of several requests."""
    session = uuid.uuid4().hex
    self._sessions[session] = (bucket, name, query, bytearray())
    return 200, {"Location": f"{self.url}/session/{session}"}, b""

  def _upload(self, bucket, name, query, headers, body):
    """Makes an object, at once and whole."""
    if "id" in query:
      *_, query, received = self._sessions[query["id"]]
      received += body
      if headers["content-range"].endswith("/*"):
        return 308, {"Range": f"bytes=0-{len(received) - 1}"}, b""
      body = bytes(received)
    elif query["uploadType"] == "multipart":
      body = get_parts(body)[1]
    self._check(bucket, name, query)
    self._write(bucket, name, body)
    return 200, {}, to_json(**self._describe(bucket, name))

  def _write(self, bucket, name, data):
    self._generation += 1
    self._objects[bucket, name] = data, self._generation

  def _check(self, bucket, name, query):
    """Raises unless the object is of the generation that the client wants."""
    _, now = self._objects.get((bucket, name), (b"", 0))
    wanted = query.get("ifGenerationMatch", query.get("generation"))
    if wanted is not None and int(wanted) != now:
      raise Error(412, f"{name} is of generation {now}, not {wanted}")
    if query.get("ifGenerationNotMatch") == str(now):
      raise Error(304, f"{name} is of generation {now} still")

  def _get(self, bucket, name, query):
    if (bucket, name) not in self._objects:
      raise Error(404, f"No such object: {bucket}/{name}")
    self._check(bucket, name, query)
    return self._objects[bucket, name]

  def _describe(self, bucket, name):
    data, generation = self._objects[bucket, name]
    digest = base64.b64encode(hashlib.md5(data).digest()).decode()
    return {
      "kind": "storage#object",
      "bucket": bucket,
      "name": name,
      "size": str(len(data)),
      "generation": str(generation),
      "metageneration": "1",
      "timeCreated": TIME,
      "updated": TIME,
      "md5Hash": digest,
    }


def to_json(**value) -> bytes:
  """An answer's body."""
  return json.dumps(value).encode()


def get_parts(body: bytes) -> list[bytes]:
  """The metadata and the data of an upload in one request."""
  boundary = body.partition(b"\n")[0].strip()
  parts = body.split(b"\n" + boundary)
  return [re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1] for part in parts[:2]]


class Handler(http.server.BaseHTTPRequestHandler):
  """Hands what arrives to the server's store."""

  protocol_version = "HTTP/1.1"
  disable_nagle_algorithm = True  # An answer goes out in two pieces.

  def handle(self):
    with contextlib.suppress(ConnectionError):  # Clients hang up at will.
      super().handle()

  def _answer(self):
    headers = {key.lower(): value for key, value in self.headers.items()}
    body = self.rfile.read(int(headers.get("content-length", 0)))
    status, given, payload = self.server.store.answer(
      self.command, self.path, headers, body
    )
    self.send_response(status)
    for key, value in given.items():
      self.send_header(key, value)
    self.send_header("Content-Length", str(len(payload)))
    self.end_headers()
    self.wfile.write(payload)

  do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer

  def log_message(self, *_):
    """Says nothing: the store has its own record."""


@contextlib.contextmanager
def serve() -> Iterator[Store]:
  """A store, as long as the context lasts."""
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  host, port = server.server_address
  server.store = Store(f"http://{host}:{port}")
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield server.store
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


def get_environment(store: Store) -> dict[str, str]:
  """Variables that lead every client of a process to a store, and nowhere else.

  They are read when a client is first used, once a process.
  """
  return {
    # gcsfs, and the client that Orbax asks of what kind a bucket is.
    "STORAGE_EMULATOR_HOST": store.url,
    "FSSPEC_GCS_TOKEN": "anon",
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # Asks by gRPC, for a minute.
    "TENSORSTORE_GCS_HTTP_URL": store.url,
    "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
    "EPATH_USE_TF": "false",
  }
