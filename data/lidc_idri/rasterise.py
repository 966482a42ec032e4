"""Turns outlines into pixels: a region is what its outline encloses, without the outline itself."""

from collections.abc import Iterable

import cv2
import numpy as np
import scipy.ndimage

from data.lidc_idri.scan import Outline, Reading

_SIDE = 1 << 16  # more pixels than any slice has a side


def fill(points: np.ndarray) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
  """Finds the pixels that an outline encloses.

  The points are joined by straight lines of 8-connected pixels, the last to the first. Enclosed is what cannot be
  reached from outside by steps along rows and columns without crossing the line. Unlike the even-odd rule this does not
  depend on the direction, nor on a line that touches itself or is drawn twice.

  Args:
    points: array [N, 2] int32 of x and y, in pixels.

  Returns:
    (y, x) of the corner of the outline's bounding box; [h, w] bool, enclosed pixels; [h, w] bool, the line's pixels.
  """
  x, y = points.min(axis=0)
  width, height = points.max(axis=0) - (x, y) + 1
  line = np.zeros((height, width), np.uint8)
  cv2.polylines(line, [np.ascontiguousarray(points - (x, y), np.int32).reshape(-1, 1, 2)], isClosed=True, color=1)
  return (int(y), int(x)), scipy.ndimage.binary_fill_holes(line) & (line == 0), line == 1


def draw(outlines: Iterable[Outline], corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
  """Draws the outlines of one slice: all regions that count as nodule, less all holes.

  Args:
    outlines: all outlines of one reader in one slice.
    corner: y and x of the window's first pixel.
    size: height and width of the window in pixels; what lies outside of it is cut off.

  Returns:
    [height, width] uint8, 0 or 1.
  """
  mask = np.zeros(size, np.uint8)
  for outline in sorted(outlines, key=lambda outline: not outline.inclusion):
    (y, x), inside, _ = fill(outline.points)
    top, left = y - corner[0], x - corner[1]
    bottom, right = min(top + inside.shape[0], size[0]), min(left + inside.shape[1], size[1])
    if bottom > max(top, 0) and right > max(left, 0):
      part = inside[max(-top, 0) : bottom - top, max(-left, 0) : right - left]
      mask[max(top, 0) : bottom, max(left, 0) : right][part] = outline.inclusion
  return mask


def footprint(reading: Reading, *, with_line: bool) -> np.ndarray:
  """Lists the voxels of a nodule, holes filled.

  Args:
    reading: the outlines of one reader's mark.
    with_line: whether the pixels of the outlines count.

  Returns:
    [M] int64, a number for each voxel, the same whoever outlined it; sorted, unique.
  """
  voxels = [np.zeros(0, np.int64)]
  for outline in reading.outlines:
    if outline.inclusion:
      (y, x), inside, line = fill(outline.points)
      rows, columns = np.nonzero(inside | line if with_line else inside)
      voxels.append((outline.slice * _SIDE + rows + y) * _SIDE + columns + x)
  return np.unique(np.concatenate(voxels))


def bounds(readings: Iterable[Reading]) -> tuple[np.ndarray, np.ndarray]:
  """Returns the lowest and the highest (slice, y, x) of all outlines, both [3] int64 and both included."""
  corners = []
  for outline in (outline for reading in readings for outline in reading.outlines):
    x, y = outline.points.T
    corners += [(outline.slice, y.min(), x.min()), (outline.slice, y.max(), x.max())]
  return np.min(corners, axis=0), np.max(corners, axis=0)
