"""Volumes and several classes, seen as images of one structure: what losses, targets and metrics are written for.

A loss is per pixel and a metric counts pixels; neither asks in which slice one lies, and classes are scored apart. So a
volume [D, H, W] is an image of D H rows, and each of K classes is an example of its own. With one class there is no
class axis anywhere.

S stands for (H, W) or (D, H, W).
"""

# pyright: reportUnknownMemberType=false

from typing import Any

import jax.numpy as jnp

from ordseg.types import Array, ArrayLike, Batch


def num_classes(batch: Batch) -> int:
  """Returns K: rater_masks are [B, S, R], or [B, S, K, R].

  >>> num_classes({"image": jnp.zeros((2, 8, 8, 1)), "rater_masks": jnp.zeros((2, 8, 8, 3, 4))})
  3
  """
  masks, image = batch["rater_masks"], batch["image"]
  return masks.shape[-2] if masks.ndim > image.ndim else 1


def fold_batch(batch: Batch) -> dict[str, Any]:
  """Folds what the raters said.

  Args:
    batch: see `types.Batch`; numpy or JAX arrays.

  Returns:
    rater_masks [B K, rows, W, R], rater_valid [B K, R], mask [B K, rows, W], and label_weights [B K, N] where there
    are any; example b's class k is b K + k.

  A volume of 5 slices of 8 x 9 pixels, 3 classes and 4 raters:

  >>> batch = {"image": jnp.zeros((2, 5, 8, 9, 1)), "rater_masks": jnp.zeros((2, 5, 8, 9, 3, 4))}
  >>> fold_batch({**batch, "mask": jnp.ones((2, 5, 8, 9)), "rater_valid": jnp.ones((2, 3, 4))})["rater_masks"].shape
  (6, 40, 9, 4)
  """
  classes, axes = num_classes(batch), batch["image"].ndim - 2
  out: dict[str, Any] = {"mask": jnp.repeat(_rows(batch["mask"], axes), classes, axis=0)}
  masks = _rows(batch["rater_masks"], axes)
  out["rater_masks"] = masks if classes == 1 else _classes_first(masks)
  for name in ("rater_valid", "label_weights"):
    if name in batch:
      x = batch[name]
      out[name] = x if classes == 1 else x.reshape(-1, x.shape[-1])
  return out


def fold_logits(logits: Array, classes: int) -> Array:
  """[B, S, K O] -> [B K, rows, W, O].

  >>> fold_logits(jnp.zeros((2, 5, 8, 9, 3 * 4)), 3).shape
  (6, 40, 9, 4)
  """
  x = _rows(logits, logits.ndim - 2)
  return x if classes == 1 else _classes_first(split_classes(x, classes))


def split_classes(x: Array, classes: int) -> Array:
  """[.., K O] -> [.., K, O]; unchanged where K is 1.

  >>> split_classes(jnp.arange(6), 3).tolist()
  [[0, 1], [2, 3], [4, 5]]
  """
  return x if classes == 1 else x.reshape(*x.shape[:-1], classes, -1)


def class_batch(batch: Batch, k: int) -> Batch:
  """Returns the batch of class k alone, without the class axis; the batch itself where there is none.

  >>> image, masks, valid = jnp.zeros((2, 8, 8, 1)), jnp.zeros((2, 8, 8, 3, 4)), jnp.ones((2, 3, 4))
  >>> class_batch({"image": image, "rater_masks": masks, "rater_valid": valid}, 1)["rater_masks"].shape
  (2, 8, 8, 4)
  """
  if num_classes(batch) == 1:
    return batch
  own = {"rater_masks": batch["rater_masks"][..., k, :], "rater_valid": batch["rater_valid"][:, k]}
  if "level_probs" in batch:
    own["level_probs"] = batch["level_probs"][..., k, :]
  return {**batch, **own}


def _rows(x: ArrayLike, axes: int) -> Array:
  """[B, S, ..] -> [B, rows, W, ..]."""
  x = jnp.asarray(x)
  return x.reshape(x.shape[0], -1, *x.shape[axes:])


def _classes_first(x: Array) -> Array:
  """[B, rows, W, K, N] -> [B K, rows, W, N]."""
  x = jnp.moveaxis(x, -2, 1)
  return x.reshape(-1, *x.shape[2:])
