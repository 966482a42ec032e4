"""Which raters the training sees."""

import numpy as np
import pytest

from ordseg.errors import InputError
from ordseg.input_pipeline import panels


def choose(valid, raters, seed=0):
  return panels.choose(np.asarray(valid), raters, np.random.default_rng(seed)).tolist()


def test_all_keeps_those_who_answered():
  assert choose([1, 0, 1], "all") == [1, 0, 1]


def test_random_takes_each_of_those_who_answered_equally_often():
  found = np.asarray([choose([1, 0, 1, 1], "random", seed) for seed in range(600)])
  assert (found.sum(1) == 1).all()
  counts = found.sum(0)
  assert counts[1] == 0 and (np.abs(counts[[0, 2, 3]] - 200) < 45).all()


def test_numbers_take_these_and_a_missing_one_stays_missing():
  assert choose([1, 0, 1, 1], "1,3") == [0, 0, 0, 1]
  assert choose([1, 0, 1, 1], "1") == [0, 0, 0, 0]


@pytest.mark.parametrize("raters", ["", "3", "-1", "1,1", "0;1", "any"])
def test_what_is_no_choice_of_raters(raters):
  with pytest.raises(InputError, match=r"config.data.raters=.*numbers from 0 to 2"):
    panels.check(raters, 3)
