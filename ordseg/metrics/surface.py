"""Distances between outlines: Hausdorff distance at 95 % and surface Dice of a predicted mask against others.

An outline is the pixels of a mask with a neighbour outside it (one of four, of six in a volume), the pixels beyond the
image counting as outside. Distances are Euclidean, in mm where the spacing is known, else in pixels.
"""

from collections.abc import Sequence

import numpy as np
from flax import struct

from ordseg import ordinal
from ordseg.metrics.pooling import mean_of
from ordseg.types import Batch

PERCENTILE = 95.0


@struct.dataclass
class SurfaceScores:
  """Scores of I images and O read-outs against the majority (index 0) and each rater (1..R); NaN where not scored.

  Attributes:
    hd95: [I, O, 1 + R] float64, mm or pixels.
    surface_dice: [I, O, 1 + R] float64.
    in_mm: [I] bool, whether the image's spacing is known.
  """

  hd95: np.ndarray
  surface_dice: np.ndarray
  in_mm: np.ndarray


def empty(num_raters: int) -> SurfaceScores:
  """Returns the scores of no images."""
  shape = (0, len(ordinal.READ_OUTS), 1 + num_raters)
  return SurfaceScores(np.zeros(shape), np.zeros(shape), np.zeros(0, bool))


def batch_scores(level_probs: np.ndarray, batch: Batch, num_real: int, tolerance: float) -> SurfaceScores:
  """Scores the masks (probability >= 1/2) of both read-outs, that of the majority thinned to those who answered.

  Args:
    level_probs: [B, H, W, L], or [B, D, H, W, L].
    batch: rater_masks, rater_valid, mask, and spacing [B, 2] or [B, 3] in mm where there is one. Pixels that do not
      count are outside every mask.
    num_real: images that count.
    tolerance: Tolerance of the surface Dice, mm or pixels.
  """
  num_raters = level_probs.shape[-1] - 1
  num_valid = np.sum(np.asarray(batch["rater_valid"]) > 0, axis=-1)
  weights = np.stack([ordinal.thinned_weights(name, num_valid, num_raters) for name in ordinal.READ_OUTS], -1)
  parts = [empty(num_raters)]
  for k in range(num_real):
    inside, valid = np.asarray(batch["mask"][k]) > 0, np.asarray(batch["rater_valid"][k]) > 0
    spacing = np.asarray(batch["spacing"][k], np.float64) if "spacing" in batch else np.zeros(inside.ndim)
    known = bool(np.all(spacing > 0))
    raters = (np.asarray(batch["rater_masks"][k]) > 0) & inside[..., None]
    votes = raters[..., valid].sum(-1)
    truths = [(2 * votes >= valid.sum()) & inside, *(raters[..., r] for r in range(num_raters))]
    # Not `ordinal.read_out`: one product for both, and where a sum is near 1/2 its order decides.
    predicted = (level_probs[k] @ weights[k] >= 0.5) & inside[..., None]
    scores = np.full((2, len(ordinal.READ_OUTS), 1 + num_raters), np.nan)
    if valid.any() and inside.any():
      asked = np.flatnonzero([True, *valid])
      masks = [predicted[..., o] for o in range(predicted.shape[-1])]
      scores[:, :, asked] = mask_scores(
        masks, [truths[t] for t in asked], spacing if known else np.ones(inside.ndim), tolerance
      )
    parts.append(SurfaceScores(scores[None, 0], scores[None, 1], np.asarray([known])))
  return concatenate(parts)


def concatenate(parts: Sequence[SurfaceScores]) -> SurfaceScores:
  """Merges the scores of several batches."""
  columns = zip(*((p.hd95, p.surface_dice, p.in_mm) for p in parts), strict=True)
  return SurfaceScores(*(np.concatenate(column) for column in columns))


def mask_scores(
  predicted: Sequence[np.ndarray], truths: Sequence[np.ndarray], spacing: np.ndarray, tolerance: float
) -> np.ndarray:
  """Scores every predicted mask against every true one.

  Two empty masks agree: distance 0, surface Dice 1. Where one is empty, the distance is the diagonal of the image, the
  largest there can be, and the surface Dice 0.

  Args:
    predicted: boolean masks [H, W] or [D, H, W].
    truths: the same.
    spacing: along each axis.
    tolerance: Tolerance in the unit of `spacing`.

  Returns:
    [2, len(predicted), len(truths)] float64: Hausdorff distance at 95 %, surface Dice.
  """
  from scipy import ndimage  # only where outlines are asked for

  size = np.asarray(predicted[0].shape)
  diagonal = float(np.linalg.norm((size - 1) * spacing))
  edges = _edges([*predicted, *truths])
  fields = [ndimage.distance_transform_edt(~edge, sampling=spacing) if edge.any() else None for edge in edges]
  out = np.zeros((2, len(predicted), len(truths)))
  for p in range(len(predicted)):
    for t in range(len(truths)):
      a, b = fields[p], fields[len(predicted) + t]
      if a is None or b is None:
        out[:, p, t] = (0.0, 1.0) if a is b else (diagonal, 0.0)
        continue
      there, back = b[edges[p]], a[edges[len(predicted) + t]]
      out[0, p, t] = max(np.percentile(there, PERCENTILE), np.percentile(back, PERCENTILE))
      out[1, p, t] = ((there <= tolerance).sum() + (back <= tolerance).sum()) / (there.size + back.size)
  return out


def _edges(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
  """The outlines, cut to the box that holds all of them."""
  from scipy import ndimage

  anywhere = np.logical_or.reduce(masks)
  box = ndimage.find_objects(anywhere.astype(np.uint8))
  if not box:
    return [np.zeros((1,) * anywhere.ndim, bool) for _ in masks]
  return [part & ~ndimage.binary_erosion(part) for part in (mask[box[0]] for mask in masks)]


def image_surface(scores: SurfaceScores, read_out: str) -> dict[str, np.ndarray]:
  """Returns [I] hd95, hd95_rater_mean, surface_dice and surface_dice_rater_mean; NaN where nobody answered."""
  o = ordinal.READ_OUTS.index(read_out)
  out = {}
  for name in ("hd95", "surface_dice"):
    values = getattr(scores, name)[:, o]
    out[name] = values[:, 0]
    out[f"{name}_rater_mean"] = mean_of(values[:, 1:])
  return out


def unit(scores: SurfaceScores) -> str:
  """Returns the unit of the distances: mm, pixels, or both where only some images have a spacing."""
  if scores.in_mm.all() and scores.in_mm.size:
    return "mm"
  return "mm and pixels mixed" if scores.in_mm.any() else "pixels"
