"""The first screen's words and numbers, and the outlines of nested regions."""

import json
import pathlib
import re

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given
from scipy import ndimage

from ordseg import ordinal
from ordseg.reporting.report import answer, outlines, reading
from tests.helpers import evaluations


def evaluation(*bins, num_images=100, split="test", **metrics):
  """An evaluation whose pooled curve of the mean vote has the given bins: (count, mean_prob, mean_label)."""
  count, prob, label = zip(*bins, strict=True)
  curve = {
    "bin_edges": np.linspace(0, 1, len(bins) + 1).tolist(),
    "count": count,
    "mean_prob": prob,
    "mean_label": label,
  }
  config = {"data": {"train_split": "train", "validation_split": "validation[:50%]"}}
  content = {"num_raters": 4, "num_images": num_images, "num_images_scored": num_images, "split": split}
  content |= {"data": {"builder": "ct"}, "model": {"config": config}, "levels": {}, **metrics}
  return reading.Evaluation(pathlib.Path("w/eval/test"), content, {"read_outs": {"mean_vote": {"pooled": curve}}})


@pytest.mark.parametrize(
  ("low", "high", "words"),
  [
    (0.32, 0.72, "can be taken nearly at their word; if anything, they are too low."),
    (0.30, 0.70, "can be taken nearly at their word."),
    (0.23, 0.63, "are a fair guide, and no more: where the map is unsure, they are nearly always too high."),
    (0.23, 0.77, "are a fair guide, and no more: the map is less sure than it could be."),
    (0.50, 0.50, "should not be taken at their word: the map is surer than it should be."),
  ],
)
def test_the_verdict_follows_the_curve(low, high, words):
  text = answer.verdict(evaluation((9000, 0.01, 0.01), (1000, 0.3, low), (1000, 0.7, high)))
  assert text == f"On the 100 images checked, its percentages {words}"


def test_one_bad_percentage_is_not_averaged_away():
  bins = [(100_000, 0.12, 0.12), (1000, 0.7, 0.55)]
  assert "fair guide" in answer.verdict(evaluation(*bins))
  assert "should not" in answer.verdict(evaluation(bins[0], (1000, 0.7, 0.45)))


@pytest.mark.parametrize(
  ("ours", "words"), [(0.05, "less well than the"), (0.0324, "about as well as"), (0.0271, "about"), (0.02, "better")]
)
def test_a_calibrated_map_that_says_little_is_told(ours, words):
  raters = {"leave_one_out": {"brier": 0.03}}
  e = evaluation((1000, 0.5, 0.5), read_outs={"mean_vote": {"brier": ours}}, raters=raters)
  assert f"what a rater marks {words}" in answer.beside_people(e)
  assert answer.beside_people(evaluation((1000, 0.5, 0.5))) == ""


def test_the_verdict_where_little_or_nothing_is_known():
  sure = evaluation((9000, 0.01, 0.01), (9000, 0.99, 0.99), num_images=3)
  assert "On only 3 images checked, the map was never unsure" in answer.verdict(sure)
  assert answer.percentages(sure) == []
  assert "cannot be said" in answer.verdict(evaluation((0, None, None)))
  for fact in answer.facts(evaluation((0, None, None)))[:3]:
    assert fact.value == "\u2013" and fact.text


def test_facts_are_the_numbers_of_the_evaluation():
  e = evaluation(
    (9000, 0.01, 0.01),
    (1000, 0.31, 0.36),
    (1000, 0.68, 0.62),
    read_outs={"majority": {"dice_rater_mean": 0.463}, "mean_vote": {"brier": 0.0024}},
    raters={"leave_one_out": {"dice": 0.486, "brier": 0.0025}, "share_disputed": 0.82},
    floors={"brier": 0.0014},
  )
  said, error, people, evidence = answer.facts(e)
  assert (said.title, said.value) == ("Where the map says 68\u00a0%", "62\u00a0%")
  assert "Where it says 31\u00a0%, 36\u00a0% did." in said.text
  assert error.value == "5.5\u00a0points" and "18.2\u00a0% of all pixels" in error.text
  assert people.value == "0.46" and "The other raters together reach 0.49" in people.text
  for value in ("0.0024", "0.0025", "0.0014"):
    assert value in people.text
  assert evidence.value == "100 images" and "82\u00a0% was disputed" in evidence.text
  assert [(p.said, p.did, p.votes) for p in answer.percentages(e)] == [(0.31, 0.36, 1000), (0.68, 0.62, 1000)]


@pytest.mark.parametrize(
  ("split", "words"),
  [
    ("test", "; none was used in training"),
    ("train", "trained on these very images"),
    ("validation[:50%]", "chose the checkpoint"),
    ("validation", ""),
  ],
)
def test_the_evidence_says_what_training_saw(split, words):
  text = answer.facts(evaluation((1000, 0.5, 0.5), split=split))[3].text
  assert words in text
  assert text.count(";") == bool(words)


def test_limits_name_what_is_missing():
  e = evaluation((1000, 0.5, 0.5), num_images=12, roi={"kind": "margin", "margin": 8})
  rows = [{"num_valid": str(4 - (k < 3)), "majority_pixels": "9", "majority_dice": str(k / 10)} for k in range(5)]
  limits = dict(answer.limits(e, rows))
  assert "0.10 or less in a quarter of the images and 0.30 or more" in limits["Your image."]
  assert "3 of 5 images" in limits["Raters who did not answer."]
  assert "within 8 pixels" in limits["The rest of the image."]
  assert "12 images: that is little" in limits["Chance."] and "No confidence intervals" in limits["Chance."]


# The grammar of path data, SVG 2 (9.3.9), of the commands with lines: a command without its numbers is an error, after
# which a browser draws nothing.
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
COMMAND = re.compile(rf"\s*([MmLlHhVvZz])((?:\s*,?\s*{NUMBER})*)")
ARGUMENTS = {"M": 2, "L": 2, "H": 1, "V": 1, "Z": 0}


def polygons(path):
  """Parses path data strictly; returns its closed curves, [N, 2] each."""
  curves, at, place = [], np.zeros(2), 0
  while place < len(path):
    found = COMMAND.match(path, place)
    assert found, f"not in the grammar: {path[place : place + 20]!r}"
    place, (letter, text) = found.end(), found.groups()
    numbers, size = [float(n) for n in re.findall(NUMBER, text)], ARGUMENTS[letter.upper()]
    assert (len(numbers) % size == 0 and numbers) if size else not numbers, f"{letter} with {len(numbers)} numbers"
    assert curves or letter in "Mm", "a path begins with a move"
    if letter in "Zz":
      at = curves[-1][0]
      continue
    for k in range(0, len(numbers), size):
      values, relative = np.array(numbers[k : k + size]), letter.islower()
      step = {"H": np.array([1, 0]), "V": np.array([0, 1])}.get(letter.upper(), np.ones(2))
      at = at + step * values if relative else np.where(step, values, at)
      if letter in "Mm" and k == 0:
        curves.append([])
      curves[-1].append(at)
  assert not path or re.search(r"[zZ]\s*$", path), "the last curve is not closed"
  return [np.array(curve) for curve in curves]


def area(points):
  """Positive where the curve runs clockwise in a picture, whose y goes down."""
  x, y = points.T
  return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def filled(curves, shape):
  """What the curves enclose by the even-odd rule: [H, W], tried at the centres of its pixels."""
  y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
  crossings = np.zeros(shape, int)
  for curve in curves:
    for (x0, y0), (_, y1) in zip(curve, np.roll(curve, -1, axis=0), strict=True):
      crossings += (x0 > x) & ((y0 <= y) != (y1 <= y))
  return crossings % 2 == 1


SHAPES = {
  "pixel": np.pad([[1]], 3),
  "pixel in the corner": np.pad([[1]], ((0, 4), (0, 4))),
  "whole": np.ones((3, 5)),
  "checkerboard": np.indices((6, 7)).sum(0) % 2,
  "hole": np.pad(np.pad([[0]], 2, constant_values=1), 1),
  "pixel in a hole": np.pad(np.pad(np.pad([[1]], 1), 1, constant_values=1), 1),
  "hole at a corner": np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]]),
  "line": np.ones((1, 6)),
  "empty": np.zeros((4, 4)),
}


@pytest.mark.parametrize("mask", SHAPES.values(), ids=SHAPES)
def test_the_outline_of_a_shape_encloses_its_pixels(mask):
  mask = np.asarray(mask, bool)
  curves = polygons(outlines.svg_path(mask))
  np.testing.assert_array_equal(filled(curves, mask.shape), mask)
  assert sum(map(area, curves)) == mask.sum()
  assert bool(curves) == mask.any()


@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_the_outline_of_any_mask_encloses_its_pixels(mask):
  curves = polygons(outlines.svg_path(mask))
  np.testing.assert_array_equal(filled(curves, mask.shape), mask)
  assert sum(map(area, curves)) == mask.sum()
  num_regions = ndimage.label(mask)[1]  # pixels that touch at a corner are two regions, and have a curve each
  num_holes = ndimage.label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))[1] - 1
  assert len(curves) == num_regions + num_holes
  for curve in curves:
    steps = np.diff([*curve, curve[0]], axis=0)
    assert (steps.any(1)).all() and ((steps == 0).sum(1) == 1).all()  # straight lines that go somewhere
    assert (steps[1:, 0] != 0).tolist() == (steps[:-1, 0] == 0).tolist()  # and turn at every corner


def test_a_map_that_hardly_passes_one_half_is_shown():
  """Contours of such a peak are smaller than the numbers of a path can tell; here they vanished."""
  tails = np.full((8, 8, 2), 127, np.uint8)
  tails[3, 4], tails[6, 6, 0] = 128, 128
  example = reading.Example("best", "x", {}, np.zeros((8, 8, 1)), np.zeros((8, 8), np.float32), np.zeros((8, 8)), tails)
  nested = outlines.nested(example)
  assert [sum(map(area, polygons(level.model_path))) for level in nested.levels] == [2, 1]
  assert [level.model_area for level in nested.levels] == [2, 1]


def test_levels_are_counted_exactly():
  votes = np.array([[0, 1, 2, 3], [3, 3, 1, 0]])
  tails = np.stack([np.where(votes + d >= j, 200, 127) for j, d in ((1, 0), (2, 1), (3, 0))], -1).astype(np.uint8)
  scores = {"dice": None}
  example = reading.Example("best", "x", scores, np.zeros((2, 4, 1)), (votes / 3).astype(np.float32), votes / 3, tails)
  nested = outlines.nested(example)
  assert [(v.raters_area, v.model_area) for v in nested.levels] == [(6, 6), (4, 6), (3, 3)]
  assert [v.dice for v in nested.levels] == [1.0, pytest.approx(8 / 10), 1.0]
  assert nested.box == (0, 0, 4, 2) == (0, 0, nested.width, nested.height)


def test_small_regions_are_cut_out():
  marked = np.zeros((200, 300), bool)
  assert outlines.square_around(marked) == (0, 0, 300, 200)
  marked[100:121, 290:] = True
  left, top, width, height = outlines.square_around(marked)
  assert width == height == 42 and left + width == 300 and top <= 100 and top + height >= 121
  marked[0, 0] = True
  assert outlines.square_around(marked) == (0, 0, 300, 200)


def test_tails_are_those_of_the_raters_who_answered(tmp_path):
  """The true distribution, of which 2 of 3 raters answered, against the hypergeometric distribution in float64."""
  folder = evaluations.write(tmp_path / "e", sharpen=1.0, valid=np.array([1, 0, 1]))
  image, _, levels = evaluations.blobs(12, 3, 0)
  with np.load(folder / "examples.npz") as arrays:
    meta = json.loads(str(arrays["meta"]))
    assert len(meta) == 9
    for entry in meta:
      k = int(entry["id"].removeprefix("image-"))
      thinned = levels[k].astype(np.float64) @ ordinal.thinning_matrices(3)[2]
      want = np.stack([thinned[..., 1] + thinned[..., 2], thinned[..., 2]], -1)
      got = arrays[f"tails_{entry['k']}"]
      assert got.shape == (*image.shape[1:3], 2) and got.dtype == np.uint8
      assert np.abs(got / 255 - want).max() < 0.5 / 255 + 1e-5
      sure = np.abs(want - 0.5) > 1e-5
      assert ((got >= 128) == (want >= 0.5))[sure].all()
