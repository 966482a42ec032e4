"""From a config to the functions that training and evaluation are made of."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from ordseg import losses, models, rng
from ordseg.config import Config
from ordseg.models import LevelModel
from ordseg.training import optim, parallel, state, step
from ordseg.training.state import TrainState
from ordseg.types import Panel, Params


@dataclasses.dataclass(frozen=True)
class Learner:
  """What a config means: the functions that training and validation are made of.

  Attributes:
    model: the network, its head and the panel.
    create: (level counts [L], or [K, L] of several classes) -> the state at step 0; reads
      ``config.model.encoder_weights`` where there are any.
    template: () -> the shapes of that state; reads no file.
    train_step: see `parallel.make_train_step`.
    predict: (params, images [B, H, W, C]) -> level probabilities [B, H, W, L], all numpy; see `LevelModel.level_probs`.
  """

  model: LevelModel
  create: Callable[[np.ndarray], TrainState]
  template: Callable[[], TrainState]
  train_step: parallel.TrainStep
  predict: Callable[[Params, np.ndarray], np.ndarray]


def make_learner(config: Config, panel: Panel) -> Learner:
  """Builds the network, the loss, the optimiser and the steps.

  Args:
    config: a whole config.
    panel: sizes of the examples.

  Raises:
    InputError: a field of model, loss or optim is wrong.
  """
  model = models.build(config.model, panel)
  loss_fn = losses.get_loss(config.loss.name, model.head, dict(config.loss.settings))
  tx = optim.get_tx(config.optim, config.train.num_steps)
  key = jax.random.key(config.seed)

  def start(level_counts: np.ndarray, encoder: Params | None) -> TrainState:
    size, init_key = tuple(config.data.crop_size), rng.stream(key, "init")
    params = model.init(init_key, size, level_counts=level_counts, encoder=encoder)
    return state.create(params, tx, with_ema=config.optim.ema_decay > 0)

  return Learner(
    model=model,
    create=lambda level_counts: start(level_counts, models.read_encoder(config.model, panel)),
    template=lambda: jax.eval_shape(lambda: start(np.ones((panel.num_classes, panel.num_levels)), None)),
    train_step=parallel.make_train_step(
      functools.partial(step.local_gradients, model=model, loss_fn=loss_fn),
      functools.partial(
        step.apply_update,
        tx=tx,
        schedule=optim.get_schedule(config.optim, config.train.num_steps),
        ema_decay=config.optim.ema_decay,
      ),
      key=key,
    ),
    predict=parallel.make_predict_step(model.level_probs),
  )
