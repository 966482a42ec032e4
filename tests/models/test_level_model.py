import doctest

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ordseg import heads, models
from ordseg.errors import InputError
from ordseg.models import LevelModel, level_model
from ordseg.types import Panel

SIZE = (4, 3)


class Linear(nn.Module):
  """Logits that are a matrix times a pixel's channels, after dropout."""

  num_outputs: int
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x, *, is_training):
    x = nn.Dropout(self.dropout)(x, deterministic=not is_training)
    return nn.Dense(self.num_outputs, name="output")(x)


def draw(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def built(head="softmax", dropout=0.0, num_classes=1):
  head, panel = heads.get_head(head), Panel(num_channels=8, num_raters=3, num_classes=num_classes)
  model = LevelModel(Linear(num_classes * head.num_outputs(3), dropout), head, panel)
  return model, model.init(jax.random.key(0), SIZE)


def test_doctests():
  assert doctest.testmod(level_model).failed == 0


@pytest.mark.parametrize("head", heads.HEADS)
def test_level_probs_are_what_the_head_makes_of_the_networks_logits(head):
  model, params = built(head=head)
  image = draw(2, 5, 7, 8)
  logits = model.net.apply({"params": params}, image, is_training=False)
  log_probs = model.log_level_probs(params, image)
  np.testing.assert_allclose(log_probs, heads.HEADS[head].log_level_probs(logits, 3), rtol=1e-6)
  level_probs = model.level_probs(params, image)
  assert level_probs.shape == (2, 5, 7, 4)
  np.testing.assert_allclose(level_probs, np.exp(log_probs), rtol=1e-6)
  np.testing.assert_allclose(level_probs.sum(-1), 1, atol=1e-5)


def test_classes_stand_before_the_levels_one_after_the_other():
  model, params = built(num_classes=3)
  image = draw(2, *SIZE, 8)
  logits = model.net.apply({"params": params}, image, is_training=False)
  level_probs = model.level_probs(params, image)
  assert level_probs.shape == (2, *SIZE, 3, 4)
  np.testing.assert_allclose(level_probs[..., 1, :], jax.nn.softmax(logits[..., 4:8]), atol=1e-6)


def test_a_dropout_key_switches_dropout_on():
  model, params = built(dropout=0.5)
  image = draw(1, *SIZE, 8)
  still = model.level_probs(params, image)
  one, other = (model.level_probs(params, image, jax.random.key(k)) for k in (0, 1))
  np.testing.assert_array_equal(one, model.level_probs(params, image, jax.random.key(0)))
  assert np.abs(one - other).max() > 0 and np.abs(one - still).max() > 0


@pytest.mark.parametrize("head", [name for name, head in heads.HEADS.items() if head.ordinal])
def test_untrained_it_predicts_the_level_frequencies_where_it_sees_nothing(head):
  model, _ = built(head=head)
  # Counts of a binomial, which every ordinal head can say: 3 raters, each marks 1 pixel in 4.
  counts = np.array([27, 27, 9, 1]) * 1e6
  params = model.init(jax.random.key(0), SIZE, level_counts=counts)
  zero_kernel = {**params, "output": {**params["output"], "kernel": jnp.zeros_like(params["output"]["kernel"])}}
  found = model.level_probs(zero_kernel, draw(1, *SIZE, 8))
  tolerance = 0.02 if head == "beta_binomial" else 1e-5  # whose correlation is 0.01 or more
  np.testing.assert_allclose(found, np.broadcast_to(counts / counts.sum(), found.shape), atol=tolerance)


def test_the_key_alone_decides_what_is_drawn():
  model, params = built()
  jax.tree.map(np.testing.assert_array_equal, params, model.init(jax.random.key(0), (16, 12)))
  other = model.init(jax.random.key(1), SIZE)
  assert np.abs(other["output"]["kernel"] - params["output"]["kernel"]).max() > 0


def test_wrong_heads_and_networks_are_named():
  config, panel = {"name": "unet", "head": "softmax"}, Panel(num_channels=1, num_raters=3)
  with pytest.raises(InputError, match=r"config\.model\.head='softmx'.*Did you mean 'softmax'"):
    models.build({**config, "head": "softmx"}, panel)
  with pytest.raises(InputError, match=r"config\.model\.name='unett'.*Did you mean 'unet'"):
    models.build({**config, "name": "unett"}, panel)
