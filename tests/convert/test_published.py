# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The table of published checkpoints, AugReg's index, and fetching a file."""

import dataclasses
import hashlib
import http.server
import io
import json
import sys
import threading
import urllib.parse
import urllib.request

import pytest

import vit_jax
from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.convert import published
from vit_jax.convert.download import download
from vit_jax.models import __main__ as command

ROWS = list(published.FILES.values())

RECIPE = "i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"
ADAPTED = f"B_16-{RECIPE}--imagenet2012-steps_20k-lr_0.01-res_384"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_of_a_model_and_can_be_fetched(row):
  model = models.make_model(row.classes or 1, variant=row.variant)
  assert not model.find_errors(row.resolution, row.resolution)
  assert row.format in published.FORMATS
  assert row.classes in (None, 1000, 21843)
  url = urllib.parse.urlsplit(row.url)
  assert url.scheme == "https" and not url.query
  assert url.netloc in ("storage.googleapis.com", "huggingface.co")
  assert "{" not in row.url and "None" not in row.url
  hub = row.format in ("hugging_face", "timm")
  assert row.url.endswith(".safetensors" if hub else ".npz")
  assert row.filename in (f"{row.name}.npz", f"{row.name}.safetensors")
  # The px that a url names are those of the row.
  for px in ("160", "224", "384"):
    assert row.resolution == int(px) or px not in row.url


def test_no_two_rows_are_of_one_name_or_file():
  count = sum(len(family[-1].split()) for family in published.FAMILIES)
  assert len(ROWS) == count
  assert len({row.url for row in ROWS}) == count
  assert len({row.published for row in ROWS}) == count
  assert {row.format for row in ROWS} == set(published.FORMATS)


@pytest.mark.parametrize(
  ("name", "url"),
  [
    ("vit-b16-i21k", "vit_models/imagenet21k/ViT-B_16.npz"),
    ("vit-r50-b16-i21k", "vit_models/imagenet21k/R50+ViT-B_16.npz"),
    ("vit-l16-i1k-224", "vit_models/imagenet21k+imagenet2012/ViT-L_16-224.npz"),
    ("augreg-b16-i21k", f"vit_models/augreg/B_16-{RECIPE}.npz"),
    ("mixer-b16-i1k", "mixer_models/imagenet1k/Mixer-B_16.npz"),
    ("bit-m-r50x1", "bit_models/BiT-M-R50x1.npz"),
    ("bit-teacher-r152x2-384", "bit_models/distill/R152x2_T_384.npz"),
    ("plain-s16-90ep", "big_vision/vit_s16_i1k_90ep.npz"),
    ("deit3-b16-i1k-384", "big_vision/zoo/deit3/bv_deit_3_base_384_1k.npz"),
    ("hf-h14-i21k", "google/vit-huge-patch14-224-in21k"),
    ("timm-b8-i1k-224", "timm/vit_base_patch8_224.augreg_in21k_ft_in1k"),
    ("timm-r-ti16-i21k", "timm/vit_tiny_r_s16_p8_224.augreg_in21k"),
    ("timm-l32-i1k-384", "timm/vit_large_patch32_384.orig_in21k_ft_in1k"),
  ],
)
def test_urls_are_spelled_as_their_publishers_spell_them(name, url):
  found = urllib.parse.urlsplit(published.FILES[name].url).path[1:]
  assert found.removesuffix("/resolve/main/model.safetensors") == url


@pytest.mark.parametrize(
  ("path", "resolution"),
  [
    (f"{ADAPTED}.npz", 384),
    (f"B_16-{RECIPE}.npz", 224),
    (f"gs://vit_models/augreg/R_Ti_16-{RECIPE}.npz", 224),
    ("L_16-i21k_30-30ep-lr_0.001-aug_none-wd_0.1-do_0.0-sd_0.0.npz", 224),
    (f"B_16-{RECIPE}--cifar100-steps_2k-lr_0.001-res_224.npz", 224),
    (f"B_16-{RECIPE}--imagenet2012-steps_20k.npz", None),
    (f"B_16-{RECIPE}--x-res_0.npz", None),
    ("imagenet21k/ViT-B_16.npz", 224),
    ("/data/imagenet21k+imagenet2012/ViT-B_16.npz", 384),
    ("gs://vit_models/imagenet21k+imagenet2012/ViT-B_16.npz", 384),
    ("ViT-B_16.npz", None),
    ("ViT-B_16-224.npz", 224),
    ("ViT-H_14.npz", 224),
    # Not in the table, so that it is no longer the one file of that name.
    ("imagenet21k+imagenet2012/ViT-H_14.npz", None),
    ("Mixer-B_16.npz", 224),
    ("R50x1_160.npz", 160),
    ("model.safetensors", None),
    ("google/vit-base-patch16-384/model.safetensors", 384),
    ("augreg-b16-i1k-384.npz", 384),
    ("x/hf-b16-i21k.safetensors", 224),
    ("mine.npz", None),
    ("", None),
  ],
)
def test_resolution_of_a_name(path, resolution):
  assert published.find_resolution(path) == resolution


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_published_path_tells_its_resolution(row):
  assert published.find_resolution(row.filename) == row.resolution
  assert published.find_resolution("/".join(row.published)) == row.resolution


def test_names_in_collections():
  assert published.parse_name("augreg:B/16") == ("augreg", "B/16")
  assert published.parse_name("augreg:R+Ti/16") == ("augreg", "R+Ti/16")
  for text in ("B/16", "augreg", "augreg:", "other:B/16", "gs://a:b", ""):
    assert published.parse_name(text) is None


HEAD = "name,ds,lr,final_val,adapt_ds,filename,adapt_filename"

# Two adaptations of one file, two data sets, a tie, and a quoted comma.
INDEX = f"""{HEAD}
B/16,i21k,0.001,0.45,imagenet2012,B_16-worse,B_16-worse--a
B/16,i21k,0.001,0.47,imagenet2012,B_16-best,B_16-best--a
B/16,i21k,0.001,0.47,cifar100,B_16-best,B_16-best--b
B/16,i1k,0.001,0.80,cifar100,B_16-i1k,B_16-i1k--a
B/16,i21k_30,0.001,0.60,cifar100,B_16-short,B_16-short--a
L/16,i21k,0.001,4.6e-1,"a, b",L_16-b.npz,L_16-b--a
L/16,i21k,0.001,0.46,cifar100,L_16-a,L_16-a--a
R+Ti/16,i1k,0.001,0.5,cifar100,R_Ti_16-i1k,R_Ti_16-i1k--a
"""


def write_index(directory, *more, text=INDEX):
  """An index, and the files that it names."""
  lines = "".join(f"{line}\n" for line in more)
  (directory / "index.csv").write_text(text + lines)
  for name in ("B_16-best", "B_16-worse", "B_16-i1k", "L_16-a", "L_16-b"):
    (directory / f"{name}.npz").touch()


def test_the_recommended_file_is_the_best_of_imagenet21k(tmp_path):
  write_index(tmp_path)
  for name, file in (("B/16", "B_16-best.npz"), ("L/16", "L_16-a.npz")):
    assert published.find_recommended(name, str(tmp_path)) == tmp_path / file


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("B/16,i21k,,,,B_16-x,", "line 10: final_val='' must be a number"),
    ("B/16,i21k,,best,,B_16-x,", "line 10: final_val='best' must be a number"),
    ("B/16,i21k,,nan,,B_16-x,", "final_val='nan' must be a number"),
    ("B/16,i21k,,0.9,,../B_16-x,", "'../B_16-x.npz'"),
    ("B/16,i21k,,0.9,,/etc/x,", "'/etc/x.npz'"),
    ("B/16,i21k,,0.9,,gs://x,", "'gs://x.npz'"),
    ("B/16,i21k,,0.9,,a\\b,", "invalid file name"),
    ("B/16,i21k,,0.9", "invalid file name '.npz'"),
    (f"B/16,i21k,,0.9,,{'x' * 999},", "invalid file name"),
    ("B/16,i21k,,0.9,,B_16-gone,", "B_16-gone.npz, the recommended file of"),
    ("B/16,i21k,,0.9,," + "x" * 200_000, "cannot be read: field larger"),
  ],
)
def test_an_index_that_is_wrong_says_where(line, message, tmp_path):
  write_index(tmp_path, line)
  with pytest.raises(ConfigError) as caught:
    published.find_recommended("B/16", tmp_path)
  assert message in str(caught.value)
  assert "index.csv" in str(caught.value) or published.AUGREG in str(
    caught.value
  )


def test_other_models_rows_need_not_be_right(tmp_path):
  write_index(tmp_path, "S/16,i21k,,what,,../x,")
  assert published.find_recommended("B/16", tmp_path).name == "B_16-best.npz"


def test_what_is_missing_is_told_with_where_to_find_it(tmp_path):
  for nowhere in (None, ""):
    with pytest.raises(ConfigError, match="transfer.directory=DIR") as caught:
      published.find_recommended("B/16", nowhere)
    assert "gs://vit_models/augreg" in str(caught.value)
    assert published.AUGREG in str(caught.value)
  with pytest.raises(ConfigError, match="does not exist; download https"):
    published.find_recommended("B/16", tmp_path)
  write_index(tmp_path)
  with pytest.raises(ConfigError, match="has no model 'B/17'.*mean 'B/16'"):
    published.find_recommended("B/17", tmp_path)
  # It is there, but for another data set.
  with pytest.raises(ConfigError, match="has no model 'R\\+Ti/16'"):
    published.find_recommended("R+Ti/16", tmp_path)
  (tmp_path / "B_16-best.npz").unlink()
  with pytest.raises(
    ConfigError, match=f"{published.AUGREG}/B_16-best.npz into"
  ):
    published.find_recommended("B/16", tmp_path)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "has no column ds, filename, final_val, name"),
    ("name,ds,filename\n", "has no column final_val"),
    ("<html>\n", "has no column"),
    (f"{HEAD}\n", "has no model 'B/16'"),
  ],
)
def test_what_is_no_index_says_so(text, message, tmp_path):
  write_index(tmp_path, text=text)
  with pytest.raises(ConfigError, match=message):
    published.find_recommended("B/16", tmp_path)
  (tmp_path / "index.csv").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ConfigError, match="cannot be read"):
    published.find_recommended("B/16", tmp_path)


CONTENT = bytes(range(256)) * 10_000  # More than one chunk.


class Handler(http.server.BaseHTTPRequestHandler):
  """Serves CONTENT whole, cut short, or without a length."""

  def do_GET(self):
    if self.path.startswith("/gone"):
      self.send_error(404)
      return
    self.send_response(200)
    if not self.path.startswith("/unsized"):
      self.send_header("Content-Length", str(len(CONTENT)))
    self.end_headers()
    short = self.path.startswith("/short")
    self.wfile.write(CONTENT[: 2**20 + 1] if short else CONTENT)

  def log_message(self, *_):
    """The tests' output stays quiet."""


@pytest.fixture
def server(monkeypatch):
  """A server here, of which the table has a row for every path."""
  monkeypatch.setenv("no_proxy", "*")
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  serve = threading.Thread(target=server.serve_forever, args=(0.01,))
  serve.start()
  base = f"http://127.0.0.1:{server.server_port}"
  for name in ("whole", "short", "unsized", "gone"):
    row = dataclasses.replace(ROWS[0], name=name, url=f"{base}/{name}.npz")
    monkeypatch.setitem(published.FILES, name, row)
  yield server
  server.shutdown()
  serve.join()
  server.server_close()


@pytest.mark.parametrize("name", ["whole", "unsized"])
def test_download(name, server, tmp_path):
  said, steps = [], []
  path = download(
    name,
    tmp_path / "new" / "directory",
    said.append,
    lambda done, size: steps.append((done, size)),
  )
  assert path == tmp_path / "new" / "directory" / f"{name}.npz"
  assert path.read_bytes() == CONTENT
  assert [entry.name for entry in path.parent.iterdir()] == [f"{name}.npz"]
  digest = hashlib.sha256(CONTENT).hexdigest()
  assert said == [
    f"fetching {published.FILES[name].url}",
    f"{path}: 2,560,000 bytes, sha256 {digest}",
  ]
  size = len(CONTENT) if name == "whole" else None
  assert len(steps) > 1 and steps[-1] == (len(CONTENT), size)


def test_download_of_a_local_file(tmp_path, monkeypatch):
  source = tmp_path / "source.npz"
  source.write_bytes(CONTENT)
  row = dataclasses.replace(ROWS[0], name="here", url=source.as_uri())
  monkeypatch.setitem(published.FILES, "here", row)
  assert download("here", tmp_path).read_bytes() == CONTENT
  with pytest.raises(ConfigError, match="here.npz exists"):
    download("here", tmp_path)
  source.unlink()
  (tmp_path / "here.npz").unlink()
  with pytest.raises(ConfigError, match=r"e.npz cannot .*\n.*fetch it to"):
    download("here", tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("short", "short.npz cannot be fetched: received 1,048,577 of 2,560,000"),
    ("gone", "gone.npz cannot be fetched: HTTP Error 404"),
  ],
)
def test_a_failed_download_leaves_nothing(name, message, server, tmp_path):
  with pytest.raises(ConfigError) as caught:
    download(name, tmp_path, lambda _: None)
  assert message in str(caught.value)
  assert not list(tmp_path.iterdir())


def test_a_download_is_not_led_from_https_to_http(tmp_path, monkeypatch):
  class Response(io.BytesIO):
    url, headers = "http://127.0.0.1/x.npz", {}

  monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Response())
  with pytest.raises(ConfigError, match="redirected to http://127.0.0.1"):
    download("vit-b16-i21k", tmp_path)
  assert not list(tmp_path.iterdir())


def test_an_interrupted_download_leaves_nothing(server, tmp_path):
  def interrupt(done, size):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    download("whole", tmp_path, lambda _: None, interrupt)
  assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_downloaded_to(server, tmp_path, monkeypatch):
  (tmp_path / "file").touch()
  with pytest.raises(ConfigError, match="--to=.*is not a directory"):
    download("whole", tmp_path / "file")
  with pytest.raises(ConfigError, match="gs://bucket is not local"):
    download("whole", "gs://bucket")
  with pytest.raises(ConfigError, match="did you mean 'whole'"):
    download("whoel", tmp_path)
  row = dataclasses.replace(ROWS[0], name="odd", url="ftp://127.0.0.1/x.npz")
  monkeypatch.setitem(published.FILES, "odd", row)
  with pytest.raises(ConfigError, match="https://"):
    download("odd", tmp_path)


def test_the_command_lists_checkpoints(capsys):
  command.main(["--checkpoints"])
  lines = capsys.readouterr().out.splitlines()
  # A blank line and a heading a source.
  sources = {row.source for row in ROWS}
  assert len(lines) == 1 + len(ROWS) + 2 * len(sources)
  assert sources <= set(lines)
  assert max(map(len, lines)) <= 100
  assert lines[0].split() == "name format model px classes trained on".split()
  command.main(["--checkpoints", "B/8", "R50+L/32"])
  text = capsys.readouterr().out
  for part in ("augreg-b8-i21k  ", "timm-r50-l32-i1k-384  ", "21,843"):
    assert part in text
  assert "b16" not in text
  command.main(["--checkpoints", "H/14", "--json"])
  rows = json.loads(capsys.readouterr().out)
  assert [row["name"] for row in rows] == ["vit-h14-i21k", "hf-h14-i21k"]
  assert rows[1] == dataclasses.asdict(published.FILES["hf-h14-i21k"])
  assert rows[1]["classes"] is None and rows[1]["source"] and rows[1]["url"]


def test_the_command_downloads(server, tmp_path, capsys, monkeypatch):
  command.main(["--checkpoints", "--download=whole", f"--to={tmp_path}"])
  printed = capsys.readouterr()
  assert hashlib.sha256(CONTENT).hexdigest() in printed.out
  assert not printed.err
  monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
  monkeypatch.chdir(tmp_path)
  command.main(["--download=unsized"])
  assert "\x1b[2K2.4 MiB\r\x1b[2K" in capsys.readouterr().err
  with pytest.raises(SystemExit) as caught:
    command.main(["--download=short"])
  assert caught.value.code == 2
  last = capsys.readouterr().err.rpartition("\r\x1b[2K")[2]
  assert last.startswith("error: http://127.0.0.1")
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ["unsized.npz", "whole.npz"]


def test_ctrl_c_ends_the_command(server, tmp_path, capsys, monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(command, "download", interrupt)
  with pytest.raises(SystemExit) as caught:
    command.main(["--download=whole", f"--to={tmp_path}"])
  assert caught.value.code == 130
  assert "interrupted" in capsys.readouterr().err


def test_a_published_file_that_is_not_there_names_its_download(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  for name, told in (("vit-b16-i21k.npz", True), ("mine.npz", False)):
    with pytest.raises(ConfigError, match="give the path of a run") as caught:
      vit_jax.load(name)
    assert ("--download=vit-b16-i21k --to=." in str(caught.value)) == told
