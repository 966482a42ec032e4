"""Comparisons of runs and maps that were scored without a run: the same masks, the images and metrics that all have."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest

from ordseg import statistics
from ordseg.cli import compare as program
from ordseg.errors import InputError
from ordseg.evaluation import MultiRaterMetrics, scoring
from ordseg.reporting.compare import differences, runs, words, writing
from tests.helpers import comparisons, evaluations

FAST = statistics.Settings(num_resamples=200)
BRIER = "read_outs.mean_vote.brier"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A run, and maps of the same images."""
  root = tmp_path_factory.mktemp("mixed")
  comparisons.lone_images(evaluations.write(root / "run/eval/test", oracle=False))
  evaluations.write_maps(root / "maps", sharpen=1.5)
  return root


def of(*folders, **options):
  return differences.analyse(runs.load([str(f) for f in folders]), settings=FAST, **options)


def test_a_run_and_maps_are_compared_by_what_both_have(made):
  got = of(made / "run", made / "maps")
  assert got.metrics == ("read_outs.mean_vote.mr_ece_pooled", "read_outs.mean_vote.dice", BRIER)
  assert got.lacking == {"read_outs.majority.dice": ("maps",), "levels.rps": ("maps",)}
  notes = words.notes(got)
  assert "Not compared, since not all have them: Dice (majority), RPS (missing in maps)." in notes
  assert not any("eft out, since" in note for note in notes)
  # The value is that of the maps' own metrics.json.
  assert got.values["maps", BRIER].estimate == pytest.approx(
    runs.load([str(made / "run"), str(made / "maps")])[1].runs[0].evaluation.number(BRIER)
  )
  assert [d.metric for d in got.differences] == list(got.metrics)
  assert "one set of maps each" in words.sentences(got)[0]
  shown = {path: header for header, path, _ in writing.columns(got)}
  assert shown["read_outs.mean_vote.dice"] == "Dice\nmean vote" and "levels.rps" in shown  # the run has it
  table = writing.comparison_markdown(got).split("## ")[0]
  row = next(line for line in table.splitlines() if line.startswith("| maps |")).split(" | ")
  assert (
    row[1 + list(shown).index("read_outs.mean_vote.dice")]
    == f"{got.values['maps', 'read_outs.mean_vote.dice'].estimate:.3f}"
  )


def test_maps_against_maps_need_no_run(made, tmp_path):
  evaluations.write_maps(tmp_path / "other", sharpen=1.0)
  got = of(made / "maps", tmp_path / "other")
  writing.write_comparison(got, tmp_path / "out")
  text = (tmp_path / "out/compare.md").read_text()
  assert "# blobs: 12 images, 3 raters" in text and "missing in maps, other" in text
  assert not (tmp_path / "out" / words.LEFT_OUT).exists()
  assert not any(path.startswith(("levels", "read_outs.majority")) for _, path, _ in writing.columns(got))
  assert got.values["other", BRIER].estimate < got.values["maps", BRIER].estimate  # the truth is the best


def test_images_that_not_all_have_are_named_and_count_nowhere(made, tmp_path):
  """Against the numbers of an evaluation of the common images alone."""
  names = [f"image-{k:02d}" if k >= 2 else None for k in range(12)]
  some = evaluations.write_maps(tmp_path / "some", sharpen=1.5, names=names)
  got = of(made / "run", some)
  run, maps = (m.runs[0] for m in got.methods)
  assert run.left_out == ("image-00", "image-01") and maps.left_out == ()
  assert run.stored.ids == maps.stored.ids == names[2:]
  assert run.evaluation.metrics["num_images"] == 10 and words.subject(got).endswith("10 images, 3 raters")
  _, masks, levels = evaluations.blobs(12, 3, 0)
  prediction = levels**2 / (levels**2).sum(-1, keepdims=True)
  alone = MultiRaterMetrics()
  for k in range(2, 12):
    alone.update(prediction[k], masks[k], name=f"image-{k:02d}")
  want = alone.compute(None)
  for path in (BRIER, "read_outs.majority.dice", "levels.rps", "raters.leave_one_out.dice", "floors.brier"):
    assert run.evaluation.number(path) == pytest.approx(want.number(path), rel=1e-12)
  assert got.values["run", BRIER].estimate == pytest.approx(want.number(BRIER), rel=1e-12)
  notes = words.notes(got)
  assert "Left out, since others lack them: 2 images of run: image-00, image-01." in notes
  assert any(note.startswith("All numbers are of the 10 images") for note in notes)
  writing.write_comparison(got, tmp_path / "out")
  rows = list(csv.reader((tmp_path / "out" / words.LEFT_OUT).open()))
  assert rows == [["method", "image"], ["run", "image-00"], ["run", "image-01"]]
  writing.write_comparison(of(made / "run", made / "maps"), tmp_path / "out")  # the list of another comparison goes
  assert not (tmp_path / "out" / words.LEFT_OUT).exists()


def test_other_masks_on_an_image_are_refused_by_its_name(made, tmp_path):
  def edit(masks):
    masks[3, 0, 0] = [1, 0, 0]  # one pixel of one rater

  evaluations.write_maps(tmp_path / "maps", edit=edit)
  with pytest.raises(InputError, match=r"masks on image 'image-03' are not the same in .*run.* and .*maps"):
    of(made / "run", tmp_path / "maps")


def test_no_common_image_is_refused(made, tmp_path):
  evaluations.write_maps(tmp_path / "maps", names=[f"case {k}" for k in range(12)])
  with pytest.raises(InputError, match=r"no image is in all of them, by name: image-00, .*; case 0, "):
    of(made / "run", tmp_path / "maps")


def test_the_same_masks_of_another_build_are_compared(made, tmp_path):
  """Neither the fingerprint nor the name of the split decides."""
  info = {"data": {**evaluations.INFO["data"], "fingerprint": "0"}, "split": "all"}
  comparisons.lone_images(evaluations.write(tmp_path / "built/eval/all", sharpen=1.5, info=info))
  got = of(made / "run", tmp_path / "built/eval/all")
  assert got.lacking == {} and len(got.methods[1].runs[0].stored.ids) == 12


def test_groups_are_taken_from_who_has_them_and_must_put_the_same_together(made, tmp_path):
  def grouped(name, groups):
    shutil.copytree(made / "maps", tmp_path / name)
    stored = scoring.read(tmp_path / name)
    evaluations.store(tmp_path / name, dataclasses.replace(stored, groups=groups))
    return tmp_path / name

  pairs = grouped("pairs", [f"p{k // 2}" for k in range(12)])
  renamed = grouped("renamed", [f"patient {k // 2 + 7}" for k in range(12)])
  shifted = grouped("shifted", [f"p{(k + 1) // 2}" for k in range(12)])
  got = of(made / "run", pairs, renamed)
  assert (got.units.kind, got.units.num) == ("groups", 6)
  assert "run names no groups: those of pairs are taken." in words.notes(got)
  with pytest.raises(InputError, match=r"groups differ .* puts 'image-00' and 'image-01' together"):
    of(pairs, shifted)


def test_an_evaluation_without_digests_is_compared_by_its_data(made, tmp_path):
  for name in ("a", "b"):
    shutil.copytree(made / "run", tmp_path / name)
    stored = scoring.read(tmp_path / name / "eval/test")
    evaluations.store(tmp_path / name / "eval/test", dataclasses.replace(stored, votes=None))
  assert of(tmp_path / "a", tmp_path / "b").lacking == {}
  assert of(tmp_path / "a", made / "run").lacking == {}  # old and new
  with pytest.raises(InputError, match=r"fingerprint is abab.* /.*/a/eval/test is of an earlier version.*evaluate it"):
    of(tmp_path / "a", made / "maps")


def test_the_folder_of_several_structures_is_not_one_evaluation(made, tmp_path):
  for name in ("liver", "lesion"):
    shutil.copytree(made / "maps", tmp_path / "scored" / name)
  with pytest.raises(InputError, match=r"holds several evaluations: name one of .*/lesion, .*/liver"):
    of(made / "run", tmp_path / "scored")


def test_a_metric_that_nobody_shares_leaves_nothing(made):
  with pytest.raises(InputError, match=r"nothing is left to compare: maps lacks levels.rps"):
    of(made / "run", made / "maps", paths=["levels.rps"])
  with pytest.raises(InputError, match="name"):
    runs.load([f"x={made / 'run'},{made / 'maps'}", str(made / "maps")])


def test_the_program_takes_a_workdir_and_a_folder(made, tmp_path, capsys):
  program.main([f"ours={made / 'run'}", f"theirs={made / 'maps'}", f"--out={tmp_path / 'out'}", "--resamples=200"])
  said = capsys.readouterr().out
  assert "theirs" in said and "missing in theirs" in said and (tmp_path / "out/reliability.png").is_file()
  assert np.isfinite([float(row["estimate"]) for row in csv.DictReader((tmp_path / "out/compare.csv").open())]).all()
