"""Finds the images in a folder: files, and the DICOM series that lie in it in any number. Reads no pixels."""

import collections
import dataclasses
import pathlib
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ordseg.image_io import formats

if TYPE_CHECKING:
  from pydicom import Dataset

RUBBISH = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")  # that file managers and servers leave behind
_DIRECTORY = "1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR: a table of contents
# Slices lie in a volume; these are pictures, each for itself, even where a series holds several.
_PROJECTIONS = ("CR", "DX", "MG", "IO", "PX", "XA", "RF", "US", "XC", "ES", "GM", "OP", "OT", "SC", "DMS", "SM", "RG")
_TAGS = ("SeriesInstanceUID", "SeriesNumber", "Modality", "NumberOfFrames", "ImagePositionPatient", "Rows")


@dataclasses.dataclass(frozen=True)
class Found:
  """An image.

  Attributes:
    key: the path below the folder, without suffix, parts joined by ``/``, in NFC; '' for the folder itself.
    path: the file; the folder of a DICOM series; or, where a folder holds several, folder / SeriesInstanceUID, which
      `read` takes too.
  """

  key: str
  path: pathlib.Path


def find(folder: pathlib.Path, *, one_by_one: bool = False) -> tuple[list[Found], list[pathlib.Path]]:
  """Lists images, sorted by path, and the files that are none.

  A folder with DICOM files of one series is one image. Where it holds several series, each is one; files that are
  pictures for themselves (alone in their series, several frames, X-ray, ultrasound) are images of their own.

  Args:
    folder: where to look, however deep.
    one_by_one: DICOM files directly in `folder` are images of their own, whatever their series.
  """
  images: list[Found] = []
  others: list[pathlib.Path] = []
  _walk(folder, folder, images, others, one_by_one)
  return images, others


def is_rubbish(path: pathlib.Path) -> bool:
  """Returns whether a file or folder is hidden, or what a file manager leaves behind."""
  return path.name.startswith(".") or path.name.lower() in RUBBISH


def _walk(
  folder: pathlib.Path, root: pathlib.Path, images: list[Found], others: list[pathlib.Path], one_by_one: bool
) -> None:
  dicoms = []
  for path in sorted(folder.iterdir()):
    if is_rubbish(path):
      continue
    if path.is_dir():
      _walk(path, root, images, others, False)
    elif formats.is_dicom(path):
      dicoms.append(path)
    elif formats.suffix(path).endswith(formats.SUFFIXES):
      images.append(_of_file(path, root))
    elif not _has_header(path):
      others.append(path)
  if dicoms and one_by_one:
    images += [_of_file(path, root) for path in dicoms if path.name.upper() != "DICOMDIR"]
  elif dicoms:
    images += _series(folder, dicoms, root, others)


def _has_header(path: pathlib.Path) -> bool:
  """Returns whether a file holds the voxels of a NIfTI header beside it, which is listed in its place."""
  return formats.suffix(path) in formats.NIFTI_DATA and path.with_name(f"{formats.stem(path)}.hdr").exists()


def _of_file(path: pathlib.Path, root: pathlib.Path) -> Found:
  return Found(_key(path.with_name(formats.stem(path)), root), path)


def _key(path: pathlib.Path, root: pathlib.Path) -> str:
  key = path.relative_to(root).as_posix()
  return formats.plain("" if key == "." else key)


def _series(
  folder: pathlib.Path, files: Sequence[pathlib.Path], root: pathlib.Path, others: list[pathlib.Path]
) -> Iterator[Found]:
  """Yields the images of the DICOM files of one folder; adds what holds no picture to `others`."""
  headers = {file: header for file in files if (header := _header(file)) is not None}
  unreadable = [file for file in files if file not in headers]
  by_series: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
  for file, header in headers.items():
    if _is_directory(header):
      continue
    if header.get("Rows"):
      by_series[str(header.get("SeriesInstanceUID", ""))].append(file)
    else:
      others.append(file)  # reports, plans, outlines
  stacks = {uid: group for uid, group in by_series.items() if _is_stack([headers[file] for file in group])}
  alone = [file for uid, group in by_series.items() if uid not in stacks for file in group]
  is_lone = len(by_series) == len(alone) == 1 and headers[alone[0]].get("Modality") not in _PROJECTIONS
  if (len(stacks) == 1 and not alone) or (is_lone and not stacks) or not by_series:
    if by_series or unreadable:
      yield Found(_key(folder, root), folder)  # with what is unreadable in it: the reader says so
    return
  numbers = collections.Counter(_number(headers[group[0]]) for group in stacks.values())
  for uid, group in stacks.items():
    number = _number(headers[group[0]])
    name = f"series-{number}" if number and numbers[number] == 1 else uid
    yield Found(_key(folder / name, root), folder / uid)
  for file in (*alone, *unreadable):
    yield _of_file(file, root)


def _is_stack(headers: Sequence["Dataset"]) -> bool:
  """Whether the files of a series are slices of one volume."""
  if len(headers) == 1 or any(_frames(header) > 1 for header in headers):
    return False
  if any(header.get("ImagePositionPatient") for header in headers):
    return True
  return any(header.get("Modality") not in _PROJECTIONS for header in headers)


def _frames(header: "Dataset") -> int:
  try:
    return int(header.get("NumberOfFrames") or 1)
  except (TypeError, ValueError):
    return 1


def _number(header: "Dataset") -> str:
  return str(header.get("SeriesNumber") or "").strip()


def _is_directory(header: "Dataset") -> bool:
  return str(getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID", "")) == _DIRECTORY


def _header(file: pathlib.Path) -> "Dataset | None":
  """Returns the data set without its pixels; None where it cannot be read."""
  import pydicom

  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
      data = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
      {name: data.get(name) for name in _TAGS}  # values are decoded when they are looked at
    except Exception:  # a damaged file fails in as many ways as pydicom has parts; its reader says how
      return None
  return data if len(data) or _is_directory(data) else None
