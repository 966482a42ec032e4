"""What both sources of LIDC-IDRI are read into."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

NUM_READERS = 4


@dataclasses.dataclass(frozen=True)
class Outline:
  """A closed line of pixels in one slice.

  Attributes:
    slice: index of the slice, 0 at the lowest z.
    points: [N, 2] int32, x (column) and y (row) of pixels. They lie just outside the region that they enclose.
    inclusion: True: the region is nodule; False: it is a hole in one.
  """

  slice: int
  points: np.ndarray
  inclusion: bool = True


@dataclasses.dataclass(frozen=True)
class Reading:
  """One nodule as one reader outlined it.

  Attributes:
    reader: 0 to 3, the reader's place in this scan; None where the source does not say who it was.
    outlines: the outlines, in the order of the source.
  """

  reader: int | None
  outlines: tuple[Outline, ...]


@dataclasses.dataclass(frozen=True)
class Scan:
  """A CT scan and what its readers outlined.

  Attributes:
    name: ``LIDC-IDRI-NNNN/scanK``, K = 0, 1 in the order of the series UIDs.
    patient: name of the patient, ``LIDC-IDRI-NNNN``.
    readings: all readers' nodules of 3 mm or more.
    there: per reader, whether he read the scan at all.
    shape: height and width in pixels.
    spacing: mm per pixel along H and W.
    num_slices: number of slices with different z.
    image: function of a slice's index that returns [H, W, 1] int16.
  """

  name: str
  patient: str
  readings: Sequence[Reading]
  there: Sequence[bool]
  shape: tuple[int, int]
  spacing: tuple[float, float]
  num_slices: int
  image: Callable[[int], np.ndarray]
