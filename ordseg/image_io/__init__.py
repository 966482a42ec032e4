"""Image files as arrays, and nothing else: pictures, TIFF stacks, NIfTI volumes, DICOM files and series.

Every format is read into pages [D, H, W, C], so that a picture is a stack of one page. Axis order and geometry:

| format | D | H | W | spacing from |
|---|---|---|---|---|
| PNG, JPEG, BMP, GIF, PPM | 1 | row | column | unknown |
| TIFF | page | row | column | unknown |
| NIfTI | third voxel axis | second | first | the header's zooms |
| DICOM file, or folder with one series | slice, along its normal | row | column | PixelSpacing and slice positions |

Values are what the file's format says they mean: NIfTI scaling and DICOM rescaling (to HU for CT) are applied,
WhiteIsZero is inverted, palettes are looked up, pictures are upright, their transparency is left out. Types stay as
stored. docs/files.md has the whole list.
"""

from ordseg.image_io.finding import Found, find, is_rubbish
from ordseg.image_io.formats import DICOMS, FOREIGN, SUFFIXES, folder_and_series, is_dicom, plain, stem, suffix
from ordseg.image_io.image_file import ImageFile
from ordseg.image_io.masks import parse_rule, to_binary
from ordseg.image_io.reading import read, read_marks, read_mask, read_picture, read_stored, stored_dtype

__all__ = [
  "DICOMS",
  "FOREIGN",
  "SUFFIXES",
  "Found",
  "ImageFile",
  "find",
  "folder_and_series",
  "is_dicom",
  "is_rubbish",
  "parse_rule",
  "plain",
  "read",
  "read_marks",
  "read_mask",
  "read_picture",
  "read_stored",
  "stem",
  "stored_dtype",
  "suffix",
  "to_binary",
]
