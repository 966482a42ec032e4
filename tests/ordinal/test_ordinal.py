import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ordseg import ordinal
from ordseg.errors import InputError
from tests.reference import ordinal_np


def random_probs(seed, shape):
  return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


def random_panel(seed, batch=3, size=4, raters=5):
  rng = np.random.default_rng(seed)
  masks = rng.integers(0, 2, (batch, size, size, raters), dtype=np.uint8)
  valid = rng.integers(0, 2, (batch, raters), dtype=np.uint8)
  return masks, valid


def test_encode_counts_only_raters_that_answered():
  masks, valid = random_panel(0)
  valid[0] = 0
  mask = np.ones((3, 4, 4), np.uint8)
  mask[1, 2:] = 0
  target = ordinal.encode(masks, valid, mask)
  counts = np.zeros((3, 4, 4), int)
  for b in range(3):
    for r in range(5):
      if valid[b, r]:
        counts[b] += masks[b, :, :, r]
  np.testing.assert_array_equal(target.votes, counts)
  np.testing.assert_array_equal(target.num_valid, valid.sum(-1))
  assert target.weight[0].sum() == 0 and target.weight[1].sum() == 8 and target.weight[2].sum() == 16
  assert float(target.mean_vote[0].sum()) == 0.0  # finite where nobody answered
  chex.assert_type([target.votes, target.num_valid, target.weight], [jnp.int32, jnp.int32, jnp.float32])


def test_what_a_missing_rater_holds_is_ignored():
  masks, valid = random_panel(1)
  valid[:, 0] = 0
  other = masks.copy()
  other[..., 0] = 1 - other[..., 0]
  first, second = ordinal.encode(masks, valid), ordinal.encode(other, valid)
  chex.assert_trees_all_equal(first.votes, second.votes)


def test_a_tie_is_foreground():
  counts = jnp.asarray([[0, 1, 2, 3, 4]])
  np.testing.assert_array_equal(ordinal.majority_label(counts, jnp.asarray([4])), [[False, False, True, True, True]])
  np.testing.assert_array_equal(ordinal.majority_label(counts[:, :4], jnp.asarray([3])), [[False, False, True, True]])


def test_target_cdf_golden():
  cdf = ordinal.target_cdf(jnp.asarray([0, 2, 3]), 4)
  np.testing.assert_array_equal(cdf, [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), raters=st.integers(1, 9))
def test_cdf_and_tail_invariants(seed, raters):
  p = jnp.asarray(random_probs(seed, (6, raters + 1)))
  cdf, tail = ordinal.level_cdf(p), ordinal.level_tail(p)
  assert np.all(np.diff(cdf, axis=-1) >= 0) and np.all(cdf[..., -1] == 1)
  assert np.all(np.diff(tail, axis=-1) <= 0)
  np.testing.assert_allclose(1 - cdf[..., :-1], tail, atol=1e-6)
  # E[k] / R = 1 - mean_{j<R} P_j
  np.testing.assert_allclose(
    ordinal.read_out(p, ordinal.read_out_weights("mean_vote", raters)),
    1 - np.mean(cdf[..., :-1], axis=-1),
    atol=1e-6,
  )


@pytest.mark.parametrize("raters", [1, 2, 3, 4, 7])
def test_read_outs_against_the_formulas(raters):
  p = random_probs(raters, (5, raters + 1))
  majority = ordinal.read_out(jnp.asarray(p), ordinal.read_out_weights("majority", raters))
  mean = ordinal.read_out(jnp.asarray(p), ordinal.read_out_weights("mean_vote", raters))
  for row in range(5):
    np.testing.assert_allclose(majority[row], ordinal_np.majority_prob(p[row], raters), rtol=1e-5)
    np.testing.assert_allclose(mean[row], ordinal_np.mean_vote_prob(p[row]), rtol=1e-5)
  for j in range(1, raters + 1):
    weights = ordinal.read_out_weights(f"at_least_{j}", raters)
    np.testing.assert_allclose(
      ordinal.read_out(jnp.asarray(p), weights), ordinal.level_tail(jnp.asarray(p))[:, j - 1], atol=1e-6
    )


@pytest.mark.parametrize("name", ["median", "at_least_0", "at_least_4", "at_least_x"])
def test_unknown_read_out(name):
  with pytest.raises(InputError, match=r"at_least_1 \.\. at_least_3"):
    ordinal.read_out_weights(name, 3)


def test_foreground_logit_is_the_textbook_form_for_the_majority():
  z = jax.random.normal(jax.random.key(0), (50, 8)) * 10
  ours = ordinal.foreground_logit(z, ordinal.read_out_weights("majority", 7))
  textbook = jax.nn.logsumexp(z[:, 4:], -1) - jax.nn.logsumexp(z[:, :4], -1)
  np.testing.assert_allclose(ours, textbook, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 80.0, 1e4])
@pytest.mark.parametrize("read_out", ["majority", "mean_vote", "at_least_2"])
def test_foreground_logit_is_finite_with_finite_gradients(scale, read_out):
  z = jax.random.normal(jax.random.key(1), (200, 4)) * scale
  weights = ordinal.read_out_weights(read_out, 3)
  logit, grad = jax.vmap(jax.value_and_grad(lambda x: ordinal.foreground_logit(x[None], weights)[0]))(z)
  chex.assert_tree_all_finite((logit, grad))
  prob = ordinal.read_out(jax.nn.softmax(z), weights)
  np.testing.assert_allclose(jax.nn.sigmoid(logit), prob, atol=2e-6)


def test_thinning_rows_are_hypergeometric():
  matrices = ordinal.thinning_matrices(6)
  for n in range(7):
    for level in range(7):
      want = stats.hypergeom(6, level, n).pmf(np.arange(7))
      np.testing.assert_allclose(matrices[n, level], want, atol=1e-12)
  np.testing.assert_array_equal(matrices[6], np.eye(7))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), raters=st.integers(1, 9), data=st.data())
def test_thinning_keeps_the_mean_and_sums_to_one(seed, raters, data):
  n = data.draw(st.integers(1, raters))
  p = random_probs(seed, (1, 4, raters + 1))
  q = np.asarray(ordinal.thin(jnp.asarray(p), jnp.asarray([n])))
  levels = np.arange(raters + 1)
  np.testing.assert_allclose(q.sum(-1), 1, atol=1e-5)
  np.testing.assert_allclose((q * levels).sum(-1) / n, (p * levels).sum(-1) / raters, atol=1e-5)
  np.testing.assert_allclose(q[0, 0, : n + 1], ordinal_np.thin(p[0, 0], n), atol=1e-6)
  np.testing.assert_allclose(ordinal.thinned_cdf(jnp.asarray(p), jnp.asarray([n])), np.cumsum(q, -1), atol=1e-5)


def test_thinning_to_the_full_panel_is_the_identity():
  p = jnp.asarray(random_probs(3, (2, 5, 5, 8)))
  chex.assert_trees_all_close(ordinal.thin(p, jnp.asarray([7, 7])), p, atol=1e-7)
  chex.assert_trees_all_close(ordinal.thinned_cdf(p, jnp.asarray([7, 7])), ordinal.level_cdf(p), atol=1e-6)


def test_thinned_majority_weights():
  table = ordinal.thinned_majority_weights(jnp.arange(6), 5)
  np.testing.assert_array_equal(table[5], ordinal.read_out_weights("majority", 5))
  np.testing.assert_array_equal(table[0], table[1])
  p = random_probs(4, (5, 6))
  for n in range(1, 6):
    for row in p:
      np.testing.assert_allclose(row @ np.asarray(table[n]), ordinal_np.majority_prob(row, n), rtol=1e-5)


class VariantsTest(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
  def test_encode_is_the_same_in_every_variant(self):
    masks, valid = random_panel(2)
    got = self.variant(lambda m, v: ordinal.encode(m, v).votes)(masks, valid)
    np.testing.assert_array_equal(got, (masks * valid[:, None, None, :]).sum(-1))
