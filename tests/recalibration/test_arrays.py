"""Recalibration of arrays as a library: what is fitted, what is refused."""

import doctest
import re

import numpy as np
import pytest
from scipy import optimize, special

from ordseg import recalibration
from ordseg.errors import InputError
from ordseg.recalibration import arrays

R = 3


def drawn(num=20_000, seed=0):
  """Returns level probabilities that are twice as sure as they should be, votes of n raters, n."""
  draws = np.random.default_rng(seed)
  logits = draws.normal(size=(num, R + 1))
  true = special.softmax(logits, axis=-1)
  level = (draws.random((num, 1)) > true.cumsum(-1)).sum(-1)
  num_valid = draws.integers(1, R + 1, num)
  votes = draws.hypergeometric(level, R - level, num_valid)
  return special.log_softmax(2 * logits, axis=-1), votes, num_valid


def test_finds_the_temperature_and_the_least_nll():
  log_probs, votes, num_valid = drawn()
  found = recalibration.fit(log_probs, votes, num_valid)
  assert found.recalibration.parameters["temperature"][0] == pytest.approx(2.0, rel=0.05)

  full = num_valid == R

  def nll(temperature):  # the formula, of pixels that all raters answered
    scaled = special.log_softmax(log_probs[full] / temperature, axis=-1)
    return -scaled[np.arange(full.sum()), votes[full]].mean()

  want = optimize.minimize_scalar(nll, bounds=(0.5, 8), method="bounded")
  alone = recalibration.fit(log_probs, votes, num_valid, mask=full)
  assert alone.recalibration.parameters["temperature"][0] == pytest.approx(want.x, rel=1e-3)
  assert alone.after == pytest.approx(want.fun, rel=1e-6) and alone.before == pytest.approx(nll(1.0), rel=1e-6)


def test_any_leading_axes_are_pixels():
  log_probs, votes, num_valid = drawn(600)
  flat = recalibration.fit(log_probs, votes, num_valid)
  shape = (2, 15, 20)
  images = recalibration.fit(log_probs.reshape(*shape, R + 1), votes.reshape(shape), num_valid.reshape(shape))
  assert images.recalibration.plain() == flat.recalibration.plain()
  of_panel = recalibration.fit(log_probs[:300], np.minimum(votes[:300], 2), np.full((1,), 2))
  assert of_panel.by_vote is False
  mapped = recalibration.apply(flat.recalibration, log_probs.reshape(2, 15, 20, R + 1))
  assert mapped.shape == (2, 15, 20, R + 1)
  np.testing.assert_array_equal(np.reshape(mapped, (600, -1)), recalibration.apply(flat.recalibration, log_probs))


def test_a_level_that_is_impossible_stays_so():
  """A head of one probability: log 0 between the ends."""
  prob = np.asarray([0.9] * 10)
  with np.errstate(divide="ignore"):
    log_probs = np.log(np.stack([1 - prob, 0 * prob, prob], -1))
  found = recalibration.fit(log_probs, [2] * 6 + [0] * 4)
  assert found.by_vote
  out = np.exp(recalibration.apply(found.recalibration, log_probs[0]))
  assert out == pytest.approx([0.4, 0.0, 0.6], abs=1e-4)


Z, C = np.log(np.full((4, 3), 1 / 3)), np.zeros(4, int)


@pytest.mark.parametrize(
  ("arguments", "options", "message"),
  [
    ((np.full((4, 3), 1 / 3), C), {}, "exp(log_probs[0]) sums to 4.18684 over the levels, expected 1"),
    ((np.full((4, 3), np.nan), C), {}, "exp(log_probs[0]) sums to nan"),
    ((Z[:, :1], C), {}, "expected floats [..., R + 1]"),
    ((Z, C[:3]), {}, "votes has shape (3,), expected (4,)"),
    ((Z, C + 0.5), {}, "votes has type float64, expected whole numbers"),
    ((Z, C + 3), {}, "votes[0] is 3 of num_valid 2, expected 0 <= votes <= num_valid <= 2"),
    ((Z, C - 1), {}, "votes[0] is -1"),
    ((Z, C + 2, C + 1), {}, "votes[0] is 2 of num_valid 1"),
    ((Z, C, C + 3), {}, "votes[0] is 0 of num_valid 3"),
    ((Z, C, np.zeros(3, int)), {}, "num_valid has shape (3,), which does not broadcast to (4,)"),
    ((Z, C, 0), {}, "nothing to fit to"),
    ((Z, C), {"mask": C}, "nothing to fit to"),
    ((Z, C), {"mask": np.ones(3)}, "mask has shape (3,)"),
    ((Z, C), {"method": "temprature"}, "Did you mean"),
    ((Z, C), {"loss": "mse"}, "loss='mse'"),
  ],
)
def test_what_is_wrong_is_refused_in_one_line(arguments, options, message):
  with pytest.raises(InputError, match=re.escape(message)) as error:
    recalibration.fit(*arguments, **options)
  assert "\n" not in str(error.value)


def test_a_map_of_other_raters_is_refused():
  found = recalibration.fit(*drawn(100)).recalibration
  with pytest.raises(InputError, match=r"log_probs has 3 levels, but the map is of 3 raters: it takes 4"):
    recalibration.apply(found, Z)


def test_examples_of_the_docstrings():
  found = doctest.testmod(arrays)
  assert found.attempted and not found.failed
