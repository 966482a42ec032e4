"""Cuts scans into examples: a crop around each nodule, or whole slices."""

from collections.abc import Iterator, Sequence

import numpy as np

from data.common import Example, make_example
from data.lidc_idri import clusters, rasterise
from data.lidc_idri.scan import NUM_READERS, Outline, Reading, Scan

Slots = list[list[Outline]]  # per reader, his outlines


def nodules(scan: Scan) -> list[Slots]:
  """Puts the readings of each nodule together.

  Returns:
    Nodules, by their lowest slice, row and column; each with the outlines of NUM_READERS readers, [] for one who did
    not mark it. Several readings of one reader are parts of the same mark.
  """
  share = clusters.overlaps([rasterise.footprint(reading, with_line=True) for reading in scan.readings])
  found = []
  for members in clusters.nodules(share):
    readings = [scan.readings[i] for i in members]
    lowest = rasterise.bounds(readings)[0]
    found.append((tuple(lowest.tolist()), members[0], _by_reader(readings)))
  return [slots for *_, slots in sorted(found, key=lambda entry: entry[:2])]


def _by_reader(readings: Sequence[Reading]) -> Slots:
  readers = [reading.reader for reading in readings if reading.reader is not None]
  if len(readers) < len(readings):
    share = clusters.overlaps([rasterise.footprint(reading, with_line=False) for reading in readings])
    readers = clusters.slots(share, NUM_READERS)
  slots: Slots = [[] for _ in range(NUM_READERS)]
  for reader, reading in zip(readers, readings, strict=True):
    slots[reader] += reading.outlines
  return slots


def crops(scan: Scan, *, size: int, empty_slot: str) -> Iterator[Example]:
  """Yields a crop of each slice of each nodule that some reader outlined; other nodules are not drawn.

  Args:
    scan: the scan to cut.
    size: pixels a side; a larger nodule has a larger crop, a smaller image bounds it. The nodule is in the middle
      unless it is near the border.
    empty_slot: ``vote`` or ``missing``: what a reader is who read the scan and did not mark the nodule.
  """
  for n, slots in enumerate(nodules(scan)):
    everything = [outline for outlines in slots for outline in outlines]
    low, high = rasterise.bounds([Reading(None, tuple(everything))])
    (y, height), (x, width) = (_window(int(low[axis]), int(high[axis]), size, scan.shape[axis - 1]) for axis in (1, 2))
    there = [is_there and (bool(slots[r]) or empty_slot == "vote") for r, is_there in enumerate(scan.there)]
    for index in sorted({outline.slice for outline in everything}):
      image = scan.image(index)[y : y + height, x : x + width]
      masks = _draw(slots, there, index, (y, x), (height, width))
      name = f"{scan.name}/nodule{n:02d}/slice{index:04d}"
      yield make_example(name, scan.patient, image, masks, spacing=scan.spacing)


def whole_slices(scan: Scan, *, keep: str, empty_slot: str) -> Iterator[Example]:
  """Yields slices with all nodules.

  Args:
    scan: the scan to cut.
    keep: ``all``, or those that some reader ``marked``.
    empty_slot: what a reader is who read the scan and marked no nodule in the whole of it.
  """
  slots: Slots = [[] for _ in range(NUM_READERS)]
  for nodule in nodules(scan):
    for merged, outlines in zip(slots, nodule, strict=True):
      merged += outlines
  there = [is_there and (bool(slots[r]) or empty_slot == "vote") for r, is_there in enumerate(scan.there)]
  if not any(there):
    return  # a scan without nodules, and readers who marked none are missing: nobody has said anything
  marked = {outline.slice for outlines in slots for outline in outlines}
  for index in range(scan.num_slices) if keep == "all" else sorted(marked):
    masks = _draw(slots, there, index, (0, 0), scan.shape)
    yield make_example(f"{scan.name}/slice{index:04d}", scan.patient, scan.image(index), masks, spacing=scan.spacing)


def _draw(
  slots: Slots, there: Sequence[bool], index: int, corner: tuple[int, int], size: tuple[int, int]
) -> list[np.ndarray | None]:
  return [
    rasterise.draw([outline for outline in outlines if outline.slice == index], corner, size) if is_there else None
    for outlines, is_there in zip(slots, there, strict=True)
  ]


def _window(low: int, high: int, size: int, length: int) -> tuple[int, int]:
  """Returns start and length of a window around [low, high] that lies within [0, length)."""
  size = min(max(size, high - low + 1), length)
  start = (low + high + 1) // 2 - size // 2
  return min(max(start, 0), length - size), size
