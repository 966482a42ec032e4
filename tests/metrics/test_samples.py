"""GED and NCC of several maps of an image against the slow formulas."""

import dataclasses

import numpy as np
import pytest

from ordseg.errors import InputError
from ordseg.evaluation import MultiRaterMetrics, result, scoring
from ordseg.metrics import samples as samples_module
from tests.reference import scores_np

S, R = 4, 3


def images(num=4, seed=0):
  rng = np.random.default_rng(seed)
  share = rng.random((num, 9, 8))
  drawn = (share[:, None] + 0.4 * rng.normal(size=(num, S, 9, 8))).clip(0, 1).astype(np.float32)
  masks = (share[..., None] + 0.4 * rng.normal(size=(num, 9, 8, R)) > 0.5).astype(np.uint8)
  valid = np.ones((num, R), np.uint8)
  valid[1, 0] = 0
  return drawn, masks, valid, rng.random(share.shape) < 0.8


def scored(data, which, **more):
  scores = MultiRaterMetrics()
  for k in which:
    drawn, masks, valid, counts = (x[k] for x in data)
    scores.update(drawn.mean(0), masks, valid, mask=counts, name=f"i{k}", samples=drawn, **more)
  return scores


@pytest.mark.parametrize("block", [5, 2**22])
def test_each_image_has_the_slow_formulas_scores(block, monkeypatch, tmp_path):
  monkeypatch.setattr(samples_module, "_BLOCK", block)
  data = images()
  found = scored(data, range(4)).compute(None)
  rows = result.per_image_rows(found)
  for k, row in enumerate(rows):
    drawn, masks, valid, counts = (x[k] for x in data)
    maps = [one[counts] >= 0.5 for one in drawn]
    raters = [masks[..., r][counts] > 0 for r in np.flatnonzero(valid)]
    assert row["ged"] == pytest.approx(scores_np.ged(maps, raters), abs=1e-12)
    assert row["ncc"] == pytest.approx(scores_np.ncc(maps, raters), abs=1e-9)
  assert found.number("samples.ged") == pytest.approx(np.mean([row["ged"] for row in rows]), abs=1e-12)
  assert found.number("samples.ncc") == pytest.approx(np.mean([row["ncc"] for row in rows]), abs=1e-12)
  result.write(found, tmp_path / "e", {})
  again = scoring.read(tmp_path / "e")
  want = dataclasses.replace(found.model, ranks=None).metrics(found.groups)
  np.testing.assert_equal(again.scores.metrics(again.groups), want)
  some = again.rows(np.asarray([2, 0]))
  assert some.scores.samples is not None and some.scores.samples.ged.tolist() == [rows[2]["ged"], rows[0]["ged"]]


def test_order_and_merging_change_nothing_and_images_without_samples_are_not_scored():
  data = images()
  whole = scored(data, range(4))
  merged = scored(data, [3, 1]).merge(scored(data, [2, 0]))
  np.testing.assert_equal(merged.compute(None).metrics, whole.compute(None).metrics)
  before = whole.compute(None).number("samples.ged")
  whole.update(data[0][0, 0], data[1][0], name="alone")
  assert whole.compute(None).number("samples.ged") == before
  plain = MultiRaterMetrics()
  plain.update(data[0][0, 0], data[1][0])
  assert "samples" not in plain.compute(None).metrics


def test_masks_like_the_raters_are_at_no_distance():
  masks = images()[1][0]
  scores = MultiRaterMetrics()
  scores.update(masks.mean(-1), masks, samples=np.moveaxis(masks, -1, 0))
  assert scores.compute(None).number("samples.ged") == pytest.approx(0, abs=1e-12)


def test_nobody_s_image_has_no_score():
  drawn, masks, _, _ = images()
  scores = MultiRaterMetrics()
  scores.update(drawn[0, 0], masks[0], np.zeros(R), samples=drawn[0])
  assert np.isnan(scores.compute(None).number("samples.ged"))


@pytest.mark.parametrize("samples", [np.zeros((2, 3, 3)), [], np.full((2, 9, 8), 1.5), np.full((2, 9, 8), np.nan)])
def test_wrong_samples_are_refused(samples):
  drawn, masks, _, _ = images()
  scores = MultiRaterMetrics()
  with pytest.raises(InputError, match="image number 1: samples"):
    scores.update(drawn[0, 0], masks[0], samples=samples)
  assert scores.num_images == 0
