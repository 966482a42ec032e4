"""A two-layer network and batches whose weight differs from device to device."""

import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np

from ordseg import heads, losses
from ordseg.models import LevelModel
from ordseg.training import optim, state, step
from ordseg.types import Panel
from tests.helpers import training

NUM_RATERS = training.NUM_RATERS
HEAD = heads.get_head("softmax")


class TinyNet(nn.Module):
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x, *, is_training):
    x = nn.relu(nn.Conv(4, (3, 3))(x))
    x = nn.Dropout(self.dropout, deterministic=not is_training)(x)
    return nn.Dense(HEAD.num_outputs(NUM_RATERS))(x)


def tiny_model(dropout=0.0):
  return LevelModel(TinyNet(dropout), HEAD, Panel(num_channels=1, num_raters=NUM_RATERS))


def pieces(*, dropout=0.0, ema_decay=0.0, loss_fn=None, **optim_changes):
  """Returns (state at step 0, local_gradients, apply_update), static arguments bound."""
  config = dataclasses.replace(training.tiny().optim, **optim_changes)
  tx = optim.get_tx(config, num_steps=20)
  params = TinyNet(dropout).init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32), is_training=False)["params"]
  local_gradients = functools.partial(
    step.local_gradients,
    model=tiny_model(dropout),
    loss_fn=loss_fn or losses.get_loss("rps_bce", HEAD, {}),
  )
  apply_update = functools.partial(
    step.apply_update, tx=tx, schedule=optim.get_schedule(config, 20), ema_decay=ema_decay
  )
  return state.create(params, tx, with_ema=ema_decay > 0), local_gradients, apply_update


def uneven_batch(seed=0, batch_size=8):
  """A batch of 8 x 8 images: the first quarter counts fully, the second hardly, the third not at all."""
  draws = np.random.default_rng(seed)
  masks = (draws.random((batch_size, 8, 8, NUM_RATERS)) < draws.random((batch_size, 1, 1, 1))).astype(np.uint8)
  mask = np.ones((batch_size, 8, 8), np.uint8)
  quarter = batch_size // 4
  mask[quarter : 2 * quarter, 1:] = 0
  valid = (draws.random((batch_size, NUM_RATERS)) < 0.8).astype(np.uint8)
  valid[:, 0] = 1
  valid[2 * quarter : 3 * quarter] = 0
  image = masks.mean(-1, keepdims=True, dtype=np.float32) + draws.normal(0, 0.1, (batch_size, 8, 8, 1))
  return {"image": image.astype(np.float32), "rater_masks": masks, "rater_valid": valid, "mask": mask}
