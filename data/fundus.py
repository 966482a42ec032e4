"""What the fundus benchmarks share: disc or cup, and crops around the disc that no mask decides."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds

from data import common
from ordseg import settings

STRUCTURES = ("disc", "cup")
_CROP = 0.35  # of the shorter side, in the configs that crop
_SMOOTHING = 0.02  # of the shorter side: standard deviation of the blur that finds the bright disc


@dataclasses.dataclass(eq=False, kw_only=True)
class StructureConfig(common.RaterConfig):
  """Which outline."""

  structure: str = settings.field("disc", choices=STRUCTURES, help="disc (with the cup inside) or cup")


@dataclasses.dataclass(eq=False, kw_only=True)
class FundusConfig(StructureConfig):
  """Which outline, and of what image.

  Attributes:
    crop: side of a square around the disc, as a share of the image's shorter side; 0 keeps the whole image. The disc is
      found in the photograph alone (`find_disc`), never in the masks.
  """

  crop: float = settings.field(0.0, ge=0, le=1, help="side of a square around the disc / shorter side; 0: no crop")


def _configs() -> list[FundusConfig]:
  """Returns disc, cup, disc_crop and cup_crop."""
  whole = [FundusConfig(name=s, description=f"The optic {s}, whole images.", structure=s) for s in STRUCTURES]
  return whole + [
    FundusConfig(name=f"{s}_crop", description=f"The optic {s}, cropped around the disc.", structure=s, crop=_CROP)
    for s in STRUCTURES
  ]


class FundusBuilder(common.RaterBuilder, skip_registration=True):
  """Base of the builders of fundus photographs with outlines of disc and cup."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [*_configs()]
  NUM_CHANNELS = 3

  def example(self, name: str, group: str, image: np.ndarray, masks: Sequence[np.ndarray | None]) -> common.Example:
    """Returns a record of whole images, cropped as the config says; see `common.make_example`."""
    y, x = view(image, self.config.crop)
    return common.make_example(name, group, image[y, x], [None if mask is None else mask[y, x] for mask in masks])


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
