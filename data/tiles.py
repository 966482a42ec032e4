"""Cuts images that are too large for one record into tiles."""

from collections.abc import Iterator

from data.errors import DataError


def check_size(size: int, *, field: str = "config.data.builder_args.tile_size") -> None:
  """Raises DataError unless `size` is 0 (no tiles) or at least 16 pixels."""
  if size != 0 and size < 16:
    raise DataError(f"{field}={size} must be 0 (whole images) or at least 16 pixels.")


def boxes(height: int, width: int, size: int) -> Iterator[tuple[str, tuple[slice, slice]]]:
  """Yields disjoint tiles that cover the image, row by row; those at the lower and right border may be smaller.

  Args:
    height: pixels.
    width: pixels.
    size: side of a tile, pixels; 0 gives the whole image as one tile.

  Yields:
    A suffix for the example's id, ``/y<row>-x<column>`` of the tile's first pixel (empty for a whole image), and the
    slices along H and W.
  """
  if size == 0:
    yield "", (slice(0, height), slice(0, width))
    return
  for y in range(0, height, size):
    for x in range(0, width, size):
      yield f"/y{y:05d}-x{x:05d}", (slice(y, min(y + size, height)), slice(x, min(x + size, width)))
