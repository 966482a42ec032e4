"""What is wrong with the files of a folder: all of it at once, for who mends one file mends the others too."""

from collections.abc import Iterable, Iterator

from data.errors import DataError
from data.folder_raters import reading
from ordseg.case_files.cases import Case

ENOUGH = 100  # problems; whoever has more has another problem


def of_cases(
  cases: Iterable[Case], *, num_channels: int, marked: str, slice_axis: str, allow_gaps: bool
) -> Iterator[str]:
  """Yields what is wrong with each image and, where it can be read, with each of its masks.

  Args:
    cases: in the order of reading.
    num_channels: of all images; 0: of the first that can be read.
    marked: see `reading.check_rule`.
    slice_axis: see `reading.read_image`.
    allow_gaps: see `reading.read_image`.
  """
  for case in cases:
    try:
      image = reading.read_image(case.image, num_channels=num_channels, slice_axis=slice_axis, allow_gaps=allow_gaps)
    except DataError as error:
      yield str(error)
      continue
    num_channels = num_channels or image.pages.shape[-1]
    for mask in case.masks.values():
      try:
        reading.read_mask(mask, image, marked=marked, slice_axis=slice_axis)
      except DataError as error:
        yield str(error)
