"""Pictures that are stored turned or mirrored, upright."""

import numpy as np

UPRIGHT = 1
NOTE = "turned upright as its EXIF orientation says"


def apply(pages: np.ndarray, code: int) -> np.ndarray:
  """Turns pages upright.

  Args:
    pages: [D, H, W, ..].
    code: tag 274 of TIFF 6.0 and EXIF: 1 upright, 2 mirrored left-right, 3 turned by 180 degrees, 4 mirrored
      up-down, 5 transposed, 6 to be turned right, 7 transposed along the other diagonal, 8 to be turned left. Any
      other number says nothing and turns nothing, as viewers do it.

  Returns:
    [D, H, W, ..] for codes up to 4, else [D, W, H, ..].
  """
  if code not in range(2, 9):
    return pages
  if code >= 5:
    pages = pages.swapaxes(1, 2)
  if code in (3, 4, 7, 8):
    pages = pages[:, ::-1]
  if code in (2, 3, 6, 7):
    pages = pages[:, :, ::-1]
  return np.ascontiguousarray(pages)
