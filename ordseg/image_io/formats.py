"""Which file is which, by its name."""

import pathlib

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".pnm")
TIFFS = (".tif", ".tiff")
NIFTIS = (".nii", ".nii.gz", ".hdr")
NIFTI_DATA = (".img", ".img.gz")  # the voxels of a .hdr; read by either name, listed by the header's
DICOMS = (".dcm", ".dicom")
SUFFIXES = (*PICTURES, *TIFFS, *NIFTIS, *DICOMS)

_DOUBLE = (".nii.gz", ".img.gz", ".ome.tif", ".ome.tiff", ".ppm.gz")


def suffix(path: pathlib.Path) -> str:
  """Returns the lower-case suffix, '.nii.gz' and '.ome.tif' whole: ``Scan.NII.GZ`` -> ``.nii.gz``."""
  name = path.name.lower()
  return next((double for double in _DOUBLE if name.endswith(double)), path.suffix.lower())


def stem(path: pathlib.Path) -> str:
  """Returns the name without its suffix: ``scan.nii.gz`` -> ``scan``."""
  return path.name[: len(path.name) - len(suffix(path))]
