"""Volumes and classes against the same numbers written out one by one."""

import types

import jax
import numpy as np
import pytest

from ordseg import heads, losses, ordinal
from ordseg.models import LevelModel
from ordseg.ordinal import folding
from ordseg.training import step
from ordseg.types import Panel

B, D, H, W, K, R = 2, 3, 4, 5, 3, 4
HEAD = heads.get_head("softmax")


def batch_of(classes, seed=0):
  draws = np.random.default_rng(seed)
  panel = (classes, R) if classes > 1 else (R,)
  return {
    "image": draws.normal(size=(B, D, H, W, 2)).astype(np.float32),
    "rater_masks": draws.integers(0, 2, (B, D, H, W, *panel)).astype(np.uint8),
    "rater_valid": draws.integers(0, 2, (B, *panel)).astype(np.uint8),
    "mask": draws.integers(0, 2, (B, D, H, W)).astype(np.uint8),
    "label_weights": draws.normal(size=(B, *panel[:-1], R + 1)).astype(np.float32),
  }


def linear_model(classes):
  """A model whose network is one matrix."""
  net = types.SimpleNamespace(apply=lambda p, x, **_: x @ p["params"])
  return LevelModel(net, HEAD, Panel(num_channels=2, num_raters=R, num_axes=3, num_classes=classes))


def test_images_of_one_structure_are_left_as_they_are():
  batch = {name: x[:, 0] if name in ("image", "rater_masks", "mask") else x for name, x in batch_of(1).items()}
  folded = folding.fold_batch(batch)
  assert folding.num_classes(batch) == 1 and folding.class_batch(batch, 0) is batch
  for name, x in folded.items():
    np.testing.assert_array_equal(x, batch[name])
  logits = np.zeros((B, H, W, 5), np.float32)
  assert folding.fold_logits(logits, 1).shape == logits.shape


@pytest.mark.parametrize("classes", [1, K])
def test_every_class_is_an_example_and_every_slice_rows(classes):
  batch = batch_of(classes)
  folded = folding.fold_batch(batch)
  logits = np.random.default_rng(1).normal(size=(B, D, H, W, classes * 5)).astype(np.float32)
  flat = folding.fold_logits(logits, classes)
  for b in range(B):
    for k in range(classes):
      place = (b,) if classes == 1 else (b, k)
      own = batch["rater_masks"][b] if classes == 1 else batch["rater_masks"][b, ..., k, :]
      one = b * classes + k
      np.testing.assert_array_equal(folded["rater_masks"][one].reshape(D, H, W, R), own)
      np.testing.assert_array_equal(folded["mask"][one].reshape(D, H, W), batch["mask"][b])
      np.testing.assert_array_equal(folded["rater_valid"][one], batch["rater_valid"][place])
      np.testing.assert_array_equal(folded["label_weights"][one], batch["label_weights"][place])
      np.testing.assert_array_equal(flat[one].reshape(D, H, W, 5), logits[b, ..., 5 * k : 5 * k + 5])


def test_the_loss_of_several_classes_is_the_sum_of_the_losses_of_each():
  batch = batch_of(K)
  weights = np.random.default_rng(2).normal(size=(2, K * (R + 1))).astype(np.float32)

  def gradients(batch, weights, classes=1):
    loss_fn = losses.get_loss("rps_bce", HEAD, {})
    return step.local_gradients(weights, batch, jax.random.key(0), model=linear_model(classes), loss_fn=loss_fn)

  together = gradients(batch, weights, K)
  apart = [
    gradients({**folding.class_batch(batch, k), "label_weights": batch["label_weights"][:, k]}, own)
    for k, own in enumerate(np.split(weights, K, axis=1))
  ]
  np.testing.assert_allclose(together.loss_sum, sum(s.loss_sum for s in apart), rtol=1e-5)
  assert together.weight_sum == sum(s.weight_sum for s in apart)
  np.testing.assert_allclose(together.grads, np.concatenate([s.grads for s in apart], axis=1), rtol=1e-4, atol=1e-5)


def test_predictions_keep_the_shape_of_the_volume_and_name_the_class_before_the_level():
  image = batch_of(1)["image"]
  weights = np.random.default_rng(3).normal(size=(2, K * (R + 1))).astype(np.float32)
  found = np.asarray(linear_model(K).level_probs(weights, image))
  assert found.shape == (B, D, H, W, K, R + 1)
  want = jax.nn.softmax(image @ weights[:, R + 1 : 2 * (R + 1)])
  np.testing.assert_allclose(found[..., 1, :], want, rtol=1e-5)


def test_a_loss_of_a_whole_volume_is_that_of_one_tall_image():
  batch = batch_of(1)
  target = ordinal.encode(**folding.fold_batch(batch))
  logits = np.random.default_rng(4).normal(size=(B, D, H, W, R + 1)).astype(np.float32)
  log_probs = heads.predict(HEAD, folding.fold_logits(logits, 1), R)
  loss = losses.dml(log_probs, target.votes, target.num_valid, target.weight, target.axes)
  assert loss.shape == (B, D * H, W)
  prob, votes = np.exp(log_probs) @ (np.arange(R + 1) / R), np.asarray(target.mean_vote)
  weight = np.asarray(target.weight)
  for b in range(B):
    size, apart = ((prob + votes) * weight)[b].sum(), (np.abs(prob - votes) * weight)[b].sum()
    np.testing.assert_allclose(loss[b], 1 - (size - apart + 1) / (size + 1), rtol=1e-4)
