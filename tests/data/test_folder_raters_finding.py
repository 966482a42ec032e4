"""folder_raters finds files as real tools name them, or one error says what does not fit and which setting helps."""

import os
import pathlib
import subprocess
import sys
import unicodedata

import nibabel
import numpy as np
import PIL.Image
import pydicom
import pytest

from data import DataError
from ordseg import image_io
from ordseg.case_files import bids, layouts
from tests.data.archives import folder_raters as archive
from tests.data.helpers import ROOT
from tests.data.test_folder_raters import build, check, records
from tests.image_io.test_image_io import write_dicom

CASES = pathlib.Path(os.environ.get("ORDSEG_SHARED_DATA", ROOT.parent / "shared" / "data")).parent / "cases"
UMLAUT = "L\u00e4sion M\u00fcller"


def pages(seed=0, shape=(24, 20)):
  return np.random.default_rng(seed).integers(0, 250, shape)


def case_files(name, out):
  script = next(CASES.glob(f"{name}_*.py"), None) if CASES.is_dir() else None
  if script is None:
    pytest.skip(f"needs {CASES}, which is not distributed with the project")
  subprocess.run(
    [sys.executable, script, out], check=True, cwd=CASES, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
  )
  return out


@pytest.mark.parametrize("name", ["16/list", "19"])
def test_cases_of_users(tmp_path, name):
  root = case_files(name[:2], tmp_path / name[:2]) / name[3:]
  found = records(build(tmp_path, root))
  assert len(found) == 4
  images = sorted((tmp_path / name[:2]).rglob("images/*.png"))
  for path in images:
    record = found[unicodedata.normalize("NFC", path.stem)][1]
    np.testing.assert_array_equal(record["image"][..., 0], np.asarray(PIL.Image.open(path)))
    assert record["rater_valid"].tolist() == [True, True] and record["rater_masks"].any()


# --- Names


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_unicode_forms_meet_in_every_layout(tmp_path, root, forms):
  made = {f"{UMLAUT} {key}": value for key, value in archive.cases().items()}
  of_image, of_mask = ({name: unicodedata.normalize(form, name) for name in made} for form in forms)
  for key, (image, masks) in made.items():
    archive.save(root / "images" / f"{of_image[key]}.PNG", image[..., 0])
    for rater, mask in masks.items():
      folder = unicodedata.normalize(forms[len(rater) % 2], f"Dr {UMLAUT} {rater}")
      archive.save(root / "raters" / folder / f"{of_mask[key]}.png", mask)
  raters = [f"Dr {UMLAUT} {rater}" for rater in archive.RATERS]
  made = {key: (image, {f"Dr {UMLAUT} {r}": m for r, m in masks.items()}) for key, (image, masks) in made.items()}
  check(records(build(tmp_path, root)), made, raters)
  lines = ["image," + ",".join(raters)]
  for key, (_, masks) in made.items():  # the list in one form, the files in another
    cells = [f"raters/{rater}/{key}.png" if rater in masks else "" for rater in raters]
    lines.append(unicodedata.normalize(forms[1], ",".join([f"images/{key}.PNG", *cells])))
  (root / "manifest.csv").write_text("\n".join(lines))
  check(records(build(tmp_path, root)), made, raters)


@pytest.fixture
def root(tmp_path):
  folder = tmp_path / "my set"
  folder.mkdir()
  return folder


@pytest.mark.parametrize(
  ("prefix", "suffix", "image_suffix"), [("seg_", "", ""), ("m-", "_v2", ""), ("", "_mask", ""), ("", "", "_0000")]
)
def test_affixes_are_settings_and_the_error_names_them(tmp_path, root, prefix, suffix, image_suffix):
  made = archive.cases()
  for key, (image, masks) in made.items():
    archive.save(root / "images" / "deep" / f"{key}{image_suffix}.png", image[..., 0])
    for rater, mask in masks.items():
      archive.save(root / "raters" / rater / "deep" / f"{prefix}{key}{suffix}.png", mask)
  settings = {"mask_prefix": prefix, "mask_suffix": suffix, "image_suffix": image_suffix}
  settings = {name: value for name, value in settings.items() if value}
  with pytest.raises(DataError) as caught:
    build(tmp_path, root)
  for name, value in settings.items():
    assert f"builder_args.{name}={value}" in str(caught.value)
  assert "17 masks do not fit" in str(caught.value).splitlines()[0]
  assert len(str(caught.value).splitlines()) == 18
  found = records(build(tmp_path, root, **settings))
  check(found, {f"deep/{key}": value for key, value in made.items()})


def test_two_masks_of_one_rater_for_one_image(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  archive.save(root / "raters/ben/p1_a_mask.png", np.zeros((24, 20), np.uint8))
  with pytest.raises(DataError, match=r"ben has two masks for 'p1_a'; the other is .*p1_a"):
    build(tmp_path, root, mask_suffix="_mask")


def test_names_that_differ_in_capitals(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  (root / "raters/ben/p1_a.png").rename(root / "raters/ben/P1_A.png")
  with pytest.raises(DataError, match=r"P1_A.png: a mask without its image.* 'p1_a' differs in capital letters alone"):
    build(tmp_path, root)


def test_files_that_are_no_images_are_named(tmp_path, root, capsys):
  archive.write_by_rater(root, archive.cases())
  (root / "images/notes.txt").write_text("x")
  (root / "raters/ben/p1_a.json").write_text("{}")
  (root / "images/Thumbs.db").write_bytes(b"x")
  build(tmp_path, root)
  said = capsys.readouterr().out
  assert "2 files are no images and are left out: images/notes.txt, raters/ben/p1_a.json" in said


# --- All that is wrong, at once


def test_all_bad_files_are_listed(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  cut = (root / "images/p2_a.png").read_bytes()[:60]
  (root / "images/p2_a.png").write_bytes(cut)
  archive.save(root / "raters/ben/p1_a.png", np.zeros((24, 21), np.uint8))
  archive.save(root / "raters/carl/p5_a.png", np.arange(480).astype(np.uint8).reshape(24, 20))
  archive.save(root / "raters/anna/p3_a.png", np.zeros((9, 9), np.uint8))
  with pytest.raises(DataError) as caught:
    build(tmp_path, root)
  headline, *lines = str(caught.value).splitlines()
  assert headline == "4 files cannot be used:"
  for place in ("images/p2_a.png", "ben/p1_a.png", "carl/p5_a.png", "anna/p3_a.png"):
    assert sum(place in line.split(": ")[0] for line in lines) == 1, place
  assert not list((tmp_path / "built").rglob("dataset_info.json"))


def test_twenty_are_shown(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  for k in range(30):
    archive.save(root / f"raters/ben/none{k}.png", np.zeros((2, 2), np.uint8))
  with pytest.raises(DataError) as caught:
    build(tmp_path, root)
  lines = str(caught.value).splitlines()
  assert lines[0].startswith("30 masks do not fit.") and len(lines) == 22 and lines[-1].strip() == "and 10 more"


# --- Lists


def write_lists(root, quote=str, *, head="image,anna,ben", mark=",", encoding="utf-8"):
  """Images and masks beside the list's folder; returns key -> (image, masks)."""
  made = archive.cases({f"s{k}": ("anna", "ben") for k in range(4)})
  rows = [head.replace(",", mark)]
  for key, (image, masks) in made.items():
    paths = [root.parent / "else where" / folder / f"{key}.png" for folder in ("images", "anna", "ben")]
    for path, values in zip(paths, (image[..., 0], masks["anna"], masks["ben"]), strict=True):
      archive.save(path, values)
    rows.append(mark.join(quote(path) for path in paths))
  (root / "manifest.csv").write_text("\n".join(rows) + "\n", encoding=encoding)
  return made


@pytest.mark.parametrize(
  "how",
  [
    {},
    {"mark": ";"},
    {"mark": "\t"},
    {"encoding": "utf-8-sig"},
    {"encoding": "utf-16", "mark": "\t"},
    {"head": "Image , anna,ben"},
    {"head": 'sep=;\nimage,"anna",ben', "mark": ";"},
    {"quote": lambda path: f'"{path}"'},
    {"quote": lambda path: f"'{path}' "},
    {"quote": lambda path: path.as_uri()},
    {"quote": lambda path: "..\\" + "\\".join(path.parts[-3:])},
    {"quote": lambda path: "~/" + os.path.relpath(path, pathlib.Path.home())},
    {"quote": lambda path: "../" + "/".join(path.parts[-3:])},
  ],
  ids=str,
)
def test_lists_with_any_paths(tmp_path, root, how):
  made = write_lists(root, **how)
  check(records(build(tmp_path, root)), made, ("anna", "ben"))


def test_a_list_of_paths_on_another_computer(tmp_path, root):
  write_lists(root, lambda path: "C:\\study\\" + "\\".join(path.parts[-2:]))
  with pytest.raises(DataError, match=r"(?s)4 lines .*line 2: .* names .*C:.study.*not there. It is a path of Windows"):
    build(tmp_path, root)


def test_files_named_alike_in_folders_of_their_own(tmp_path, root):
  lines = ["image,a"]
  for k in range(3):
    archive.save(tmp_path / f"far/p{k}/t2/image.png", np.full((8, 8), k, np.uint8))
    archive.save(tmp_path / f"far/p{k}/t2/a.png", np.eye(8, dtype=np.uint8))
    lines.append(f"{tmp_path}/far/p{k}/t2/image.png,{tmp_path}/far/p{k}/t2/a.png")
  (root / "manifest.csv").write_text("\n".join(lines))
  found = records(build(tmp_path, root))
  assert {key: record["image"].max() for key, (_, record) in found.items()} == {f"p{k}/t2/image": k for k in range(3)}


# --- Other layouts


def write_nifti(path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  nibabel.save(nibabel.Nifti1Image(np.asarray(values, np.int16), np.diag([1.0, 1, 2, 1])), path)


def test_annotations_beside_an_image(tmp_path, root):
  masks = np.random.default_rng(0).integers(0, 2, (3, 5, 6, 5, 2))
  for k in range(3):
    write_nifti(root / f"case{k}/image.nii.gz", pages(k, (6, 5, 2)))
    for r in range(5):
      write_nifti(root / f"case{k}/label_annot_{r + 1}.nii.gz", masks[k, r])
  found = records(build(tmp_path, root))
  assert len(found) == 6
  for k in range(3):
    for z in range(2):
      record = found[f"case{k}/z{z:04d}"][1]
      np.testing.assert_array_equal(record["rater_masks"], masks[k, ..., z].transpose(2, 1, 0))
      assert record["group"] == f"case{k}".encode() and record["rater_valid"].all()


def test_cases_in_folders_of_patients_and_images_of_another_name(tmp_path, root):
  for k in range(3):
    for visit in "ab":
      write_nifti(root / f"p{k}/{visit}/T2.nii.gz", pages(k, (6, 5, 1)))
      write_nifti(root / f"p{k}/{visit}/expert1.nii.gz", np.ones((6, 5, 1)))
  with pytest.raises(DataError, match="image_pattern"):
    build(tmp_path, root)
  found = records(build(tmp_path, root, image_pattern="t2"))
  assert sorted(found) == [f"p{k}/{visit}" for k in range(3) for visit in "ab"]
  assert all(record["group"] == key[:2].encode() for key, (_, record) in found.items())
  write_nifti(root / "p1/a/flair.nii.gz", np.ones((6, 5, 1)))
  with pytest.raises(DataError, match=r"p1/a/flair.nii.gz: is neither image.* set builder_args.rater_pattern"):
    build(tmp_path, root, image_pattern="T2")


def write_bids(root, *, sessions=("",), name="{stem}_T2w_desc-rater{r}_label-lesion_seg", pipeline="manual"):
  masks = {}
  for k in range(3):
    for session in sessions:
      folder = f"sub-0{k}/{f'{session}/' * bool(session)}anat"
      stem = f"sub-0{k}{f'_{session}' * bool(session)}"
      write_nifti(root / folder / f"{stem}_T2w.nii.gz", pages(k, (6, 5, 1)))
      (root / folder / f"{stem}_T2w.json").write_text("{}")
      for r in (1, 2):
        mask = np.random.default_rng([k, r, len(session)]).integers(0, 2, (6, 5, 1))
        place = pipeline.format(r=r)
        write_nifti(root / "derivatives" / place / folder / f"{name.format(stem=stem, r=r)}.nii.gz", mask)
        masks[f"{stem}_T2w", r] = mask
  return masks


@pytest.mark.parametrize(
  ("how", "raters"),
  [
    ({}, ["rater1", "rater2"]),
    ({"sessions": ("ses-1", "ses-02")}, ["rater1", "rater2"]),
    ({"name": "{stem}_space-orig_desc-R{r}_mask"}, ["R1", "R2"]),
    ({"name": "{stem}_T2w_label-lesion_dseg", "pipeline": "rater-{r}"}, ["rater-1", "rater-2"]),
  ],
)
def test_bids(tmp_path, root, how, raters):
  masks = write_bids(root, **how)
  builder = build(tmp_path, root)
  assert builder.config.panel() == raters
  found = records(builder)
  assert sorted(found) == sorted({key for key, _ in masks})
  for (key, r), mask in masks.items():
    record = found[key][1]
    np.testing.assert_array_equal(record["rater_masks"][..., r - 1], mask[..., 0].T)
    assert record["group"] == key[:6].encode()


def test_bids_of_several_structures_and_contrasts(tmp_path, root):
  write_bids(root, name="{stem}_desc-r{r}_label-lesion_mask")
  write_nifti(root / "derivatives/manual/sub-00/anat/sub-00_desc-r1_label-ventricle_mask.nii.gz", np.ones((6, 5, 1)))
  with pytest.raises(DataError, match=r"several structures: lesion, ventricle. Name one: builder_args.label="):
    build(tmp_path, root)
  with pytest.raises(DataError, match=r"no mask has builder_args.label='tumour'; labels: lesion, ventricle"):
    build(tmp_path, root, label="tumour")
  for k in range(3):
    write_nifti(root / f"sub-0{k}/anat/sub-0{k}_T1w.nii.gz", pages(9, (6, 5, 1)))
  with pytest.raises(DataError, match=r"fits several images \(sub-00_T1w.nii.gz, sub-00_T2w.nii.gz\).*image_pattern"):
    build(tmp_path, root, label="lesion")
  found = records(build(tmp_path, root, label="lesion", image_pattern="*_T2w"))
  assert sorted(found) == [f"sub-0{k}_T2w" for k in range(3)]
  write_nifti(root / "derivatives/manual/sub-09/anat/sub-09_desc-r1_label-lesion_mask.nii.gz", np.ones((6, 5, 1)))
  with pytest.raises(DataError, match=r"sub-09_desc-r1.*: no image has its entities sub-09"):
    build(tmp_path, root, label="lesion", image_pattern="*_T2w")
  assert bids.is_there(root) and not bids.is_there(tmp_path)


# --- DICOM


def unnamed(path, target, *, is_headless=False):
  """Moves a DICOM file; without preamble and meta information where asked."""
  target.parent.mkdir(parents=True, exist_ok=True)
  if is_headless:
    data = pydicom.dcmread(path)
    pydicom.dcmwrite(target, pydicom.Dataset(data), implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert target.read_bytes()[128:132] != b"DICM"
    path.unlink()
  else:
    path.rename(target)


@pytest.mark.parametrize("name", ["IM{z:04d}", "{z}.IMA", "1.2.840.{z}", "{z}.img", "scan.{z}"])
@pytest.mark.parametrize("is_headless", [False, True])
def test_series_without_a_suffix(tmp_path, name, is_headless):
  for z in range(3):
    write_dicom(tmp_path / f"{z}.tmp", pages(z), z=2.0 * (3 - z))
    unnamed(tmp_path / f"{z}.tmp", tmp_path / "cd/s" / name.format(z=z), is_headless=is_headless)
  (tmp_path / "cd/s/readme.txt").write_text("a viewer")
  found, others = image_io.find(tmp_path / "cd")
  assert [(image.key, image.path) for image in found] == [("s", tmp_path / "cd/s")]
  assert others == [tmp_path / "cd/s/readme.txt"]
  np.testing.assert_array_equal(image_io.read(found[0].path).pages[..., 0], [pages(2), pages(1), pages(0)])
  path = tmp_path / "cd/s" / name.format(z=1)
  np.testing.assert_array_equal(image_io.read(path).pages[0, ..., 0], pages(1))


def test_what_is_no_dicom():
  noise = np.random.default_rng(0)
  for k in range(50):
    assert not image_io.formats._has_elements(noise.bytes(4096)), k
  for text in (b"%PDF-1.7 ...", b"\x1f\x8b\x08" + bytes(200), b"", b"\x08\x00\x05\x00", bytes(400)):
    assert not image_io.formats._has_elements(text + bytes(100))


def test_a_flat_folder_of_pictures_and_series_side_by_side(tmp_path):
  for k in range(3):
    write_dicom(tmp_path / f"xrays/x{k}.dcm", pages(k), series=f"1.2.{k}")
  for k in range(2):  # ultrasound: one series, no places
    write_dicom(tmp_path / f"us/u{k}", pages(k), series="1.9")
    data = pydicom.dcmread(tmp_path / f"us/u{k}")
    data.Modality = "US"
    del data.ImagePositionPatient
    data.save_as(tmp_path / f"us/u{k}")
  for series, count in (("1.5.1", 2), ("1.5.2", 3), ("1.5.3", 1)):
    for z in range(count):
      write_dicom(tmp_path / f"mixed/{series[-1]}{z}", pages(z), z=2.0 * z, series=series)
  found = {image.key: image.path for image in image_io.find(tmp_path)[0]}
  assert list(found) == ["mixed/1.5.1", "mixed/1.5.2", "mixed/30", "us/u0", "us/u1", "xrays/x0", "xrays/x1", "xrays/x2"]
  assert [len(image_io.read(path).pages) for path in found.values()] == [2, 3, 1, 1, 1, 1, 1, 1]
  assert found["mixed/1.5.2"] == tmp_path / "mixed/1.5.2"


def test_the_tree_of_a_cd(tmp_path):
  from pydicom.fileset import FileSet

  files = FileSet()
  for series in range(2):
    for z in range(3):
      path = tmp_path / f"raw/{series}{z}.dcm"
      write_dicom(path, pages(z), z=2.0 * z, series=f"1.2.3.{series}")
      data = pydicom.dcmread(path)
      data.PatientID, data.StudyInstanceUID, data.StudyID = "P", "1.2.3", "1"
      data.StudyDate, data.StudyTime, data.Modality = "20200101", "120000", "CT"
      data.InstanceNumber, data.SeriesNumber, data.PatientName = z, series, "P"
      data.file_meta.ImplementationVersionName = "X"
      files.add(data)
  files.write(tmp_path / "cd")
  assert (tmp_path / "cd/DICOMDIR").exists()
  found, others = image_io.find(tmp_path / "cd")
  assert len(found) == 2 and others == []
  for image in found:
    np.testing.assert_array_equal(image_io.read(image.path).pages[..., 0], [pages(z) for z in range(3)])


def test_a_dicom_series_of_several_as_an_image_and_a_folder_as_a_mask(tmp_path, root):
  lines = ["image,a,id"]
  for k in range(3):
    for z in range(3):
      write_dicom(root / f"scans/IM{k}{z}", pages(k + z), z=2.0 * z, series=f"1.7.{k}")
      write_dicom(root / f"mask{k}/IM{z}", np.eye(24, 20), z=2.0 * z, series=f"1.8.{k}")
    lines.append(f"scans/1.7.{k},mask{k},s{k}")
  (root / "manifest.csv").write_text("\n".join(lines))
  found = records(build(tmp_path, root))
  assert len(found) == 9
  for k in range(3):
    for z in range(3):
      np.testing.assert_array_equal(found[f"s{k}/z{z:04d}"][1]["image"][..., 0], pages(k + z))
      np.testing.assert_array_equal(found[f"s{k}/z{z:04d}"][1]["rater_masks"][..., 0], np.eye(24, 20))
  before = layouts.signature(root, layouts.find_cases(root, layouts.Names()))
  write_dicom(root / "mask1/IM1", np.zeros((24, 20)), z=2.0, series="1.8.1")
  assert layouts.signature(root, layouts.find_cases(root, layouts.Names())) != before


def test_gaps_are_a_setting(tmp_path, root):
  for k in range(3):
    for z in (0, 1, 3):
      write_dicom(root / f"images/s{k}/IM{z}", pages(z), z=2.0 * z, series=f"1.7.{k}")
    write_nifti(root / f"raters/a/s{k}.nii.gz", np.zeros((20, 24, 3)))
    image = nibabel.Nifti1Image(
      np.zeros((20, 24, 3), np.uint8), image_io.read(root / f"images/s{k}", allow_gaps=True).affine
    )
    nibabel.save(image, root / f"raters/a/s{k}.nii.gz")
  with pytest.raises(DataError, match=r"3 files cannot be used:\n  .*slices are .* mm apart"):
    build(tmp_path, root)
  assert len(records(build(tmp_path, root, allow_gaps=True))) == 9


def test_settings_and_files_in_two_unicode_forms(tmp_path, root):
  made = archive.cases()
  other = {form: unicodedata.normalize(form, UMLAUT) for form in ("NFC", "NFD")}
  for key, (image, masks) in made.items():
    archive.save(root / f"images {other['NFD']}" / f"{key}.png", image[..., 0])
    for rater, mask in masks.items():
      archive.save(root / f"raters {other['NFD']}" / f"{other['NFD']} {rater}" / f"{other['NFD']}{key}.png", mask)
  settings = {"images": f"images {other['NFC']}", "raters": f"raters {other['NFC']}", "mask_prefix": other["NFC"]}
  raters = [f"{other['NFC']} {rater}" for rater in archive.RATERS]
  found = records(build(tmp_path, root, **settings, rater_pattern=f"{other['NFC']}*"))
  made = {key: (image, {f"{other['NFC']} {r}": m for r, m in masks.items()}) for key, (image, masks) in made.items()}
  check(found, made, raters)
