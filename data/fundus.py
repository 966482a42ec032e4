"""What the fundus benchmarks share: disc or cup, and crops around the disc that no mask decides."""

import dataclasses

import cv2
import numpy as np

from data import common
from data.errors import DataError
from ordseg.errors import check_choice

STRUCTURES = ("disc", "cup")
_CROP = 0.35  # of the shorter side, in the configs that crop

_SMOOTHING = 0.02  # of the shorter side: standard deviation of the blur that finds the bright disc


@dataclasses.dataclass(eq=False, kw_only=True)
class FundusConfig(common.RaterConfig):
  """Which outline, and of what image.

  Attributes:
    structure: disc (with the cup inside) or cup.
    crop: side of a square around the disc, as a share of the image's shorter side; 0 keeps the whole image. The disc is
      found in the photograph alone (`find_disc`), never in the masks.
  """

  structure: str = "disc"
  crop: float = 0.0

  def __post_init__(self) -> None:
    check_choice(self.structure, STRUCTURES, field="config.data.builder_args.structure")
    if not 0 <= self.crop <= 1:
      raise DataError(f"config.data.builder_args.crop={self.crop} must be in [0, 1].")


def configs() -> list[FundusConfig]:
  """Returns disc, cup, disc_crop and cup_crop."""
  whole = [FundusConfig(name=s, description=f"The optic {s}, whole images.", structure=s) for s in STRUCTURES]
  return whole + [
    FundusConfig(name=f"{s}_crop", description=f"The optic {s}, cropped around the disc.", structure=s, crop=_CROP)
    for s in STRUCTURES
  ]


def view(image: np.ndarray, crop: float) -> tuple[slice, slice]:
  """Returns the rows and columns to keep of an image [H, W, 3]: a square around the disc, or all where `crop` is 0."""
  if not crop:
    return slice(0, image.shape[0]), slice(0, image.shape[1])
  return crop_around(find_disc(image), image.shape[:2], crop)


def find_disc(image: np.ndarray) -> tuple[int, int]:
  """Returns the row and column of the brightest region of a fundus photograph, the usual place of the optic disc.

  Red and green are averaged and blurred over a few hundredths of the image; the brightest pixel wins.
  """
  blurred = cv2.GaussianBlur(image[..., :2].astype(np.float32).mean(-1), (0, 0), _SMOOTHING * min(image.shape[:2]))
  row, column = np.unravel_index(int(np.argmax(blurred)), blurred.shape)
  return int(row), int(column)


def crop_around(centre: tuple[int, int], size: tuple[int, ...], share: float) -> tuple[slice, slice]:
  """Returns the square of `share` of the shorter side around `centre`, moved inside the image."""
  side = max(1, round(share * min(size)))
  starts = [min(max(c - side // 2, 0), n - side) for c, n in zip(centre, size, strict=True)]
  return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)
