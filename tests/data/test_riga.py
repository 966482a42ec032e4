"""riga's extraction of masks from drawn outlines; its records are tested in test_benchmarks.py."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest

import data
from data import DataError, fundus
from data.riga import outlines
from tests.data.archives import riga as archive

SIZE = (300, 340)
CENTRE, DISC, CUP = (170, 150), (80, 88), (36, 42)


def ellipse(centre, axes, **kwargs):
  return cv2.ellipse(np.zeros(SIZE, np.uint8), centre, axes, 20, 0, 360, 1, **kwargs)


def photo():
  noise = np.random.default_rng(0).normal(120, 25, (*SIZE, 3))
  return cv2.GaussianBlur(noise.clip(0, 255).astype(np.uint8), (0, 0), 3)


def drawn_on(image, *shapes, gap=None, width=2):
  lines = np.zeros(SIZE, np.uint8)
  for centre, axes in shapes:
    lines |= ellipse(centre, axes, thickness=width)
  if gap:
    lines[gap] = 0
  drawn = image.copy()
  drawn[lines > 0] = (20, 230, 60)
  return drawn


def dice(a, b):
  return 2 * np.sum(a * b, dtype=float) / (np.sum(a, dtype=float) + np.sum(b))


def as_jpg(image, quality):
  file = io.BytesIO()
  PIL.Image.fromarray(image).save(file, "JPEG", quality=quality)
  return np.asarray(PIL.Image.open(file))


@pytest.mark.parametrize("centre", [CENTRE, (200, 160), (214, 160)], ids=["inside", "near", "touching"])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_ellipses_come_back(centre, width):
  image = photo()
  drawn = drawn_on(image, (CENTRE, DISC), (centre, CUP), width=width)
  found = outlines.trace(image, drawn, threshold=1)
  for mask, (where, axes) in zip(found, ((CENTRE, DISC), (centre, CUP)), strict=True):
    assert mask is not None and mask.dtype == np.uint8
    assert dice(mask, ellipse(where, axes, thickness=-1)) > (0.97 if axes == DISC else 0.9)


@pytest.mark.parametrize(("quality", "threshold"), [(95, 10), (85, 10)])
def test_compression_widens_the_line_but_is_not_taken_for_one(quality, threshold):
  image = photo()
  drawn = as_jpg(drawn_on(image, (CENTRE, DISC), (CENTRE, CUP)), quality)
  disc, cup = outlines.trace(as_jpg(image, quality), drawn, threshold=threshold)
  assert dice(disc, ellipse(CENTRE, DISC, thickness=-1)) > 0.93
  assert dice(cup, ellipse(CENTRE, CUP, thickness=-1)) > 0.85


def test_a_small_gap_is_bridged_and_a_large_one_refused():
  image = photo()
  small = (slice(0, 300), slice(165, 175))
  disc, cup = outlines.trace(image, drawn_on(image, (CENTRE, DISC), gap=small), threshold=1)
  assert disc is None and cup is None  # two halves: neither is the outline
  disc, cup = outlines.trace(image, drawn_on(image, (CENTRE, DISC), gap=(slice(0, 120), slice(165, 175))), threshold=1)
  assert cup is None and dice(disc, ellipse(CENTRE, DISC, thickness=-1)) > 0.97
  disc, _ = outlines.trace(image, drawn_on(image, (CENTRE, DISC), gap=(slice(0, 150), slice(0, 340))), threshold=1)
  assert disc is None


@pytest.mark.parametrize("drawn", ["nothing", "specks", "blot", "other photo", "frame"])
def test_no_mask_is_made_up(drawn):
  image = photo()
  copy = image.copy()
  if drawn == "specks":
    copy[::40, ::40] = 255
  elif drawn == "blot":
    copy[ellipse(CENTRE, CUP, thickness=-1) > 0] = 255
  elif drawn == "other photo":
    copy = photo()[::-1]
  elif drawn == "frame":
    copy[2:-2, 2:4] = copy[2:-2, -4:-2] = copy[2:4, 2:-2] = copy[-4:-2, 2:-2] = 255
  assert outlines.trace(image, copy, threshold=1) == (None, None)


def test_what_was_left_out_is_said(tmp_path, capsys):
  archive.write(tmp_path)
  data.prepare(data.get_builder("riga", data_dir=str(tmp_path / "built")), manual_dir=str(tmp_path))
  said = capsys.readouterr().out
  assert "the photograph image<N>prime is not there: Magrabia/MagrabiFemale/image48" in said
  assert "left out, as the photograph image<N>prime is not there: BinRushed/BinRushed1" in said
  assert "MESSIDOR/image10prime.tif: no rater's disc could be traced; left out" in said


def test_the_structure_is_checked():
  with pytest.raises(DataError, match=r"config\.data\.builder_args\.structure='rim' is unknown"):
    fundus.FundusConfig(name="x", structure="rim")
