"""The maps against their formulas, and what a fit must do on data that break others."""

import dataclasses
import json

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import strategies as st

from ordseg import recalibration
from ordseg.errors import InputError
from ordseg.heads import HEADS, LOG_ZERO
from ordseg.recalibration import METHODS, Recalibration, Sample, Sampler, maps, tilting
from tests.reference import metrics_np
from tests.reference import recalibration_np as reference

R = 4
FORMULAS = [name for name, line in METHODS.items() if line.parameters]


def probs(num=200, seed=0, spread=2.0):
  z = np.random.default_rng(seed).normal(0, spread, (num, R + 1))
  return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def made(method, seed=0):
  """A map with made-up parameters inside their bounds."""
  draws = np.random.default_rng(seed)
  if method == "isotonic":
    logit = np.sort(draws.normal(0, 5, 20))
    return Recalibration(method, R, {"logit": logit, "value": np.sort(draws.normal(0, 3, 20))})
  specs = METHODS[method].parameters
  values = {name: draws.normal(0, 0.7, spec.size(R)) for name, spec in specs.items()}
  return Recalibration(method, R, {n: np.exp(x) if specs[n].log else x for n, x in values.items()})


def sample(num=6_000, *, stretch=1.0, seed=0, level_0=0.0, missing=False, per_image=1000):
  """Votes drawn from random distributions, of which log_probs are the logits times `stretch`."""
  draws = np.random.default_rng(seed)
  z = draws.normal(0, 2, (num, R + 1))
  z[:, 0] += level_0
  p = np.exp(z - z.max(-1, keepdims=True))
  p /= p.sum(-1, keepdims=True)
  level = (draws.random((num, 1)) > p.cumsum(-1)[:, :-1]).sum(-1)
  n = draws.integers(1, R + 1, num) if missing else np.full(num, R)
  return Sample(
    log_probs=np.asarray(jax.nn.log_softmax(jnp.asarray(z * stretch))),
    votes=draws.hypergeometric(level, R - level, n).astype(np.int32),
    num_valid=n.astype(np.int32),
    weight=draws.uniform(0.5, 2, num),
    stratum=np.arange(num) // per_image,
    cluster=np.arange(num) // per_image,
  )


def mapped(found, log_probs):
  out = np.asarray(jax.jit(found)(log_probs))
  assert np.isfinite(out).all()
  np.testing.assert_allclose(np.exp(out.astype(np.float64)).sum(-1), 1, atol=2e-5)
  return out


# --- Maps


@pytest.mark.parametrize(
  ("method", "parameters", "oracle"),
  [
    ("temperature", {"temperature": [2.5]}, lambda p: reference.temperature(p, 2.5)),
    ("bias", {"bias": [0, 1, -2, 0.5, 1]}, lambda p: reference.vector(p, np.ones(5), [0, 1, -2, 0.5, 1])),
    (
      "vector",
      {"scale": [0.5, 1, 2, 3, 1], "bias": [0, 1, -2, 0.5, 1]},
      lambda p: reference.vector(p, [0.5, 1, 2, 3, 1], [0, 1, -2, 0.5, 1]),
    ),
    ("cutpoints", {"shift": [0.5, -1, 2, 0.3]}, lambda p: reference.cutpoints(p, np.array([0.5, -1, 2, 0.3]))),
    (
      "cutpoints_slope",
      {"slope": [0.4], "shift": [0.5, -1, 2, 0.3]},
      lambda p: reference.cutpoints(p, np.array([0.5, -1, 2, 0.3]), 0.4),
    ),
  ],
)
def test_maps_of_levels_are_their_formulas(method, parameters, oracle):
  p = probs()
  found = mapped(Recalibration(method, R, {k: np.asarray(v, float) for k, v in parameters.items()}), np.log(p))
  np.testing.assert_allclose(np.exp(found), oracle(p), atol=3e-6)


def test_beta_and_isotonic_move_the_mean_vote_and_tilt_the_rest():
  p = probs(60)
  m = reference.mean_vote(p)
  beta = Recalibration("beta", R, {"a": np.array([0.4]), "b": np.array([1.7]), "c": np.array([-0.6])})
  want = 1 / (1 + np.exp(0.6) * (1 - m) ** 1.7 / m**0.4)
  found = np.exp(mapped(beta, np.log(p)))
  np.testing.assert_allclose(reference.mean_vote(found), want, atol=3e-6)
  np.testing.assert_allclose(found, [reference.tilted(*pair) for pair in zip(p, want, strict=True)], atol=2e-5)
  knots = Recalibration("isotonic", R, {"logit": np.array([-3.0, 0, 1]), "value": np.array([-1.0, -1, 2])})
  want = np.interp(np.log(m / (1 - m)), [-3, 0, 1], [-1, -1, 2])
  found = reference.mean_vote(np.exp(mapped(knots, np.log(p))))
  np.testing.assert_allclose(found, 1 / (1 + np.exp(-want)), atol=3e-6)


def test_temperature_of_a_head_with_one_probability_divides_its_logit():
  logit = np.linspace(-30, 30, 61, dtype=np.float32)
  log_probs = HEADS["sigmoid"].log_level_probs(jnp.asarray(logit[:, None]), R)
  found = mapped(Recalibration("temperature", R, {"temperature": np.array([4.0])}), log_probs)
  np.testing.assert_allclose(found[:, -1] - found[:, 0], logit / 4, atol=1e-5)
  assert (found[:, 1:-1] == LOG_ZERO).all()


def test_shifts_of_the_coral_head_are_those_of_its_constants():
  x = np.array([[0.3, 0.7, -1, 2]], np.float32)
  shift = np.array([0.5, -0.3, 1, 0.2])
  head = HEADS["coral"]
  moved = Recalibration("cutpoints", R, {"shift": shift})(head.log_level_probs(jnp.asarray(x), R))
  np.testing.assert_allclose(moved, head.log_level_probs(jnp.asarray(x + shift, jnp.float32), R), atol=1e-5)


@pytest.mark.parametrize("method", FORMULAS)
def test_the_identity_changes_nothing(method):
  unchanged = Recalibration(method, R, maps.identity(method, R))
  for name, head in HEADS.items():
    if name == "sigmoid" and METHODS[method].needs_levels:
      continue
    logits = np.random.default_rng(1).normal(0, 5, (300, head.num_outputs(R))).astype(np.float32)
    before = head.log_level_probs(jnp.asarray(logits), R)
    np.testing.assert_allclose(np.exp(mapped(unchanged, before)), np.exp(before), atol=5e-6, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_any_map_gives_distributions_at_any_logits(method):
  draws = np.random.default_rng(2)
  logits = np.concatenate([draws.normal(0, scale, (100, R + 1)) for scale in (1, 1e2, 1e4)]).astype(np.float32)
  ruled_out = np.where(draws.random(logits.shape) < 0.5, LOG_ZERO, logits)
  ruled_out[:, 2] = logits[:, 2]
  out = mapped(made(method), jax.nn.log_softmax(np.concatenate([logits, ruled_out])))
  assert not ((out[300:] > LOG_ZERO / 2) & (ruled_out == LOG_ZERO)).any()


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(seed=st.integers(0, 10**6), spread=st.sampled_from([0.1, 3.0, 30.0]), wanted=st.floats(-30, 30))
def test_tilting_reaches_the_mean_and_keeps_the_shape(seed, spread, wanted):
  z = np.random.default_rng(seed).normal(0, spread, (16, R + 1)).astype(np.float32)
  log_probs = jax.nn.log_softmax(z)
  out = _TILT(log_probs, jnp.full(16, wanted, jnp.float32))
  np.testing.assert_allclose(tilting.mean_vote_logit(out), wanted, atol=1e-4, rtol=1e-4)
  # log(p' / p) is a straight line in the level.
  ratio = np.asarray(out, np.float64) - np.asarray(log_probs, np.float64)
  bend = np.abs(np.diff(ratio, 2)).max()
  assert bend < 1e-5 * (1 + np.abs(out).max() + np.abs(log_probs).max())


_TILT = jax.jit(tilting.tilt)


def test_a_pixel_does_not_depend_on_its_neighbours():
  log_probs = jnp.asarray(np.log(probs(300, spread=6)), jnp.float32)
  recalibrate = made("beta")
  alone = jax.jit(lambda x: jax.lax.map(recalibrate, x))(log_probs[::60])
  np.testing.assert_allclose(jax.jit(recalibrate)(log_probs)[::60], alone, atol=1e-5)


# --- Fits


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("loss", recalibration.LOSSES)
def test_a_known_temperature_is_found(loss, missing):
  found = recalibration.fit_sample("temperature", sample(80_000, stretch=3.0, missing=missing), loss=loss)
  assert found.recalibration.parameters["temperature"][0] == pytest.approx(3.0, rel=0.02)
  assert found.converged and not found.at_bounds and found.after < found.before


@pytest.mark.parametrize("loss", recalibration.LOSSES)
def test_the_objective_is_that_of_the_thinned_distribution(loss):
  some = sample(300, stretch=1.5, missing=True)
  found = recalibration.fit_sample("vector", some, loss=loss)
  args = (some.votes, some.num_valid, some.weight, loss)
  before, after = (
    np.exp(some.log_probs.astype(float)),
    np.exp(mapped(found.recalibration, some.log_probs).astype(float)),
  )
  assert found.before == pytest.approx(reference.objective(before, *args), rel=1e-5)
  assert found.after == pytest.approx(reference.objective(after, *args), rel=1e-5)


AWKWARD = {
  "extreme": lambda: sample(stretch=5000.0),
  "background": lambda: sample(30_000, level_0=12.0, stretch=2.0),
  "missing": lambda: sample(stretch=2.0, missing=True),
  "one_image": lambda: sample(500, stretch=2.0),
  "empty": lambda: dataclasses.replace(sample(), votes=np.zeros(6_000, np.int32)),
  "separable": lambda: _separable(1.0),
  "saturated": lambda: _separable(1e5),
}


def _separable(scale):
  some = sample(2000)
  return dataclasses.replace(some, log_probs=np.asarray(jax.nn.log_softmax(scale * np.eye(R + 1)[some.votes])))


@pytest.mark.parametrize(
  ("method", "kind"),
  [(method, kind) for method in ("temperature", "vector", "beta", "isotonic") for kind in AWKWARD]
  + [("cutpoints_slope", "background"), ("cutpoints", "missing"), ("bias", "separable")],
)
def test_a_fit_ends_finite_and_never_worse_than_nothing(method, kind):
  some = AWKWARD[kind]()
  found = recalibration.fit_sample(method, some, loss="rps" if kind == "missing" else "nll")
  assert np.isfinite(found.before) and found.after <= found.before * (1 + 1e-6) + 1e-12
  assert found.converged, found
  out = mapped(found.recalibration, some.log_probs)
  for name, spec in METHODS[method].parameters.items():
    values = found.recalibration.parameters[name]
    np.testing.assert_array_equal(values, np.clip(values, spec.low - 1e-9, spec.high + 1e-9))
  if kind == "background":
    assert 0 < (some.votes > 0).mean() < 0.003
  if kind == "separable" and method in ("temperature", "vector"):
    assert found.at_bounds and found.after < 1e-6
  if kind in ("extreme", "background", "missing") and method in ("temperature", "vector"):
    assert found.after < 0.97 * found.before, found  # and not the input handed back
  if method == "temperature" and kind == "extreme":
    assert found.recalibration.parameters["temperature"][0] == pytest.approx(5000, rel=0.05)
  if kind == "empty" and method == "isotonic":
    assert (reference.mean_vote(np.exp(out)) < 1e-4).all()


def test_isotonic_is_the_best_never_falling_function():
  """Against the min-max formula: f_i = max over a <= i of the min over b >= i of the mean of y_a..y_b."""
  draws = np.random.default_rng(0)
  m = np.sort(draws.uniform(0.05, 0.95, 40))
  n, votes = np.full(40, R), draws.binomial(R, m**2)
  log_probs = np.log(np.stack([1 - m, *[np.zeros(40)] * (R - 1), m], -1) + 1e-30)
  weight = draws.uniform(1, 3, 40)
  some = Sample(np.asarray(log_probs, np.float32), votes.astype(np.int32), n, weight, np.arange(40), np.arange(40))
  found = recalibration.fit_sample("isotonic", some)
  y, w = votes / n, weight

  def mean(a, b):
    return (y[a : b + 1] @ w[a : b + 1]) / w[a : b + 1].sum()

  want = [max(min(mean(a, b) for b in range(i, 40)) for a in range(i + 1)) for i in range(40)]
  got = reference.mean_vote(np.exp(mapped(found.recalibration, some.log_probs)))
  inner = (np.asarray(want) > 0) & (np.asarray(want) < 1)
  np.testing.assert_allclose(got[inner], np.asarray(want)[inner], atol=1e-4)
  assert inner.sum() > 20


def test_a_head_of_one_probability_is_scored_by_vote_and_has_no_levels_to_move():
  draws = np.random.default_rng(0)
  logit = draws.normal(0, 2, 40_000).astype(np.float32)
  votes = draws.binomial(R, 1 / (1 + np.exp(-logit))).astype(np.int32)
  log_probs = np.asarray(HEADS["sigmoid"].log_level_probs(jnp.asarray(3 * logit[:, None]), R))
  zeros = np.zeros(len(votes), int)
  some = Sample(log_probs, votes, np.full(len(votes), R), np.ones(len(votes)), zeros, zeros)
  for loss in recalibration.LOSSES:
    found = recalibration.fit_sample("temperature", some, loss=loss)
    assert found.by_vote and found.recalibration.parameters["temperature"][0] == pytest.approx(3, rel=0.02)
  with pytest.raises(InputError, match="1, 2, 3 no probability"):
    recalibration.fit_sample("cutpoints", some)


def test_votes_that_the_prediction_rules_out_are_left_out_and_told():
  some = sample(4000, stretch=2.0)
  log_probs = some.log_probs.copy()
  log_probs[:400] = [0, *[LOG_ZERO] * R]
  some = dataclasses.replace(some, log_probs=log_probs, votes=np.where(np.arange(4000) < 400, 2, some.votes))
  found = recalibration.fit_sample("temperature", some, loss="nll")
  assert found.ruled_out == pytest.approx(some.weight[:400].sum() / some.weight.sum())
  assert found.recalibration.parameters["temperature"][0] == pytest.approx(2, rel=0.1) and found.before < 10


def test_the_errors_are_those_of_drawing_again():
  everything = sample(8_000, stretch=2.0, per_image=2_000)
  found = recalibration.fit_sample("temperature", everything)
  draws = np.random.default_rng(0)
  gains, errors = [], []
  for _ in range(40):
    rows = np.concatenate([draws.choice(2_000, 500, replace=False) + 2_000 * k for k in range(4)])
    part = Sample(*(getattr(everything, f.name)[rows] for f in dataclasses.fields(Sample)))
    part = dataclasses.replace(part, weight=np.full(2000, 4.0))
    scored = recalibration.check(found, part)
    gains.append(scored.before - scored.after)
    errors.append(scored.error_pixels)
  assert np.mean(errors) == pytest.approx(np.std(gains), rel=0.25)
  assert recalibration.check(found, sample(500, per_image=500)).error_images is None


def test_unknown_methods_and_losses():
  for kwargs, message in (
    ({"method": "temprature"}, "Did you mean 'temperature'"),
    ({"loss": "brier"}, "loss='brier'"),
  ):
    with pytest.raises(InputError, match=message):
      recalibration.fit_sample(**{"method": "temperature", "sample": sample(10), **kwargs})


# --- Samples


def drawn(pixels_per_image, names=("a", "b", "c"), seed=0):
  sampler = Sampler(pixels_per_image, seed)
  for name in names:
    draws = np.random.default_rng(ord(name))
    share = np.zeros((40, 50))
    share[10:14, 10:16] = 0.5
    p = np.stack([1 - share, *[share / R] * R], -1)
    masks = draws.random((40, 50, R)) < share[..., None]
    log_probs = np.log(np.maximum(p, 1e-30)).astype(np.float32)
    sampler.add(log_probs, masks, np.array([1, 1, 0, 1]), np.ones((40, 50)), name=name, group="g" * (name == "b"))
  return sampler


def test_samples_are_disjoint_weighted_and_do_not_depend_on_the_order():
  sampler = drawn(100)
  first, second = sampler.samples()
  assert sampler.num_images == 3 and sampler.num_pixels == 6000
  assert first.weight.sum() == pytest.approx(6000) and second.weight.sum() == pytest.approx(6000)
  assert len(first) + len(second) <= 600 and set(first.num_valid) == {3}
  assert (first.votes > 0).mean() > 0.05 > first.weight[first.votes > 0].sum() / 6000  # the object is not lost
  again = drawn(100, "cba").samples()[0]
  assert sorted(again.votes * again.weight) == sorted(first.votes * first.weight)
  assert sorted(drawn(100, seed=1).samples()[0].votes) != sorted(first.votes)
  estimates = [(s.weight @ s.votes) / 6000 for seed in range(40) for s in drawn(100, seed=seed).samples()]
  whole = drawn(10_000).samples()
  truth = sum(s.votes.sum() for s in whole) / 6000
  assert np.mean(estimates) == pytest.approx(truth, rel=0.03)
  assert len(whole[0]) + len(whole[1]) == 6000


def test_images_that_nobody_rated_are_left_out():
  sampler = Sampler(10)
  log_probs = np.log(np.full((4, 4, R + 1), 1 / (R + 1), np.float32))
  sampler.add(log_probs, np.ones((4, 4, R)), np.zeros(R), np.ones((4, 4)), name="a")
  sampler.add(log_probs, np.ones((4, 4, R)), np.ones(R), np.zeros((4, 4)), name="b")
  assert sampler.num_images == 0 and sampler.samples() == (None, None)


# --- Files


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_the_map_back(method, tmp_path):
  before = made(method)
  (tmp_path / "map.json").write_text(json.dumps({**before.plain(), "fitted": {"step": 3}}))
  after, content = recalibration.read(tmp_path / "map.json")
  assert content["fitted"] == {"step": 3}
  log_probs = np.log(probs(20)).astype(np.float32)
  np.testing.assert_array_equal(before(log_probs), after(log_probs))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"format": 2}, "format 2 is unknown"),
    ({"method": "temprature"}, "Did you mean 'temperature'"),
    ({"num_raters": "4"}, "num_raters='4'"),
    ({"parameters": {"temperature": [1, 2]}}, "parameters.temperature must be a list of 1"),
    ({"parameters": {"temperature": [float("nan")]}}, "finite"),
    ({"parameters": None}, "no recalibration map"),
    ({"method": "isotonic", "parameters": {"logit": [0, 1], "value": [1, 0]}}, "never fall"),
  ],
)
def test_damaged_files_are_refused(change, message, tmp_path):
  path = tmp_path / "map.json"
  path.write_text(json.dumps({**made("temperature").plain(), **change}))
  with pytest.raises(InputError, match=message):
    recalibration.read(path)
  path.write_text("{")
  with pytest.raises(InputError, match="damaged"):
    recalibration.read(path)
  with pytest.raises(InputError, match="no such"):
    recalibration.read(tmp_path / "other.json")


# --- Judging ----------------------------------------------------------------------------------------------------------


def judged_sample(correlated, sharpness, num_images=8, size=600, raters=4):
  """Binomial predictions; raters who vote alike or by themselves, with the predicted mean, or a less sure one."""
  rng = np.random.default_rng(num_images)
  logit = rng.normal(0, 1.5, num_images * size)
  share = 1 / (1 + np.exp(-logit))
  votes = raters * (rng.random(share.size) < share) if correlated else rng.binomial(raters, share)
  said = 1 / (1 + np.exp(-sharpness * logit))
  k = np.arange(raters + 1)
  p = scipy.special.comb(raters, k) * said[:, None] ** k * (1 - said[:, None]) ** (raters - k)
  one = np.ones(share.size)
  return recalibration.Sample(
    np.log(p).astype(np.float32), votes.astype(np.int32), np.full(share.size, raters, np.int32), one,
    np.zeros(share.size, np.int64), np.repeat(np.arange(num_images), size),
  )  # fmt: skip


def test_a_map_that_spoils_the_mean_vote_is_not_kept():
  """Raters who vote alike: the levels' NLL wants a flat distribution, which moves a calibrated mean towards 1/2."""
  found = recalibration.judge(["temperature"], judged_sample(True, 1.0), loss="nll", read_out="mean_vote")
  assert found.kept == "none" and found.folds == 5
  assert found.scores["temperature"].ece > found.scores["none"].ece + 0.02
  assert found.scores["temperature"].brier > found.scores["none"].brier


def test_a_map_that_mends_the_mean_vote_is_kept():
  sample = judged_sample(False, 2.0)
  found = recalibration.judge(["temperature", "beta"], sample, loss="nll", read_out="mean_vote")
  assert found.kept in ("temperature", "beta")
  assert found.scores[found.kept].ece < 0.5 * found.scores["none"].ece
  p = np.exp(sample.log_probs.astype(np.float64)) @ (np.arange(5) / 4)
  votes = (np.arange(4) < sample.votes[:, None]).astype(float)
  assert found.scores["none"].brier == pytest.approx(np.mean((p[:, None] - votes) ** 2), abs=1e-6)
  assert found.scores["none"].ece == pytest.approx(metrics_np.ece(p, sample.votes / 4, 15), abs=1e-5)


def test_one_image_cannot_be_judged():
  assert recalibration.judge(["temperature"], judged_sample(False, 2.0, 1), loss="nll", read_out="mean_vote") is None
