"""`ordseg.score`: arrays in one call, equal to the accumulator, from lists, arrays and generators."""

import doctest
import json

import numpy as np
import pytest

import ordseg
from ordseg.errors import InputError
from ordseg.evaluation import MultiRaterMetrics, arrays

R, NUM = 2, 12


def images(seed=0):
  rng = np.random.default_rng(seed)
  sizes = [(6 + k, 7) for k in range(NUM)]
  probs = [rng.random(size).astype(np.float32) for size in sizes]
  masks = [rng.integers(0, 2, (*size, R)) for size in sizes]
  return (
    probs,
    masks,
    [[1, 1], [1, 0], [1, 1], [0, 1], *[[1, 1]] * (NUM - 4)],
    [rng.random(size) < 0.9 for size in sizes],
  )


def test_equals_the_accumulator_whatever_holds_the_images():
  probs, masks, valid, counts = images()
  names, groups = [f"c{k}" for k in range(NUM)], ["p1", "p1", "p2", "p3", *[""] * (NUM - 4)]
  scores = MultiRaterMetrics(num_bins=10)
  for k in range(NUM):
    scores.update(probs[k], masks[k], valid[k], name=names[k], group=groups[k], mask=counts[k])
  want = scores.compute()
  more = {"names": names, "groups": groups, "num_bins": 10}
  listed = ordseg.score(probs, masks, valid, pixel_valid=counts, **more)
  lazy = ordseg.score(iter(probs), (x for x in masks), iter(valid), pixel_valid=iter(counts), **more)
  for found in (listed, lazy):
    np.testing.assert_equal(found.metrics, want.metrics)
    assert (found.ids, found.groups) == (want.ids, want.groups)
    assert found.interval("read_outs.mean_vote.brier") is not None


def test_arrays_whose_first_axis_is_the_images():
  rng = np.random.default_rng(1)
  probs, masks = rng.dirichlet(np.ones(R + 1), (3, 6, 7)), rng.integers(0, 2, (3, 6, 7, R))
  found = ordseg.score(probs, masks, settings=None)
  np.testing.assert_equal(found.metrics, ordseg.score(list(probs), list(masks), settings=None).metrics)
  assert found.metrics["num_images"] == 3 and "levels" in found.metrics and "intervals" not in found.metrics


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"probs": slice(4)}, "probs has 4 images, masks has more"),
    ({"masks": slice(3)}, "masks has 3 images, probs has more"),
    ({"rater_valid": slice(2)}, "rater_valid has 2 images, probs has more"),
  ],
)
def test_columns_of_different_lengths_are_refused(change, message):
  probs, masks, valid, _ = images()
  given = {"probs": probs, "masks": masks, "rater_valid": valid}
  (name,) = change
  with pytest.raises(InputError, match=message):
    ordseg.score(**{**given, name: given[name][change[name]]})


def test_one_image_is_not_taken_for_a_list_of_its_rows():
  probs, masks, _, _ = images()
  with pytest.raises(InputError, match=r"Of one image, give lists: score\(\[probs\], \[masks\]\)"):
    ordseg.score(probs[0], masks[0])
  assert ordseg.score(probs[:1], masks[:1]).metrics["num_images"] == 1
  with pytest.raises(InputError, match="no image was added"):
    ordseg.score([], [])


def test_the_result_writes_itself(tmp_path):
  probs, masks, valid, _ = images()
  found = ordseg.score(probs, masks, valid)
  found.write(tmp_path / "out", {"data": {"raters": ["anna", "ben"]}, "model": {"kind": "maps"}})
  written = json.loads((tmp_path / "out" / "metrics.json").read_text())
  assert written["read_outs"]["mean_vote"]["brier"] == found.number("read_outs.mean_vote.brier")
  assert written["raters"]["names"] == ["anna", "ben"] and written["model"] == {"kind": "maps"}


def test_pictures_are_of_images_that_were_given_and_named():
  probs, masks, _, _ = images()
  a, b = MultiRaterMetrics(), MultiRaterMetrics()
  for k, scores in enumerate((a, a, b, b, b)):  # 5 images
    scores.update(probs[k], masks[k], name=f"c{k}", image=np.full((*probs[k].shape, 3), k) if k else None)
  found = a.merge(b).compute(None)
  shown = {example.id: example for _, example in found.examples}
  assert shown.keys() == {"c1", "c2", "c3", "c4"}
  for k in range(1, 5):
    np.testing.assert_array_equal(shown[f"c{k}"].prob, probs[k])
    assert (shown[f"c{k}"].image == k).all() and shown[f"c{k}"].tails is None
  with pytest.raises(InputError, match=r"image has shape \(2, 2\), expected \(6, 7\)"):
    a.update(probs[0], masks[0], name="x", image=np.zeros((2, 2)))
  with pytest.raises(InputError, match="needs a name"):
    a.update(probs[0], masks[0], image=np.zeros((6, 7)))
  assert a.num_images == 5


def test_examples_of_the_documentation_run():
  found = doctest.testmod(arrays)
  assert found.attempted and not found.failed
