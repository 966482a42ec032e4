"""Cuts large images into tiles that cover them without overlap."""

import itertools
from collections.abc import Iterator

from data.errors import DataError


def expected_size(tile_size: int) -> str:
  """Checks the setting of a builder; the `check` of its `ordseg.settings.Setting`.

  Returns:
    What was expected, where it is negative or too small to hold anything worth learning; else ''.
  """
  return "0 (whole images) or >= 16 pixels" if tile_size and tile_size < 16 else ""


def check_size(tile_size: int, *, field: str = "tile_size") -> None:
  """Raises DataError where `expected_size` is not met; `field` names the setting."""
  if expected := expected_size(tile_size):
    raise DataError(f"config.data.builder_args.{field}={tile_size} must be {expected}.")


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
