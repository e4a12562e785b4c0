# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From weights and photographs to a page that explains the model."""

import dataclasses
import html.parser
import io
import os
import re
import shutil

import numpy as np
import PIL.Image
import pytest

import vit_jax
from tests.support.weights import RESNET, make_tiny_weights, make_weights
from vit_jax import analyze, predict
from vit_jax.analysis.rollout import compute_rollout, read_rollout
from vit_jax.convert import save_weights


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """Weights of a few pixels, and five images."""
  root = tmp_path_factory.mktemp("analyze")
  weights = make_tiny_weights(
    names=tuple(f"<b>{x}, or so</b>" for x in "abcde")
  )
  params = {path: 0.2 * x for path, x in weights.params.items()}
  weights = dataclasses.replace(weights, params=params)
  save_weights(weights, str(root / "weights"))
  (root / "photos").mkdir()
  rng = np.random.default_rng(0)
  for i in range(5):
    pixels = rng.integers(0, 255, (9, 12, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(root / "photos" / f"{i}&.png")
  return root


def run(capsys, root, *arguments, status=0):
  """What the command prints; its exit status is checked."""
  arguments = [str(x).replace("{root}", str(root)) for x in arguments]
  if status:
    with pytest.raises(SystemExit) as caught:
      analyze.main(arguments)
    assert caught.value.code == status
  else:
    analyze.main(arguments)
  return capsys.readouterr()


class Reader(html.parser.HTMLParser):
  """Collects addresses, texts for images, headings, and what is not closed."""

  def __init__(self, text):
    super().__init__()
    self.addresses, self.alts, self.open, self.text = [], [], [], ""
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    found = dict(attributes)
    self.addresses += [found[x] for x in ("src", "href") if x in found]
    if tag == "img":
      self.alts.append(found["alt"])
    if tag not in ("meta", "link", "img"):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data


def check_page(path):
  """A page that needs nothing but itself; returns what it says."""
  text = path.read_text()
  page = Reader(text)
  assert not page.open
  assert "://" not in re.sub(r"[\w+/=]{200,}", "", text)
  for address in page.addresses:
    assert re.match("data:|#s[0-9]", address), address[:80]
  for anchor in re.findall(r'href="(#\w+)"', text):
    assert f'id="{anchor[1:]}"' in text
  assert page.alts and all(page.alts)
  assert "viewport" in text and "prefers-color-scheme: dark" in text
  for section in re.findall(r"<section>(.*?)</section>", text, re.DOTALL):
    assert re.search("<img|<li>|<pre>|<td>", section)
  return page


def test_the_page_holds_what_the_arrays_say(root, capsys, tmp_path):
  out = tmp_path / "new" / "seen"
  shown = run(
    capsys,
    root,
    *("{root}/weights", "--images={root}/photos", f"--out={out}"),
    "--pictures=2",
  )
  assert shown.out.strip() == str(out / "analysis.html")
  files = [str(root / "photos" / f"{i}&.png") for i in (0, 2, 1, 3, 4)]
  arrays = np.load(out / "arrays.npz")
  assert arrays["files"].tolist() == files
  model, preprocess = vit_jax.load(root / "weights")
  logits, between = model(preprocess(files), intermediates=True)
  np.testing.assert_allclose(arrays["logits"], logits, rtol=1e-5, atol=1e-5)
  layout = model.module.make_layout(8, 8)
  expected = read_rollout(compute_rollout(between["attention"]), layout)
  np.testing.assert_allclose(arrays["rollout"], expected, rtol=1e-5)
  assert arrays["maps"].shape == (2, 2, 2, 4, 4)
  page = check_page(out / "analysis.html")
  assert "mu/2" in page.text and "8 × 8 px" in page.text
  assert "2 of 5 images." in page.text
  assert page.text.count("<b>") == 2 * 3  # As text, three classes an image.
  assert page.text.count("%); <b>") == 2 * 2
  assert "1&.png" not in page.text and "2&.png" in page.text
  names = {x.stem for x in out.glob("*.png")}
  numbered = {
    f"{x}_0{i}" for x in ("image", "rollout", "heads") for i in (1, 2)
  }
  assert names == numbered | {
    *("distance", "entropy", "similarity", "norms"),
    *("positions", "components"),
  }
  for path in out.glob("*.png"):
    assert PIL.Image.open(path).size[0] > 150


def test_it_is_called_from_python(root):
  files = [str(root / "photos" / f"{i}&.png") for i in range(5)]
  found = vit_jax.analyze.analyze(
    str(root / "weights"), files, limit=3, pictures=1, size=(12, 8)
  )
  assert found.files == [files[0], files[1], files[3]]
  assert found.arrays["rollout"].shape == (3, 6, 4)
  assert found.inputs.shape == (1, 12, 8, 3)
  # A list has its order; of a folder those that are shown are first.
  for images, order in ((files, range(5)), (root / "photos", (0, 2, 1, 3, 4))):
    found = vit_jax.analyze.analyze(root / "weights", images, pictures=2)
    assert found.files == [files[i] for i in order]


def test_a_resnet_shows_what_it_has_and_names_the_rest(root, capsys, tmp_path):
  weights = make_weights(RESNET, size=(32, 32))
  params = {path: 0.2 * x for path, x in weights.params.items()}
  weights = dataclasses.replace(weights, params=params)
  save_weights(weights, str(tmp_path / "resnet"))
  (tmp_path / "cat").mkdir()
  shutil.copy(root / "photos" / "0&.png", tmp_path / "cat")
  images = "--images={root}/photos/0*", f"{tmp_path}/cat"
  out = tmp_path / "seen"
  run(capsys, root, tmp_path / "resnet", *images, f"--out={out}")
  page = check_page(out / "analysis.html")
  assert "R50x1 has no attention" in page.text
  assert "has no tokens" in page.text
  assert "photos/0&.png" in page.text and "cat/0&.png" in page.text
  names = {x.stem for x in out.glob("*.png")}
  assert names == {"image_01", "image_02", "similarity", "components"}
  # Another is not lost by chance, nor anything else at all.
  command = tmp_path / "resnet", images[0], f"--out={out}"
  assert "--overwrite" in run(capsys, root, *command, status=2).err
  run(capsys, root, *command, "--overwrite")
  names = {x.stem for x in out.glob("*.png")}
  assert names == {"image_01", "similarity", "components"}
  (out / "notes.txt").write_text("mine")
  shown = run(capsys, root, *command, "--overwrite", status=2)
  assert "notes.txt" in shown.err and (out / "analysis.html").exists()
  # Least of all photographs, whatever they are called.
  (photos := tmp_path / "photos").mkdir()
  shutil.copy(root / "photos" / "0&.png", photos / "image_01.png")
  command = *command[:2], f"--out={photos}", "--overwrite"
  assert "image_01.png" in run(capsys, root, *command, status=2).err
  assert [x.name for x in photos.iterdir()] == ["image_01.png"]


def test_what_cannot_be_read_is_named(root, capsys, tmp_path):
  shutil.copytree(root / "photos", tmp_path / "photos")
  bad = tmp_path / "photos" / "00.png"
  bad.write_bytes(b"\x89PNG\r\n\x1a\n of nothing")
  images = f"--images={tmp_path}/photos"
  out = tmp_path / "seen"
  arguments = ("{root}/weights", images, f"--out={out}")
  shown = run(capsys, root, *arguments, status=1)
  assert f"{bad}: cannot be read" in shown.err
  assert len(np.load(out / "arrays.npz")["files"]) == 5
  text = check_page(out / "analysis.html").text
  assert str(bad) in text and "of 5 images." not in text  # It shows all.
  images = f"--images={bad}"
  other = f"--out={tmp_path}/none"
  shown = run(capsys, root, "{root}/weights", images, other, status=2)
  assert f"{bad} cannot be read" in shown.err
  assert not list((tmp_path / "none").iterdir())


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"--images": "{root}/none"}, "/none: give the path of an image"),
    ({"--images": "{root}/*.jpg"}, "*.jpg fits no file"),
    ({"--images": "{root}/weights"}, "contains no images"),
    ({"--out": "{root}/photos"}, "photos exists"),
    ({"--out": "{root}/photos/0&.png"}, "is a file"),
    ({"--out": ""}, "--out is empty"),
    ({"--limt": "3"}, "unrecognized arguments: --limt=3"),
    ({"--limit": "0"}, "must be a whole number from 1 on"),
    ({"--size": "9"}, "multiple"),
  ],
)
def test_mistakes_end_in_one_message(root, capsys, tmp_path, changes, message):
  flags = {"--images": "{root}/photos", "--out": f"{tmp_path}/seen"} | changes
  flags = [f"{name}={value}" for name, value in flags.items()]
  shown = run(capsys, root, "{root}/weights", *flags, status=2)
  assert message in shown.err and "Traceback" not in shown.err


def test_weights_that_are_no_numbers_are_said(root, capsys, tmp_path):
  weights = make_tiny_weights()
  head = np.full_like(weights.params["head/bias"], np.nan)
  params = {**weights.params, "head/bias": head}
  weights = dataclasses.replace(weights, params=params)
  save_weights(weights, str(tmp_path / "nan"))
  arguments = ("--images={root}/photos", f"--out={tmp_path}/seen")
  with pytest.raises(Exception, match="not finite for 5 of 5"):
    analyze.analyze(
      str(tmp_path / "nan"), [str(x) for x in (root / "photos").iterdir()]
    )
  shown = run(capsys, root, tmp_path / "nan", *arguments, status=1)
  assert "NaN" in shown.err


def test_predict_draws_attention(root, tmp_path, capsys):
  """Each picture shows its own rollout, where it is largest."""
  out, photos = tmp_path / "drawn", root / "photos"
  (tmp_path / "0&.png").write_bytes((photos / "1&.png").read_bytes())
  predict.main(
    [
      *(str(root / "weights"), str(photos), str(tmp_path / "0&.png")),
      *(f"--attention={out}", "--batch=2", "--format=csv"),
    ]
  )
  assert len(capsys.readouterr().out.splitlines()) == 1 + 6 * 5
  names = {x.name for x in out.iterdir()}
  assert names == {f"{i}&.png.attention.png" for i in range(5)} | {
    "0&.png.2.attention.png"
  }
  one, two = (
    (out / f"{x}.attention.png").read_bytes() for x in ("1&.png", "0&.png.2")
  )
  assert one == two
  pixels = np.asarray(PIL.Image.open(io.BytesIO(one)), np.int32)
  assert pixels.shape == (192, 192, 3)


def test_names_may_be_any_bytes(root, tmp_path, capsys):
  name = os.fsdecode(b"caf\xe9 %s {x}.png")
  shutil.copy(root / "photos" / "0&.png", tmp_path / name)
  out = tmp_path / "seen"
  run(capsys, root, "{root}/weights", f"--images={tmp_path}", f"--out={out}")
  assert "caf? %s {x}.png" in check_page(out / "analysis.html").text
  assert np.load(out / "arrays.npz")["files"].tolist() == [str(tmp_path / name)]


def test_predict_refuses_to_draw_what_is_not_there(tmp_path, root, capsys):
  save_weights(make_weights(RESNET, size=(32, 32)), str(tmp_path / "resnet"))
  with pytest.raises(SystemExit) as caught:
    predict.main(
      [
        *(str(tmp_path / "resnet"), str(root / "photos")),
        f"--attention={tmp_path / 'drawn'}",
      ]
    )
  assert caught.value.code == 2
  assert "no attention to draw" in capsys.readouterr().err
