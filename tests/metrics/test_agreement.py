import warnings

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ordseg import metrics
from ordseg.metrics import agreement
from tests.helpers import panels
from tests.helpers.panels import NUM_BINS, R
from tests.reference import metrics_np


@pytest.fixture(scope="module")
def data():
  return panels.images()


@pytest.fixture(scope="module")
def result(data):
  return panels.run(data)


def panel_sums(masks, valid=None):
  """Sums of one image [P, R] without a prediction."""
  masks = np.asarray(masks)
  num_raters = masks.shape[-1]
  valid = np.ones(num_raters, int) if valid is None else np.asarray(valid)
  masks = masks * valid
  votes = masks.sum(-1)[:, None] == np.arange(num_raters + 1)
  empty = metrics.empty(num_raters, 5)
  return metrics.ImageSums(
    **{name: np.zeros((1, *x.shape[1:]), np.int64) for name, x in vars(empty).items()}
    | {
      "num_valid": np.asarray([valid.sum()]),
      "rater_valid": valid[None],
      "level_count": votes.sum(0)[None],
      "rater_levels": (masks.T @ votes)[None],
      "both_marked": (masks.T @ masks)[None],
    }
  )


def units(data, least=2):
  """The answers of each pixel, a list per pixel, where at least `least` raters answered."""
  _, masks, valid, counts = data
  rated = [k for k in range(len(masks)) if valid[k].sum() >= least]
  return [list(pixel[valid[k] > 0]) for k in rated for pixel in masks[k][counts[k] > 0]]


def test_pairs_against_the_oracle(data, result):
  _, masks, valid, counts = data
  got = result.metrics["raters"]
  marked = [masks[k] * (counts[k][..., None] > 0) for k in range(len(masks))]
  for a in range(R):
    for b in range(R):
      both = [k for k in range(len(masks)) if valid[k, a] and valid[k, b]]
      seen = [k for k in both if marked[k][..., a].any() or marked[k][..., b].any()]
      assert 0 < len(seen) < len(both)
      dice = [metrics_np.dice(marked[k][..., a], marked[k][..., b]) for k in seen]
      assert got["pairwise_dice"][a][b] == pytest.approx(np.mean(dice))
      flat = [np.concatenate([masks[k][counts[k] > 0][:, r] for k in both]) for r in (a, b)]
      assert got["pairwise_kappa"][a][b] == pytest.approx(sklearn_metrics.cohen_kappa_score(*flat))
  above = np.triu_indices(R, 1)
  for name in ("dice", "kappa"):
    assert got[f"pairwise_{name}_mean"] == pytest.approx(np.mean(np.asarray(got[f"pairwise_{name}"])[above]))


def test_a_rater_who_marks_nothing_disagrees_with_one_who_does():
  """Leaving such images out would hide the disagreement."""
  sums = panel_sums([[1, 0, 0], [1, 0, 0], [0, 0, 0]])
  dice = agreement.pairwise_dice(sums)
  assert dice[0, 1] == 0.0 and np.isnan(dice[1, 2])
  kappa = agreement.pairwise_kappa(sums)
  assert kappa[0, 1] == 0.0 and np.isnan(kappa[1, 2])  # two raters who mark nothing agree, but no more than by chance


def test_panel_statistics_against_the_oracle(data, result):
  _, masks, valid, counts = data
  answers = units(data)
  assert result.metrics["raters"]["fleiss_kappa"] == pytest.approx(metrics_np.fleiss_kappa(answers))
  some = answers[::7]  # every pair of all values is too many
  sums = [panel_sums([unit]) for unit in some if len(unit) == R]
  want = metrics_np.krippendorff_alpha([unit for unit in some if len(unit) == R])
  assert agreement.krippendorff_alpha(metrics.concatenate(sums)) == pytest.approx(want)
  share = sum(0 < sum(unit) < len(unit) for unit in answers) / sum(sum(unit) > 0 for unit in answers)
  assert result.metrics["raters"]["share_disputed"] == pytest.approx(share)
  for r in range(R):
    own = np.concatenate([masks[k][counts[k] > 0][:, r] for k in range(len(masks)) if valid[k, r]])
    assert result.metrics["raters"]["prevalence"][r] == pytest.approx(own.mean())


def test_alpha_with_missing_raters_golden():
  """Krippendorff's own example of two observers and ten units, nominal: .095; and a third who saw one unit."""
  a, b = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
  sums = panel_sums(np.stack([a, b], axis=-1))
  assert agreement.krippendorff_alpha(sums) == pytest.approx(0.095, abs=5e-4)
  with_third = metrics.concatenate(
    [panel_sums(np.stack([a[1:], b[1:], a[1:]], axis=-1), [1, 1, 0]), panel_sums([[a[0], b[0], 1]])]
  )
  want = metrics_np.krippendorff_alpha([[a[0], b[0], 1], *zip(a[1:], b[1:], strict=True)])
  assert agreement.krippendorff_alpha(with_third) == pytest.approx(want)


def test_krippendorff_alpha_against_the_package(data, result):
  """Missing raters are NaN there, image by image; pixels that only one rater saw take no part."""
  krippendorff = pytest.importorskip("krippendorff")
  _, masks, valid, counts = data
  columns = [np.where(valid[k] > 0, masks[k][counts[k] > 0].astype(float), np.nan).T for k in range(len(masks))]
  want = krippendorff.alpha(reliability_data=np.concatenate(columns, 1), level_of_measurement="nominal")
  assert np.isnan(columns[1]).any() and result.metrics["raters"]["krippendorff_alpha"] == pytest.approx(want)


def test_fleiss_kappa_golden():
  """By hand: 3 raters, 4 pixels with 0, 1, 3, 3 votes."""
  sums = panel_sums([[0, 0, 0], [0, 1, 0], [1, 1, 1], [1, 1, 1]])
  chance = (7 / 12) ** 2 + (5 / 12) ** 2
  assert agreement.fleiss_kappa(sums) == pytest.approx(((3 + 1 / 3) / 4 - chance) / (1 - chance))


def test_leave_one_out_against_the_oracle(data, result):
  _, masks, valid, counts = data
  dice, ps, ys = [], [], []
  for k in range(len(masks)):
    n, inside = valid[k].sum(), counts[k] > 0
    if n < 2:
      continue
    scores = []
    for r in np.flatnonzero(valid[k]):
      others = [s for s in np.flatnonzero(valid[k]) if s != r]
      mean, y = masks[k][inside][:, others].mean(-1), masks[k][inside][:, r]
      scores.append(metrics_np.dice(mean >= 0.5, y))
      ps.append(mean)
      ys.append(y.astype(float))
    if (2 * (masks[k] * valid[k])[inside].sum(-1) >= n).any():
      dice.append(np.mean(scores))
  p, y = np.concatenate(ps), np.concatenate(ys)
  got = result.metrics["raters"]["leave_one_out"]
  assert got["dice"] == pytest.approx(np.mean(dice))
  assert got["brier"] == pytest.approx(np.mean((p - y) ** 2))
  assert got["mr_ece"] == pytest.approx(metrics_np.ece(p, y, NUM_BINS), abs=1e-9)


@pytest.mark.parametrize(("masks", "valid"), [([[1], [0]], [1]), ([[1, 0]], [1, 0]), ([[1, 0]], [0, 0])])
def test_without_a_second_rater_everything_is_undefined_and_nothing_warns(masks, valid):
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    got = metrics.Scores(panel_sums(masks, valid)).panel()["raters"]
  names = ("pairwise_dice_mean", "pairwise_kappa_mean", "fleiss_kappa", "krippendorff_alpha", "share_disputed")
  assert np.isnan([got[name] for name in names]).all()
  assert np.isnan(list(got["leave_one_out"].values())).all()
