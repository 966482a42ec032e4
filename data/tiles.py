"""Cuts large images into tiles that cover them without overlap."""

import itertools
from collections.abc import Iterator

from data.errors import DataError


def check_size(tile_size: int, *, field: str = "tile_size") -> None:
  """Checks the setting of a builder.

  Raises:
    DataError: negative, or too small to hold anything worth learning.
  """
  if tile_size and tile_size < 16:
    raise DataError(f"config.data.builder_args.{field}={tile_size} must be 0 (whole images) or >= 16 pixels.")


def boxes(height: int, width: int, tile_size: int) -> Iterator[tuple[str, tuple[slice, slice]]]:
  """Lists the tiles of an image, row by row.

  Tiles are as equal as whole pixels allow and at most `tile_size` a side: 1025 pixels at size 1024 become two tiles of
  513 and 512, not one whole and one sliver.

  Args:
    height: H in pixels.
    width: W in pixels.
    tile_size: pixels; 0 gives the whole image as one tile.

  Yields:
    (suffix for the example's id, '' for a whole image; slices of H and W).
  """
  if not tile_size:
    yield "", (slice(0, height), slice(0, width))
    return
  for y in _cuts(height, tile_size):
    for x in _cuts(width, tile_size):
      yield f"/y{y.start:05d}-x{x.start:05d}", (y, x)


def _cuts(length: int, size: int) -> list[slice]:
  count = -(-length // size)
  edges = [length * k // count for k in range(count + 1)]
  return [slice(a, b) for a, b in itertools.pairwise(edges)]
