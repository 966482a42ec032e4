"""Which file is which: by its name, and DICOM by its content too, since a PACS gives its files any name or none."""

import pathlib
import re
import struct
import unicodedata

PICTURES = (".png", ".jpg", ".jpeg", ".mpo", ".bmp", ".gif", ".ppm", ".pgm", ".pnm")
TIFFS = (".tif", ".tiff")
NIFTIS = (".nii", ".nii.gz", ".hdr")
NIFTI_DATA = (".img", ".img.gz")  # the voxels of a .hdr; read by either name, listed by the header's
DICOMS = (".dcm", ".dicom", ".ima")
SUFFIXES = (*PICTURES, *TIFFS, *NIFTIS, *DICOMS)
# Images and masks of other tools, which are not read: a mask among them is not to be taken for a rater who is missing.
FOREIGN = (".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".mnc", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pbm",
           ".jp2", ".j2k", ".jxl", ".webp", ".heic", ".avif", ".tga", ".svg", ".xcf", ".psd", ".svs", ".ndpi", ".czi",
           ".lif", ".nd2", ".roi", ".nii.zst", ".v3draw")  # fmt: skip

_DOUBLE = (".nii.gz", ".img.gz", ".ome.tif", ".ome.tiff", ".ppm.gz")
_UID = re.compile(r"[0-2](\.(0|[1-9]\d*)){2,}")
# Value representations of DICOM (PS3.5, 6.2); those of the second tuple have two reserved bytes and a long length.
_SHORT = b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()
_LONG = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
_HEAD = 4096  # bytes that decide


def suffix(path: pathlib.Path) -> str:
  """Returns the lower-case suffix, '.nii.gz' and '.ome.tif' whole: ``Scan.NII.GZ`` -> ``.nii.gz``. The last number of
  a name such as ``1.2.840.17`` is no suffix."""
  name = path.name.lower()
  last = path.suffix.lower()
  return next((double for double in _DOUBLE if name.endswith(double)), "" if last[1:].isdigit() else last)


def stem(path: pathlib.Path) -> str:
  """Returns the name without its suffix: ``scan.nii.gz`` -> ``scan``."""
  return path.name[: len(path.name) - len(suffix(path))]


def plain(name: str) -> str:
  """Returns a name in Unicode's composed form (NFC): macOS writes ``ä`` as two code points, others as one."""
  return unicodedata.normalize("NFC", name)


def is_dicom(path: pathlib.Path) -> bool:
  """Returns whether a file is DICOM: by its suffix, else by the preamble of PS3.10, else (files that an old PACS or
  toolkit wrote without one) by beginning with three well-formed elements, the first of the groups that come first."""
  kind = suffix(path)
  if kind in DICOMS:
    return True
  if kind.endswith(SUFFIXES) or not path.is_file():
    return False
  try:
    with path.open("rb") as file:
      head = file.read(_HEAD)
  except OSError:
    return False
  return head[128:132] == b"DICM" or _has_elements(head)


def _has_elements(head: bytes, *, wanted: int = 3) -> bool:
  place, before = 0, (0, 0)
  for _ in range(wanted):
    if place + 12 > len(head):
      return False
    tag = struct.unpack_from("<HH", head, place)
    is_first = tag[0] in (0x0002, 0x0008)
    if tag <= before or tag[0] % 2 or tag[0] > 0x7FE0 or not (is_first or place):
      return False
    kind = head[place + 4 : place + 6]
    if kind in _SHORT:
      size = 8 + struct.unpack_from("<H", head, place + 6)[0]
    elif kind in _LONG:
      size = 12 + struct.unpack_from("<I", head, place + 8)[0]
    else:
      size = 8 + struct.unpack_from("<I", head, place + 4)[0]
    if size % 2:  # values are padded to even lengths
      return False
    place, before = place + size, tag
  return True


def folder_and_series(path: pathlib.Path) -> tuple[pathlib.Path, str]:
  """Returns the folder and the SeriesInstanceUID that a path names: ``folder/1.2.840.17`` is that series of a folder
  that holds several, unless there is a file of that name. Any other path comes back with ''."""
  if _UID.fullmatch(path.name) and not path.exists() and path.parent.is_dir():
    return path.parent, path.name
  return path, ""
