"""One training step in two pure halves: sums over the examples at hand, and an update from the sums over all.

Between them `parallel` adds the sums of all devices. Dividing only after that makes a step the same mean over valid
pixels however the batch is cut; a mean of per-device means is not, where devices hold different numbers of them.
"""

from typing import cast

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ordseg import ordinal
from ordseg.losses import LossFn
from ordseg.models import LevelModel
from ordseg.ordinal import folding
from ordseg.training.optim import Schedule
from ordseg.training.state import TrainState
from ordseg.types import Array, Batch, Params, PRNGKey

Metrics = dict[str, Array]

EMA_START = 10.0  # an average over t steps has decay near (1 + t) / (10 + t) until the wanted decay is reached


@struct.dataclass
class Sums:
  """Sums over valid pixels, to be added over devices.

  Attributes:
    loss_sum: float32, sum of the loss.
    weight_sum: float32, number of valid pixels.
    grads: gradient of `loss_sum` with respect to the parameters.
  """

  loss_sum: Array
  weight_sum: Array
  grads: Params


def local_gradients(
  params: Params,
  batch: Batch,
  key: PRNGKey,
  *,
  model: LevelModel,
  loss_fn: LossFn,
) -> Sums:
  """Sums the loss of a batch and its gradient, without dividing by anything.

  Args:
    params: the network's.
    batch: [B, ...], see `types.Batch`.
    key: Random key for dropout.
    model: predicts the level probabilities.
    loss_fn: (log_probs, target) -> [B, H, W]; sees volumes and classes folded (`folding`).

  Returns:
    The sums; a pixel with weight 0 takes no part.
  """

  def sum_loss(params: Params) -> tuple[Array, Array]:
    log_probs = model.folded_log_level_probs(params, jnp.asarray(batch["image"]), dropout_key=key)
    target = ordinal.encode(**folding.fold_batch(batch))
    return jnp.sum(loss_fn(log_probs, target) * target.weight), jnp.sum(target.weight)

  (loss_sum, weight_sum), grads = jax.value_and_grad(sum_loss, has_aux=True)(params)
  return Sums(loss_sum=loss_sum, weight_sum=weight_sum, grads=grads)


def apply_update(
  state: TrainState,
  sums: Sums,
  *,
  tx: optax.GradientTransformation,
  schedule: Schedule,
  ema_decay: float = 0.0,
) -> tuple[TrainState, Metrics]:
  """Divides the sums once and updates the state.

  | sums | parameters | step |
  |---|---|---|
  | finite, some pixel valid | updated | + 1 |
  | no pixel valid | kept; the optimiser sees a gradient of 0 | + 1 |
  | loss, gradient or update not finite | kept, and all else too | kept |

  Args:
    state: before the step.
    sums: over the whole global batch.
    tx: the optimiser.
    schedule: its learning rate, to report it.
    ema_decay: Share of the averaged parameters that a step keeps; used where the state has them.

  Returns:
    The new state and float32 scalars: loss (mean over valid pixels), grad_norm (before clipping), learning_rate,
    weight_sum, and finite (1 or 0).
  """
  has_weight = sums.weight_sum > 0
  divisor = jnp.where(has_weight, sums.weight_sum, 1.0)
  loss = sums.loss_sum / divisor
  grads = jax.tree.map(lambda g: g / divisor, sums.grads)
  grad_norm = optax.tree.norm(grads)
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  updates = jax.tree.map(lambda u: jnp.where(has_weight, u, 0.0), updates)
  finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & jnp.isfinite(optax.tree.norm(updates))
  params = cast(Params, optax.apply_updates(state.params, updates))
  new_state = TrainState(
    step=state.step + 1,
    params=params,
    opt_state=opt_state,
    ema_params=_ema(state, params, ema_decay),
  )
  new_state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new_state, state)
  metrics = {
    "loss": loss,
    "grad_norm": grad_norm,
    "learning_rate": schedule(state.step),
    "weight_sum": sums.weight_sum,
    "finite": finite.astype(jnp.float32),
  }
  return new_state, metrics


def _ema(state: TrainState, params: Params, decay: float) -> Params | None:
  if state.ema_params is None:
    return None
  t = state.step.astype(jnp.float32)
  now = jnp.minimum(decay, (1.0 + t) / (EMA_START + t))
  return jax.tree.map(lambda e, p: e + (1.0 - now) * (p - e), state.ema_params, params)
