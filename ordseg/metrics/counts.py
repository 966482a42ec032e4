"""What the device counts of one image besides the bins of `sums`: top-label bins and nested masks.

`sums.image_sums` calls these; `top_label` and `nested` read the counts on the host. All are pure, for jit and vmap. P
pixels, R raters.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from ordseg.metrics import calibration, exact_sums
from ordseg.types import Array

# Bins of [0, 1] for the confidence max(p, 1 - p), as in the CURVAS challenge; it never is below 1/2, so half of them.
TOP_LABEL_BINS = 50
NUM_TOP_BINS = TOP_LABEL_BINS // 2


def top_label_counts(prob: Array, raters: Sequence[Array], rater_valid: Array, counts: Array) -> dict[str, Array]:
  """Counts confidence and correctness of the mask p >= 1/2.

  The subtraction itself rounds the confidence, which is above 1/2, to a multiple of 2**-24: p = 0.2 and p = 0.8 share a
  bin, on whose edge both lie.

  Args:
    prob: [P] float32.
    raters: R boolean arrays [P], False where the pixel does not count or the rater did not answer.
    rater_valid: [R] boolean.
    counts: [P] boolean.

  Returns:
    top_count [NUM_TOP_BINS], top_prob [NUM_TOP_BINS, 3] (limbs of the sums of confidences) and top_correct
    [R, NUM_TOP_BINS]: pixels whose label is the rater's. Bins from 1/2 on.
  """
  mask = prob >= 0.5
  correct = [(marked == mask) & rater_valid[r] for r, marked in enumerate(raters)]
  confidence = jnp.where(mask, prob, 1.0 - prob)
  bins = calibration.bin_pixels(confidence, correct, counts, num_bins=TOP_LABEL_BINS, first_bin=NUM_TOP_BINS)
  return {"top_count": bins.count, "top_prob": bins.prob_limbs, "top_correct": bins.label_count.T}


def nested_counts(tails: Array, raters: Sequence[Array], counts: Array) -> dict[str, Array]:
  """Counts pixels by the number of nested masks P(c >= j) >= 1/2, j = 1..R, that hold them.

  Everything about these masks and the raters' follows from it: mask j is where j of them or more hold the pixel.

  Args:
    tails: [R, P] float32, `at_least_j` of the full panel.
    raters: R boolean arrays [P], False where the pixel does not count or the rater did not answer.
    counts: [P] boolean.

  Returns:
    nested_count [L] and nested_rater [R, L], of which a rater marked.
  """
  level = jnp.sum(tails >= 0.5, axis=0, dtype=jnp.int32)
  at_level = [(level == k) & counts for k in range(len(raters) + 1)]
  sums = exact_sums.count_fields(at_level, [counts, *raters])
  return {"nested_count": sums[:, 0], "nested_rater": sums[:, 1:].T}
