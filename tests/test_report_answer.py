"""The first screen's words and numbers, and the outlines of nested regions."""

import json
import pathlib
import re

import numpy as np
import pytest

from ordseg import ordinal
from ordseg.report import answer, outlines, reading
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
  content |= {"data": {"builder": "ct"}, "model": {"config": config}, **metrics}
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


def polygons(path):
  """Reads a path of `outlines.svg_path` back: [N, 2] in pixels each."""
  found = []
  for curve in re.findall(r"M([^z]*)z", path):
    start, moves = curve.split("l")
    numbers = [list(map(int, re.findall(r"-?\d+", part))) for part in (start, moves)]
    steps = np.array([*numbers[0], *numbers[1]]).reshape(-1, 2)
    found.append(np.cumsum(steps, 0) / outlines.SCALE)
  return found


def area(points):
  x, y = points.T
  return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_the_outline_of_a_mask_encloses_its_pixels():
  mask = np.zeros((12, 10), np.float32)
  mask[2:6, 3:9] = 1
  mask[10:, :2] = 1  # in the corner: closed along the border
  large, small = sorted(polygons(outlines.svg_path(mask, 0.5)), key=area, reverse=True)
  assert large.min(0).tolist() == [3, 2] and large.max(0).tolist() == [9, 6]
  assert small.min(0).tolist() == [0, 10] and small.max(0).tolist() == [2, 12]
  assert [area(large), area(small)] == pytest.approx([24 - 0.5, 4 - 0.5])  # each corner is cut by 1/8 of a pixel
  assert len(large) == len(small) == 8  # no point on a straight line
  assert outlines.svg_path(np.zeros((3, 3)), 0.5) == ""


def test_the_outline_of_a_map_is_interpolated():
  ramp = np.tile(np.linspace(0, 255, 18, dtype=np.float32), (9, 1))  # 15 a pixel, centres at x + 1/2
  (line,) = polygons(outlines.svg_path(ramp, 127.5))
  assert line.min(0)[0] == pytest.approx(127.5 / 15 + 0.5, abs=0.1)


def test_levels_are_counted_exactly():
  votes = np.array([[0, 1, 2, 3], [3, 3, 1, 0]])
  tails = np.stack([np.where(votes + d >= j, 200, 127) for j, d in ((1, 0), (2, 1), (3, 0))], -1).astype(np.uint8)
  scores = {"dice": None}
  example = reading.Example("best", "x", scores, np.zeros((2, 4, 1)), (votes / 3).astype(np.float32), votes / 3, tails)
  nested = outlines.nested(example)
  assert [(v.raters_area, v.model_area) for v in nested.levels] == [(6, 6), (4, 6), (3, 3)]
  assert [v.dice for v in nested.levels] == [1.0, pytest.approx(8 / 10), 1.0]
  assert nested.box == (0, 0, 40, 20) == (0, 0, nested.width, nested.height)


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
