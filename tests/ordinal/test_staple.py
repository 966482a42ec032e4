"""STAPLE against ITK's, and on panels whose quality is known."""

import numpy as np
import pytest

from ordseg import ordinal
from ordseg.ordinal import staple


def posterior(masks, valid):
  weights = staple.label_weights(masks, valid)
  target = ordinal.encode(masks[None], valid[None], label_weights=weights[None])
  return np.asarray(target.estimated_label[0])


def panel(rates, *, size=(60, 50), seed=0):
  """Masks of raters with given (sensitivity, specificity) of a disc."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[: size[0], : size[1]]
  truth = (y - 30) ** 2 + (x - 22) ** 2 < 200
  masks = [np.where(truth, rng.random(size) < p, rng.random(size) > q) for p, q in rates]
  return truth, np.stack(masks, axis=-1).astype(np.uint8)


RATES = [(0.95, 0.99), (0.7, 0.95), (0.9, 0.8), (0.6, 0.97)]


def test_against_simpleitk():
  sitk = pytest.importorskip("SimpleITK")
  _, masks = panel(RATES)
  want = sitk.GetArrayFromImage(
    sitk.STAPLE([sitk.GetImageFromArray(masks[..., r]) for r in range(4)], 1.0, 1.0, 2**31 - 1)
  )
  np.testing.assert_allclose(posterior(masks, np.ones(4, np.uint8)), want, atol=2e-3)


def test_finds_the_truth_where_the_majority_does_not():
  rates = [(0.98, 0.99)] * 2 + [(0.6, 0.75)] * 4
  truth, masks = panel(rates, seed=1)
  estimate = posterior(masks, np.ones(6, np.uint8)) >= 0.5
  assert (estimate == truth).mean() > 0.99 > (((2 * masks.sum(-1)) >= 6) == truth).mean()


def test_a_missing_rater_has_no_weight():
  _, masks = panel(RATES)
  garbage = masks.copy()
  garbage[..., 2] = 1
  valid = np.asarray([1, 1, 0, 1], np.uint8)
  weights = staple.label_weights(garbage, valid)
  assert weights[3] == 0 and weights.dtype == np.float32
  np.testing.assert_allclose(weights[[0, 1, 2, 4]], staple.label_weights(masks[..., [0, 1, 3]], np.ones(3)), rtol=1e-5)


@pytest.mark.parametrize("value", [0, 1])
def test_where_all_say_the_same(value):
  masks = np.full((6, 5, 3), value, np.uint8)
  np.testing.assert_allclose(posterior(masks, np.ones(3, np.uint8)), value, atol=1e-3)


def test_nobody_answered_and_one_did():
  masks = panel(RATES)[1][..., :1]
  assert staple.label_weights(masks, np.zeros(1, np.uint8)).tolist() == [0, 0]
  np.testing.assert_allclose(posterior(masks, np.ones(1, np.uint8)), masks[..., 0], atol=1e-3)
