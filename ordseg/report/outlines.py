"""Nested regions "at least j raters" of one image as vector outlines: what the raters marked and what the map says."""

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from ordseg.report.reading import Example

SCALE = 10  # units of the drawing per pixel: coordinates are whole numbers, which keeps the page small
_SMALLEST = 32  # pixels of the side of a cut-out
_HALF = 127.5  # in `Example.tails`, where 255 stands for 1


@dataclasses.dataclass(frozen=True)
class Level:
  """The region that at least j raters marked, or would mark.

  Attributes:
    raters_path: its outline among the raters, data of an SVG path in units of 1 / `SCALE` pixels; '' where it is empty.
    model_path: the outline of the region that, more likely than not, at least j raters would mark.
    raters_area: pixels of the raters' region.
    model_area: pixels of the model's.
    dice: their overlap; None where both are empty.
  """

  raters_path: str
  model_path: str
  raters_area: int
  model_area: int
  dice: float | None


@dataclasses.dataclass(frozen=True)
class Nested:
  """The nested regions of an image.

  Attributes:
    levels: j = 1 .. n, for n raters who answered.
    width: of the whole image, in units of 1 / `SCALE` pixels, as all below.
    height: likewise.
    box: left, top, width, height of what is shown: a square around all that is marked, or the whole image.
  """

  levels: list[Level]
  width: int
  height: int
  box: tuple[int, int, int, int]


def nested(example: Example) -> Nested | None:
  """Returns the nested regions of an example; None for an evaluation of an earlier version, which did not keep them."""
  if example.tails is None:
    return None
  height, width, num_valid = example.tails.shape
  votes = np.round(np.nan_to_num(example.mean_vote) * num_valid)
  levels = [_level(votes >= j, example.tails[..., j - 1]) for j in range(1, num_valid + 1)]
  left, top, *size = square_around((votes > 0) | (example.tails[..., 0] > _HALF))
  box = SCALE * left, SCALE * top, SCALE * size[0], SCALE * size[1]
  return Nested(levels, SCALE * width, SCALE * height, box)


def square_around(marked: np.ndarray) -> tuple[int, int, int, int]:
  """Returns left, top, width and height of a square with all that is marked [H, W] and as much again around it.

  The whole image where nothing is marked, or where the square would not be clearly smaller.
  """
  height, width = marked.shape
  ys, xs = np.nonzero(marked)
  if not ys.size:
    return 0, 0, width, height
  side = max(_SMALLEST, 2 * max(int(np.ptp(ys)), int(np.ptp(xs))) + 2)
  if side > 0.75 * min(height, width):
    return 0, 0, width, height
  centres = (int(xs.min() + xs.max() + 1) // 2, int(ys.min() + ys.max() + 1) // 2)
  left, top = (
    min(max(centre - side // 2, 0), size - side) for centre, size in zip(centres, (width, height), strict=True)
  )
  return left, top, side, side


def _level(marked: np.ndarray, tail: np.ndarray) -> Level:
  predicted = tail > _HALF
  areas = int(marked.sum()), int(predicted.sum())
  return Level(
    raters_path=svg_path(marked.astype(np.float32), 0.5),
    model_path=svg_path(tail.astype(np.float32), _HALF),
    raters_area=areas[0],
    model_area=areas[1],
    dice=2 * int((marked & predicted).sum()) / sum(areas) if sum(areas) else None,
  )


def svg_path(values: np.ndarray, threshold: float) -> str:
  """Returns the outline of the region where `values` exceed `threshold`, as data of an SVG path.

  Args:
    values: [H, W], below `threshold` outside the picture; pixel (y, x) covers the square from (x, y) to (x + 1, y + 1).
    threshold: between the smallest value and the largest; in between, the outline is interpolated.

  Returns:
    Closed curves in units of 1 / `SCALE` pixels; '' where nothing exceeds the threshold.
  """
  if not (values > threshold).any():
    return ""
  padded = np.pad(values, 1)  # so that what touches the border is closed
  lines = Figure().add_subplot().contour(padded, levels=[threshold]).allsegs[0]
  return "".join(_closed(np.round(SCALE * (line - 0.5)).astype(int)) for line in lines)


def _closed(points: np.ndarray) -> str:
  """[N, 2] whole numbers, first point last again -> 'm x y l dx dy .. z', without points that lie on a line."""
  steps = np.diff(points, axis=0)
  steps = steps[(steps != 0).any(1)]
  if not len(steps):
    return ""
  turns = np.append(steps[1:, 0] * steps[:-1, 1] != steps[1:, 1] * steps[:-1, 0], True)
  corners = np.cumsum(steps, axis=0)[turns][:-1]  # the last is the start again
  moves = np.diff(corners, axis=0, prepend=0)
  text = " ".join(f"{x} {y}" for x, y in moves.tolist())
  return f"M{points[0, 0]} {points[0, 1]}l{text.replace(' -', '-')}z"
