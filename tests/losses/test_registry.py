"""One declaration makes a loss, or a head: a made-up one is trained, checked, listed and printed."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ordseg import heads, losses
from ordseg.config import resolve
from ordseg.errors import InputError
from ordseg.settings import Setting
from ordseg.training import parallel
from ordseg.training.learner import make_learner
from ordseg.types import Panel
from tests.helpers import learning, training

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture
def tversky():
  """Salehi et al., 2017: as Dice, with a price for what was missed."""

  @losses.register(
    "tversky", summary="an overlap | of a made-up loss", tversky_beta=Setting("price of what was missed", ge=0)
  )
  def tversky(log_probs, votes, num_valid=None, weight=None, *, tversky_beta=0.7):
    prob, label = jax.nn.sigmoid(losses.majority_logit(log_probs, num_valid)), (votes > 1).astype(jnp.float32)
    total = lambda x: jnp.sum(x * weight, axis=(-2, -1), keepdims=True)  # noqa: E731
    hit, missed, extra = total(prob * label), total((1 - prob) * label), total(prob * (1 - label))
    return jnp.broadcast_to(1 - (hit + 1) / (hit + tversky_beta * missed + (1 - tversky_beta) * extra + 1), votes.shape)

  yield losses.LOSSES["tversky"]
  losses.LOSSES.remove("tversky")


@pytest.fixture
def shifted():
  @heads.register(
    "shifted", num_outputs=lambda R: R + 1, init_bias=lambda freqs: np.log(freqs), summary="a made-up head"
  )
  def shifted(logits, num_raters):
    return jax.nn.log_softmax(logits - jnp.arange(num_raters + 1.0).reshape((1,) * (logits.ndim - 1) + (-1,)), axis=-1)

  yield heads.HEADS["shifted"]
  heads.HEADS.remove("shifted")


def train_one_step(loss, head):
  """Returns (loss, largest change of a parameter) of a step of the real learner."""
  config = training.tiny_config()
  config.loss.update(loss)
  config.model.head = head
  config.data.crop_size = (8, 8)
  learner = make_learner(resolve(config), Panel(1, learning.NUM_RATERS))
  state = learner.create(np.ones(learning.NUM_RATERS + 1))
  before = jax.device_get(state.params)
  after, metrics = learner.train_step(state, parallel.shard_batch(learning.uneven_batch()))
  change = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max(), after.params, before)
  return float(metrics["loss"]), max(jax.tree.leaves(change))


def test_a_loss_trains_is_checked_and_is_printed(tversky):
  losses_seen = {}
  for beta in (0.2, 0.9):
    losses_seen[beta], change = train_one_step({"name": "tversky", "tversky_beta": beta}, tversky.default_head)
    assert 0 < losses_seen[beta] < 1 and change > 0
  assert losses_seen[0.2] != losses_seen[0.9]
  assert tversky.default_head == "sigmoid" and tversky.target_fields == ("votes", "num_valid", "weight")
  sigmoid = heads.get_head("sigmoid")
  for values, message in (
    ({"tversky_beta": -5.0}, r"config\.loss\.tversky_beta=-5\.0 must be >= 0"),
    ({"tversky_bet": 0.5}, r"config\.loss\.tversky_bet is not a field\. Did you mean 'tversky_beta'"),
    ({"gamma": 1.0}, r"config\.loss\.gamma=1\.0 has no effect on config\.loss\.name='tversky', only on focal"),
  ):
    with pytest.raises(InputError, match=message):
      losses.get_loss("tversky", sigmoid, values)
  with pytest.raises(InputError, match=r"config\.loss\.name='tverski' is unknown\. Did you mean 'tversky'"):
    losses.get_loss("tverski", sigmoid, {})
  assert r"| `tversky` | an overlap \| of a made-up loss | `tversky_beta` = 0.7 | no |" in losses.markdown_table()
  assert losses.LOSSES.settings()["tversky_beta"].setting.help == "price of what was missed"


def test_a_head_trains_is_found_and_is_printed(shifted):
  loss, change = train_one_step({"name": "rps"}, "shifted")
  assert loss > 0 and change > 0
  assert heads.get_head("shifted") is shifted
  with pytest.raises(InputError, match=r"config\.model\.head='shiftd' is unknown\. Did you mean 'shifted'"):
    heads.get_head("shiftd")
  assert "| `shifted` | 5 | a made-up head |" in heads.markdown_table()


def test_what_a_loss_may_not_declare():
  def of(log_probs, votes, pixels):
    return votes

  with pytest.raises(ValueError, match="made_up: pixels is nothing that an OrdinalTarget has"):
    losses.register("made_up", summary="")(of)
  with pytest.raises(ValueError, match="'rps' is registered already"):
    losses.register("rps", summary="")(losses.rps)
  with pytest.raises(ValueError, match="made_up: strength needs a default and a Setting"):
    losses.register("made_up", summary="")(lambda log_probs, *, strength=1.0: strength * log_probs)
  assert "made_up" not in losses.LOSSES


def test_the_heads_that_losses_are_compared_on():
  """A binary loss promises the baseline of a binary model."""
  binary = {name for name, spec in losses.LOSSES.items() if spec.default_head == "sigmoid"}
  assert binary == {
    *("bce_majority", "bce_soft", "bce_staple", "bce_dice", "bce_ml1_ace", "dml"),
    *("label_smoothing", "svls", "focal", "mbls", "nacl"),
  }
  assert len(losses.LOSSES) == 20


def test_the_docs_have_these_tables():
  text = (ROOT / "docs" / "method.md").read_text()
  for table, command in ((losses.markdown_table(), "losses"), (heads.markdown_table(), "heads")):
    assert table in text, f"python -c 'from ordseg import {command}; print({command}.markdown_table())' prints another"
