"""Scores of anybody's arrays: equal to those of a run on the same maps, mergeable, and silent about nothing wrong."""

import dataclasses
import doctest
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from ordseg import statistics
from ordseg.errors import InputError
from ordseg.evaluation import MultiRaterMetrics, accumulator, evaluator, result, scoring
from ordseg.input_pipeline import EvalBatch
from ordseg.metrics import Region
from ordseg.reporting import report
from tests.helpers import evaluations

R = 3
SETTINGS = statistics.Settings(num_resamples=100)


def images(num=12, seed=0):
  """Returns maps of the levels, masks [I, H, W, R], who answered, pixels that count, groups."""
  _, masks, levels = evaluations.blobs(num, R, seed)
  draws = np.random.default_rng(seed)
  valid = (draws.random((num, R)) < 0.8).astype(np.uint8)
  counts = (draws.random(masks.shape[:3]) < 0.9).astype(np.uint8)
  probs = levels**2
  return probs / probs.sum(-1, keepdims=True), masks, valid, counts, [f"p{k // 2}" if k % 3 else "" for k in range(num)]


def accumulated(data, which, **options):
  probs, masks, valid, counts, groups = data
  scores = MultiRaterMetrics(**options)
  for k in which:
    scores.update(probs[k], masks[k], valid[k], group=groups[k], name=f"i{k:02d}", mask=counts[k])
  return scores


def of_a_run(data, **options):
  probs, masks, valid, counts, groups = data
  batch = {"image": probs[..., :1], "rater_masks": masks, "rater_valid": valid, "mask": counts}
  item = EvalBatch([f"i{k:02d}" for k in range(len(masks))], groups, batch, len(masks))
  return evaluator.evaluate(lambda _: probs, [item], num_raters=R, **options)


def test_equals_the_evaluation_of_the_same_maps(tmp_path):
  data = images()
  options = {"num_bins": 10, "region": Region("union_dilated", 3), "surface_tolerance": 1.5}
  run, ours = of_a_run(data, **options), accumulated(data, range(12), **options).compute(SETTINGS)
  np.testing.assert_equal(ours.metrics, {**run.metrics, "intervals": result.intervals(run, SETTINGS)})
  np.testing.assert_equal(result.per_image_rows(ours), result.per_image_rows(run))
  assert ours.interval("read_outs.mean_vote.brier") is not None
  # The files are those of a run too, and are read back.
  result.write(ours, tmp_path / "e", evaluations.INFO)
  stored = scoring.read(tmp_path / "e")
  np.testing.assert_equal(stored.scores.metrics(ours.groups), without_ranks(ours))
  assert report.write_report(tmp_path / "e").exists()


def without_ranks(found):
  return dataclasses.replace(found.model, ranks=None).metrics(found.groups)


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(8)), st.integers(0, 8))
def test_neither_order_nor_merging_changes_a_number(order, cut):
  data = images(8)
  whole = accumulated(data, range(8))
  parts = accumulated(data, order[:cut]), accumulated(data, order[cut:])
  merged = parts[0].merge(parts[1])
  assert merged is parts[0] and merged.num_images == 8
  np.testing.assert_equal(merged.compute(None).metrics, whole.compute(None).metrics)


def test_a_probability_of_the_foreground_is_the_mean_vote_and_nothing_else(tmp_path):
  _, masks, _, _, groups = images()
  prob = np.random.default_rng(1).random(masks.shape[:3]).astype(np.float32)
  scores = MultiRaterMetrics()
  for k in range(12):
    scores.update(prob[k], masks[k], group=groups[k])
  found = scores.compute(SETTINGS)
  assert found.metrics["read_outs"].keys() == {"mean_vote"} and "levels" not in found.metrics
  assert not [path for path in found.metrics["intervals"]["values"] if "majority." in path or "levels" in path]
  with pytest.raises(InputError, match="does not have it"):
    found.number("levels.rps")
  with pytest.raises(InputError, match=r"Did you mean 'read_outs\.brier'"):
    found.number("read_outs.briar")
  # Against scikit-learn: each pixel once per rater.
  pairs, votes = np.repeat(prob.ravel(), R), masks.reshape(-1)
  want = sklearn_metrics.brier_score_loss(votes, pairs)
  assert found.number("read_outs.mean_vote.brier") == pytest.approx(want, abs=1e-7)
  want = sklearn_metrics.roc_auc_score(votes, pairs)
  assert found.number("read_outs.mean_vote.auc_pooled") == pytest.approx(want, abs=1e-3)
  assert {row["id"] for row in result.per_image_rows(found)} == {f"image-{k:06d}" for k in range(1, 13)}
  assert not [key for key in result.per_image_rows(found)[0] if key in ("rps", "majority_dice")]
  assert result.curves(found.model)["levels"] == [] and result.curves(found.model)["read_outs"].keys() == {"mean_vote"}
  # What is stored says so.
  result.write(found, tmp_path / "e", evaluations.INFO)
  again = scoring.read(tmp_path / "e").scores
  assert not again.has_levels and again.metrics(found.groups).keys() == {"read_outs"}
  # An accumulator of levels of which only the ends are possible has the same mean vote.
  levels = np.zeros((*prob.shape, R + 1), np.float32)
  levels[..., 0], levels[..., -1] = 1 - prob, prob
  other = MultiRaterMetrics()
  for k in range(12):
    other.update(levels[k], masks[k], group=groups[k])
  both = (x.metrics["read_outs"]["mean_vote"] for x in (other.compute(None), found))
  np.testing.assert_equal(*both)


def test_tensors_of_other_libraries_are_arrays_too():
  torch = pytest.importorskip("torch")
  probs, masks, valid, counts, _ = (x[:1] if isinstance(x, np.ndarray) else x for x in images())
  scores = MultiRaterMetrics()
  scores.update(*(torch.from_numpy(x[0].copy()) for x in (probs, masks, valid)), mask=torch.from_numpy(counts[0]))
  want = accumulated((probs, masks, valid, counts, [""]), [0]).compute(None)
  assert scores.compute(None).number("levels.rps") == want.number("levels.rps")
  with pytest.raises(InputError, match=r"probs: cannot be read as an array .* tensor\.detach\(\)\.cpu\(\)"):
    scores.update(torch.from_numpy(probs[0]).requires_grad_(), masks[0])


class Tensor:
  """What is no array, but can become one."""

  def __init__(self, x):
    self._x = x

  def __array__(self, dtype=None, copy=None):
    return np.asarray(self._x, dtype)


def test_whatever_has_an_array_is_taken_in_any_type():
  probs, masks, *_ = images()
  want = accumulated((probs, masks, np.ones((1, R)), np.ones(masks.shape[:3]), [""]), [0]).compute(None).metrics
  for convert in (Tensor, lambda x: np.asarray(x, np.float64), lambda x: x > 0 if x is masks[0] else x):
    scores = MultiRaterMetrics()
    scores.update(convert(probs[0]), convert(masks[0]), name="i00")
    np.testing.assert_equal(scores.compute(None).metrics, want)


def test_a_missing_rater_is_missing_whatever_its_mask_holds():
  probs, masks, *_ = images()
  found = []
  for filled in (0, 1):
    changed = masks[0].copy()
    changed[..., 1] = filled
    scores = MultiRaterMetrics()
    scores.update(probs[0], changed, [1, 0, 1])
    found.append(scores.compute(None).metrics)
  np.testing.assert_equal(*found)


def change(x, at, value):
  out = np.array(x, np.float64)
  out[at] = value
  return out


P, M = np.full((4, 5), 0.5), np.zeros((4, 5, 2), np.uint8)
L = np.full((4, 5, 3), 1 / 3)


@pytest.mark.parametrize(
  ("arguments", "options", "message"),
  [
    ((P[:3], M), {}, "probs has shape (3, 5), expected (4, 5), a probability of the foreground, or (4, 5, 3)"),
    ((L[..., :2], M), {}, "probs has shape (4, 5, 2)"),
    ((change(P, (1, 2), np.nan), M), {}, "probs[1, 2] is nan, expected a number in [0, 1]"),
    ((change(P, (1, 2), 3.5), M), {}, "is 3.5, expected a number in [0, 1]. Give probabilities: a sigmoid or softmax"),
    ((change(P, (0, 0), -0.1), M), {}, "probs[0, 0] is -0.1"),
    ((np.full((4, 5), 255, np.uint8), M), {}, "is 255, expected a number in [0, 1]"),
    ((change(L, (1, 2, 0), 0.5), M), {}, "probs[1, 2] sum to 1.16667 over the levels, expected 1"),
    ((P.astype(complex), M), {}, "probs: has type complex128"),
    ((P.astype(str), M), {}, "probs: has type <U32"),
    ((P, M[..., 0, 0]), {}, "rater_masks has shape (4,), expected [*image, raters]"),
    ((P, M[..., :0]), {}, "rater_masks has shape (4, 5, 0)"),
    ((P, M + np.uint8(255)), {}, "rater_masks: holds 255, expected 0 and 1 (or booleans). Compare labels with > 0"),
    ((P, change(M, (0, 0, 0), np.nan)), {}, "rater_masks: holds nan, expected 0 and 1 (or booleans). A rater who did"),
    ((P, M, [1]), {}, "rater_valid has shape (1,), expected (2,)"),
    ((P, M, [1, 2]), {}, "rater_valid: holds 2"),
    ((P, M), {"mask": np.ones((5, 4))}, "mask has shape (5, 4), expected (4, 5)"),
    ((P, M), {"spacing": [0.5, 0.0]}, "spacing=[0.5, 0.0] must be 2 lengths > 0"),
    ((P, M), {"name": "there"}, "image 'there' was counted before"),
    ((L, M), {}, "has probabilities of the levels, those before a probability of the foreground"),
    ((P, np.zeros((4, 5, 3))), {}, "has 3 raters, those before 2"),
    ((P[0], [[[0], [0, 1]]]), {}, "rater_masks: cannot be read as an array"),
  ],
)
def test_what_is_wrong_is_refused_in_one_line_and_nothing_is_counted(arguments, options, message):
  scores = MultiRaterMetrics()
  scores.update(P, M, name="there")
  before = scores.compute(None).metrics
  with pytest.raises(InputError, match=re.escape(message)) as error:
    scores.update(*arguments, **options)
  assert "\n" not in str(error.value) and str(error.value).startswith("image ")
  np.testing.assert_equal(scores.compute(None).metrics, before)


def test_what_cannot_be_merged_or_computed_is_refused():
  with pytest.raises(InputError, match="nothing to score"):
    MultiRaterMetrics().compute()
  for options in ({"num_bins": 0}, {"num_bins": 256}, {"surface_tolerance": -1.0}, {"surface_tolerance": float("nan")}):
    with pytest.raises(InputError, match=f"{next(iter(options))}="):
      MultiRaterMetrics(**options)
  a, b = MultiRaterMetrics(), MultiRaterMetrics()
  a.update(P, M, name="x")
  b.update(P, M, name="x")
  with pytest.raises(InputError, match="image 'x' is in both"):
    a.merge(b)
  with pytest.raises(InputError, match="cannot be merged"):
    a.merge(MultiRaterMetrics(num_bins=10))
  with pytest.raises(InputError, match="into itself"):
    a.merge(a)
  assert a.merge(MultiRaterMetrics()).num_images == 1 and MultiRaterMetrics().merge(a).num_images == 1


def test_volumes_and_rows_of_pixels_are_images():
  draws = np.random.default_rng(0)
  masks = draws.integers(0, 2, (3, 4, 5, 2))
  prob = draws.random((3, 4, 5))
  found = []
  for shape in ((3, 4, 5), (60,)):
    scores = MultiRaterMetrics()
    scores.update(prob.reshape(shape), masks.reshape(*shape, 2))
    found.append(scores.compute(None).metrics)
  np.testing.assert_equal(*found)


def test_examples_of_the_docstrings():
  found = doctest.testmod(accumulator)
  assert found.attempted and not found.failed
