"""The source ``raw``: DICOM series and the XML files that go with them."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator

from data.errors import DataError
from data.lidc_idri import annotations, series
from data.lidc_idri.annotations import Roi
from data.lidc_idri.scan import NUM_READERS, Outline, Reading, Scan
from data.lidc_idri.series import Series

LAYOUT = "LIDC-IDRI/LIDC-IDRI-NNNN/<study>/<series>/{*.dcm,*.xml} (or the XML files in LIDC-XML-only/)"
_PARENTS = ("", "LIDC-IDRI", "manifest-*/LIDC-IDRI")
_XML_ONLY = ("LIDC-XML-only", "tcia-lidc-xml")


def patients(root: pathlib.Path) -> list[pathlib.Path]:
  """Lists the patients' folders below `root`, by name.

  Raises:
    DataError: two folders of one name.
  """
  found: dict[str, pathlib.Path] = {}
  for parent in _PARENTS:
    for path in sorted(root.glob(f"{parent}/LIDC-IDRI-*" if parent else "LIDC-IDRI-*")):
      if path.is_dir() and path.name.rpartition("-")[2].isdigit():
        if path.name in found:
          raise DataError(f"{path}: a second folder of this patient; the other is {found[path.name]}.")
        found[path.name] = path
  return [found[name] for name in sorted(found)]


@dataclasses.dataclass
class XmlFiles:
  """The XML files of CT readings that lie in a folder of their own, away from the images.

  Attributes:
    of_series: for each series UID the files that name it.
  """

  of_series: dict[str, list[pathlib.Path]]

  @classmethod
  def below(cls, root: pathlib.Path) -> "XmlFiles":
    """Reads the heads of all files in LIDC-XML-only/ or tcia-lidc-xml/; there need be none."""
    found: dict[str, list[pathlib.Path]] = {}
    for path in sorted(path for name in _XML_ONLY for path in (root / name).rglob("*.xml")):
      found.setdefault(annotations.series_of(path) or "", []).append(path)
    found.pop("", None)
    return cls(found)

  def readings(self, scan: Series) -> tuple[pathlib.Path, annotations.Sessions]:
    """Reads the file of a series: the one in its folder, else the one elsewhere that names it.

    The archive holds several files of some series, which differ in the message's number alone: where all say the same
    of the nodules, wherever they lie, the first is taken.

    Raises:
      DataError: there is none, several contradict each other, or the one in its folder is of another series.
    """
    found = []
    for path in sorted(path for path in scan.folder.iterdir() if path.suffix.lower() == ".xml"):
      uid = annotations.series_of(path)
      if uid is not None:
        found.append(path)
        if uid not in ("", scan.uid):
          raise DataError(f"{path}: is of the series {uid}; the images beside it are of {scan.uid}.")
    found += self.of_series.get(scan.uid, [])
    if not found:
      raise DataError(f"{scan.folder}: expected one XML file of CT readings in it, or in LIDC-XML-only/; found none.")
    first, *others = found
    sessions = annotations.read(first)
    for path in others:
      if gap := annotations.difference(sessions, annotations.read(path)):
        raise DataError(
          f"{path}: contradicts {first}, another XML file of the series {scan.uid}: {gap}. Keep the one that is right."
        )
    return first, sessions


def signature_lines(root: pathlib.Path) -> Iterator[str]:
  """Yields a line for each folder of images and each XML file: what tells two copies of the archive apart.

  The images are counted, not looked at: there are 244,527, perhaps over a network.
  """
  for patient in patients(root):
    for folder, _, names in sorted(os.walk(patient)):
      counted = sum(name.lower().endswith(".dcm") for name in names)
      yield f"{patient.name} {pathlib.Path(folder).relative_to(patient).as_posix()} {counted}"
      yield from _sizes(pathlib.Path(folder, name) for name in sorted(names) if name.lower().endswith(".xml"))
  for name in _XML_ONLY:
    yield from _sizes(sorted((root / name).rglob("*.xml")))


def _sizes(paths: Iterable[pathlib.Path]) -> Iterator[str]:
  for path in paths:
    yield f"{path.name} {path.stat().st_size}"


def scans(patient: pathlib.Path, xml_files: XmlFiles) -> Iterator[Scan]:
  """Yields the CT scans of a patient, in the order of their series UIDs. Pixels are read when they are asked for.

  Raises:
    DataError: a damaged file, a scan without its XML, or an outline in no slice of it; names the file.
  """
  found = [series.read(folder, names) for folder, names in series.folders(patient)]
  ordered = sorted((one for one in found if one is not None), key=lambda one: one.uid)
  for one, other in itertools.pairwise(ordered):
    if one.uid == other.uid:
      raise DataError(f"{other.folder}: holds the same series as {one.folder}.")
  if not ordered:
    raise DataError(f"{patient}: expected a CT series, found no folder with one.")
  for k, one in enumerate(ordered):
    path, sessions = xml_files.readings(one)
    yield Scan(
      name=f"{patient.name}/scan{k}",
      patient=patient.name,
      readings=[
        Reading(reader, tuple(_outline(roi, one, path) for roi in nodule))
        for reader, nodules in enumerate(sessions)
        for nodule in nodules
      ],
      there=[reader < len(sessions) for reader in range(NUM_READERS)],
      shape=one.shape,
      spacing=one.spacing,
      num_slices=len(one.paths),
      image=one.image,
    )


def _outline(roi: Roi, scan: Series, path: pathlib.Path) -> Outline:
  index = scan.find(roi.sop_uid, roi.z)
  if index is None:
    raise DataError(
      f"{path}: an outline is in the slice {roi.sop_uid or '?'} at z = {roi.z:g} mm, which {scan.folder} has not."
    )
  height, width = scan.shape
  if not len(roi.points) or roi.points.min() < 0 or (roi.points.max(axis=0) >= (width, height)).any():
    raise DataError(f"{path}: an outline at z = {roi.z:g} mm has no points, or some outside of {height} x {width}.")
  return Outline(index, roi.points, roi.inclusion)
