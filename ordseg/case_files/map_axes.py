"""Puts the axes of a map in the order of its masks': channels first, then pages, rows and columns.

Where a file has a place in space, that decides; where a label map lies beside it, the argmax must equal that; else the
shape decides, if it leaves one answer.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from ordseg.case_files.map_reading import Stored
from ordseg.case_files.nnunet import Labels
from ordseg.errors import InputError
from ordseg.image_io import ImageFile, placement

CALLED = placement.Called("map", "the mask or image")
_TIE = {np.dtype(np.float16): 1e-3}  # of two channels that are nearly equal, either may be the largest
_SPACE = "zyx"


def arranged(stored: Stored, reference: ImageFile, axes: str) -> tuple[np.ndarray, str]:
  """Turns an array without a place in space by its shape.

  Args:
    stored: the map.
    reference: whose pages [D, H, W, ..] it must have.
    axes: `Options.map_axes`; '' finds them.

  Returns:
    [C, D, H, W], and the axes found.

  Raises:
    InputError: another shape, or one that fits several orders.
  """
  grid = reference.pages.shape[:3]
  values = _squeezed(stored, grid, axes)
  sizes = dict(zip(_SPACE, grid, strict=True))
  found = [axes] if axes else sorted(set(_orders(values.shape, sizes)))
  if len(found) > 1:
    raise InputError(
      f"{stored.path}: an array of {_shown(stored.values.shape)} fits the grid {_shown(grid)} of {reference.path} "
      f"in {len(found)} orders of its axes: give --map_axes={found[0]} or --map_axes={found[1]} (c channel, z page, "
      "y row, x column)."
    )
  if not found or not _fits(values.shape, found[0], sizes):
    raise InputError(_misfit(stored, values, reference, sizes))
  return _turned(values, found[0]), found[0]


def _squeezed(stored: Stored, grid: Sequence[int], axes: str) -> np.ndarray:
  """Drops axes of one entry, which say nothing, until the axes given (or the grid's and a channel's) are left."""
  values = stored.values
  if axes and values.ndim == len(axes):
    return values
  kept = [n for n in values.shape if n != 1]
  if axes and len(kept) != len(axes):
    raise InputError(f"{stored.path}: --map_axes={axes} names {len(axes)} axes, the array is {_shown(values.shape)}.")
  if len(kept) < sum(n > 1 for n in grid):
    return values
  return values.reshape(kept)


def _orders(shape: Sequence[int], sizes: dict[str, int]) -> Iterator[str]:
  """Yields the orders of axes that a shape fits: a channel first, last or none; pictures have rows before columns."""
  letters = "".join(letter for letter in _SPACE if sizes[letter] > 1)
  spaces = ["".join(order) for order in itertools.permutations(letters)] if len(letters) == 3 else [letters]
  for space in spaces:
    for order in (space, f"c{space}", f"{space}c"):
      if _fits(shape, order, sizes):
        yield order


def _fits(shape: Sequence[int], order: str, sizes: dict[str, int]) -> bool:
  if len(shape) != len(order) or any(letter not in order and sizes[letter] > 1 for letter in _SPACE):
    return False
  return all(letter == "c" or n == sizes[letter] for n, letter in zip(shape, order, strict=True))


def _turned(values: np.ndarray, order: str) -> np.ndarray:
  missing = [letter for letter in f"c{_SPACE}" if letter not in order]
  whole = values.reshape(*values.shape, *[1] * len(missing))
  order = order + "".join(missing)
  return whole.transpose([order.index(letter) for letter in f"c{_SPACE}"])


def _misfit(stored: Stored, values: np.ndarray, reference: ImageFile, sizes: dict[str, int]) -> str:
  grid = reference.pages.shape[:3]
  swapped = {**sizes, "y": sizes["x"], "x": sizes["y"]}
  hint = (
    " Rows and columns look swapped: give --map_axes=xy if they are." if set(_orders(values.shape, swapped)) else ""
  )
  return f"{stored.path}: the map is {_shown(values.shape)}, the mask or image {reference.path} {_shown(grid)}.{hint}"


def _shown(shape: Sequence[int]) -> str:
  return " x ".join(str(n) for n in shape if n > 1) or "1"


# --- With a label map beside it


def as_labelled(stored: Stored, beside: ImageFile, labels: Labels | None) -> tuple[ImageFile, str]:
  """Turns nnU-Net's array until its argmax equals the label map beside it, whose place it then has.

  Returns:
    pages [D, H, W, C] in the label map's place, and how the axes were turned; ''.

  Raises:
    InputError: no turn gives the label map, or several that differ do.
  """
  values, path = stored.values, stored.path
  wanted = beside.pages[..., 0] if beside.indices is None else beside.indices
  values = _with_channels(values, wanted.shape)
  if values.ndim != 4:
    raise InputError(
      f"{path}: an array of {_shown(values.shape)}; with a label map beside it nnU-Net's channels, pages, rows and "
      "columns are expected."
    )
  if labels is not None and labels.num_channels != len(values) > 1:
    raise InputError(
      f"{path}: has {len(values)} channels, {labels.path} names {labels.num_channels}: of another data set?"
    )
  tolerance = _TIE.get(values.dtype, 1e-6)
  if len(values) == 1:  # a sigmoid, whose label map is where it is above a half
    both = np.concatenate([1 - values, values]) if values.dtype.kind == "f" else values
    found, probs = both.argmax(0), both
  else:
    found, probs = labels.segmented(values) if labels is not None else values.argmax(0), values
  if _agrees(found, probs, wanted, tolerance, labels):
    return _placed(stored, values, beside), ""
  fits = [turn for turn in _turns() if _agrees(_apply(found, turn), None, wanted, tolerance, labels)]
  if not fits:
    raise InputError(
      f"{path}: its largest channel is not the label map {beside.path} beside it, however the axes are turned: of "
      "another prediction, or changed after it (post-processing)? Take the label map away to score by shape alone."
    )
  first = _apply(values, fits[0], lead=1)
  if any(not np.array_equal(first, _apply(values, turn, lead=1)) for turn in fits[1:]):
    raise InputError(
      f"{path}: {len(fits)} ways of turning its axes give the label map {beside.path}: the right one cannot be known."
    )
  order, signs = fits[0]
  turned = "".join(("-" if flipped else "") + _SPACE[axis] for axis, flipped in zip(order, signs, strict=True))
  return _placed(stored, first, beside), f"axes turned to {turned}, by the label map beside it"


def _with_channels(values: np.ndarray, grid: Sequence[int]) -> np.ndarray:
  """Returns [C, D, H, W] of nnU-Net's (C, 1, H, W) and (C, Z, Y, X), and of arrays without channel or page."""
  values = values[None] if values.ndim == 2 else values
  if values.ndim == 3 and sorted(values.shape) == sorted(grid):
    return values[None]
  return values[:, None] if values.ndim == 3 else values


def _agrees(
  found: np.ndarray, probs: np.ndarray | None, wanted: np.ndarray, tolerance: float, labels: Labels | None
) -> bool:
  """Whether a label map is the wanted one, but for ties where the probabilities are given."""
  if found.shape != wanted.shape:
    return False
  differs = found != wanted
  if probs is None or not differs.any() or (labels is not None and labels.regions):
    return not differs.any()
  ours, theirs = found[differs], wanted[differs]
  if theirs.max() >= len(probs):
    return False
  at = probs[:, differs].astype(np.float64)
  rows = np.arange(at.shape[1])
  return bool((at[ours, rows] - at[theirs.astype(int), rows] <= tolerance).all())


def _turns() -> Iterator[tuple[tuple[int, ...], tuple[bool, ...]]]:
  for order in itertools.permutations(range(3)):
    for flips in itertools.product((False, True), repeat=3):
      yield order, flips


def _apply(values: np.ndarray, turn: tuple[tuple[int, ...], tuple[bool, ...]], *, lead: int = 0) -> np.ndarray:
  order, flips = turn
  out = values.transpose(*range(lead), *(lead + axis for axis in order))
  return out[(*[slice(None)] * lead, *(slice(None, None, -1 if flipped else None) for flipped in flips))]


def _placed(stored: Stored, values: np.ndarray, beside: ImageFile) -> ImageFile:
  return ImageFile(stored.path, np.moveaxis(values, 0, -1), beside.spacing, affine=beside.affine)
