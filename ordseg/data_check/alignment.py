"""Would a rater's mask fit the others better if it were moved? The signature of a file that was exported wrongly."""

import dataclasses
from typing import Any

import numpy as np
import scipy.fft

MIN_PIXELS = 40  # smaller marks fit anything
MOVES = ("mirrored left-right", "mirrored up-down", "turned by 180 degrees", "transposed", "inverted", "shifted")


@dataclasses.dataclass(frozen=True)
class Alignment:
  """Dice of one rater's mask against the share of the other raters who marked each pixel.

  Attributes:
    as_is: in [0, 1].
    moved: move of `MOVES` -> the same after that move.
    shift: (rows, columns) of the best shift.
    others: mean pairwise Dice among the others; 1 where there is one other.
    area: pixels of the mask.
    covers: their share of the image.
  """

  as_is: float
  moved: dict[str, float]
  shift: tuple[int, int]
  others: float
  area: int
  covers: float

  @property
  def best(self) -> tuple[str, float]:
    """The move that fits best, and its Dice."""
    return max(self.moved.items(), key=lambda item: item[1])


def fits(masks: np.ndarray, valid: np.ndarray) -> list[Alignment | None]:
  """Compares each rater with the others.

  Args:
    masks: [H, W, R] 0 or 1, 0 where missing.
    valid: [R] bool.

  Returns:
    One per rater; None where the rater is missing, or it or all others marked too little to tell.
  """
  areas = masks.sum(axis=(0, 1), dtype=np.int64)
  found: list[Alignment | None] = []
  for r in range(masks.shape[-1]):
    others = [s for s in np.flatnonzero(valid & (areas >= MIN_PIXELS)) if s != r]
    if not valid[r] or areas[r] < MIN_PIXELS or not others:
      found.append(None)
      continue
    found.append(_fit(masks[..., r].astype(np.float32), masks[..., others].astype(np.float32)))
  return found


def _dice(a: np.ndarray, b: np.ndarray) -> float:
  return float(2 * (a * b).sum() / max(float(a.sum() + b.sum()), 1.0))


def _fit(mask: np.ndarray, others: np.ndarray) -> Alignment:
  share = others.mean(-1)
  moved = {
    "mirrored left-right": _dice(mask[:, ::-1], share),
    "mirrored up-down": _dice(mask[::-1], share),
    "turned by 180 degrees": _dice(mask[::-1, ::-1], share),
    "inverted": _dice(1 - mask, share),
  }
  if mask.shape[0] == mask.shape[1]:
    moved["transposed"] = _dice(mask.T, share)
  moved["shifted"], shift = _best_shift(mask, share)
  count = others.shape[-1]
  pairs = [_dice(others[..., i], others[..., j]) for i in range(count) for j in range(i)]
  return Alignment(
    _dice(mask, share), moved, shift, float(np.mean(pairs)) if pairs else 1.0, int(mask.sum()), float(mask.mean())
  )


def _best_shift(mask: np.ndarray, share: np.ndarray) -> tuple[float, tuple[int, int]]:
  """The shift under which mask and share overlap most, by their correlation; up to half the image each way."""
  shape = [int(scipy.fft.next_fast_len(2 * n, real=True) or 0) for n in mask.shape]
  product: Any = np.asarray(scipy.fft.rfft2(share, shape)) * np.conj(np.asarray(scipy.fft.rfft2(mask, shape)))
  overlap = np.asarray(scipy.fft.irfft2(product, shape))
  row, column = np.unravel_index(int(np.argmax(overlap)), overlap.shape)
  shift = tuple(int(k - n if k > n // 2 else k) for k, n in zip((row, column), shape, strict=True))
  dice = 2 * float(overlap[row, column]) / max(float(mask.sum() + share.sum()), 1.0)
  return min(dice, 1.0), (shift[0], shift[1])
