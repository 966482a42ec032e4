"""Reads the XML files of LIDC-IDRI. They come from strangers: entities and document types are refused."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException, ElementTree

from data.errors import DataError
from data.lidc_idri.scan import NUM_READERS

_NAMESPACE = "http://www.nih.gov"
_ROOT = "LidcReadMessage"
_INCLUSION = {"TRUE": True, "FALSE": False}


@dataclasses.dataclass(frozen=True)
class Roi:
  """An outline as the file has it.

  Attributes:
    sop_uid: of the DICOM file; '' where it is not given.
    z: position of the slice in mm; nan where the file does not give it.
    points: array [N, 2] int32 of x (column) and y (row).
    inclusion: whether the outline surrounds the nodule; False for a hole in it.
  """

  sop_uid: str
  z: float
  points: np.ndarray
  inclusion: bool


Sessions = list[list[list[Roi]]]  # per reading session, per nodule, its outlines


def series_of(path: pathlib.Path) -> str | None:
  """Reads the head of a file.

  Returns:
    The UID of the CT series that the readings are of, '' where it is not given; None for another kind of file, such as
    the readings of chest radiographs that lie in some folders.

  Raises:
    DataError: no XML, XML with entities, or of another namespace; names the file.
  """
  with _errors(path), path.open("rb") as file:
    events = iter(ElementTree.iterparse(file, events=("start", "end"), forbid_dtd=True))
    if not _is_reading(path, next(events)[1]):
      return None
    for event, element in events:
      if event == "start" and element.tag == _tag("readingSession"):
        break
      if event == "end" and element.tag == _tag("SeriesInstanceUid"):
        return (element.text or "").strip()
  return ""


def read(path: pathlib.Path) -> Sessions:
  """Reads a file of CT readings.

  Nodules of less than 3 mm have a single point in place of an outline; they are left out, and so is what is marked as
  no nodule.

  Some scans were read in two rounds, with a session of each reader for both. Of more sessions than readers those count
  that outline a nodule of 3 mm or more; where none does, all say the same, and the first ones stand for the readers.

  Returns:
    Per reading session, per nodule of 3 mm or more, its outlines.

  Raises:
    DataError: damaged, XML with entities, no readings of a CT, more sessions with outlines than there are readers, or a
      field of another kind; names the file.
  """
  with _errors(path):
    root: Any = ElementTree.parse(str(path), forbid_dtd=True).getroot()
  if not _is_reading(path, root):
    raise DataError(f"{path}: expected the root {_ROOT}, found {root.tag}.")
  sessions = [
    [nodule for nodule in _nodules(path, session) if any(roi.inclusion and len(roi.points) > 1 for roi in nodule)]
    for session in root.iter(_tag("readingSession"))
  ]
  if not sessions:
    raise DataError(f"{path}: expected 1 to {NUM_READERS} reading sessions, found 0.")
  if len(sessions) <= NUM_READERS:
    return sessions
  outlining = [session for session in sessions if session]
  if len(outlining) > NUM_READERS:
    raise DataError(
      f"{path}: expected 1 to {NUM_READERS} reading sessions that outline nodules of 3 mm or more, found "
      f"{len(outlining)} of {len(sessions)}."
    )
  return outlining or sessions[:NUM_READERS]


def difference(one: Sessions, other: Sessions) -> str:
  """Says in what two files' readings differ, the first such place; '' where they are equal.

  What is compared is what is read: sessions in their order, their nodules, outlines and points. The order of nodules in
  a session, and of outlines in a nodule, means nothing.
  """
  if len(one) != len(other):
    return f"{len(one)} reading sessions there, {len(other)} here"
  for number, (there, here) in enumerate(zip(one, other, strict=True), start=1):
    if len(there) != len(here):
      return f"session {number} has {len(there)} nodules of 3 mm or more there, {len(here)} here"
    places = [sorted(_place(roi) for nodule in session for roi in nodule) for session in (there, here)]
    for a, b in itertools.zip_longest(*places):
      if a != b:
        slices = " and ".join("none" if place is None else f"{place[1]} mm" for place in (a, b))
        return f"session {number} has outlines at other places: z = {slices}"
    nodules = [sorted(sorted(_key(roi) for roi in nodule) for nodule in session) for session in (there, here)]
    for a, b in zip(*nodules, strict=True):
      if a != b:
        z = next((x[1] for x, y in itertools.zip_longest(a, b) if x != y and x is not None), "?")
        return f"session {number} has other points in a nodule's outline at z = {z} mm"
  return ""


def _place(roi: Roi) -> tuple[str, str]:
  return roi.sop_uid, repr(roi.z)


def _key(roi: Roi) -> tuple[str, str, bool, list[list[int]]]:
  return *_place(roi), roi.inclusion, roi.points.tolist()


@contextlib.contextmanager
def _errors(path: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except DefusedXmlException as error:
    raise DataError(f"{path}: has a document type or entities, which no file of LIDC-IDRI has; refused.") from error
  except (ParseError, UnicodeDecodeError, LookupError) as error:
    raise DataError(f"{path}: cannot be read as XML, it may be truncated ({error}).") from error


def _tag(name: str) -> str:
  return f"{{{_NAMESPACE}}}{name}"


def _is_reading(path: pathlib.Path, root: Any) -> bool:
  namespace, _, name = root.tag.rpartition("}")
  if name == _ROOT and root.tag != _tag(_ROOT):
    raise DataError(f"{path}: expected the namespace {_NAMESPACE}, found {namespace[1:] or 'none'}.")
  return name == _ROOT


def _nodules(path: pathlib.Path, session: Any) -> Iterator[list[Roi]]:
  for nodule in session.iterfind(_tag("unblindedReadNodule")):
    where = f"{path}: nodule {nodule.findtext(_tag('noduleID'), '').strip()!r}"
    yield [_roi(where, roi) for roi in nodule.iterfind(_tag("roi"))]


def _roi(where: str, roi: Any) -> Roi:
  def text(name: str, default: str) -> str:
    return (roi.findtext(_tag(name)) or default).strip()

  inclusion = text("inclusion", "none").upper()
  if inclusion not in _INCLUSION:
    raise DataError(f"{where}: expected inclusion TRUE or FALSE, found {inclusion}.")
  edges = list(roi.iterfind(_tag("edgeMap")))
  corners = [(edge.findtext(_tag("xCoord"), "none"), edge.findtext(_tag("yCoord"), "none")) for edge in edges]
  try:
    points = np.asarray([(int(x), int(y)) for x, y in corners], np.int32).reshape(-1, 2)
    return Roi(text("imageSOP_UID", ""), float(text("imageZposition", "nan")), points, _INCLUSION[inclusion])
  except (ValueError, OverflowError) as error:
    raise DataError(f"{where}: expected numbers as imageZposition, xCoord and yCoord ({error}).") from error
