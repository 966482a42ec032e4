"""Image files as arrays, and nothing else: pictures, TIFF stacks, NIfTI volumes, DICOM files and series.

Every format is read into pages [D, H, W, C], so that a picture is a stack of one page. Axis order and geometry:

| format | D | H | W | spacing from |
|---|---|---|---|---|
| PNG, JPEG, BMP, GIF, PPM | 1 | row | column | unknown |
| TIFF | page | row | column | unknown |
| NIfTI | third voxel axis | second | first | the header's zooms |
| DICOM file, or folder with one series | slice, along its normal | row | column | PixelSpacing and slice positions |

Values are as stored, except that NIfTI scaling and DICOM rescaling (to HU for CT) are applied.
"""

from ordseg.image_io.finding import Found, find, is_rubbish
from ordseg.image_io.formats import DICOMS, SUFFIXES, folder_and_series, is_dicom, plain, stem, suffix
from ordseg.image_io.image_file import ImageFile
from ordseg.image_io.masks import to_binary
from ordseg.image_io.reading import read, read_mask, read_picture

__all__ = [
  "DICOMS",
  "SUFFIXES",
  "Found",
  "ImageFile",
  "find",
  "folder_and_series",
  "is_dicom",
  "is_rubbish",
  "plain",
  "read",
  "read_mask",
  "read_picture",
  "stem",
  "suffix",
  "to_binary",
]
