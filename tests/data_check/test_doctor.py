"""The doctor: silent on clean sets, and finds each fault that is planted."""

import pathlib
import re
import tarfile

import numpy as np
import PIL.Image
import pytest

import data
from data.rater_phantom import rater_phantom_dataset_builder as phantom
from ordseg.cli.check import main
from ordseg.data_check import alignment, examine, survey, tables
from ordseg.data_check.rules import area_ratios
from ordseg.metrics import agreement
from ordseg.reporting import check_page as page
from tests.data.archives import folder_raters
from tests.data_check import faults

ROOT = pathlib.Path(__file__).parent.parent.parent
CONFIG = phantom.PhantomConfig(name="doctor", num_raters=4, images_per_group=2, missing_share=0.1)


def phantom_set(num=16):
  return {
    split: [phantom.draw_example(CONFIG, split, k) for k in range(count)]
    for split, count in (("train", num), ("validation", num // 4), ("test", num // 2))
  }


@pytest.fixture(scope="module")
def clean():
  return phantom_set()


def lidc_set():
  archive = ROOT.parent / "shared/data/lidc_slices/LIDC-IDRI-slices.dev200.tar.gz"
  return archive, "lidc_slices", {}


def cfos_set():
  archive = ROOT.parent / "shared/data/bioimage_cfos/train_data.lab-wue1.tar.gz"
  settings = {"raters": "labels", "rater_pattern": "expert_*", "mask_suffix": "_cFOS", "tile_size": 512}
  return archive, "folder_raters", settings


@pytest.fixture(scope="module", params=[lidc_set, cfos_set], ids=["lidc", "cfos"])
def real(request, tmp_path_factory):
  """A part of a real set: split -> records."""
  archive, name, settings = request.param()
  if not archive.exists():
    pytest.skip(f"needs {archive.name}, which is not distributed with the project")
  folder = tmp_path_factory.mktemp(name)
  with tarfile.open(archive) as tar:
    members = [m for m in tar.getmembers() if _is_wanted(m.name)]
    tar.extractall(folder, members=members, filter="data")
  root = folder / "train_data/lab-wue1" if name == "folder_raters" else folder
  builder = data.get_builder(name, data_dir=str(folder / "built"), manual_dir=str(root), overrides=settings)
  data.prepare(builder, manual_dir=str(root))
  sources = {split: data.data_source(builder, split) for split in builder.info.splits}
  return {split: [source[i] for i in range(min(60, len(source)))] for split, source in sources.items()}


def _is_wanted(name):
  """Sixty patients of LIDC, five images of cFOS."""
  part = pathlib.PurePath(name)
  patients = [p for p in part.parts if p.startswith("LIDC-IDRI-0")]
  cfos = ("0001", "0004", "0006", "0007", "0008")
  return bool(patients and patients[0] < "LIDC-IDRI-0300") or part.name[:4] in cfos


def words(records):
  return [finding.what for finding in examine(survey(records))]


def test_silent_on_clean_sets(clean):
  assert words(clean) == []


def test_silent_on_real_sets(real):
  assert words(real) == []


@pytest.mark.parametrize("move", faults.MOVES)
@pytest.mark.parametrize("rater", [0, 2])
def test_a_rater_moved_throughout(clean, move, rater):
  found = words({split: faults.change(records, rater, faults.MOVES[move]) for split, records in clean.items()})
  assert found[0].startswith(f"rater {rater} looks {move}")
  if move == "shifted":
    by = [int(n) for n in re.findall(r"by \((-?\d+), (-?\d+)\) pixels", found[0])[0]]
    np.testing.assert_allclose(by, (9, -7), atol=1)
  assert not any("looks" in what for what in found[1:])


@pytest.mark.parametrize("move", faults.MOVES)
def test_a_rater_moved_throughout_a_real_set(real, move):
  found = words({split: faults.change(records, 1, faults.MOVES[move]) for split, records in real.items()})
  assert found[0].startswith(f"rater 1 looks {move}")


def test_a_copied_and_a_silent_rater(clean, real):
  for records in (clean, real):
    copied = {split: faults.copied(part, 2, 1) for split, part in records.items()}
    assert words(copied)[0].startswith("rater 1 and rater 2 hold the same masks")
    silent = {split: faults.change(part, 1, np.zeros_like) for split, part in records.items()}
    assert words(silent)[0].startswith("rater 1 has empty masks on all")


def test_one_image_of_one_rater():
  config = phantom.PhantomConfig(name="x", num_raters=4, height=128, width=128, ambiguity=0.3)
  records = {"train": [phantom.draw_example(config, "train", k) for k in range(8)]}
  moved = {"train": faults.change(records["train"], 1, faults.MOVES["transposed"], where=[5])}
  fit = survey(moved).fits[5][1]
  assert fit is not None and fit.as_is < 0.25  # else this image cannot tell
  assert words(records) == []
  assert [what.split(":")[0] for what in words(moved)] == ["rater 1 looks transposed on train-00005"]


@pytest.mark.parametrize("noise", [0, 3])
def test_an_image_in_two_splits(clean, real, noise):
  rng = np.random.default_rng(0)
  for records in (clean, real):
    image = records["train"][3]["image"].astype(int)
    image = np.clip(image + rng.integers(-noise, noise + 1, image.shape), 0, 255).astype(np.uint8)
    copy = {**records["train"][3], "id": "copy", "group": "other", "image": image}
    found = words({**records, "test": [*records["test"], copy]})
    assert found[0].startswith(
      f"1 pair(s) of images in different splits look the same ({int(noise == 0)} pixel by pixel)"
    )


def test_a_group_in_two_splits(clean):
  stray = {**clean["train"][0], "id": "stray", "image": clean["train"][0]["image"][::-1]}
  assert words({**clean, "test": [*clean["test"], stray]})[0].startswith(
    "1 group(s) are in more than one split: train-patient"
  )


def test_a_flat_image_a_missing_rater_and_a_bias(clean):
  flat = {**clean["train"][0], "image": np.full_like(clean["train"][0]["image"], 7)}
  assert "1 image(s) hold one value only: train-00000" in words({**clean, "train": [flat, *clean["train"][1:]]})
  nowhere = [{**r, "rater_valid": r["rater_valid"] & np.asarray([1, 0, 1, 1], bool)} for r in clean["train"]]
  assert "rater 1 is missing from every image" in words({"train": nowhere})

  def speck(mask):
    kept = np.zeros_like(mask)
    index = np.flatnonzero(mask)[: max(1, int(mask.sum()) // 10)]
    kept.reshape(-1)[index] = 1
    return kept

  found = words({split: faults.change(records, 3, speck) for split, records in clean.items()})
  assert any("rater 3 marks 1/" in what and "of the area of the others" in what for what in found)


def test_numbers_against_the_oracles(clean):
  looked = survey(clean)
  records = [record for part in clean.values() for record in part]
  assert looked.sums.num_images == len(records) == 28
  for i, record in enumerate(records):
    masks = record["rater_masks"].reshape(-1, 4).astype(int)
    np.testing.assert_array_equal(looked.sums.both_marked[i], masks.T @ masks)
    np.testing.assert_array_equal(looked.sums.level_count[i], np.bincount(masks.sum(1), minlength=5))
    assert looked.low[i] == record["image"].min() and looked.sizes[i] == record["image"].shape[:2]
  assert 0.6 < agreement.fleiss_kappa(looked.sums) < 1
  ratios = area_ratios(looked)
  assert np.abs(np.log(ratios)).max() < 0.5 and np.argmax(ratios) == 3  # the phantom's biases rise


def test_alpha_against_the_package(clean):
  krippendorff = pytest.importorskip("krippendorff")
  looked = survey(clean)
  columns = []
  for part in clean.values():
    for record in part:
      votes = record["rater_masks"].reshape(-1, 4).T.astype(float)
      votes[~record["rater_valid"]] = np.nan
      columns.append(votes)
  want = krippendorff.alpha(np.concatenate(columns, axis=1), level_of_measurement="nominal")
  assert agreement.krippendorff_alpha(looked.sums) == pytest.approx(want, abs=1e-6)


def test_fits_by_hand():
  mask = np.zeros((30, 30), np.uint8)
  mask[3:11, 5:15] = 1
  masks = np.stack([mask, np.roll(mask, (6, 4), (0, 1)), mask[:, ::-1]], axis=-1)
  found = alignment.fits(masks, np.ones(3, bool))
  fit = found[1]
  assert fit is not None and fit.area == 80 and fit.covers == pytest.approx(80 / 900)
  share = (masks[..., 0] + masks[..., 2]) / 2
  assert fit.as_is == pytest.approx(2 * (masks[..., 1] * share).sum() / 160)
  assert alignment.fits(masks[..., :2], np.ones(2, bool))[0].shift == (6, 4)
  assert alignment.fits(masks, np.asarray([True, False, False])) == [None, None, None]
  assert alignment.fits(masks * 0, np.ones(3, bool)) == [None, None, None]


def test_the_report_says_what_was_found(clean, tmp_path):
  broken = {split: faults.change(records, 0, faults.MOVES["transposed"]) for split, records in clean.items()}
  looked = survey(broken)
  findings = examine(looked)
  said = tables.text(looked, findings, "the set")
  for part in ("the set", "missing votes", "Krippendorff's alpha", "Cohen's kappa", "Findings, worst first (1)"):
    assert part in said
  records = [record for part in broken.values() for record in part]
  pictures = {(k, i): page.draw(records[i]) for k, i in page.wanted_images(findings)}
  page.write(tmp_path / "doctor.html", looked, findings, pictures, "the <set>")
  html = (tmp_path / "doctor.html").read_text()
  assert "the &lt;set&gt;" in html and html.count("data:image/png") == len(pictures) > 0
  assert "http://" not in html and "https://" not in html
  assert "Nothing looks wrong" in tables.text(survey(clean), [], "x")


def run(capsys, *args):
  with pytest.raises(SystemExit) as stopped:
    main([str(arg) for arg in args])
  out = capsys.readouterr()
  return stopped.value.code, out.out, out.err


def test_the_program(tmp_path, capsys):
  folder_raters.write(tmp_path / "raw")
  where = ("--builder=folder_raters", f"--manual_dir={tmp_path / 'raw'}", f"--data_dir={tmp_path / 'built'}")
  where += (r"--set=group_regex=(p\d)_",)
  code, out, _ = run(capsys, *where, f"--out={tmp_path / 'a'}", "--set=tile_size=0")
  assert code == 0 and "Nothing looks wrong" in out and "anna" in out
  path = tmp_path / "raw/raters/ben"
  for mask in path.iterdir():
    PIL.Image.fromarray(np.asarray(PIL.Image.open(tmp_path / "raw/raters/carl" / mask.name))).save(mask)
  code, out, _ = run(capsys, *where, f"--out={tmp_path / 'b'}", "--limit=5")
  assert code == 1 and "ben and carl hold the same masks" in out
  assert "ben and carl" in (tmp_path / "b/doctor.html").read_text()
  code, _, err = run(capsys, "--builder=folder_rater")
  assert code == 2 and "Did you mean 'folder_raters'" in err and len(err.splitlines()) == 1
  code, _, err = run(capsys, *where, "--set=tile_size")
  assert code == 2 and "must be NAME=VALUE" in err
