"""One pass over the records, one in memory at a time: counts per image, thumbnails, and how a rater fits the others.

A picture is looked at as a volume of one page. Of a volume everything is counted page by page; what compares shapes
(`alignment`) looks at its fullest page. Where several structures lie side by side, each gets a survey of its own.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from ordseg import metrics
from ordseg.data_check import alignment
from ordseg.metrics import ImageSums

THUMBNAIL = 32  # pixels a side
PAGES = 4  # of a volume that have a thumbnail


@dataclasses.dataclass
class Survey:
  """What was seen of I images; lists and arrays have one entry per image.

  Attributes:
    raters: names of the columns.
    structure: whose masks are counted; '' where there is one.
    splits: of each image.
    ids: of each image.
    groups: of each image.
    sizes: (H, W) or, of volumes, (D, H, W).
    low: smallest intensity.
    high: largest intensity.
    thumbnails: [I, n] float32, mean 0 and length 1, of THUMBNAIL ** 2 pixels (PAGES times as many of a volume); all 0
      for a constant image.
    digests: of the pixels.
    sums: counts of masks; nothing of a prediction.
    mask_digests: [I, R], of each mask; '' where the rater is missing or marked nothing.
    fits: [I, R], how each rater's mask fits the others' as it is and when it is moved; None where the marks are small.
    touches: [I, R] bool: the mask reaches all four borders of the image.
    is_majority: [I, R] bool: the mask is what most of the others marked, where there are three who differ.
  """

  raters: list[str]
  structure: str
  splits: list[str]
  ids: list[str]
  groups: list[str]
  sizes: list[tuple[int, ...]]
  low: list[float]
  high: list[float]
  thumbnails: np.ndarray
  digests: list[str]
  sums: ImageSums
  mask_digests: list[list[str]]
  fits: list[list[alignment.Alignment | None]]
  touches: np.ndarray
  is_majority: np.ndarray

  @property
  def areas(self) -> np.ndarray:
    """[I, R] pixels each rater marked."""
    return np.diagonal(self.sums.both_marked, axis1=1, axis2=2)

  @property
  def num_pixels(self) -> np.ndarray:
    """[I] pixels of each image."""
    return np.asarray([np.prod(size, dtype=np.int64) for size in self.sizes], np.int64)

  def of_split(self, split: str) -> np.ndarray:
    """Returns the numbers of the images of a split."""
    return np.flatnonzero(np.asarray(self.splits) == split)


def survey(
  sources: Mapping[str, Iterable[Mapping[str, object]]],
  *,
  raters: list[str] | None = None,
  progress: Callable[[int], None] | None = None,
) -> Survey:
  """Reads all records of one structure once; see `surveys`."""
  return surveys(sources, raters=raters, progress=progress)[0]


def surveys(
  sources: Mapping[str, Iterable[Mapping[str, object]]],
  *,
  raters: list[str] | None = None,
  structures: Sequence[str] = (),
  progress: Callable[[int], None] | None = None,
) -> list[Survey]:
  """Reads all records once.

  Args:
    sources: split -> records in the schema of data/README.md, images or volumes.
    raters: names of the columns; by default rater 0, rater 1, ..
    structures: names of the classes, where records have an axis for them.
    progress: called with the number of images read.

  Returns:
    One for each structure, or one.
  """
  rows: list[list[dict[str, Any]]] = [[] for _ in structures or ("",)]
  for split, records in sources.items():
    for record in records:
      image = as_pages(record)
      seen = _look_at_image(record, image, split)
      for k, of_structure in enumerate(rows):
        masks, valid = masks_of(record, k if structures else None)
        of_structure.append({**seen, **_look_at_masks(masks, valid)})
      if progress is not None:
        progress(len(rows[0]))
  return [_gathered(part, raters, name) for part, name in zip(rows, structures or ("",), strict=True)]


def as_pages(record: Mapping[str, object]) -> np.ndarray:
  """Returns the image as [D, H, W, C]."""
  image = np.asarray(record["image"])
  return image if image.ndim == 4 else image[None]


def masks_of(record: Mapping[str, object], structure: int | None = None) -> tuple[np.ndarray, np.ndarray]:
  """Returns the masks [D, H, W, R] uint8, 0 where a rater is missing, and who answered, [R] bool.

  Args:
    record: A record in the schema of data/README.md.
    structure: number of the class; None where there is no axis for them.
  """
  masks, valid = np.asarray(record["rater_masks"]), np.asarray(record["rater_valid"]).astype(bool)
  if structure is not None:
    masks, valid = masks[..., structure, :], valid[structure]
  masks = masks if np.asarray(record["image"]).ndim == 4 else masks[None]
  return masks * valid.astype(np.uint8), valid


def fullest_page(masks: np.ndarray) -> int:
  """Returns the page [D, H, W, R] that tells most: marked and unmarked pixels of each rater, whichever are fewer."""
  areas = masks.sum(axis=(1, 2), dtype=np.int64)
  return int(np.argmax(np.minimum(areas, masks[0, ..., 0].size - areas).sum(-1)))


def _text(value: object) -> str:
  return value.decode() if isinstance(value, bytes) else str(value)


def _look_at_image(record: Mapping[str, object], pages: np.ndarray, split: str) -> dict[str, Any]:
  return {
    "split": split,
    "id": _text(record["id"]),
    "group": _text(record["group"]),
    "size": np.asarray(record["image"]).shape[:-1],
    "low": float(pages.min()),
    "high": float(pages.max()),
    "thumbnail": _thumbnail(pages),
    "digest": hashlib.sha256(np.ascontiguousarray(pages).data).hexdigest(),
  }


def _look_at_masks(masks: np.ndarray, valid: np.ndarray) -> dict[str, Any]:
  page = masks[fullest_page(masks)]
  return {
    "valid": valid,
    **_counts(masks, valid),
    "mask_digests": [
      hashlib.sha256(np.packbits(masks[..., r]).data).hexdigest() if masks[..., r].any() else ""
      for r in range(masks.shape[-1])
    ],
    "fits": alignment.fits(page, valid),
    "touches": np.stack([side.any(axis=(0, 1)) for side in _sides(masks)]).all(axis=0),
    "is_majority": _is_majority(masks, valid),
  }


def _sides(masks: np.ndarray) -> tuple[np.ndarray, ...]:
  return masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]


def _thumbnail(pages: np.ndarray) -> np.ndarray:
  chosen = np.linspace(0, len(pages) - 1, PAGES + 2)[1:-1].round().astype(int) if len(pages) > 1 else [0]
  small = np.concatenate([
    cv2.resize(
      np.ascontiguousarray(pages[z].astype(np.float32).mean(-1)), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA
    ).reshape(-1)
    for z in chosen
  ])  # fmt: skip
  small = small - small.mean()
  length = float(np.linalg.norm(small))
  return small / length if length > 1e-3 * np.sqrt(small.size) else np.zeros_like(small)


def _counts(masks: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
  num_raters = masks.shape[-1]
  level_count = np.zeros(num_raters + 1, np.int64)
  rater_levels = np.zeros((num_raters, num_raters + 1))
  both_marked = np.zeros((num_raters, num_raters))
  for page in masks:
    flat = page.reshape(-1, num_raters)
    votes = flat.sum(-1, dtype=np.int64)
    marked = flat.astype(np.float32)
    level_count += np.bincount(votes, minlength=num_raters + 1)
    rater_levels += [np.bincount(votes, weights=marked[:, r], minlength=num_raters + 1) for r in range(num_raters)]
    both_marked += marked.T @ marked
  return {
    "level_count": level_count * int(valid.any()),
    "rater_levels": np.rint(rater_levels).astype(np.int64),
    "both_marked": np.rint(both_marked).astype(np.int64),
  }


def _is_majority(masks: np.ndarray, valid: np.ndarray) -> np.ndarray:
  """[R] bool; see `Survey`. A half of the votes may count either way."""
  found = np.zeros(len(valid), bool)
  if valid.sum() < 4:
    return found
  votes = masks.sum(-1, dtype=np.int16)
  for r in np.flatnonzero(valid):
    others, count = votes - masks[..., r], int(valid.sum()) - 1
    if masks[..., r].any() and ((others > 0) & (others < count)).any():
      found[r] = any(np.array_equal(masks[..., r], rule) for rule in (2 * others > count, 2 * others >= count))
  return found


def _gathered(rows: list[dict[str, Any]], raters: list[str] | None, structure: str) -> Survey:
  num_raters = len(rows[0]["valid"]) if rows else 0
  return Survey(
    raters=raters or [f"rater {r}" for r in range(num_raters)],
    structure=structure,
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
    touches=np.asarray([row["touches"] for row in rows], bool).reshape(len(rows), num_raters),
    is_majority=np.asarray([row["is_majority"] for row in rows], bool).reshape(len(rows), num_raters),
  )


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
