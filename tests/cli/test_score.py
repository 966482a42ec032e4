"""`ordseg score` on maps as other tools left them on disk, and on wrong ones."""

import gc
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import weakref

import numpy as np
import pytest

from ordseg import case_files, image_io
from ordseg.cli import score as program
from ordseg.evaluation import MultiRaterMetrics, maps, scoring
from tests.data.helpers import ROOT
from tests.reference import scores_np

SHARED = pathlib.Path(os.environ.get("ORDSEG_SHARED_DATA", ROOT.parent / "shared" / "data")) / "foreign_maps"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the maps of other tools are not at {SHARED}")
EXPECTED = json.loads((SHARED / "expected.json").read_text())["sets"] if SHARED.is_dir() else {}
SCORED = [name for name, one in EXPECTED.items() if one["verdict"] != "refuse"]
TOLERANCE = 1e-6
R = 3


def run(*argv):
  program.main([str(word) for word in argv])


def refused(capsys, *argv):
  """Runs, and returns the one line that says why not."""
  with pytest.raises(SystemExit) as stop:
    run(*argv)
  said = capsys.readouterr()
  assert stop.value.code == 2 and len(said.err.splitlines()) == 1
  return said.err


def read(folder):
  return json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def no_report(monkeypatch):
  """Figures take longer than all the rest; two tests make them."""
  monkeypatch.setattr(program.report, "write_report", lambda _: None)


@pytest.fixture
def made(tmp_path):
  """A folder of masks of three raters, one missing on one case, and of maps; and the arrays."""
  rng = np.random.default_rng(0)
  data = {}
  for name in ("p1_a", "p1_b", "p2_a", "p3_a"):
    masks = (rng.random((8, 9, R)) < 0.4).astype(np.uint8)
    masks[0, 0] = 1
    probs = rng.random((8, 9)).astype(np.float32)
    data[name] = probs, masks
    (tmp_path / "maps").mkdir(exist_ok=True)
    np.save(tmp_path / "maps" / f"{name}.npy", probs)
    for r in range(R):
      folder = tmp_path / "masks" / "raters" / f"r{r}"
      folder.mkdir(parents=True, exist_ok=True)
      if (name, r) != ("p2_a", 1):
        _png(folder / f"{name}.png", 255 * masks[..., r])
    (tmp_path / "masks" / "images").mkdir(exist_ok=True)
    _png(tmp_path / "masks" / "images" / f"{name}.png", rng.integers(0, 255, (8, 9)).astype(np.uint8))
  return tmp_path, data


def _png(path, pixels):
  from PIL import Image

  Image.fromarray(pixels).save(path)


def accumulated(data, **more):
  scores = MultiRaterMetrics()
  for name, (probs, masks) in data.items():
    valid = np.ones(R) if name != "p2_a" else [1, 0, 1]
    extra = {key: values[name] for key, values in more.items()}
    scores.update(probs, masks, valid, name=name, group=name[:2], **extra)
  return scores.compute(None).metrics


def same_numbers(found, want):
  for key in ("read_outs", "floors", "constant", "raters", "num_pixels", "num_images"):
    written = json.loads(json.dumps(want[key]).replace("NaN", "null"))
    own = {k: v for k, v in found[key].items() if k != "names"} if isinstance(found[key], dict) else found[key]
    assert own == written, key


@pytest.mark.usefixtures("no_report")
@needs_shared
@pytest.mark.parametrize("name", SCORED)
def test_each_set_of_other_tools_has_its_numbers(name, tmp_path, capsys):
  space, _, folder = name.partition("/")
  want = EXPECTED[name]
  argv = [f"--maps={SHARED / space / 'maps' / folder}", f"--masks={SHARED / space}", f"--out={tmp_path / 'out'}"]
  if want["missing_cases"]:
    assert all(case in refused(capsys, *argv) for case in want["missing_cases"])
    argv.append("--missing=skip")
  run(*argv)
  said = capsys.readouterr().out
  assert all(case in said for case in (*want["missing_cases"], *want["unknown_cases"]))
  assert ("label maps" in said) == ("label_maps" in name)
  found, numbers = read(tmp_path / "out"), want["all"]
  ours = found["read_outs"]["mean_vote"]
  for key in ("mr_ece_pooled", "mr_ece_rater_mean", "mr_ece_per_image_mean", "ece_majority", "dice", "brier"):
    assert ours[key] == pytest.approx(numbers[key], abs=TOLERANCE), key
  assert found["floors"]["brier"] == pytest.approx(numbers["floor_brier"], abs=TOLERANCE)
  for key, value in numbers["leave_one_out"].items():
    assert found["raters"]["leave_one_out"][key] == pytest.approx(value, abs=TOLERANCE), key
  assert found["num_images"] == numbers["num_images"]
  assert found["num_images_with_majority"] == numbers["num_images_with_majority"]
  # There are no levels, and nothing is filled in.
  assert found["read_outs"].keys() == {"mean_vote"} and "levels" not in found
  assert not scoring.read(tmp_path / "out").scores.has_levels
  model = found["model"]
  assert model["kind"] == "maps" and model["cases"]["without_map"] == want["missing_cases"]
  assert model["cases"]["maps_of_unknown_cases"] == want["unknown_cases"]


@needs_shared
def test_a_set_without_an_answer_is_refused_and_nothing_is_written(tmp_path, capsys):
  (name,) = (name for name, one in EXPECTED.items() if one["verdict"] == "refuse")
  space, _, folder = name.partition("/")
  out = tmp_path / "out"
  line = refused(capsys, f"--maps={SHARED / space / 'maps' / folder}", f"--masks={SHARED / space}", f"--out={out}")
  assert "--resample" in line and list(tmp_path.iterdir()) == []


def test_numbers_files_and_what_is_said(made, capsys):
  root, data = made
  run(f"--maps={root / 'maps'}", f"--masks={root / 'masks'}", f"--out={root / 'out'}", "--group-regex=(p.)_")
  said = capsys.readouterr().out
  found = read(root / "out")
  same_numbers(found, accumulated(data))
  assert found["model"]["patients"] == 3 and found["intervals"]["unit"] == "groups"
  assert found["model"]["options"] == {"group_regex": "(p.)_"}
  assert found["data"]["raters"] == ["r0", "r1", "r2"] and found["raters"]["names"] == ["r0", "r1", "r2"]
  files = {"metrics.json", "per_image.csv", "curves.json", "sums.npz", "examples.npz", "report.html", "figures"}
  assert {path.name for path in (root / "out").iterdir()} == files
  # Pictures: of the images, with the map itself, and no nested masks.
  with np.load(root / "out" / "examples.npz") as pictures:
    for entry in json.loads(str(pictures["meta"])):
      np.testing.assert_array_equal(pictures[f"prob_{entry['k']}"], data[entry["id"]][0])
      image = image_io.read(root / "masks" / "images" / f"{entry['id']}.png").pages[0]
      np.testing.assert_array_equal(pictures[f"image_{entry['k']}"], image)
      assert f"tails_{entry['k']}" not in pictures
  # The table: the maps between a constant map and the votes.
  brier = found["read_outs"]["mean_vote"]["brier"]
  (ours,) = (line.split() for line in said.splitlines() if line.startswith("these maps"))
  assert ours[-2:] == [f"{brier:.4f}", f"{1 - brier / found['constant']['brier']:.4f}"]
  assert all(f"\nr{r}, against the others" in said for r in range(R))


@pytest.mark.usefixtures("no_report")
def test_regions_and_members(made):
  root, data = made
  inside = np.zeros((8, 9), np.uint8)
  inside[:5, 2:] = 255
  (root / "fov").mkdir()
  _png(root / "fov" / "p1_b.png", inside)
  argv = f"--maps={root / 'maps'}", f"--masks={root / 'masks'}", "--group_regex=(p.)_"
  run(*argv, f"--region={root / 'fov'}", f"--out={root / 'a'}")
  whole = np.ones((8, 9))
  same_numbers(
    read(root / "a"), accumulated(data, mask={name: inside > 0 if name == "p1_b" else whole for name in data})
  )
  (root / "more").mkdir()
  for name, (probs, _) in data.items():
    np.save(root / "more" / f"{name}.npy", np.square(probs))
  run(f"--maps={root / 'maps'},{root / 'more'}", *argv[1:], f"--out={root / 'b'}")
  mean = {name: (((probs.astype(float) + np.square(probs)) / 2), masks) for name, (probs, masks) in data.items()}
  same_numbers(read(root / "b"), accumulated(mean))
  found = read(root / "b")
  assert found["model"]["members"] == 2 and "samples" not in read(root / "a")
  drawn = {name: [probs.ravel() >= 0.5, np.square(probs).ravel() >= 0.5] for name, (probs, _) in data.items()}
  there = {name: [r for r in range(R) if (name, r) != ("p2_a", 1)] for name in data}
  raters = {name: [masks[..., r].ravel() > 0 for r in there[name]] for name, (_, masks) in data.items()}
  for key, score in (("ged", scores_np.ged), ("ncc", scores_np.ncc)):
    want = [float(score(drawn[name], raters[name])) for name in data]
    assert found["samples"][key] == pytest.approx(np.mean(want)), key


@pytest.mark.usefixtures("no_report")
def test_several_classes_have_a_folder_each(made):
  root, data = made
  rng = np.random.default_rng(1)
  labels, probs = {}, {}
  for name in data:
    labels[name] = rng.integers(0, 3, (8, 9, R)).astype(np.uint8)
    labels[name][0, :3] = [[0] * R, [1] * R, [2] * R]
    share = rng.dirichlet([1, 1, 1], (8, 9)).astype(np.float32)
    probs[name] = np.moveaxis(share, -1, 0)
    np.save(root / "maps" / f"{name}.npy", probs[name])
    for r in range(R):
      if (name, r) != ("p2_a", 1):
        _png(root / "masks" / "raters" / f"r{r}" / f"{name}.png", labels[name][..., r])
  argv = f"--maps={root / 'maps'}", f"--masks={root / 'masks'}", "--group_regex=(p.)_", "--map_axes=cyx"
  run(*argv, "--class=core=1,rim=2", f"--out={root / 'out'}")
  assert sorted(path.name for path in (root / "out").iterdir()) == ["core", "rim"]
  for k, name in ((1, "core"), (2, "rim")):
    want = accumulated({case: (probs[case][k], labels[case] == k) for case in data})
    same_numbers(read(root / "out" / name), want)
    assert read(root / "out" / name)["class"] == name


@pytest.mark.usefixtures("no_report")
def test_levels_have_everything(made):
  root, data = made
  rng = np.random.default_rng(2)
  levels = {name: rng.dirichlet(np.ones(R + 1), (8, 9)).astype(np.float32) for name in data}
  for name, probs in levels.items():
    np.save(root / "maps" / f"{name}.npy", np.moveaxis(probs, -1, 0))
  argv = f"--maps={root / 'maps'}", f"--masks={root / 'masks'}", "--group_regex=(p.)_", "--map_axes=cyx", "--levels"
  run(*argv, f"--out={root / 'out'}")
  want = accumulated({name: (levels[name], masks) for name, (_, masks) in data.items()})
  same_numbers(read(root / "out"), want)
  assert read(root / "out")["levels"]["rps"] == want["levels"]["rps"]


WRONG = {
  "logits": (lambda root: np.save(root / "maps" / "p2_a.npy", np.full((8, 9), 3.0)), [], r"--from_logits"),
  "nan": (lambda root: np.save(root / "maps" / "p2_a.npy", np.full((8, 9), np.nan)), [], "p2_a.npy"),
  "missing": (lambda root: (root / "maps" / "p2_a.npy").unlink(), [], "p2_a.*--missing=skip"),
  "no maps": (None, ["--maps=nowhere"], "nowhere"),
  "no masks": (None, ["--masks=nowhere"], "nowhere"),
  "no region": (None, ["--region=nowhere"], "nowhere"),
  "two ways": (None, ["--channel=1", "--levels"], "exclude each other"),
  "unknown class": (None, ["--class=liver"], "liver=1"),
  "group": (None, ["--group_regex=(q.)"], "finds no group"),
  "regex": (None, ["--group_regex=q"], "--group_regex='q' must be"),
  "layout": (None, ["--layout=bidz"], "--layout='bidz' is unknown. Did you mean 'bids'"),
  "bins": (None, ["--num_bins=300"], "num_bins=300"),
  "tolerance": (None, ["--surface_tolerance=-1"], "surface_tolerance"),
  "choice": (None, ["--missing=skp"], "invalid choice: 'skp'"),
  "flag": (None, ["--clas=a"], "Did you mean '--class'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_are_one_line_status_2_and_nothing_is_written(case, made, capsys):
  root, _ = made
  change, more, message = WRONG[case]
  if change is not None:
    change(root)
  before = sorted(root.rglob("*"))
  line = refused(capsys, f"--maps={root / 'maps'}", f"--masks={root / 'masks'}", f"--out={root / 'out'}", *more)
  assert re.search(message, line), line
  assert sorted(root.rglob("*")) == before


def test_the_folders_that_are_read_are_not_written_to(made, capsys):
  root, _ = made
  for name in ("maps", "masks"):
    line = refused(capsys, f"--maps={root / 'maps'}", f"--masks={root / 'masks'}", f"--out={root / name}/")
    assert "is the folder that is read" in line


@pytest.mark.usefixtures("no_report")
def test_an_evaluation_stays_where_a_later_one_fails(made, capsys):
  root, _ = made
  argv = f"--maps={root / 'maps'}", f"--masks={root / 'masks'}", f"--out={root / 'out'}", "--group_regex=(p.)_"
  run(*argv)
  (root / "out" / "mine.txt").write_text("a user's")
  before = {path.name: path.read_bytes() for path in (root / "out").iterdir()}
  np.save(root / "maps" / "p3_a.npy", np.full((8, 8), 0.5, np.float32))  # the last one read
  refused(capsys, *argv)
  assert {path.name: path.read_bytes() for path in (root / "out").iterdir()} == before


KILLED = """
import os, signal, sys
from ordseg.cli import score
from ordseg.evaluation import folder
whole = folder.write
def write(*args):
  whole(*args)
  os.kill(os.getpid(), signal.SIGKILL)
folder.write = write
score.main(sys.argv[1:])
"""


def test_killed_while_it_writes_it_leaves_nothing_and_the_next_one_tidies_up(made):
  root, _ = made
  argv = [f"--maps={root / 'maps'}", f"--masks={root / 'masks'}", f"--out={root / 'sub' / 'out'}"]
  done = subprocess.run([sys.executable, "-c", KILLED, *argv], capture_output=True, text=True)
  assert done.returncode == -signal.SIGKILL, done.stderr
  assert not (root / "sub" / "out").exists()
  run(*argv)
  assert [path.name for path in (root / "sub").iterdir()] == ["out"]


def test_one_case_at_a_time_is_in_memory(made, monkeypatch):
  root, _ = made
  alive, whole = [], case_files.Pairs._read

  def read_one(*args):
    gc.collect()
    assert not [ref for ref in alive if ref() is not None], "an earlier case is still there"
    case = whole(*args)
    alive.append(weakref.ref(next(iter(case.probs.values()))))
    return case

  monkeypatch.setattr(case_files.Pairs, "_read", read_one)
  monkeypatch.setattr(maps, "_image", lambda _: None)
  pairs = case_files.pair([root / "maps"], root / "masks")
  (scored,) = maps.score_pairs(pairs, settings=None)
  assert scored.result.metrics["num_images"] == len(alive) == 4


def test_progress_counts_cases(made):
  root, _ = made
  done = []
  maps.score_pairs(case_files.pair([root / "maps"], root / "masks"), settings=None, progress=done.append)
  assert done == [1, 2, 3, 4]


def test_the_digest_is_of_the_maps(made):
  root, _ = made

  def digest():
    (scored,) = maps.score_pairs(case_files.pair([root / "maps"], root / "masks"), settings=None)
    return scored.about["digest"]

  before = digest()
  assert digest() == before
  changed = np.load(root / "maps" / "p1_a.npy")
  changed[3, 3] = 0.25
  np.save(root / "maps" / "p1_a.npy", changed)
  assert digest() != before
