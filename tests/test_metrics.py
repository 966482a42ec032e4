import jax
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ordseg import agreement, evaluate, metrics, ordinal
from ordseg.input_pipeline import EvalBatch
from tests.reference import metrics_np, ordinal_np

R, SIZE = 4, 12


def images(seed=0, num=6):
  """Level probabilities, masks, valid, counts; a rater missing here and there, an image nobody rated, some padding."""
  rng = np.random.default_rng(seed)
  probs = rng.dirichlet(np.full(R + 1, 0.3), (num, SIZE, SIZE)).astype(np.float32)
  latent = rng.random((num, SIZE, SIZE, 1)) * np.linspace(0.2, 1.0, num).reshape(-1, 1, 1, 1)
  masks = (rng.random((num, SIZE, SIZE, R)) < latent**2).astype(np.uint8)
  valid = np.ones((num, R), np.uint8)
  valid[1, 0] = valid[2, 1:] = valid[3] = 0
  counts = np.ones((num, SIZE, SIZE), np.uint8)
  counts[4, 5:] = 0
  masks[5] = 0
  return probs, masks, valid, counts


def batches_of(data, batch_size=4, order=None):
  probs, masks, valid, counts = data
  order = np.arange(len(probs)) if order is None else order
  for start in range(0, len(order), batch_size):
    take = order[start : start + batch_size]
    fill = batch_size - len(take)

    def padded(x, take=take, fill=fill):
      return np.concatenate([x[take], np.zeros((fill, *x.shape[1:]), x.dtype)])

    yield EvalBatch(
      ids=[f"image-{k}" for k in take],
      groups=[f"patient-{k // 2}" for k in take],
      batch={
        "image": padded(probs[..., :1]),
        "rater_masks": padded(masks),
        "rater_valid": padded(valid),
        "mask": padded(counts),
        "prediction": padded(probs),
      },
      num_real=len(take),
    )


def run(data, **kwargs):
  return evaluate.evaluate(lambda b: np.asarray(b["prediction"]), batches_of(data, **kwargs), num_raters=R, num_bins=10)


@pytest.fixture(scope="module")
def data():
  return images()


@pytest.fixture(scope="module")
def result(data):
  return run(data)


def read_out(probs, name):
  return probs.astype(np.float64) @ ordinal.read_out_weights(name, R).astype(np.float64)


def votes_and_n(data):
  _, masks, valid, _ = data
  return (masks * valid[:, None, None]).sum(-1), valid.sum(-1)


@pytest.mark.parametrize("name", ordinal.READ_OUTS)
def test_probability_metrics_against_every_pair(data, result, name):
  probs, masks, valid, counts = data
  p, y = metrics_np.pairs(read_out(probs, name), masks, valid, counts)
  got = result.metrics["read_outs"][name]
  assert got["mr_ece_pooled"] == pytest.approx(metrics_np.ece(p, y, 10), abs=1e-5)
  assert got["ace"] == pytest.approx(np.mean(metrics_np.gaps(p, y, 10)), abs=1e-5)
  assert got["mce"] == pytest.approx(np.max(metrics_np.gaps(p, y, 10)), abs=1e-5)
  assert got["brier"] == pytest.approx(np.mean((p - y) ** 2), rel=1e-5)
  safe = np.clip(p, metrics.PROB_EPSILON, 1 - metrics.PROB_EPSILON)
  assert got["nll"] == pytest.approx(-np.mean(y * np.log(safe) + (1 - y) * np.log1p(-safe)), rel=1e-4)
  assert got["auc_pooled"] == pytest.approx(sklearn_metrics.roc_auc_score(y, p), abs=2e-4)
  assert got["mr_ece_rater_mean"] >= got["mr_ece_pooled"] - 1e-9
  per_rater = [
    metrics_np.ece(*metrics_np.pairs(read_out(probs, name), masks, valid * (np.arange(R) == r), counts), 10)
    for r in range(R)
  ]
  assert got["mr_ece_rater_mean"] == pytest.approx(np.mean(per_rater), abs=1e-5)


@pytest.mark.parametrize("name", ordinal.READ_OUTS)
def test_mask_metrics_against_the_oracle(data, result, name):
  probs, masks, valid, counts = data
  votes, n = votes_and_n(data)
  rated = [k for k in range(len(n)) if n[k]]
  p = read_out(probs, name)
  predicted = {k: (p[k] >= 0.5) & (counts[k] > 0) for k in rated}
  majority = {k: (2 * votes[k] >= n[k]) & (counts[k] > 0) for k in rated}
  dice = {k: metrics_np.dice(predicted[k], majority[k]) for k in rated}
  with_majority = [k for k in rated if majority[k].any()]
  got = result.metrics["read_outs"][name]
  assert got["dice"] == pytest.approx(np.mean([dice[k] for k in with_majority]))
  iou = [(predicted[k] & majority[k]).sum() / (predicted[k] | majority[k]).sum() for k in with_majority]
  assert got["iou"] == pytest.approx(np.mean(iou))
  per_rater = [
    metrics_np.dice(predicted[k], (masks[k, ..., r] > 0) & (counts[k] > 0))
    for k in with_majority
    for r in range(R)
    if valid[k, r]
  ]
  assert got["dice_rater_mean"] == pytest.approx(np.nanmean(per_rater))
  soft = []
  for k in range(len(n)):
    cuts = []
    for tenth in (1, 3, 5, 7, 9):
      m_cut = (10 * votes[k] >= tenth * n[k]) & (counts[k] > 0) & (n[k] > 0)
      p_cut = (p[k].astype(np.float32) >= np.float32(tenth / 10)) & (counts[k] > 0) & (n[k] > 0)
      value = metrics_np.dice(p_cut, m_cut)
      cuts.append(1.0 if np.isnan(value) else value)
    soft.append(np.mean(cuts))
  assert got["soft_dice"] == pytest.approx(np.mean(soft), abs=2e-3)
  labels = np.concatenate([majority[k][counts[k] > 0] for k in rated])
  scores = np.concatenate([p[k][counts[k] > 0] for k in rated])
  assert got["auc_majority"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=5e-4)
  assert got["ece_majority"] == pytest.approx(metrics_np.ece(scores, labels.astype(float), 10), abs=1e-5)


def test_floors_are_floors_and_met_by_the_mean_vote(data, result):
  _, masks, valid, counts = data
  votes, n = votes_and_n(data)
  m = votes / np.maximum(n, 1)[:, None, None]
  p, y = metrics_np.pairs(m, masks, valid, counts)
  assert result.metrics["floors"]["brier"] == pytest.approx(np.mean((p - y) ** 2), rel=1e-5)
  safe = np.clip(p, 1e-12, 1 - 1e-12)
  assert result.metrics["floors"]["nll"] == pytest.approx(
    -np.mean(y * np.log(safe) + (1 - y) * np.log1p(-safe)), rel=1e-4
  )
  for name in ordinal.READ_OUTS:
    assert result.metrics["read_outs"][name]["brier"] >= result.metrics["floors"]["brier"]
    assert result.metrics["read_outs"][name]["nll"] >= result.metrics["floors"]["nll"]


def test_level_metrics_against_the_oracle(data, result):
  probs, _, _, counts = data
  votes, n = votes_and_n(data)
  scores, tails = [], {j: ([], []) for j in range(1, R + 1)}
  for k in np.flatnonzero(n):
    for y, x in zip(*np.nonzero(counts[k]), strict=True):
      p, c = probs[k, y, x].astype(np.float64), int(votes[k, y, x])
      scores.append(ordinal_np.rps(p, c, int(n[k])))
      q = ordinal_np.thin(p, int(n[k]))
      for j in range(1, int(n[k]) + 1):
        tails[j][0].append(q[j:].sum())
        tails[j][1].append(float(c >= j))
  got = result.metrics["levels"]
  assert got["rps"] == pytest.approx(np.mean(scores), rel=1e-4)
  want = [metrics_np.ece(np.asarray(p), np.asarray(y), 10) for p, y in tails.values()]
  np.testing.assert_allclose(
    got["level_ece_per_level"], want, atol=2e-3
  )  # a probability on an edge may fall either way
  assert got["level_ece"] == pytest.approx(np.mean(got["level_ece_per_level"]))


def test_batches_order_and_processes_change_nothing(data, result):
  order = np.asarray([3, 0, 5, 1, 4, 2])
  other = run(data, batch_size=3, order=order)
  assert other.ids == [f"image-{k}" for k in order]
  for name, value in result.model.sums.items():
    if value.dtype == np.int64:
      np.testing.assert_array_equal(value[order], other.model.sums[name], err_msg=name)
    else:
      np.testing.assert_allclose(value[order], other.model.sums[name], rtol=1e-6, err_msg=name)
  halves = [
    evaluate.evaluate(
      lambda b: np.asarray(b["prediction"]), batches_of(data, order=np.arange(6)[k::2]), num_raters=R, num_bins=10
    )
    for k in range(2)
  ]
  merged = metrics.MetricSums(
    sums={name: np.concatenate([h.model.sums[name] for h in halves]) for name in result.model.sums},
    rater_valid=np.concatenate([h.model.rater_valid for h in halves]),
    auc={name: halves[0].model.auc[name] + halves[1].model.auc[name] for name in ordinal.READ_OUTS},
  )
  for name in ordinal.READ_OUTS:
    got, want = metrics.read_out_metrics(merged, name), result.metrics["read_outs"][name]
    assert got == pytest.approx(want, rel=1e-6, nan_ok=True)


def test_agreement_against_the_oracle(data, result):
  _, masks, valid, counts = data
  got = result.metrics["raters"]
  marked = [masks[k] * (counts[k][..., None] > 0) for k in range(len(masks))]
  for a in range(R):
    for b in range(R):
      both = [k for k in range(len(masks)) if valid[k, a] and valid[k, b]]
      dice = [metrics_np.dice(marked[k][..., a], marked[k][..., b]) for k in both]
      assert got["pairwise_dice"][a][b] == pytest.approx(np.nanmean(dice))
      flat = [np.concatenate([masks[k][counts[k] > 0][:, r] for k in both]) for r in (a, b)]
      assert got["pairwise_kappa"][a][b] == pytest.approx(sklearn_metrics.cohen_kappa_score(*flat))
  votes, n = votes_and_n(data)
  several = [k for k in range(len(n)) if n[k] >= 2]
  c = np.concatenate([votes[k][counts[k] > 0] for k in several])
  m = np.concatenate([np.full((counts[k] > 0).sum(), n[k]) for k in several])
  assert got["share_disputed"] == pytest.approx(((c > 0) & (c < m)).sum() / (c > 0).sum())


def test_fleiss_kappa_golden():
  """The worked example's formula by hand: 3 raters, 4 pixels with 0, 1, 3, 3 votes."""
  votes = np.asarray([[1, 1, 0, 2]])
  p_bar = np.mean([1.0, 1 / 3, 1.0, 1.0])
  share = 7 / 12
  expected = share**2 + (1 - share) ** 2
  assert agreement.fleiss_kappa(votes, np.asarray([3])) == pytest.approx((p_bar - expected) / (1 - expected))


def test_leave_one_out_against_the_oracle(data, result):
  _, masks, valid, counts = data
  dice, ps, ys = [], [], []
  for k in range(len(masks)):
    if valid[k].sum() < 2:
      continue
    inside = counts[k] > 0
    for r in np.flatnonzero(valid[k]):
      others = [s for s in np.flatnonzero(valid[k]) if s != r]
      mean = masks[k][inside][:, others].mean(-1)
      y = masks[k][inside][:, r]
      dice.append(metrics_np.dice(mean >= 0.5, y))
      ps.append(mean)
      ys.append(y.astype(float))
  p, y = np.concatenate(ps), np.concatenate(ys)
  got = result.metrics["raters"]["leave_one_out"]
  assert got["dice"] == pytest.approx(np.nanmean(dice))
  assert got["brier"] == pytest.approx(np.mean((p - y) ** 2))
  index = np.minimum((p * 10).astype(int), 9)
  want = sum(abs((p - y)[index == b].sum()) for b in range(10)) / len(p)
  assert got["mr_ece"] == pytest.approx(want, abs=1e-9)


def test_auc_conventions():
  assert metrics.auc(np.asarray([0, 2]), np.asarray([3, 0])) == 1.0
  assert metrics.auc(np.asarray([1, 1]), np.asarray([1, 1])) == 0.5
  assert np.isnan(metrics.auc(np.asarray([1, 1]), np.asarray([0, 0])))


def test_one_compilation_per_shape(data):
  metrics_fn = evaluate._batch_sums(10)
  before = metrics_fn._cache_size()
  run(data)
  run(images(seed=1))
  assert metrics_fn._cache_size() == max(before, 1)


def test_vmapped_counts_are_integers(data):
  probs, masks, valid, counts = data
  sums = jax.vmap(
    lambda p, m, v, k: metrics.image_sums(p, {"rater_masks": m, "rater_valid": v, "mask": k}, num_bins=10)
  )(probs, masks, valid, counts)
  for name in ("votes", "majority/count", "majority/overlap", "level_count", "majority/auc", "rater_overlap"):
    assert np.issubdtype(sums[name].dtype, np.integer), name
