"""Losses of one foreground probability: cross-entropies, and penalties on top of them.

Unless their text says otherwise they act on the `majority` read-out, thinned to the raters who answered, and on the
majority of these raters; any head serves. All take

  log_probs: log-probabilities of the levels 0..R of a full panel, in the last axis; of a network with one logit z per
    pixel, ``heads.sigmoid(z[..., None], R)``.
  votes: c, in 0..n, one for each pixel.
  num_valid: n; one number, or the leading axes of `votes` that it varies over, such as [B] for [B, H, W]. None: all R
    answered.

and return one value for each pixel, float32, in nats.
"""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ordseg import ordinal
from ordseg.losses.inputs import LogProbs, Values, Votes, as_arrays
from ordseg.losses.registry import register
from ordseg.ordinal import NumValid, staple
from ordseg.settings import Setting
from ordseg.types import Array, ArrayLike


def binary_cross_entropy(logits: Float[Array, "*b"], labels: Float[Array, "*b"]) -> Values:
  """Element-wise cross-entropy of Bernoulli(sigmoid(logits)) against labels in [0, 1], in nats; any equal shapes.

  >>> round(float(binary_cross_entropy(jnp.asarray([0.0]), jnp.asarray([1.0]))[0]), 3)  # log 2
  0.693
  """
  return jax.nn.softplus(logits) - labels * logits


def majority_logit(log_probs: LogProbs, num_valid: NumValid | None = None) -> Values:
  """Returns the logit of the `majority` read-out, thinned to the raters that answered.

  >>> round(float(majority_logit(jnp.log(jnp.asarray([0.2, 0.2, 0.6])))), 3)  # log(.8 / .2): a tie is foreground
  1.386
  """
  log_probs = jnp.asarray(log_probs)
  num_raters = log_probs.shape[-1] - 1
  n = ordinal.as_num_valid(num_valid, log_probs.shape[:-1], num_raters)
  return ordinal.foreground_logit(log_probs, ordinal.thinned_majority_weights(n, num_raters))


def majority_pair(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None) -> tuple[Values, Values]:
  """Returns the logit of the thinned `majority` read-out, and the majority label in {0, 1} that it is scored against.

  >>> logit, label = majority_pair(jnp.log(jnp.asarray([0.2, 0.2, 0.6])), jnp.asarray(1))
  >>> label
  Array(1., dtype=float32)
  """
  log_probs, votes, n = as_arrays(log_probs, votes, num_valid)
  return majority_logit(log_probs, n), ordinal.majority_label(votes, n).astype(jnp.float32)


@register("bce_majority", proper=True, summary="BCE of `majority` against 1[c ≥ n/2]: the usual baseline")
def bce_majority(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None) -> Values:
  """Cross-entropy of the `majority` read-out, thinned to the raters that answered, against 1[c >= n / 2].

  >>> round(float(jnp.exp(-bce_majority(jnp.log(jnp.asarray([0.2, 0.2, 0.6])), jnp.asarray([1, 2, 0])[0]))), 3)
  0.8
  """
  return binary_cross_entropy(*majority_pair(log_probs, votes, num_valid))


@register(
  "bce_soft",
  proper=True,
  summary="BCE of `mean_vote` against the share of votes m (soft labels); the baseline most likely to tie on the mean",
)
def bce_mean_vote(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None) -> Values:
  """Cross-entropy of the `mean_vote` read-out against the share of votes m (soft labels); thinning keeps the mean.

  Of 1/2 against 1/2 it is log 2:

  >>> round(float(bce_mean_vote(jnp.log(jnp.asarray([0.25, 0.5, 0.25])), jnp.asarray(1))), 3)
  0.693
  """
  log_probs, votes, n = as_arrays(log_probs, votes, num_valid)
  weights = ordinal.read_out_weights("mean_vote", log_probs.shape[-1] - 1)
  return binary_cross_entropy(ordinal.foreground_logit(log_probs, weights), ordinal.mean_vote(votes, n))


@register(
  "bce_staple",
  label_weights=staple.label_weights,
  summary="BCE against the STAPLE estimate (Warfield et al., 2004), fitted to the whole image before cropping",
)
def bce_staple(
  log_probs: LogProbs, estimated_label: Float[ArrayLike, "*b"], num_valid: NumValid | None = None
) -> Values:
  """Cross-entropy of the `majority` read-out against the STAPLE estimate of the truth (Warfield, Zou, Wells, 2004).

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel, in the last axis.
    estimated_label: the probability of the truth, in [0, 1]. In training the raters' weights are estimated from the
      whole image, before cropping (`staple.label_weights`, `OrdinalTarget.estimated_label`).
    num_valid: n; None: all R answered.

  >>> round(float(bce_staple(jnp.log(jnp.asarray([0.5, 0.25, 0.25])), jnp.asarray(0.3))), 3)
  0.693
  """
  return binary_cross_entropy(majority_logit(log_probs, num_valid), jnp.asarray(estimated_label))


@register(
  "label_smoothing",
  summary="BCE against (1 − s) y + s/2 (Szegedy et al., 2016)",
  smoothing=Setting("share taken from the label", ge=0, le=1),
)
def label_smoothing(
  log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None, *, smoothing: float = 0.1
) -> Values:
  """Cross-entropy against (1 - s) y + s / 2 (Szegedy et al., 2016), s being `smoothing`.

  >>> round(float(label_smoothing(jnp.log(jnp.asarray([0.5, 0.25, 0.25])), jnp.asarray(2), smoothing=1.0)), 3)
  0.693
  """
  z, label = majority_pair(log_probs, votes, num_valid)
  return binary_cross_entropy(z, (1.0 - smoothing) * label + smoothing / 2)


@register(
  "focal",
  summary="−(1 − p_y)^γ log p_y (Lin et al., 2017)",
  gamma=Setting("exponent", ge=0),
)
def focal(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None, *, gamma: float = 3.0) -> Values:
  """-(1 - p_y)^gamma log p_y (Lin et al., 2017; gamma 3 as in Mukhoti et al., 2020, who use it to calibrate).

  >>> round(float(focal(jnp.log(jnp.asarray([0.5, 0.25, 0.25])), jnp.asarray(2), gamma=1.0)), 3)  # log 2 / 2
  0.347
  """
  z, label = majority_pair(log_probs, votes, num_valid)
  signed = jnp.where(label > 0, z, -z)  # p_y = sigmoid(signed)
  return jnp.exp(gamma * jax.nn.log_sigmoid(-signed)) * jax.nn.softplus(-signed)


@register(
  "mbls",
  summary="BCE + penalty · mean over the two classes of max(0, max z − z_k − margin), which is ½ max(0, |z| − margin) "
  "(Liu et al., 2022)",
  margin=Setting("distance between the logits that costs nothing", ge=0),
  penalty=Setting("weight of the term on the logits", ge=0),
)
def mbls(
  log_probs: LogProbs,
  votes: Votes,
  num_valid: NumValid | None = None,
  *,
  margin: float = 10.0,
  penalty: float = 0.1,
) -> Values:
  """Cross-entropy + penalty mean_k max(0, max_j z_j - z_k - margin): margin-based label smoothing (Liu et al., 2022).

  Of two classes whose logits differ by z the larger one is at distance 0 from itself, the other one at |z|: the mean,
  which is the authors', is half of max(0, |z| - margin).

  >>> certain = jnp.asarray([0.0, -100.0, 30.0])  # z = 30, right; its cross-entropy is 0
  >>> round(float(mbls(certain, jnp.asarray(2), margin=10.0, penalty=0.1)), 3)
  1.0
  """
  z, label = majority_pair(log_probs, votes, num_valid)
  return binary_cross_entropy(z, label) + penalty * jax.nn.relu(jnp.abs(z) - margin) / 2
