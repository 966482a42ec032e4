"""Disc and cup from outlines that were drawn on a copy of the photograph."""

import cv2
import numpy as np

_MIN_PIXELS = 20  # smaller differences are JPEG's, not a pen's
_PEN_SHARE = 0.04  # of the disc's width: how far the pen reaches inside the disc's outline
_MIN_DISC, _MAX_DISC = 0.001, 0.25  # of the image; else the outline was not found
_MIN_DRAWN = 0.85  # of a hull's edge; less comes from a line that is open, broken, or no outline


def trace(photo: np.ndarray, drawn: np.ndarray, *, threshold: int) -> tuple[np.ndarray | None, np.ndarray | None]:
  """Finds what an expert outlined.

  The largest connected difference is the disc's outline, and its convex hull the disc. Inside, away from that outline,
  the largest connected difference that is left is the cup's; where it touches the disc, that piece is left to the hull.

  Args:
    photo: [H, W, 3] uint8.
    drawn: [H, W, 3] uint8, the same with outlines.
    threshold: differences in the red channel above it count: 1 for lossless files, more for JPEG.

  Returns:
    Disc and cup, each [H, W] uint8, the line included, or None where it was not found.
  """
  lines = (np.abs(photo[..., 0].astype(np.int16) - drawn[..., 0]) > threshold).astype(np.uint8)
  disc = _hull_of_largest(lines, lines)
  if disc is None or not _MIN_DISC < disc.mean() < _MAX_DISC:
    return None, None
  width = int(np.ptp(np.flatnonzero(disc.any(axis=0)))) + 1
  reach = max(2, round(_PEN_SHARE * width))
  rim = 1 - _shrunk(disc, 3 * reach // 2)  # a cup that touches the disc is cut off straight, somewhere in here
  return disc, _hull_of_largest(lines * _shrunk(disc, reach), lines | rim)


def _shrunk(mask: np.ndarray, pixels: int) -> np.ndarray:
  ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
  return cv2.erode(mask, ball, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def _hull_of_largest(parts: np.ndarray, drawn: np.ndarray) -> np.ndarray | None:
  _, labels = cv2.connectedComponents(parts, connectivity=8)
  sizes = np.bincount(labels.reshape(-1))[1:]
  if not len(sizes) or sizes.max() < _MIN_PIXELS:
    return None
  y, x = np.nonzero(labels == 1 + int(np.argmax(sizes)))
  corners = cv2.convexHull(np.stack([x, y], axis=-1).astype(np.int32))
  hull = cv2.fillPoly(np.zeros_like(parts), [corners], 1)
  is_line = 2 * int((parts * hull).sum()) < int(hull.sum())  # not a blot
  return hull if is_line and _is_outlined(hull, corners, drawn) else None


def _is_outlined(hull: np.ndarray, corners: np.ndarray, drawn: np.ndarray) -> bool:
  """Whether the hull's edge is drawn for the most part; a tenth of the radius is for dents, which a hull bridges."""
  edge = cv2.polylines(np.zeros_like(hull), [corners], isClosed=True, color=1)
  distance = cv2.distanceTransform(1 - drawn, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
  near = 1.5 + 0.1 * float(np.sqrt(hull.sum() / np.pi))
  return float(np.mean(distance[edge > 0] <= near)) >= _MIN_DRAWN
