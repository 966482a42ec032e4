import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg import heads, losses, ordinal
from ordseg.errors import InputError
from ordseg.losses import neighbours
from tests.reference import ordinal_np


def log_probs_of(p):
  return jnp.log(jnp.asarray(p, jnp.float32)).reshape(1, 1, -1, np.shape(p)[-1])


def of_target(fn, log_probs, target, **values):
  """Calls a loss as training does: its arguments are read from the target."""
  return losses.LossSpec(fn.__name__, fn, "").bind(values)(log_probs, target)


def target_of(counts, n, raters):
  """A [1, 1, N] target with the given counts, all by the first n raters."""
  counts = np.atleast_1d(counts)
  masks = (np.arange(raters) < counts[:, None]).astype(np.uint8)[None, None]
  valid = (np.arange(raters) < n).astype(np.uint8)[None]
  return ordinal.encode(masks, valid)


def test_golden_values():
  two = target_of(2, 2, 2)
  np.testing.assert_allclose(
    of_target(losses.rps, log_probs_of([0.3, 0.3, 0.4]), two, divisor="thresholds"), 0.225, rtol=1e-6
  )
  certain = log_probs_of([1 - 4e-9, 1e-9, 1e-9, 1e-9, 1e-9])
  np.testing.assert_allclose(of_target(losses.rps, certain, target_of(4, 4, 4)), 0.8, rtol=1e-6)


@pytest.mark.parametrize(("divisor", "factor"), [("thresholds", 1.0), ("levels", 0.5), ("none", 1.0)])
def test_one_rater_gives_brier(divisor, factor):
  for p, c in ((0.3, 0), (0.3, 1), (0.9, 1)):
    got = of_target(losses.rps, log_probs_of([1 - p, p]), target_of(c, 1, 1), divisor=divisor)
    np.testing.assert_allclose(got, factor * (p - c) ** 2, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), raters=st.integers(1, 7), data=st.data())
def test_losses_against_the_oracle(seed, raters, data):
  n = data.draw(st.integers(1, raters))
  c = data.draw(st.integers(0, n))
  p = np.random.default_rng(seed).dirichlet(np.ones(raters + 1)).astype(np.float32) * 0.98 + 0.02 / (raters + 1)
  log_p, target = log_probs_of(p), target_of(c, n, raters)
  for divisor in losses.DIVISORS:
    got = of_target(losses.rps, log_p, target, divisor=divisor)
    np.testing.assert_allclose(got, ordinal_np.rps(p, c, n, divisor), rtol=2e-4, atol=1e-6)
  np.testing.assert_allclose(of_target(losses.rps_bce, log_p, target), ordinal_np.hybrid(p, c, n), rtol=2e-4, atol=1e-5)
  soft = ordinal_np.bce(ordinal_np.mean_vote_prob(p), c / n)
  np.testing.assert_allclose(of_target(losses.bce_mean_vote, log_p, target), soft, rtol=2e-4, atol=1e-5)


def test_rps_is_brier_of_the_mean_plus_a_shape_term():
  p = np.random.default_rng(0).dirichlet(np.ones(6), 30).astype(np.float32)
  counts = np.random.default_rng(1).integers(0, 6, 30)
  target = target_of(counts, 5, 5)
  rps = of_target(losses.rps, log_probs_of(p), target, divisor="thresholds")[0, 0]
  difference = np.cumsum(p, -1)[:, :-1] - (counts[:, None] <= np.arange(5))
  mean = p @ np.arange(6) / 5
  np.testing.assert_allclose(rps, (mean - counts / 5) ** 2 + difference.var(-1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n", [5, 3, 1])
@pytest.mark.parametrize("divisor", losses.DIVISORS)
def test_rps_is_proper_for_what_was_observed(n, divisor):
  """The expected score under the thinned truth is least at the truth, among distributions moved away from it."""
  rng = np.random.default_rng(n)
  truth = rng.dirichlet(np.ones(6))
  observed = ordinal_np.thin(truth, n)

  def expected(p):
    scores = of_target(
      losses.rps, log_probs_of(np.tile(p, (n + 1, 1))), target_of(np.arange(n + 1), n, 5), divisor=divisor
    )
    return float(observed @ np.asarray(scores[0, 0], np.float64))

  best = expected(truth)
  for _ in range(20):
    other = 0.9 * truth + 0.1 * rng.dirichlet(np.ones(6))
    margin = np.abs(ordinal_np.thin(other, n) - observed).max()
    assert expected(other) > best - 1e-7
    if margin > 0.02:
      assert expected(other) > best


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("head_name", heads.HEADS)
def test_gradients_match_finite_differences(name, head_name):
  head, raters = heads.get_head(head_name), 4
  if losses.LOSSES[name].levels and not head.ordinal:
    return
  loss = losses.get_loss(name, head, {})
  rng = np.random.default_rng(0)
  masks = rng.integers(0, 2, (2, 2, 3, raters), dtype=np.uint8)
  valid = np.asarray([[1, 1, 1, 1], [0, 1, 1, 0]], np.uint8)
  target = ordinal.encode(masks, valid, label_weights=rng.normal(size=(2, raters + 1)).astype(np.float32))
  logits = jnp.asarray(rng.normal(size=(2, 2, 3, head.num_outputs(raters))), jnp.float32)

  def total(z):
    return jnp.sum(loss(heads.predict(head, z, raters), target))

  chex.assert_numerical_grads(total, (logits,), order=1, atol=2e-2, rtol=2e-2, eps=1e-2)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("head_name", heads.HEADS)
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_finite_at_extreme_logits_and_for_images_nobody_rated(name, head_name, scale):
  head, raters = heads.get_head(head_name), 3
  if losses.LOSSES[name].levels and not head.ordinal:
    return
  loss = losses.get_loss(name, head, {})
  rng = np.random.default_rng(0)
  target = ordinal.encode(
    rng.integers(0, 2, (3, 4, 4, raters), dtype=np.uint8),
    np.asarray([[1, 1, 1], [1, 0, 1], [0, 0, 0]], np.uint8),
    label_weights=rng.normal(size=(3, raters + 1)).astype(np.float32),
  )
  for dtype in (jnp.float32, jnp.bfloat16):
    logits = (rng.normal(size=(3, 4, 4, head.num_outputs(raters))) * scale).astype(dtype)

    def total(z):
      return jnp.sum(loss(heads.predict(head, z, raters), target) * target.weight)

    value, grad = jax.value_and_grad(total)(jnp.asarray(logits))
    chex.assert_tree_all_finite((value, grad))
    assert value >= 0
    assert float(jnp.abs(grad[2].astype(jnp.float32)).max()) == 0


def test_the_binary_term_repairs_the_vanishing_gradient():
  """Confidently wrong: RPS alone barely pulls, the hybrid does."""
  z = jnp.zeros((1, 1, 1, 4)).at[..., 0].set(9.0)
  target = target_of(3, 3, 3)

  def pull(name):
    loss = losses.get_loss(name, heads.get_head("softmax"), {})
    grad = jax.grad(lambda x: loss(heads.predict(heads.get_head("softmax"), x, 3), target).sum())(z)
    return float(jnp.abs(grad).max())

  assert pull("rps") < 2e-3 and pull("rps_bce") > 0.9


def test_registry_refuses_what_makes_no_sense():
  softmax, sigmoid = heads.get_head("softmax"), heads.get_head("sigmoid")
  with pytest.raises(InputError, match=r"config.loss.name='rsp' is unknown. Did you mean 'rps'"):
    losses.get_loss("rsp", softmax, {})
  with pytest.raises(InputError, match="one probability per pixel"):
    losses.get_loss("rps", sigmoid, {})
  with pytest.raises(InputError, match=r"config.loss.divisor='level' is unknown. Did you mean 'levels'"):
    losses.get_loss("rps", softmax, {"divisor": "level"})
  with pytest.raises(InputError, match=r"config.loss.alpha=-1.0 must be >= 0"):
    losses.get_loss("rps_bce", softmax, {"alpha": -1.0})
  with pytest.raises(InputError, match="has no effect"):
    losses.get_loss("rps", softmax, {"alpha": 0.5})
  with pytest.raises(InputError, match="alpah"):
    losses.get_loss("rps", softmax, {"alpah": 0.5})


def test_alpha_weights_the_rps():
  p, target = log_probs_of([0.1, 0.2, 0.3, 0.4]), target_of(1, 3, 3)
  fn = losses.get_loss("rps_bce", heads.get_head("softmax"), {"alpha": 2.0})
  chex.assert_trees_all_close(
    fn(p, target), of_target(losses.bce_majority, p, target) + 2 * of_target(losses.rps, p, target), rtol=1e-6
  )


def test_one_trace_serves_every_pattern_of_missing_raters():
  loss = losses.get_loss("rps_bce", heads.get_head("softmax"), {})

  @jax.jit
  @chex.assert_max_traces(n=1)
  def mean(logits, masks, valid):
    log_p = heads.predict(heads.get_head("softmax"), logits, 3)
    return jnp.mean(loss(log_p, ordinal.encode(masks, valid)))

  logits, masks = jnp.zeros((2, 4, 4, 4)), jnp.ones((2, 4, 4, 3), jnp.uint8)
  values = [float(mean(logits, masks, jnp.asarray(v))) for v in ([[1, 1, 1]] * 2, [[1, 0, 0]] * 2, [[1, 1, 0]] * 2)]
  assert len(set(values)) == 3


# --- The rivals, each against its formula in numpy, for a small image and two raters in one of two images.


def scene(seed=0, raters=4):
  rng = np.random.default_rng(seed)
  p = rng.dirichlet(np.ones(raters + 1), (2, 3, 4)).astype(np.float32) * 0.95 + 0.05 / (raters + 1)
  masks = rng.integers(0, 2, (2, 3, 4, raters), dtype=np.uint8)
  valid = np.asarray([[1] * raters, [1, 0, 1] + [0] * (raters - 3)], np.uint8)
  count = np.ones((2, 3, 4), np.uint8)
  count[0, 2] = 0  # a row that does not count
  target = ordinal.encode(masks, valid, count, rng.normal(size=(2, raters + 1)).astype(np.float32))
  log_p = jnp.log(p)
  return p.astype(np.float64), log_p, target


def each_pixel(fn, p, target):
  """fn(p, c, n) at each pixel."""
  out = np.zeros(target.votes.shape)
  for b, h, w in np.ndindex(out.shape):
    out[b, h, w] = fn(p[b, h, w], int(target.votes[b, h, w]), int(target.num_valid[b]))
  return out


def signed_logit(p, c, n):
  prob = ordinal_np.majority_prob(p, n)
  z = np.log(prob / (1 - prob))
  return z if 2 * c >= n else -z


def sord_np(p, c, n):
  t = np.exp(-np.abs(np.arange(n + 1) - c))
  return -(t / t.sum()) @ np.log(ordinal_np.thin(p, n))


def smoothed_np(p, c, n):
  y = 0.9 * float(2 * c >= n) + 0.05
  return ordinal_np.bce(ordinal_np.majority_prob(p, n), y)


def focal_np(p, c, n):
  q = 1 / (1 + np.exp(-signed_logit(p, c, n)))
  return -((1 - q) ** 3) * np.log(q)


def mbls_np(p, c, n):
  z = signed_logit(p, c, n)
  return np.log1p(np.exp(-z)) + 0.1 * np.mean([max(max(0, z) - k - 0.5, 0) for k in (0, z)])


def w1_np(p, c, n):
  q = ordinal_np.thin(p, n)
  return sum(abs(q[: j + 1].sum() - float(c <= j)) for j in range(n + 1)) / (n + 1)


PER_PIXEL = {
  "nll": (lambda p, c, n: -np.log(ordinal_np.thin(p, n)[c]), {}),
  "squared_emd": (ordinal_np.rps, {}),
  "ranked_ignorance": (ordinal_np.ranked_ignorance, {}),
  "sord": (sord_np, {}),
  "w1": (w1_np, {}),
  "sa_rps": (lambda p, c, n: w1_np(p, c, n) ** 2, {}),
  "label_smoothing": (smoothed_np, {}),
  "focal": (focal_np, {}),
  "mbls": (mbls_np, {"margin": 0.5}),
}


@pytest.mark.parametrize("name", PER_PIXEL)
def test_losses_of_a_pixel_against_their_formula(name):
  p, log_p, target = scene()
  oracle, settings = PER_PIXEL[name]
  got = of_target(losses.LOSSES[name].fn, log_p, target, **settings)
  np.testing.assert_allclose(got, each_pixel(oracle, p, target), rtol=5e-4, atol=1e-6)


def test_staple_is_cross_entropy_against_the_weighted_votes():
  p, log_p, target = scene()
  votes = np.asarray(target.rater_masks) * np.asarray(target.rater_valid)[:, None, None]
  weights = np.asarray(target.label_weights, np.float64)
  label = 1 / (1 + np.exp(-(weights[:, :1, None] + np.einsum("bhwr,br->bhw", votes, weights[:, 1:]))))
  prob = each_pixel(lambda p, _, n: ordinal_np.majority_prob(p, n), p, target)
  want = -(label * np.log(prob) + (1 - label) * np.log(1 - prob))
  np.testing.assert_allclose(of_target(losses.bce_staple, log_p, target), want, rtol=5e-4)
  with pytest.raises(InputError, match="needs the raters' weights"):
    of_target(losses.bce_staple, log_p, target.replace(label_weights=None))


def neighbourhood_np(values, weight, kernel):
  out = np.zeros(values.shape)
  for b, y, x in np.ndindex(values.shape):
    total, share = 0.0, 0.0
    for dy in (-1, 0, 1):
      for dx in (-1, 0, 1):
        if 0 <= y + dy < values.shape[1] and 0 <= x + dx < values.shape[2]:
          k = kernel(dy, dx) * weight[b, y + dy, x + dx]
          total, share = total + k * values[b, y + dy, x + dx], share + k
    out[b, y, x] = total / share if share else 0.0
  return out


def around(dy, dx):
  """The kernel of SVLS: the centre weighs as much as all its neighbours."""
  gauss = lambda y, x: np.exp(-(y**2 + x**2) / 2)  # noqa: E731
  if (dy, dx) == (0, 0):
    return sum(gauss(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)) - 1
  return gauss(dy, dx)


def test_svls_and_nacl_look_at_the_neighbours_that_count():
  p, log_p, target = scene()
  weight, label = np.asarray(target.weight), np.asarray(target.majority)
  prob = each_pixel(lambda p, _, n: ordinal_np.majority_prob(p, n), p, target)
  z = np.log(prob / (1 - prob))
  soft = neighbourhood_np(label, weight, around)
  np.testing.assert_allclose(
    (of_target(losses.svls, log_p, target) * weight),
    weight * (np.log1p(np.exp(z)) - soft * z),
    rtol=5e-4,
    atol=1e-5,
  )
  share = neighbourhood_np(label, weight, lambda *_: 1.0)
  # Two logits a, a + z with a free: the mean over the classes is least at a kink of |1 - share - a| or |share - a - z|.
  kinks = np.stack([1 - share, share - z])
  penalty = ((np.abs(1 - share - kinks) + np.abs(share - kinks - z)) / 2).min(0)
  want = np.log1p(np.exp(z)) - label * z + 0.1 * penalty
  np.testing.assert_allclose(of_target(losses.nacl, log_p, target) * weight, weight * want, rtol=5e-4, atol=1e-5)


def test_mbls_and_nacl_against_the_programs_of_others():
  """MONAI's NACL, with the common part of its two logits at its best; MbLS by its formula in PyTorch."""
  torch = pytest.importorskip("torch")
  monai = pytest.importorskip("monai.losses")
  rng = np.random.default_rng(0)
  z, label = rng.normal(0, 6, (2, 12, 12)).astype(np.float32), rng.random((2, 12, 12)) < 0.4
  label[:, :1] = label[:, -1:] = label[:, :, :1] = label[:, :, -1:] = False
  log_p = heads.predict(heads.get_head("sigmoid"), jnp.asarray(z)[..., None], 3)
  target = ordinal.encode(np.repeat(label[..., None], 3, -1), np.ones((2, 3)))
  truth, inner = torch.as_tensor(label.astype(np.int64)), (slice(None), slice(1, -1), slice(1, -1))

  program = monai.NACLLoss(classes=2, dim=2, kernel_size=3, alpha=0.1)
  tau = program.get_constr_target(truth).numpy()
  share = np.asarray(neighbours.neighbourhood_mean(target.majority, target.weight, jnp.ones((3, 3))))
  np.testing.assert_allclose(
    tau[:, 1][inner], share[inner], atol=1e-6
  )  # MONAI pads with zeros, at the edge they differ

  best = torch.as_tensor(tau[:, 0])  # anything between tau_0 and tau_1 - z costs the same
  logits = torch.stack([best, best + torch.as_tensor(z)], 1)
  cross_entropy = torch.nn.functional.cross_entropy(logits, truth)
  penalty = float(program(logits, truth) - cross_entropy) / 0.1
  ours = np.abs(z - (tau[:, 1] - tau[:, 0])) / 2
  assert penalty == pytest.approx(ours.mean(), rel=1e-4)
  got = (of_target(losses.nacl, log_p, target) - of_target(losses.bce_majority, log_p, target)) / 0.1
  np.testing.assert_allclose(got[inner], ours[inner], rtol=1e-3, atol=1e-4)
  for shift in (-1.0, -0.1, 0.1, 1.0):  # no other common part costs less
    assert float(program(logits + shift, truth)) >= float(program(logits, truth)) - 1e-6

  two = torch.stack([torch.zeros(2, 12, 12), torch.as_tensor(z)], 1)
  apart = torch.relu(two.max(1, keepdim=True).values - two - 3.0).mean()
  mbls = of_target(losses.mbls, log_p, target, margin=3.0, penalty=1.0) - of_target(losses.bce_majority, log_p, target)
  assert float(jnp.mean(mbls)) == pytest.approx(float(apart), rel=1e-4)


def test_nacl_feels_every_logit_but_the_best():
  """Logits tied to -z / 2 and z / 2 would leave a zone of width 2 without a slope."""
  target = ordinal.encode(np.ones((1, 5, 5, 1)), np.ones((1, 1)))

  @jax.jit
  @jax.vmap
  @jax.grad
  def slope(z):
    log_p = heads.predict(heads.get_head("sigmoid"), jnp.full((1, 5, 5, 1), z), 1)
    return jnp.mean(of_target(losses.nacl, log_p, target, penalty=1.0) - of_target(losses.bce_majority, log_p, target))

  np.testing.assert_allclose(slope(jnp.asarray([0.2, 0.8, 1.2, 1.9])), [-0.5, -0.5, 0.5, 0.5], atol=1e-5)


def test_svls_leaves_flat_regions_alone():
  kernel = np.asarray(neighbours.svls_kernel(1.0))
  assert kernel[1, 1] == pytest.approx(kernel.sum() / 2)


def test_losses_of_an_image_against_their_formula():
  p, log_p, target = scene()
  weight, label = np.asarray(target.weight), np.asarray(target.majority)
  prob = each_pixel(lambda p, _, n: ordinal_np.majority_prob(p, n), p, target)
  mean = each_pixel(lambda p, *_: ordinal_np.mean_vote_prob(p), p, target)
  votes = np.asarray(target.mean_vote)
  bce = np.asarray(of_target(losses.bce_majority, log_p, target))
  ace_of = of_target(losses.LOSSES["bce_ml1_ace"].fn, log_p, target, ace_bins=5, dice_weight=0.0) - bce
  with_dice = of_target(losses.bce_ml1_ace, log_p, target, ace_bins=5)
  np.testing.assert_allclose(with_dice, bce + ace_of + of_target(losses.dice, log_p, target), rtol=1e-5)
  for b in range(2):
    w = weight[b] > 0
    size = (prob[b] + label[b])[w].sum()
    dice = 1 - (2 * (prob[b] * label[b])[w].sum() + 1) / (size + 1)
    np.testing.assert_allclose(of_target(losses.bce_dice, log_p, target)[b] - bce[b], dice, rtol=1e-3)
    size, apart = (mean[b] + votes[b])[w].sum(), np.abs(mean[b] - votes[b])[w].sum()
    np.testing.assert_allclose(of_target(losses.dml, log_p, target)[b], 1 - (size - apart + 1) / (size + 1), rtol=1e-3)
    index = np.minimum((prob[b][w] * 5).astype(int), 4)
    gaps = [abs((prob[b] - label[b])[w][index == k].mean()) for k in np.unique(index)]
    np.testing.assert_allclose(ace_of[b], np.mean(gaps), rtol=2e-3, atol=1e-5)


def test_dml_is_least_at_the_votes_where_dice_is_not():
  """A pixel with 2 of 4 votes: the soft Dice of sum p y wants a hard p, the semimetric wants .5."""
  target = target_of(np.full(50, 2), 4, 4)
  probs = np.linspace(0.02, 0.98, 25)

  def values(loss):
    return [float(of_target(loss, log_probs_of(np.tile([1 - q, 0, 0, 0, q], (50, 1))), target)[0, 0, 0]) for q in probs]

  assert probs[np.argmin(values(losses.dml))] == pytest.approx(0.5)
  assert probs[np.argmin(values(losses.dice))] > 0.9


def expected(name, p, truth):
  counts = np.arange(len(truth))
  scores = of_target(
    losses.LOSSES[name].fn, log_probs_of(np.tile(p, (len(truth), 1))), target_of(counts, len(truth) - 1, len(truth) - 1)
  )
  return float(truth @ np.asarray(scores[0, 0], np.float64))


@pytest.mark.parametrize("name", ["rps", "nll", "ranked_ignorance", "squared_emd", "sord", "w1", "sa_rps"])
def test_proper_ones_are_least_at_the_truth_and_the_controls_are_not(name):
  truth = np.asarray([0.3, 0.1, 0.15, 0.25, 0.2])
  rng = np.random.default_rng(0)
  others = [0.7 * truth + 0.3 * rng.dirichlet(np.full(5, 0.3)) for _ in range(40)]
  best = expected(name, truth, truth)
  better = [expected(name, other, truth) < best - 1e-6 for other in others]
  assert any(better) != losses.LOSSES[name].proper
