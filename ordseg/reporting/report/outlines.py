"""Nested regions "at least j raters" of one image as vector outlines: what the raters marked and what the map says."""

import dataclasses

import numpy as np

from ordseg.reporting.report.reading import Example

_SMALLEST = 32  # pixels of the side of a cut-out
_HALF = 127.5  # in `Example.tails`, where 255 stands for 1


@dataclasses.dataclass(frozen=True)
class Level:
  """The region that at least j raters marked, or would mark.

  Attributes:
    raters_path: its outline among the raters, data of an SVG path in pixels; '' where it is empty.
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
    width: of the whole image, in pixels, as all below.
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
  predicted = example.tails > _HALF
  levels = [_level(votes >= j, predicted[..., j - 1]) for j in range(1, num_valid + 1)]
  return Nested(levels, width, height, square_around((votes > 0) | predicted[..., 0]))


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


def _level(marked: np.ndarray, predicted: np.ndarray) -> Level:
  areas = int(marked.sum()), int(predicted.sum())
  return Level(
    raters_path=svg_path(marked),
    model_path=svg_path(predicted),
    raters_area=areas[0],
    model_area=areas[1],
    dice=2 * int((marked & predicted).sum()) / sum(areas) if sum(areas) else None,
  )


def svg_path(marked: np.ndarray) -> str:
  """Returns the outline of a mask as data of an SVG path: the edges of its pixels, so that it encloses them exactly.

  Args:
    marked: [H, W] bool; pixel (y, x) covers the square from (x, y) to (x + 1, y + 1).

  Returns:
    Closed curves of horizontal and vertical lines, as ``M x y h dx v dy .. z`` in pixels; clockwise around a region,
    the other way around a hole. Pixels that touch at a corner alone have curves of their own. '' for an empty mask.
  """
  inside = np.pad(np.asarray(marked, np.int8), 1)
  # A region lies to the right of its edges: above it they go to the right, on its right side down.
  across = {(x, y, way): end for y, x, end, way in _runs(np.diff(inside, axis=0)[:, 1:-1])}
  down = {(x, y, way): end for x, y, end, way in _runs(-np.diff(inside, axis=1)[1:-1].T)}
  return "".join(_curve(start, across, down) for start in list(across) if start in across)


_Edges = dict[tuple[int, int, int], int]  # corner x, y and direction of a straight line -> the coordinate of its end


def _curve(first: tuple[int, int, int], across: _Edges, down: _Edges) -> str:
  """Follows one closed curve, and takes its lines out. Where two meet at a corner it turns to the right."""
  x, y, way = first
  start, commands = (x, y), [f"M{x} {y}"]
  while True:
    end = across.pop((x, y, way))
    commands.append(f"h{end - x}")
    x = end
    way = way if (x, y, way) in down else -way
    end = down.pop((x, y, way))
    commands.append(f"v{end - y}")
    y = end
    if (x, y, -way) in across:
      way = -way
    elif (x, y) == start:
      return "".join(commands[:-1]) + "z"  # the last line closes the curve


def _runs(edges: np.ndarray) -> list[tuple[int, int, int, int]]:
  """[N, M] of -1, 0 and 1 -> (row, first, end, direction) of what is alike and not 0; first > end where it is -1."""
  padded = np.pad(edges, ((0, 0), (1, 1)))
  changes = padded[:, 1:] != padded[:, :-1]
  rows, firsts = np.nonzero(changes & (padded[:, 1:] != 0))
  ends = np.nonzero(changes & (padded[:, :-1] != 0))[1]
  ways = edges[rows, firsts]
  turned = ways < 0
  columns = rows, np.where(turned, ends, firsts), np.where(turned, firsts, ends), ways
  return list(zip(*(column.tolist() for column in columns), strict=True))
