"""STAPLE: the truth and each rater's sensitivity and specificity, estimated together (Warfield, Zou, Wells, 2004)."""

# pyright: reportUnknownMemberType=false

import numpy as np

_NUM_ITERATIONS = 200
_TOLERANCE = 1e-7
_FLOOR = 1e-6  # keeps sensitivities and specificities off 0 and 1, where log-odds are infinite


def label_weights(rater_masks: np.ndarray, rater_valid: np.ndarray) -> np.ndarray:
  """Fits STAPLE to one image and returns it as log-odds that are linear in the votes.

  P(truth = 1 | votes) = sigmoid(w_0 + sum_r vote_r w_r), because raters are taken to be independent given the truth. EM
  runs on the patterns of votes that occur, of which there are few, so its cost hardly grows with the image. The prior
  is the share of marked votes, the start .99999 as in ITK.

  Args:
    rater_masks: [H, W, R], 0 or 1.
    rater_valid: [R], 1 where the rater answered.

  Returns:
    [R + 1] float32: w_0, w_1, .., w_R; w_r = 0 for missing raters. Where nobody marked anything w_0 says so.

  Two raters agree and one marks at random: their votes count for more than his.

  >>> truth, noise = np.repeat([0, 1], 50), np.tile([0, 1], 50)
  >>> weights = label_weights(np.stack([truth, truth, noise], axis=-1)[:, None], np.ones(3))
  >>> bool(weights[1] > 5 and weights[1] == weights[2] and abs(weights[3]) < 0.1)
  True
  """
  valid = np.flatnonzero(rater_valid)
  out = np.zeros(len(rater_valid) + 1, np.float32)
  if not len(valid):
    return out
  patterns, counts = _patterns(rater_masks[..., valid])
  prior = np.clip(float(counts @ patterns.mean(1)) / counts.sum(), _FLOOR, 1 - _FLOOR)
  sensitivity = np.full(len(valid), 0.99999)
  specificity = np.full(len(valid), 0.99999)
  for _ in range(_NUM_ITERATIONS):
    intercept, slopes = _log_odds(prior, sensitivity, specificity)
    truth = counts / (1 + np.exp(-(intercept + patterns @ slopes)))
    falsehood = counts - truth
    before = sensitivity, specificity
    sensitivity = _bounded(truth @ patterns, truth.sum())
    specificity = _bounded(falsehood @ (1 - patterns), falsehood.sum())
    if max(np.abs(sensitivity - before[0]).max(), np.abs(specificity - before[1]).max()) < _TOLERANCE:
      break
  out[0], out[1 + valid] = _log_odds(prior, sensitivity, specificity)
  return out


def _patterns(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the distinct rows of [H, W, R] as float64 [P, R], and how often each occurs [P]."""
  code = masks.reshape(-1, masks.shape[-1]).astype(np.int64) @ (1 << np.arange(masks.shape[-1], dtype=np.int64))
  codes, counts = np.unique(code, return_counts=True)
  return np.asarray(codes[:, None] >> np.arange(masks.shape[-1]) & 1, np.float64), counts.astype(np.float64)


def _bounded(hits: np.ndarray, total: float) -> np.ndarray:
  return np.clip(hits / max(total, 1e-12), _FLOOR, 1 - _FLOOR)


def _log_odds(prior: float, sensitivity: np.ndarray, specificity: np.ndarray) -> tuple[float, np.ndarray]:
  """Log-odds of the truth where no rater marked, and what each mark adds."""
  no_mark = np.log((1 - sensitivity) / specificity)
  mark = np.log(sensitivity / (1 - specificity))
  return float(np.log(prior / (1 - prior)) + no_mark.sum()), mark - no_mark
