"""Several predictions of one image made into one. All functions map images [B, H, W, C] to level_probs [B, H, W, L],
or volumes, with an axis of classes where there are several, as `LevelModel.level_probs`.

| what varies | function | what the result means |
|---|---|---|
| networks, each trained on all raters; dropout; views | `average` | a mixture of the members' distributions |
| networks, each trained on one rater | `panel` | how many of these raters would mark the pixel |
"""

from collections.abc import Callable, Sequence

import numpy as np

from ordseg.errors import InputError
from ordseg.ordinal import read_out

LevelPredictFn = Callable[[np.ndarray], np.ndarray]
_FLIPS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))  # of (H, W)


def average(members: Sequence[LevelPredictFn]) -> LevelPredictFn:
  """Returns the mean of the members' level probabilities (Lakshminarayanan et al., 2017)."""

  def predict(images: np.ndarray) -> np.ndarray:
    total = members[0](images).astype(np.float32)
    for member in members[1:]:
      total = total + member(images)
    return total / np.float32(len(members))

  return predict


def panel(members: Sequence[LevelPredictFn]) -> LevelPredictFn:
  """Returns the distribution of the votes of R networks, one per rater, who vote independently given the image.

  A member's probability is its mean-vote read-out, so any head serves. The count is Poisson-binomial.
  """

  def predict(images: np.ndarray) -> np.ndarray:
    return poisson_binomial(np.stack([read_out(member(images), "mean_vote") for member in members], axis=-1))

  return predict


def poisson_binomial(probs: np.ndarray) -> np.ndarray:
  """Returns the distribution of the number of successes of independent trials.

  Args:
    probs: [..., R].

  Returns:
    [..., R + 1], dtype of `probs`; sums to 1.
  """
  out = np.zeros((*probs.shape[:-1], probs.shape[-1] + 1), probs.dtype)
  out[..., 0] = 1
  for r in range(probs.shape[-1]):
    p = probs[..., r, None]
    shifted = out[..., :-1] * p
    out *= 1 - p
    out[..., 1:] += shifted
  return out


def with_flips(member: LevelPredictFn) -> LevelPredictFn:
  """Returns the mean over the image, its mirror images left-right and up-down, and both: test-time augmentation.

  Volumes are mirrored within their slices.
  """

  def flipped(mirrored: tuple[int, ...]) -> LevelPredictFn:
    def predict(images: np.ndarray) -> np.ndarray:
      axes = tuple(images.ndim - 3 + axis for axis in mirrored)
      return np.flip(member(np.ascontiguousarray(np.flip(images, axes))), axes) if axes else member(images)

    return predict

  return average([flipped(mirrored) for mirrored in _FLIPS])


def with_samples(sample: Callable[[np.ndarray, int], np.ndarray], num_samples: int) -> LevelPredictFn:
  """Returns the mean over passes with dropout active (Gal, Ghahramani, 2016).

  Args:
    sample: (images, number of the pass) -> level_probs.
    num_samples: passes, >= 1.
  """

  def one(k: int) -> LevelPredictFn:
    return lambda images: sample(images, k)

  return average([one(k) for k in range(num_samples)])


def check_panel(raters: Sequence[str], num_raters: int) -> bool:
  """Returns whether the members are one network per rater.

  Args:
    raters: ``config.data.raters`` of each member.
    num_raters: R.

  Raises:
    InputError: some members saw one rater only, but together they are not the panel.
  """
  single = [r for r in raters if r.isdigit()]
  if len(raters) == 1 or not single:
    return False
  if sorted(raters) != sorted(str(r) for r in range(num_raters)):
    raise InputError(
      f"--workdir: these runs were trained on the raters {', '.join(raters)}. Name one run per rater, 0 to "
      f"{num_raters - 1}, to predict the panel, or runs that were all trained on several."
    )
  return True
