"""From a config to the functions that training and evaluation are made of."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ordseg import heads, losses, models, rng
from ordseg.config import Config
from ordseg.training import optim, parallel, state, step
from ordseg.training.state import TrainState
from ordseg.types import Array, Params, PRNGKey


@dataclasses.dataclass(frozen=True)
class Learner:
  """What a config means: the functions that training and validation are made of.

  Attributes:
    create: (level counts [L], or [K, L] of several classes) -> the state at step 0; reads
      ``config.model.encoder_weights`` where there are any.
    template: () -> the shapes of that state; reads no file.
    train_step: see `parallel.make_train_step`.
    predict: (params, images [B, H, W, C]) -> level probabilities [B, H, W, L], all numpy; see `step.predict_levels`.
    predict_log: the same in logarithms.
    apply: (params, images) -> the network's outputs in a pass as training makes it, to be traced.
    sample: ((params, key), images) -> the same from one pass with dropout active.
  """

  create: Callable[[np.ndarray], TrainState]
  template: Callable[[], TrainState]
  train_step: parallel.TrainStep
  predict: Callable[[Params, np.ndarray], np.ndarray]
  predict_log: Callable[[Params, np.ndarray], np.ndarray]
  sample: Callable[[tuple[Params, PRNGKey], np.ndarray], np.ndarray]
  apply: Callable[[Params, Array], Any]


def make_learner(config: Config, *, num_raters: int, num_channels: int, num_classes: int = 1) -> Learner:
  """Builds the network, the loss, the optimiser and the steps.

  Args:
    config: a whole config.
    num_raters: R.
    num_channels: C of the images.
    num_classes: structures that are segmented side by side.

  Raises:
    InputError: a field of model, loss or optim is wrong.
  """
  head = heads.get_head(config.model.head)
  loss_fn = losses.get_loss(config.loss.name, head, dict(config.loss.settings))
  num_outputs, num_constants = head.num_outputs(num_raters), head.num_constants(num_raters)
  model = models.get_model(config.model, num_outputs=num_outputs, num_constants=num_constants, num_classes=num_classes)
  tx = optim.get_tx(config.optim, config.train.num_steps)
  bound: dict[str, Any] = {"apply_fn": model.apply, "head": head, "num_raters": num_raters}
  key = jax.random.key(config.seed)

  def start(level_counts: np.ndarray, encoder: Params | None) -> TrainState:
    image = jnp.zeros((1, *config.data.crop_size, num_channels), jnp.float32)
    init = jax.jit(functools.partial(model.init, is_training=False))
    params = init(rng.stream(key, "init"), image)["params"]
    params = params if encoder is None else models.set_encoder(params, encoder)
    freqs = [heads.smoothed_level_freqs(counts) for counts in np.atleast_2d(level_counts)]
    params = models.set_output_bias(params, np.concatenate([head.init_bias(f) for f in freqs]))
    return state.create(params, tx, with_ema=config.optim.ema_decay > 0)

  return Learner(
    create=lambda level_counts: start(level_counts, models.read_encoder(config.model, num_channels=num_channels)),
    template=lambda: jax.eval_shape(lambda: start(np.ones((num_classes, num_raters + 1)), None)),
    train_step=parallel.make_train_step(
      functools.partial(step.local_gradients, loss_fn=loss_fn, **bound),
      functools.partial(
        step.apply_update,
        tx=tx,
        schedule=optim.get_schedule(config.optim, config.train.num_steps),
        ema_decay=config.optim.ema_decay,
      ),
      key=key,
    ),
    predict=parallel.make_predict_step(functools.partial(step.predict_levels, num_classes=num_classes, **bound)),
    predict_log=parallel.make_predict_step(
      functools.partial(step.predict_log_levels, num_classes=num_classes, **bound)
    ),
    sample=parallel.make_predict_step(functools.partial(step.sample_levels, num_classes=num_classes, **bound)),
    apply=lambda params, images: model.apply({"params": params}, images, is_training=True, rngs={"dropout": key}),
  )
