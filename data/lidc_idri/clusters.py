"""Finds out which readings are of the same nodule; the sources do not link them."""

import numpy as np
from scipy.sparse.csgraph import connected_components


def overlaps(footprints: list[np.ndarray]) -> np.ndarray:
  """Compares readings.

  Args:
    footprints: per reading, its voxels as sorted unique numbers.

  Returns:
    [N, N] float64, voxels that two readings share over voxels that either has; 0 where one has none.
  """
  share = np.zeros((len(footprints), len(footprints)))
  for i, one in enumerate(footprints):
    for j, other in enumerate(footprints[:i]):
      if len(one) and len(other) and one[0] <= other[-1] and other[0] <= one[-1]:
        both = len(np.intersect1d(one, other, assume_unique=True))
        share[i, j] = share[j, i] = both / (len(one) + len(other) - both)
  return share


def nodules(share: np.ndarray) -> list[list[int]]:
  """Groups readings: two are of one nodule if they share a voxel, or each does with a third, and so on.

  Args:
    share: what `overlaps` returned.

  Returns:
    Groups of indices, both in ascending order.
  """
  if not len(share):
    return []
  count, labels = connected_components(share > 0, directed=False)
  return [np.flatnonzero(labels == k).tolist() for k in range(count)]


def slots(share: np.ndarray, num_slots: int) -> list[int]:
  """Gives each reading of a nodule a reader's slot, where the source does not say who read.

  As many readings as slots, or fewer: each its own, in order. More: some reader drew the nodule in parts. Nobody
  outlines a voxel twice, so readings that overlap go to different slots. Where that cannot be, somebody did outline it
  twice: the two readings that are most alike may then go to the same slot.

  Args:
    share: see `overlaps`, of the readings of one nodule.
    num_slots: number of readers.

  Returns:
    Reading -> slot, the first such assignment in lexical order.
  """
  num = len(share)
  if num <= num_slots:
    return list(range(num))
  share = np.array(share)
  while True:
    found = _assign(share > 0, num_slots)
    if found is not None:
      return found
    i, j = np.unravel_index(np.argmax(share), share.shape)
    share[i, j] = share[j, i] = 0


def _assign(apart: np.ndarray, num_slots: int) -> list[int] | None:
  """Colours a graph by trying; the real ones have at most eight nodes."""
  taken: list[int] = []

  def place() -> bool:
    reading = len(taken)
    if reading == len(apart):
      return True
    for slot in range(num_slots):
      if not any(apart[reading, other] for other in range(reading) if taken[other] == slot):
        taken.append(slot)
        if place():
          return True
        taken.pop()
    return False

  return taken if place() else None
