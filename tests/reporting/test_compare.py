"""Comparisons of runs: their numbers against brute force, what is refused, and what is written."""

import csv
import io
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from ordseg import metrics, statistics
from ordseg.cli import compare as program
from ordseg.cli import report as reports
from ordseg.errors import InputError
from ordseg.evaluation import scoring
from ordseg.reporting.compare import differences, runs, words, writing
from ordseg.reporting.report import figures
from tests.helpers import comparisons, evaluations

ROOT = pathlib.Path(__file__).parent.parent.parent
FAST = statistics.Settings(num_resamples=200)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return comparisons.write(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(made, tmp_path):
  for name in ("a", "b"):
    shutil.copytree(made / name, tmp_path / name)
  return tmp_path


@pytest.fixture(scope="module")
def results(made):
  return differences.analyse(runs.load([str(made / "a"), str(made / "b/eval/test")]), settings=FAST)


# --- Numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", statistics.METHODS)
def test_differences_are_paired(made, method):
  """Against resamples drawn by hand: the images of both runs together."""
  methods = runs.load([str(made / "a"), str(made / "b")])
  path = "read_outs.mean_vote.brier"
  settings = statistics.Settings(num_resamples=300, method=method, seed=5)
  [found] = differences.analyse(methods, paths=[path], settings=settings).differences
  units = statistics.units_of([""] * 12)

  def gap(pool):
    a, b = (m.runs[0].stored.scores.resampled([""] * 12, pool)[path] for m in methods)
    return {path: b - a}

  samples = statistics.bootstrap(gap, units, num_resamples=300, seed=5)[path]
  estimate = statistics.estimates(gap, units)[path]
  want = statistics.interval(samples, settings, estimate, statistics.jackknife(gap, units)[path])
  assert (found.low, found.high) == pytest.approx(want) and found.estimate == pytest.approx(estimate)
  ends = differences.analyse(methods, paths=[path], settings=settings).values
  widths = [v.high - v.low for v in ends.values()]
  assert found.high - found.low < min(widths) / 2  # what the images have in common cancels
  metrics = [json.loads((m.runs[0].folder / "metrics.json").read_text()) for m in methods]
  brier = [m["read_outs"]["mean_vote"]["brier"] for m in metrics]
  assert found.estimate == pytest.approx(brier[1] - brier[0])


def test_exact_p_of_a_mean(made):
  """12 images have 4096 patterns; Dice per image is a mean, which scipy can permute."""
  methods = runs.load([str(made / "a"), str(made / "b")])
  path = "read_outs.mean_vote.ece_curvas"
  [found] = differences.analyse(methods, paths=[path], settings=statistics.Settings(num_resamples=5000)).differences
  once = [np.eye(12)[k : k + 1] for k in range(12)]
  a, b = (
    np.asarray(
      [
        m.runs[0].stored.scores.resampled([""] * 12, differences.Resamples(weights, np.arange(12)))[path][0]
        for weights in once
      ]
    )
    for m in methods
  )
  want = stats.permutation_test((b, a), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=5000)
  assert found.p == pytest.approx(want.pvalue)


def test_holm_counts_every_comparison(made):
  paths = ["read_outs.mean_vote.brier", "levels.rps", "levels.ged_nested"]
  three = [str(made / name) for name in ("a", "b", "s0")]
  got = differences.analyse(runs.load(three), paths=paths, settings=FAST)
  assert got.num_tested == 6 and [d.method for d in got.differences] == ["b"] * 3 + ["s0"] * 3
  assert [d.p_holm for d in got.differences] == pytest.approx(statistics.holm([d.p for d in got.differences]))
  assert min(d.p for d in got.differences) >= 1 / 201


def seeds_of(made, name, num=2):
  return f"{name}=" + ",".join(str(made / f"{name}{k}") for k in range(num))


def test_seeds_stay_apart_from_images(made):
  methods = runs.load([seeds_of(made, "s"), seeds_of(made, "t")])
  path = "read_outs.mean_vote.mr_ece_pooled"
  got = differences.analyse(methods, paths=[path], settings=FAST)
  assert got.units.num == 12  # not 24
  single = [
    json.loads((made / f"{name}/eval/test/metrics.json").read_text())["read_outs"]["mean_vote"]["mr_ece_pooled"]
    for name in ("s0", "s1", "t0", "t1")
  ]
  value, [found] = got.values["s", path], got.differences
  assert value.seed_values == pytest.approx(single[:2]) and value.estimate == pytest.approx(np.mean(single[:2]))
  assert value.seed_spread == pytest.approx(np.std(single[:2], ddof=1))
  want = stats.ttest_ind(single[2:], single[:2], equal_var=False).confidence_interval(0.95)
  assert (found.seed_low, found.seed_high) == pytest.approx((want.low, want.high))
  assert found.seed_low < 0 < found.seed_high and not math.isnan(found.p)
  [sentence] = words.sentences(got)
  assert "over 2 and 2 training seeds" in sentence and "seeds alone could explain as much" in sentence
  assert "SD over seeds" in writing.comparison_text(got)


def test_unequal_seeds_cannot_be_swapped(made):
  """The interval decides then, of every metric."""
  got = differences.analyse(runs.load([str(made / "a"), seeds_of(made, "s")]), settings=FAST)
  assert all(math.isnan(d.swap_p) and d.by_interval and math.isnan(d.seed_low) for d in got.differences)
  assert got.num_tested == 4 and any("No permutation test" in note for note in words.notes(got))
  for d in got.differences:
    assert words.is_found(d, got) == (d.p_holm < 0.05) == (not d.held_low <= 0 <= d.held_high)
  assert "too few to say anything" in words.sentences(got)[0]


def test_groups_are_drawn_where_there_are_any(made, copy):
  for name in ("a", "b"):
    folder = copy / name / "eval/test"
    stored = scoring.read(folder)
    evaluations.store(folder, scoring.Stored(stored.scores, stored.ids, [f"p{k // 2}" for k in range(12)]))
  methods = runs.load([str(copy / "a"), str(copy / "b")])
  got = differences.analyse(methods, settings=FAST)
  assert (got.units.kind, got.units.num) == ("groups", 6)
  assert "No intervals: 6 groups: too few for an interval that holds what it says; it takes 10." in words.notes(got)
  mr_ece, dice, brier, _ = got.differences
  assert math.isnan(mr_ece.low) and math.isnan(mr_ece.p) and not words.is_found(mr_ece, got)
  assert "nothing can be said of a difference in MR-ECE" in words.sentences(got)[0]
  assert math.isnan(brier.low) and brier.p == 2 / 64 and not dice.by_interval  # the permutation test is exact
  apart = differences.analyse(methods, settings=FAST, group_by="image")
  assert apart.units.num == 12 and any("as if they were independent" in note for note in words.notes(apart))
  curvas = ["read_outs.mean_vote.ece_curvas_by_group"]
  assert not math.isnan(differences.analyse(methods, paths=curvas, settings=FAST).differences[0].p)
  with pytest.raises(InputError, match="needs group-by='group'"):
    differences.analyse(methods, paths=curvas, settings=FAST, group_by="image")


# --- Words and files --------------------------------------------------------------------------------------------------


def test_what_may_be_concluded(results):
  mr_ece, dice, *_ = words.sentences(results)
  assert mr_ece.startswith(
    "On images like these 12, b has lower (better) MR-ECE (mean vote) than a (difference \u22120.0"
  )
  assert " corrected for noise, \u22120.0" in mr_ece and ", corrected for 4 comparisons \u22120.0" in mr_ece
  assert mr_ece.endswith("one training seed each, so this says nothing about other seeds.") and "Holm p = 0.0" in mr_ece
  assert "no difference in Dice (majority) between b and a is shown (difference 0.0000" in dice and "p = 1.00" in dice


@pytest.mark.parametrize(
  ("p", "written"),
  [(1.0, "1.00"), (0.5, "0.50"), (0.0501, "0.051"), (1 / 10_001, "0.00010"), (0.0999, "0.10"), (math.nan, "-")],
)
def test_p_is_never_rounded_down(p, written):
  assert words.p_text(p) == written


def test_tables(results):
  text = writing.comparison_text(results)
  assert text.startswith("blobs/small, test split: 12 images, 3 raters\n\n                Dice  MR-ECE")
  assert [line.split()[0] for line in text.splitlines()[6:10]] == ["a", "b", words.ORACLE, words.PEOPLE]
  assert "Differences from a" in text and "With 12 images bootstrap intervals of means are too narrow." in text
  rows = list(csv.DictReader(io.StringIO(writing.comparison_csv(results))))
  assert [row["kind"] for row in rows] == ["value"] * 8 + ["difference"] * 4
  first = next(row for row in rows if row["kind"] == "difference")
  assert float(first["estimate"]) == results.differences[0].estimate and first["baseline"] == "a"
  assert float(first["measured"]) == results.differences[0].raw and first["interval"] == "noise-corrected"
  assert first["decided_by"] == "interval" and first["found"] == "yes" and float(first["swap_p"]) > 0
  last = rows[-1]
  assert last["interval"] == "percentile" and last["decided_by"] == "permutation test"
  assert first["seed_low"] == "" and first["unit"] == "images" and first["num_units"] == "12"
  latex = writing.comparison_latex(results)
  assert latex.count(r"\\") == 3 and r"$^\dagger$" in latex and r"\toprule" in latex
  assert writing.latex_escaped("a_b & 50 % \\ {$}^") == r"a\_b \& 50 \% \textbackslash{} \{\$\}\textasciicircum{}"


def test_files(made, tmp_path):
  """Names that matplotlib, Markdown and LaTeX would read as their own."""
  methods = runs.load([f"_ours$={made / 'a'}", f"a|b={made / 'b'}"])
  writing.write_comparison(differences.analyse(methods, settings=FAST), tmp_path / "out")
  names = {"compare.md", "compare.csv", "compare.tex", "compare.png", "compare.pdf"}
  assert {p.name for p in (tmp_path / "out").iterdir()} == names | {"reliability.png", "reliability.pdf"}
  written = (tmp_path / "out/compare.md").read_text()
  assert "(compare.png)" in written and "\\_ours$" in written and "| a\\|b | " in written
  assert "\\_ours\\$" in (tmp_path / "out/compare.tex").read_text()
  for name in ("compare", "reliability"):
    with Image.open(tmp_path / f"out/{name}.png") as picture:
      assert picture.width > 1000
    assert (tmp_path / f"out/{name}.pdf").read_bytes().startswith(b"%PDF")


def test_overlay_names_every_run(results):
  curves = [m.runs[0].evaluation.curves for m in results.methods]
  figure = figures.overlay(curves, ["_ours$", "a|b"])
  assert [t.get_text().replace("\\$", "$").strip() for t in figure.legends[0].get_texts()] == ["_ours$", "a|b"]
  assert [line.get_color() for line in figure.legends[0].get_lines()] == [figures.BLUE, figures.VERMILLION]


def test_default_names_are_short_and_distinct(tmp_path):
  names = runs.default_names([tmp_path / "x/run/eval/test", tmp_path / "y/run/eval/test"])
  assert names == ["x/run", "y/run"]
  same = tmp_path / "run/eval/test"
  assert runs.default_names([same, same]) == [same.as_posix()] * 2


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("edit", "message"),
  [
    (lambda m: m["data"].update(fingerprint="0"), "data.fingerprint is abab"),
    (lambda m: m.update(split="validation"), "split is test in"),
    (lambda m: m.update(num_images=3), "num_images is 12 in"),
    (lambda m: m.update(num_raters=4), "num_raters is 3 in"),
    (lambda m: m.update(num_bins=50), r"num_bins is 15 in .* and 50 in"),
    (lambda m: m.update(roi={"kind": "union_dilated", "margin": 16}), "roi.kind is image in"),
  ],
)
def test_only_what_is_comparable_is_compared(copy, edit, message):
  """Evaluations of an earlier version, which kept no digest of the votes."""
  rewritten(copy / "b/eval/test")
  evaluations.change(copy / "b/eval/test", "metrics.json", edit)
  with pytest.raises(InputError, match=f"cannot be compared: .*{message}"):
    runs.load([str(copy / "a"), str(copy / "b")])


def rewritten(folder, **changes):
  stored = scoring.read(folder)
  fields = {"scores": stored.scores, "ids": stored.ids, "groups": stored.groups, **changes}
  evaluations.store(folder, scoring.Stored(**fields))


def test_other_images_and_other_votes_are_refused(copy):
  folder, arguments = copy / "b/eval/test", [str(copy / "a"), str(copy / "b")]
  stored = scoring.read(folder)
  rewritten(folder, ids=["x", *stored.ids[1:]])
  with pytest.raises(InputError, match=r"id of an image differs .*'image-00' and 'x'"):
    runs.load(arguments)
  rewritten(folder, ids=stored.ids, groups=["q"] + [""] * 11)
  with pytest.raises(InputError, match=r"group of an image differs .*'' and 'q'"):
    runs.load(arguments)
  votes = stored.scores.sums.level_count.copy()
  votes[3] *= 4
  changed = metrics.Scores(stored.scores.sums.replace(level_count=votes))
  rewritten(folder, groups=stored.groups, scores=changed)
  with pytest.raises(InputError, match=r"votes on image 'image-03' differ .*resized"):
    runs.load(arguments)


@pytest.mark.parametrize(
  ("config", "message"),
  [
    ({"seed": 1, "loss": {"alpha": 0.5}}, r"must differ in their seed alone: config.loss.alpha is None in .* and 0.5"),
    ({"seed": 7}, "have config.seed=7: repeats of one seed are no replicates"),
    ({"seed": 1, "eval": {"num_bins": 3}, "data": {"data_dir": "/x"}}, None),
  ],
)
def test_seeds_are_of_one_config(copy, made, config, message):
  evaluations.change(copy / "b/eval/test", "metrics.json", lambda m: m["model"].update(config=config))
  arguments = [f"ours={copy / 'a'},{copy / 'b'}", str(made / "s0")]
  if message is None:
    assert len(runs.load(arguments)[0].runs) == 2
  else:
    with pytest.raises(InputError, match=message):
      runs.load(arguments)


def test_wrong_metrics_and_baselines(made):
  methods = runs.load([str(made / "a"), str(made / "b")])
  with pytest.raises(InputError, match=r"'levels.rsp' of .* cannot be resampled. Did you mean 'levels.rps'"):
    differences.analyse(methods, paths=["levels.rsp"], settings=FAST)
  with pytest.raises(InputError, match=r"auc_pooled.* cannot be resampled"):
    differences.analyse(methods, paths=["read_outs.majority.auc_pooled"], settings=FAST)
  with pytest.raises(InputError, match="baseline='c' is unknown"):
    differences.analyse(methods, baseline="c", settings=FAST)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["{0}/a"], "at least two methods"),
    (["{0}/a", "{0}/a/eval/test"], "is named twice"),
    (["x={0}/a", "x={0}/b"], "two methods are named 'x'"),
    (["{0}/a", "{0}/nowhere"], "there is no folder"),
    (["{0}/a", "{0}/b", "--split=tset"], "holds no evaluation of split='tset': it was evaluated on test. Did you mean"),
    (["{0}/a", "{0}/a,{0}/b"], "names no method"),
    (["{0}/a", "=x"], "names no run"),
    (["{0}/a", "{0}/b", "--confidence=95"], "between 0 and 1"),
    (["{0}/a", "{0}/b", "--group-by=group"], "belong to no groups"),
  ],
)
def test_a_wrong_command_line_gets_one_line(arguments, message, made, tmp_path, capsys):
  with pytest.raises(SystemExit) as stopped:
    program.main([*(a.format(made) for a in arguments), f"--out={tmp_path / 'out'}"])
  error = capsys.readouterr().err
  assert stopped.value.code == 2 and message in error and len(error.splitlines()) == 1
  assert not (tmp_path / "out").exists()


def test_the_program(made, tmp_path):
  metric = "--metric=levels.rps, read_outs.mean_vote.ace"
  arguments = [f"base={made / 'a'}", f"ours={made / 'b'}", metric, "--resamples=500", f"--out={tmp_path / 'out'}"]
  done = subprocess.run(
    [sys.executable, "-m", "ordseg.compare", *arguments],
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )
  assert done.returncode == 0, done.stderr
  assert "ours has lower (better) RPS than base" in done.stdout and "for 2 comparisons" in done.stdout
  assert (tmp_path / "out/compare.tex").exists()
  assert "ACE, average (mean vote)" in (tmp_path / "out/compare.md").read_text()


def test_evaluations_of_older_versions_are_refused(copy, capsys):
  (copy / "b/eval/test/sums.npz").unlink()
  with pytest.raises(SystemExit) as stopped:
    program.main([str(copy / "a"), str(copy / "b"), f"--out={copy / 'none'}"])
  error = capsys.readouterr().err
  assert stopped.value.code == 2 and len(error.splitlines()) == 1 and "holds no sums.npz" in error
  assert not (copy / "none").exists()


def test_the_report_program_points_here(made, capsys):
  with pytest.raises(SystemExit):
    reports.main([str(made / "a/eval/test"), str(made / "b/eval/test")])
  assert "ordseg compare" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    reports.main(["nowhere"])
  assert "nowhere holds no evaluation" in capsys.readouterr().err
