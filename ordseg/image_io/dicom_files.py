"""The DICOM files of an image: one, or those of a folder; each read whole or refused by name."""

import pathlib
import re
from typing import TYPE_CHECKING

from ordseg.errors import InputError
from ordseg.image_io import formats

if TYPE_CHECKING:
  from pydicom import Dataset

Slice = tuple[pathlib.Path, "Dataset"]  # a file and its pydicom data set

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_INDEX = "1.2.840.10008.1.3.10"  # Media Storage Directory: a DICOMDIR
_UID = re.compile(r"[0-9.]{5,64}")
_SYNTAXES = {
  (True, True): "1.2.840.10008.1.2",
  (False, True): "1.2.840.10008.1.2.1",
  (False, False): "1.2.840.10008.1.2.2",
}


def open_files(path: pathlib.Path) -> tuple[list[Slice], list[str]]:
  """Reads the image objects of a file or a folder.

  Args:
    path: a file, a folder, or folder / SeriesInstanceUID for one series of several; hidden files, and files that by
      name and content are no DICOM, do not count.

  Returns:
    Files with their data sets, sorted by name; notes on objects that are no images and were left out.

  Raises:
    InputError: a file of the folder is empty, damaged, or no DICOM though its name says so; no image; several series.
  """
  folder, wanted = formats.folder_and_series(path)
  is_folder = folder.is_dir()
  files = sorted(p for p in folder.iterdir() if p.is_file()) if is_folder else [path]
  slices, other = [], []
  for file in files:
    if is_folder and (_is_foreign(file) or (wanted and _is_of_another(file, wanted))):
      continue
    data = _open(file)
    if is_image(data):
      slices.append((file, data))
    else:
      _check_no_image(file, data)
      other.append(f"{file.name} ({_kind(data)})")
  if not slices:
    found = f"; it holds {', '.join(other[:3])}" if other else ""
    raise InputError(f"{path}: holds no DICOM image{found}.")
  _check_one_series(path, slices)
  notes = [f"left out, no images: {', '.join(other[:3])}{', ...' if len(other) > 3 else ''}"] if other else []
  return slices, notes


def reason(error: Exception) -> str:
  """Returns what a library says is wrong, as one line that is not too long."""
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= 160 else f"{text[:160]}.."


def is_image(data: "Dataset") -> bool:
  """Returns whether a data set holds pixels."""
  return any(keyword in data for keyword in PIXELS)


def _is_foreign(file: pathlib.Path) -> bool:
  """Returns whether a file in a series' folder is something else: by its name, unless its content says DICOM."""
  if file.name.startswith("."):
    return True
  if formats.is_dicom(file):
    return False
  with file.open("rb") as stream:
    head = stream.read(1024)
  kind = formats.suffix(file)
  if any(letter.isalpha() for letter in kind):
    return True
  return bool(head) and _is_text(head)  # README, LICENSE; an empty IM0003 is a slice that did not arrive


def _is_of_another(file: pathlib.Path, series: str) -> bool:
  """Returns whether a file says that it belongs to another series; one that cannot say is not left out."""
  import pydicom

  try:
    found = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=["SeriesInstanceUID"])
    return str(found.get("SeriesInstanceUID") or series) != series
  except Exception:  # its reader says what is wrong
    return False


def _is_text(head: bytes) -> bool:
  try:
    return "\0" not in head[:1000].decode("utf-8", errors="strict")
  except UnicodeDecodeError as error:
    return error.start > 900 and b"\0" not in head


def _open(file: pathlib.Path) -> "Dataset":
  import pydicom
  import pydicom.errors
  from pydicom.uid import UID

  if not file.stat().st_size:
    raise InputError(f"{file}: is empty; it may not have arrived whole.")
  try:
    data = pydicom.dcmread(file)
  except pydicom.errors.InvalidDicomError:
    data = _without_preamble(file)
  except Exception as error:
    raise InputError(f"{file}: cannot be read as DICOM, it may be damaged or truncated ({reason(error)}).") from error
  if data.file_meta.get("TransferSyntaxUID") in (None, ""):
    implicit, little = (bool(part) for part in data.original_encoding)
    data.file_meta.TransferSyntaxUID = UID(_SYNTAXES[implicit, little])
  return data


def _without_preamble(file: pathlib.Path) -> "Dataset":
  """Reads a data set that begins at the first byte, as older systems store them, if it proves to be one."""
  import pydicom
  from pydicom.dataset import FileMetaDataset

  try:
    data = pydicom.dcmread(file, force=True)
    proved = bool(data.get("SOPClassUID")) and (is_image(data) or "SOPInstanceUID" in data)
  except Exception as error:  # anything at all: the bytes are not known to be DICOM
    raise InputError(f"{file}: is no DICOM file.") from error
  if not proved:
    raise InputError(f"{file}: is no DICOM file.")
  if not hasattr(data, "file_meta"):
    data.file_meta = FileMetaDataset()
  return data


def _check_no_image(file: pathlib.Path, data: "Dataset") -> None:
  kind = _kind(data)
  if any(keyword in data for keyword in ("Rows", "BitsAllocated")) or "Image Storage" in kind:
    raise InputError(f"{file}: has no pixel data though it is an image ({kind}); it may be cut short.")
  if not _UID.fullmatch(str(_class(data))):
    raise InputError(f"{file}: is DICOM without a SOP class; it may be damaged or cut short.")


def _class(data: "Dataset") -> object:
  found = data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID")
  return found if isinstance(found, str) and len(found) <= 64 else ""


def _kind(data: "Dataset") -> str:
  uid = _class(data)
  return "DICOMDIR" if uid == _INDEX else str(getattr(uid, "name", uid)) or "unknown kind"


def _check_one_series(path: pathlib.Path, slices: list[Slice]) -> None:
  series: dict[str, pathlib.Path] = {}
  for file, data in slices:
    series.setdefault(str(data.get("SeriesInstanceUID") or ""), file)
  if len(series) > 1:
    names = ", ".join(file.name for file in list(series.values())[:3])
    raise InputError(
      f"{path}: holds {len(series)} DICOM series, which begin with {names}; expected one per folder. Name one as "
      f"{path}/SeriesInstanceUID ({', '.join(sorted(filter(None, series))[:3])}), or sort them into folders."
    )
