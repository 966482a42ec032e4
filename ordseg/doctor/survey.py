"""One pass over the records, one in memory at a time: counts per image, thumbnails, and how a rater fits the others."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cv2
import numpy as np

from ordseg import metrics
from ordseg.doctor import misfits
from ordseg.metrics import ImageSums

THUMBNAIL = 32  # pixels a side


@dataclasses.dataclass
class Survey:
  """What was seen of I images; lists and arrays have one entry per image.

  Attributes:
    raters: names of the columns.
    splits: of each image.
    ids: of each image.
    groups: of each image.
    sizes: (H, W).
    low: smallest intensity.
    high: largest intensity.
    thumbnails: [I, THUMBNAIL ** 2] float32, mean 0 and length 1; all 0 for a constant image.
    digests: of the pixels.
    sums: counts of masks; nothing of a prediction.
    mask_digests: [I][R], of each mask; '' where the rater is missing or marked nothing.
    fits: [I][R], how each rater's mask fits the others' as it is and when it is moved; None where that cannot be told.
  """

  raters: list[str]
  splits: list[str]
  ids: list[str]
  groups: list[str]
  sizes: list[tuple[int, int]]
  low: list[float]
  high: list[float]
  thumbnails: np.ndarray
  digests: list[str]
  sums: ImageSums
  mask_digests: list[list[str]]
  fits: list[list[misfits.Fit | None]]

  @property
  def areas(self) -> np.ndarray:
    """[I, R] pixels each rater marked."""
    return np.diagonal(self.sums.both_marked, axis1=1, axis2=2)

  def of_split(self, split: str) -> np.ndarray:
    """Returns the numbers of the images of a split."""
    return np.flatnonzero(np.asarray(self.splits) == split)


def survey(
  sources: Mapping[str, Iterable[Mapping[str, Any]]],
  *,
  raters: list[str] | None = None,
  progress: Callable[[int], None] | None = None,
) -> Survey:
  """Reads all records once.

  Args:
    sources: split -> records in the schema of data/README.md.
    raters: names of the columns; by default rater 0, rater 1, ..
    progress: called with the number of images read.
  """
  rows: list[dict[str, Any]] = []
  for split, records in sources.items():
    for record in records:
      rows.append(_look(record, split))
      if progress is not None:
        progress(len(rows))
  num_raters = len(rows[0]["valid"]) if rows else 0
  return Survey(
    raters=raters or [f"rater {r}" for r in range(num_raters)],
    splits=[row["split"] for row in rows],
    ids=[row["id"] for row in rows],
    groups=[row["group"] for row in rows],
    sizes=[row["size"] for row in rows],
    low=[row["low"] for row in rows],
    high=[row["high"] for row in rows],
    thumbnails=np.stack([row["thumbnail"] for row in rows]) if rows else np.zeros((0, THUMBNAIL**2), np.float32),
    digests=[row["digest"] for row in rows],
    sums=_image_sums(rows, num_raters),
    mask_digests=[row["mask_digests"] for row in rows],
    fits=[row["fits"] for row in rows],
  )


def _text(value: Any) -> str:
  return value.decode() if isinstance(value, bytes) else str(value)


def _look(record: Mapping[str, Any], split: str) -> dict[str, Any]:
  image, masks = np.asarray(record["image"]), np.asarray(record["rater_masks"])
  valid = np.asarray(record["rater_valid"]).astype(bool)
  masks = masks * valid.astype(np.uint8)
  return {
    "split": split,
    "id": _text(record["id"]),
    "group": _text(record["group"]),
    "size": image.shape[:2],
    "low": float(image.min()),
    "high": float(image.max()),
    "thumbnail": _thumbnail(image),
    "digest": hashlib.sha256(image.tobytes()).hexdigest(),
    "valid": valid,
    **_counts(masks, valid),
    "mask_digests": [
      hashlib.sha256(np.packbits(masks[..., r]).tobytes()).hexdigest() if masks[..., r].any() else ""
      for r in range(masks.shape[-1])
    ],
    "fits": misfits.fits(masks, valid),
  }


def _thumbnail(image: np.ndarray) -> np.ndarray:
  grey = np.ascontiguousarray(image.astype(np.float32).mean(-1))
  small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).reshape(-1)
  small = small - small.mean()
  length = float(np.linalg.norm(small))
  return small / length if length > 1e-3 * THUMBNAIL else np.zeros_like(small)


def _counts(masks: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
  num_raters = masks.shape[-1]
  flat = masks.reshape(-1, num_raters)
  votes = flat.sum(-1, dtype=np.int64)
  marked = flat.astype(np.float32)
  levels = np.stack([np.bincount(votes, weights=marked[:, r], minlength=num_raters + 1) for r in range(num_raters)])
  return {
    "level_count": np.bincount(votes, minlength=num_raters + 1) * int(valid.any()),
    "rater_levels": np.rint(levels).astype(np.int64),
    "both_marked": np.rint(marked.T @ marked).astype(np.int64),
  }


def _image_sums(rows: list[dict[str, Any]], num_raters: int) -> ImageSums:
  """The fields that `agreement` reads; those of a prediction are 0."""
  nothing = metrics.empty(max(num_raters, 1), 1)
  zeros = {
    field.name: np.zeros((len(rows), *getattr(nothing, field.name).shape[1:]), np.int64)
    for field in dataclasses.fields(nothing)
  }
  if not rows:
    return ImageSums(**zeros)
  valid = np.stack([row["valid"] for row in rows]).astype(np.int64)
  counted = {name: np.stack([row[name] for row in rows]) for name in ("level_count", "rater_levels", "both_marked")}
  return ImageSums(**{**zeros, **counted, "rater_valid": valid, "num_valid": valid.sum(1)})
