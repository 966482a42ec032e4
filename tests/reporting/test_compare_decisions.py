"""A comparison decides once: test, interval, sentence and mark."""

import dataclasses
import math
import shutil

import pytest

from ordseg import statistics
from ordseg.reporting.compare import differences, runs, words, writing
from tests.helpers import comparisons

FAST = statistics.Settings(num_resamples=200)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return comparisons.write(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def results(made):
  return differences.analyse(runs.load([str(made / "a"), str(made / "b")]), settings=FAST)


def planted(**changes):
  """A difference of a calibration error whose interval decides, as `analyse` makes it."""
  plain = {"method": "b", "metric": "read_outs.mean_vote.mr_ece_pooled", "estimate": -0.0105, "raw": -0.0109}
  plain |= {"low": -0.0137, "high": -0.0049, "held_low": -0.0141, "held_high": 0.0003, "held": 0.9875}
  plain |= {
    "by_interval": True,
    "p": 0.0158,
    "p_holm": 0.063,
    "swap_p": 0.02,
    "seed_low": math.nan,
    "seed_high": math.nan,
  }
  return differences.Difference(**{**plain, **changes})


MEAN = {"metric": "levels.rps", "by_interval": False, "raw": -0.0105}
FOUND = {"held_high": -0.0001, "p": 0.001, "p_holm": 0.004}


@pytest.mark.parametrize(
  ("changes", "found", "phrase"),
  [
    ({}, False, "no difference in MR-ECE (mean vote) between b and a is shown after correcting for 4 comparisons"),
    (FOUND, True, "b has lower (better) MR-ECE (mean vote) than a"),
    ({"high": 0.001, "p": 0.2, "p_holm": 0.8}, False, "between b and a is shown (difference"),
    ({**MEAN, "p": 0.01, "p_holm": 0.04}, True, "b has lower (better) RPS than a"),
    ({**MEAN, "p": 0.02, "p_holm": 0.08}, False, "is shown after correcting for 4 comparisons (difference"),
    ({**MEAN, "p": 0.2, "p_holm": 0.8}, False, "is shown, since the permutation test decides (difference"),
    ({**MEAN, "p": 0.01, "p_holm": 0.04, "high": 0.1}, False, "is shown, since the interval holds 0 (difference"),
    ({**MEAN, "p": 0.01, "p_holm": 0.04, "low": math.nan, "high": math.nan}, True, "b has lower (better) RPS than a"),
  ],
)
def test_sentence_marker_and_interval_say_one_thing(results, changes, found, phrase, monkeypatch):
  d = planted(**changes)
  one = dataclasses.replace(results, differences=(d,) * 4, metrics=(d.metric,))
  assert words.is_found(d, one) == found
  sentence = words.sentences(one)[0]
  assert phrase in sentence and (f"Holm p = {words.p_text(d.p_holm)}" in sentence)
  drawn = []
  monkeypatch.setattr(writing.forest, "forest", lambda panels, caption: drawn.append((panels, caption)))
  writing._forest(one, {d.metric: "x"})
  [[mark]], caption = list(drawn[0][0].values()), drawn[0][1]
  assert mark.found == found
  assert "filled: found, corrected for 4 comparisons; hollow: not shown" in caption
  if d.by_interval:  # what is drawn is what decides
    assert found == (not mark.corrected[0] <= 0 <= mark.corrected[1])
    assert ", corrected for 4 comparisons \u22120.0141 to" in sentence


def test_test_and_interval_of_calibration_errors_agree(made):
  """On runs from alike to far apart, for every comparison and at every number of them."""
  names = [str(made / name) for name in ("b", "a", "s0", "s1", "t0", "t1")]
  paths = ["read_outs.mean_vote.mr_ece_pooled", "read_outs.mean_vote.ace", "levels.level_ece", "levels.rps"]
  for chosen in (names, names[:3], [names[2], names[4]]):
    got = differences.analyse(runs.load(chosen), paths=paths, settings=FAST)
    assert got.num_tested == 4 * (len(chosen) - 1)
    for d in got.differences:
      assert d.low <= d.estimate <= d.high and d.held >= 0.95
      assert d.by_interval == (d.metric != "levels.rps")
      if d.by_interval:
        assert d.held_low <= d.low and d.high <= d.held_high
        assert words.is_found(d, got) == (d.p_holm < 0.05) == (not d.held_low <= 0 <= d.held_high)
        assert (d.p < 0.05) == (not d.low <= 0 <= d.high)


def test_a_run_against_itself_differs_by_nothing(made, tmp_path):
  shutil.copytree(made / "a", tmp_path / "a")
  path = "read_outs.mean_vote.mr_ece_pooled"
  [d] = differences.analyse(runs.load([str(made / "a"), str(tmp_path / "a")]), paths=[path], settings=FAST).differences
  assert (d.low, d.estimate, d.high, d.p) == (0.0, 0.0, 0.0, 1.0)


def test_baseline_and_method_change_places(made):
  both = [str(made / "a"), str(made / "b")]
  [there], [back] = (
    differences.analyse(runs.load(both), paths=differences.DEFAULT_METRICS[:1], settings=FAST, baseline=b).differences
    for b in ("a", "b")
  )
  assert (there.low, there.high, there.p) == pytest.approx((-back.high, -back.low, back.p))


@pytest.mark.parametrize(
  ("value", "written"), [(0.0, "0.0000"), (-0.00002, "\u22120.000020"), (1e-12, "0.0000"), (0.00449, "+0.0045")]
)
def test_what_is_not_zero_is_not_written_so(value, written):
  assert words.number(value, "-", sign="+") == written
