"""Every number of an evaluation by programs of others: torchmetrics, MONAI, scikit-learn, scipy, krippendorff.

What no program computes is the slow formulas beside this file. benchmarks/oracles.py compares and makes a table of it.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import krippendorff
import numpy as np
import torch
from monai import metrics as monai
from scipy import stats
from sklearn import metrics as sklearn
from torchmetrics.functional import classification as torchmetrics

from tests.reference import metrics_np, scores_np

BINS, SIZE, R, NUM = 15, 20, 4, 12
TOLERANCE = 2.0  # of the surface Dice
EPSILON = 2.0**-24  # that probabilities are kept from 0 and 1 in logarithms
Found = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Panel:
  """Predictions and votes of I images, and what follows from them in float64.

  Attributes:
    probs: [I, H, W, L] float32.
    masks: [I, H, W, R].
    valid: [I, R].
    counts: [I, H, W] which pixels count.
    groups: [I].
  """

  probs: np.ndarray
  masks: np.ndarray
  valid: np.ndarray
  counts: np.ndarray
  groups: list[str]

  @property
  def n(self) -> np.ndarray:
    """[I] raters who answered."""
    return self.valid.sum(-1)

  def rated(self) -> Iterator[int]:
    """Images that somebody answered."""
    return (k for k in range(len(self.n)) if self.n[k])

  def votes(self, k: int) -> np.ndarray:
    """[P] votes at the pixels of an image that count."""
    return (self.masks[k] * self.valid[k]).sum(-1)[self.counts[k] > 0]

  def thinned(self, k: int) -> np.ndarray:
    """[P, n + 1] the prediction for the n who answered, by scipy's hypergeometric distribution."""
    n, level = int(self.n[k]), np.arange(R + 1)
    table = np.stack([stats.hypergeom.pmf(np.arange(n + 1), R, j, n) for j in level])
    return self.probs[k][self.counts[k] > 0].astype(np.float64) @ table

  def read_out(self, name: str, k: int) -> np.ndarray:
    """[P] float64."""
    q = self.thinned(k)
    c, n = np.arange(q.shape[1]), q.shape[1] - 1
    return q @ (c / n if name == "mean_vote" else (2 * c >= n).astype(float))

  def rater(self, k: int, r: int) -> np.ndarray:
    """[P] marks."""
    return self.masks[k, ..., r][self.counts[k] > 0]

  def whole(self, k: int, values: np.ndarray) -> np.ndarray:
    """[P] -> [H, W], False where pixels do not count."""
    out = np.zeros(self.counts[k].shape, bool)
    out[self.counts[k] > 0] = values
    return out

  def pairs(self, name: str, images: Any = None, rater: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """All (probability, mark) of raters who answered."""
    ps, ys = [], []
    for k in self.rated() if images is None else images:
      for r in np.flatnonzero(self.valid[k]):
        if rater in (None, r):
          ps.append(self.read_out(name, k))
          ys.append(self.rater(k, r))
    return (np.concatenate(ps), np.concatenate(ys)) if ps else (np.zeros(0), np.zeros(0))


def panel(seed: int) -> Panel:
  """Draws one."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:SIZE, :SIZE]
  centre, radius = rng.uniform(6, 14, (2, NUM, 1, 1)), rng.uniform(2, 7, (NUM, 1, 1))
  share = 1 / (1 + np.exp(np.hypot(y - centre[0], x - centre[1]) - radius))
  masks = (rng.random((NUM, SIZE, SIZE, R)) < share[..., None]).astype(np.uint8)
  masks[9:11] = 0
  logits = 3 * np.log(share / (1 - share))[..., None] * np.linspace(-0.4, 0.6, R + 1)
  logits = logits + rng.normal(0, 0.4, (NUM, SIZE, SIZE, R + 1))
  probs = np.exp(logits - logits.max(-1, keepdims=True))
  probs[9] = [0.97, 0.01, 0.01, 0.005, 0.005]
  valid = np.ones((NUM, R), np.uint8)
  valid[1, 0] = valid[2, 1:] = valid[3] = valid[5, :2] = 0
  counts = np.ones((NUM, SIZE, SIZE), np.uint8)
  counts[4, 12:] = counts[6, :, :3] = 0
  groups = [f"patient-{k // 3}" for k in range(NUM)]
  return Panel((probs / probs.sum(-1, keepdims=True)).astype(np.float32), masks, valid, counts, groups)


# --- Oracles ----------------------------------------------------------------------------------------------------------


def tm_ece(p: np.ndarray, y: np.ndarray, norm: str = "l1") -> float:
  """Torchmetrics' calibration error of the foreground, in float64."""
  return float(torchmetrics.binary_calibration_error(torch.tensor(p), torch.tensor(y).long(), BINS, norm))  # type: ignore[arg-type]


def tm_top_label(p: np.ndarray, y: np.ndarray) -> float:
  """The challenge's call: confidence of the likelier class, 50 bins."""
  both = torch.tensor(np.stack([1 - p, p], -1))
  return float(torchmetrics.multiclass_calibration_error(both, torch.tensor(y).long(), num_classes=2, n_bins=50))


def mean(values: Any) -> float:
  """Mean of what is not NaN."""
  values = np.asarray(list(values), np.float64)
  return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def calibration_errors(data: Panel, name: str) -> Found:
  p, y = data.pairs(name)
  images = [*data.rated()]
  labels = {k: (2 * data.votes(k) >= data.n[k]).astype(int) for k in images}
  prob = np.concatenate([data.read_out(name, k) for k in images])
  label = np.concatenate([labels[k] for k in images])
  sums, _, _ = stats.binned_statistic(p, [p - y, np.ones_like(p)], "sum", BINS, (0, 1))
  raters = [data.pairs(name, rater=r) for r in range(R)]
  return {
    "mr_ece_pooled": tm_ece(p, y),
    "mr_ece_rater_mean": mean(tm_ece(*pair) for pair in raters),
    "mr_ece_per_image_mean": mean(tm_ece(*data.pairs(name, [k])) for k in images),
    "ece_majority": tm_ece(prob, label),
    "ace": mean(abs(sums[0][sums[1] > 0] / sums[1][sums[1] > 0])),
    "mce": tm_ece(p, y, "max"),
    "mr_ece_equal_mass": scores_np.equal_mass_ece(p.astype(np.float32).astype(float), y, BINS),
    "auc_majority": sklearn.roc_auc_score(label, prob),
    "auc_pooled": sklearn.roc_auc_score(y, p),
  }


def smooth(data: Panel, name: str) -> Found:
  """The bandwidth at which the integral equals it, by bisection."""
  p, y = data.pairs(name)
  low, high = 1e-3, 1.0
  for _ in range(14):
    middle = (low + high) / 2
    low, high = (middle, high) if scores_np.smooth_ece_at(p, y, middle, 1000) > middle else (low, middle)
  return {"smooth_ece": scores_np.smooth_ece_at(p, y, high, 1000)}


def top_label(data: Panel, name: str) -> Found:
  def case(images: list[int]) -> float:
    pairs = [data.pairs(name, images, r) for r in range(R)]
    return mean(tm_top_label(*pair) for pair in pairs if len(pair[0]))

  groups = [[k for k in data.rated() if data.groups[k] == group] for group in sorted(set(data.groups))]
  return {
    "ece_top_label": tm_top_label(*data.pairs(name)),
    "ece_curvas": mean(case([k]) for k in data.rated()),
    "ece_curvas_by_group": mean(case(images) for images in groups if images),
  }


def proper(data: Panel, name: str) -> Found:
  p, y = data.pairs(name)
  safe = np.clip(p, EPSILON, 1 - EPSILON)
  return {"brier": sklearn.brier_score_loss(y, p), "nll": sklearn.log_loss(y, safe), "brier_skill": brier_skill(p, y)}


def brier_skill(p: np.ndarray, y: np.ndarray) -> float:
  """Against a map of the share of votes."""
  return 1 - sklearn.brier_score_loss(y, p) / sklearn.brier_score_loss(y, np.full(y.shape, y.mean()))


def monai_overlap(kind: Callable[..., torch.Tensor], a: np.ndarray, b: np.ndarray) -> float:
  """MONAI's overlap of two masks; NaN where the second is empty."""
  return float(kind(torch.tensor(a[None, None]).float(), torch.tensor(b[None, None]).float(), ignore_empty=True))


def overlaps(data: Panel, name: str) -> Found:
  out: dict[str, list[float]] = {}
  everything: list[tuple[np.ndarray, np.ndarray]] = []

  def note(key: str, value: float) -> None:
    out.setdefault(key, []).append(value)

  for k in data.rated():
    p, votes, n = data.read_out(name, k), data.votes(k), int(data.n[k])
    mask, label = data.whole(k, p >= 0.5), data.whole(k, 2 * votes >= n)
    everything.append((mask, label))
    if label.any():
      note("dice", monai_overlap(monai.compute_dice, mask, label))
      note("iou", monai_overlap(monai.compute_iou, mask, label))
      raters = [data.whole(k, data.rater(k, r) > 0) for r in np.flatnonzero(data.valid[k])]
      note("dice_rater_mean", mean(monai_overlap(monai.compute_dice, mask, r) if r.any() else 0.0 for r in raters))
    else:
      note("empty_marked_share", float(mask.any()))
      note("empty_marked_pixels", float(mask.sum()))
    note("dice_all", monai_overlap(monai.compute_dice, mask, label) if label.any() else float(not mask.any()))
    for key, tenths in (("soft_dice_5", (1, 3, 5, 7, 9)), ("soft_dice_9", range(1, 10))):
      cuts = [(data.whole(k, p >= t / 10), data.whole(k, 10 * votes >= t * n)) for t in tenths]
      scores = [monai_overlap(monai.compute_dice, a, b) for a, b in cuts]
      note(f"{key}_all", mean(float(not a.any()) if not b.any() else s for s, (a, b) in zip(scores, cuts, strict=True)))
      note(key, mean(s for s, (_, b) in zip(scores, cuts, strict=True) if b.any()))
  flat = [np.concatenate([pair[i].ravel() for pair in everything]) for i in (0, 1)]
  return {**{key: mean(values) for key, values in out.items()}, "dice_pooled": sklearn.f1_score(flat[1], flat[0])}


def outlines(data: Panel, name: str) -> Found:
  """By every pair of outline pixels; empty masks as docs/metrics.md has them."""
  out: dict[str, list[float]] = {}
  for k in data.rated():
    mask, label = (data.whole(k, x) for x in (data.read_out(name, k) >= 0.5, 2 * data.votes(k) >= data.n[k]))
    if not label.any():
      continue
    raters = [data.whole(k, data.rater(k, r) > 0) for r in np.flatnonzero(data.valid[k])]
    scores = [_outline_scores(mask, truth) for truth in (label, *raters)]
    for i, key in enumerate(("hd95", "surface_dice")):
      out.setdefault(key, []).append(scores[0][i])
      out.setdefault(f"{key}_rater_mean", []).append(mean(s[i] for s in scores[1:]))
  return {key: mean(values) for key, values in out.items()}


def _outline_scores(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
  if not a.any() or not b.any():
    return (0.0, 1.0) if a.any() == b.any() else (float(np.hypot(*(np.asarray(a.shape) - 1))), 0.0)
  there, back = (scores_np.outline_distances(*pair, np.ones(2)) for pair in ((a, b), (b, a)))
  near = (there <= TOLERANCE).sum() + (back <= TOLERANCE).sum()
  return max(np.percentile(there, 95), np.percentile(back, 95)), near / (there.size + back.size)


def levels(data: Panel, _: str) -> Found:
  images = [*data.rated()]
  scores, per_level = [], []
  for k in images:
    cdf, c = np.cumsum(data.thinned(k), -1), data.votes(k)
    steps = (np.arange(cdf.shape[1]) >= c[:, None]).astype(float)
    scores.append(np.square(cdf - steps).sum(-1) / cdf.shape[1])
  for j in range(1, R + 1):
    own = [k for k in images if data.n[k] >= j]
    p = np.concatenate([data.thinned(k)[:, j:].sum(-1).clip(0, 1) for k in own])
    per_level.append(tm_ece(p, np.concatenate([data.votes(k) >= j for k in own])))
  nested = {k: [m & (data.counts[k] > 0) for m in scores_np.nested_masks(data.probs[k])] for k in images}
  raters = {k: [data.whole(k, data.rater(k, r) > 0) for r in np.flatnonzero(data.valid[k])] for k in images}
  inner = {k: [m[data.counts[k] > 0] for m in nested[k]] for k in images}
  return {
    "rps": float(np.concatenate(scores).mean()),
    "level_ece": mean(per_level),
    "level_ece_per_level": per_level,
    "ged_nested": mean(scores_np.ged(nested[k], raters[k]) for k in images),
    "ncc_nested": mean(scores_np.ncc(inner[k], [y[data.counts[k] > 0] for y in raters[k]]) for k in images),
  }


def floors(data: Panel, _: str) -> Found:
  pairs = [(data.votes(k) / data.n[k], data.rater(k, r)) for k in data.rated() for r in np.flatnonzero(data.valid[k])]
  p, y = (np.concatenate(x) for x in zip(*pairs, strict=True))
  return {"brier": sklearn.brier_score_loss(y, p), "nll": sklearn.log_loss(y, p)}


def constant(data: Panel, _: str) -> Found:
  """A map of one value, as any map is scored."""
  _, y = data.pairs("mean_vote")
  p = np.full(y.shape, y.mean())
  majority = [2 * data.votes(k) >= data.n[k] for k in data.rated()]
  mask = y.mean() >= 0.5
  return {
    "prevalence": y.mean(),
    "brier": sklearn.brier_score_loss(y, p),
    "nll": sklearn.log_loss(y, p),
    "dice": mean(sklearn.f1_score(m, np.full(m.shape, mask)) for m in majority if m.any()),
  }


def raters(data: Panel, _: str) -> Found:
  dice, kappa = np.full((2, R, R), np.nan)
  for a in range(R):
    for b in range(R):
      both = [k for k in data.rated() if data.valid[k, a] and data.valid[k, b]]
      marks = [(data.rater(k, a), data.rater(k, b)) for k in both]
      dice[a, b] = mean(sklearn.f1_score(x, y) for x, y in marks if (x | y).any())
      kappa[a, b] = sklearn.cohen_kappa_score(*(np.concatenate(x) for x in zip(*marks, strict=True)))
  upper = np.triu_indices(R, 1)
  units = [row[data.valid[k] > 0] for k in data.rated() if data.n[k] > 1 for row in data.masks[k][data.counts[k] > 0]]
  marked = np.asarray([u.any() for u in units])
  disputed = np.asarray([u.any() and not u.all() for u in units])
  table = np.full((R, sum(int((data.counts[k] > 0).sum()) for k in data.rated())), np.nan)
  start = 0
  for k in data.rated():
    size = int((data.counts[k] > 0).sum())
    for r in np.flatnonzero(data.valid[k]):
      table[r, start : start + size] = data.rater(k, r)
    start += size
  return {
    "pairwise_dice": dice,
    "pairwise_dice_mean": dice[upper].mean(),
    "pairwise_kappa": kappa,
    "pairwise_kappa_mean": kappa[upper].mean(),
    "fleiss_kappa": metrics_np.fleiss_kappa(units),
    "krippendorff_alpha": krippendorff.alpha(table, level_of_measurement="nominal"),
    "prevalence": np.nanmean(table, axis=1),
    "share_disputed": disputed.sum() / marked.sum(),
    **_leave_one_out(data),
    "each.dice": [np.nanmean(np.delete(dice[r], r)) for r in range(R)],
    **_each(data),
  }


def _each(data: Panel) -> Found:
  """Each rater's mask as a map against every other rater of the image."""
  pairs: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(R)]
  for k in data.rated():
    there = np.flatnonzero(data.valid[k])
    for r in there:
      pairs[r] += [(data.rater(k, r).astype(float), data.rater(k, s)) for s in there if s != r]
  joined = [[np.concatenate(x) for x in zip(*own, strict=True)] for own in pairs]
  return {
    "each.mr_ece": [tm_ece(p, y) for p, y in joined],
    "each.brier": [sklearn.brier_score_loss(y, p) for p, y in joined],
    "each.brier_skill": [brier_skill(p, y) for p, y in joined],
  }


def _leave_one_out(data: Panel) -> Found:
  ps, ys, scores = [], [], []
  for k in data.rated():
    if data.n[k] < 2:
      continue
    own = []
    for r in np.flatnonzero(data.valid[k]):
      y = data.rater(k, r)
      p = (data.votes(k) - y) / (data.n[k] - 1)
      ps.append(p)
      ys.append(y)
      own.append(sklearn.f1_score(y, p >= 0.5, zero_division=1.0))
    if (2 * data.votes(k) >= data.n[k]).any():
      scores.append(mean(own))
  p, y = np.concatenate(ps), np.concatenate(ys)
  shares = np.unique(p)  # few: each is alone in its bin
  mr_ece = sum(abs((p - y)[p == share].sum()) for share in shares) / p.size
  return {
    "leave_one_out.dice": mean(scores),
    "leave_one_out.mr_ece": mr_ece,
    "leave_one_out.brier": sklearn.brier_score_loss(y, p),
    "leave_one_out.brier_skill": brier_skill(p, y),
  }


def sizes(data: Panel, _: str) -> Found:
  images = [*data.rated()]
  return {
    "num_images": NUM,
    "num_images_scored": len(images),
    "num_images_with_majority": sum(bool((2 * data.votes(k) >= data.n[k]).any()) for k in images),
    "num_pixels": sum(len(data.votes(k)) for k in images),
    "num_raters": R,
    "num_bins": BINS,
  }
