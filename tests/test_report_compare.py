import io
import json
import shutil

import pytest
from PIL import Image

from ordseg import report
from ordseg.report import __main__ as program
from ordseg.report import compare, figures, reading
from ordseg.validate import InputError
from tests.helpers import evaluations


@pytest.fixture(scope="module")
def original(tmp_path_factory):
  return evaluations.write(tmp_path_factory.mktemp("runs") / "mine/eval/test")


@pytest.fixture
def copy(original, tmp_path):
  return shutil.copytree(original, tmp_path / "runs/spoilt/eval/test")


@pytest.fixture
def undrawn(monkeypatch):
  """Figures are made but not rendered, which takes most of a report's time."""
  blank = io.BytesIO()
  Image.new("1", (1, 1)).save(blank, "PNG")
  monkeypatch.setattr(figures, "_rendered", lambda *_: blank.getvalue())


GOLDEN_TEXT = """\
blobs/small, test split: 12 images, 3 raters

                Dice  MR-ECE                         ACE   Brier
                each    mean    MR-ECE       ECE    mean    mean           level
         Dice  rater    vote  majority  majority    vote    vote     RPS     ECE
------  -----  -----  ------  --------  --------  ------  ------  ------  ------
ours    0.125  0.250  0.5000    0.0625    0.1000  0.2000  0.3000  0.4000  0.0123
a|b     0.125  0.250       -    0.0625    0.1000  0.2000  0.3000  0.4000  0.0123
raters      -  0.900  0.0100         -         -       -  0.0200       -       -
"""


def set_golden(m):
  m.pop("oracle", None)
  m["floors"]["brier"] = 0.015
  m["read_outs"]["majority"] |= {
    "dice": 0.125,
    "dice_rater_mean": 0.25,
    "mr_ece_pooled": 0.0625,
    "ece_majority": 0.1,
  }
  m["read_outs"]["mean_vote"] |= {"mr_ece_pooled": 0.5, "ace": 0.2, "brier": 0.3}
  m["levels"] |= {"rps": 0.4, "level_ece": 0.01234}
  m["raters"]["leave_one_out"] = {"dice": 0.9, "mr_ece": 0.01, "brier": 0.02}


@pytest.fixture
def two(copy, tmp_path):
  evaluations.change(copy, "metrics.json", set_golden)
  other = tmp_path / "runs/other/eval/test"
  shutil.copytree(copy, other)
  evaluations.change(other, "metrics.json", lambda m: m["read_outs"]["mean_vote"].update(mr_ece_pooled=None))
  return [copy, other]


def test_comparison_table(two):
  comparison = report.compare_table(two, ["ours", "a|b"])
  assert comparison.text().startswith(GOLDEN_TEXT)
  assert "cannot go below 0.0150" in comparison.text()
  rows = comparison.markdown().splitlines()
  assert rows[0] == "# blobs/small, test split: 12 images, 3 raters"
  assert rows[2].startswith("|  | Dice | Dice each rater | MR-ECE mean vote |")
  assert rows[4] == "| ours | 0.125 | 0.250 | 0.5000 | 0.0625 | 0.1000 | 0.2000 | 0.3000 | 0.4000 | 0.0123 |"
  assert rows[5].startswith("| a\\|b | 0.125 | 0.250 | \u2013 |")
  assert rows[6].startswith("| raters |")
  assert [row.name for row in report.compare_table(two).rows[:2]] == ["spoilt", "other"]


def test_comparison_shows_the_oracle_once(original):
  rows = report.compare_table([original, original], ["a", "b"]).rows
  assert [row.name for row in rows] == ["a", "b", compare.ORACLE, compare.PEOPLE]
  metrics = json.loads((original / "metrics.json").read_text())
  assert rows[2].values[0] == metrics["oracle"]["read_outs"]["majority"]["dice"]


def test_comparison_files(two, tmp_path):
  report.write_comparison(two, tmp_path / "out", ["_ours$", "a|b"])  # names that matplotlib would read as its own
  written = (tmp_path / "out/compare.md").read_text()
  assert "(compare.png)" in written and "\\_ours$" in written
  with Image.open(tmp_path / "out/compare.png") as picture:
    assert picture.width > 1000
  assert (tmp_path / "out/compare.pdf").read_bytes().startswith(b"%PDF")
  assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["compare.md", "compare.pdf", "compare.png"]


def test_overlay_names_every_run(two):
  figure = figures.overlay([reading.load(f).curves for f in two], ["_ours$", "a|b"])
  assert [t.get_text().replace("\\$", "$").strip() for t in figure.legends[0].get_texts()] == ["_ours$", "a|b"]
  colors = [line.get_color() for line in figure.legends[0].get_lines()]
  assert colors == [figures.BLUE, figures.VERMILLION]


def test_default_names_are_short_and_distinct(tmp_path):
  names = compare.default_names([tmp_path / "x/run/eval/test", tmp_path / "y/run/eval/test"])
  assert names == ["x/run", "y/run"]
  same = tmp_path / "run/eval/test"
  assert compare.default_names([same, same]) == [same.as_posix()] * 2


@pytest.mark.parametrize(
  ("edit", "message"),
  [
    (lambda m: m["data"].update(fingerprint="0"), "data.fingerprint is abab"),
    (lambda m: m.update(split="validation"), "split is test in"),
    (lambda m: m.update(num_images=3), "num_images is 12 in"),
  ],
)
def test_only_what_is_comparable_is_compared(two, edit, message):
  evaluations.change(two[1], "metrics.json", edit)
  with pytest.raises(InputError, match=f"cannot be compared: .*{message}"):
    report.compare_table(two)


def test_different_bins_are_not_compared(two):
  evaluations.change(two[1], "metrics.json", lambda m: m.update(num_bins=50))
  with pytest.raises(InputError, match=r"num_bins is 15 in .* and 50 in"):
    report.compare_table(two)


def test_command_line(two, tmp_path, capsys, undrawn):
  program.main([*map(str, two), f"--out={tmp_path / 'c'}", "--names=ours, a|b"])
  assert capsys.readouterr().out.startswith(GOLDEN_TEXT) and (tmp_path / "c/compare.md").exists()
  program.main([str(two[0])])
  assert "report.html" in capsys.readouterr().out and (two[0] / "report.html").exists()


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["nowhere"], "nowhere holds no evaluation"),
    (["a", "b"], "--out=<folder>"),
    (["{0}", "{1}", "--out=c", "--names=one"], "got 1 name for 2 evaluations: one"),
  ],
)
def test_a_wrong_command_line_gets_one_line(args, message, two, capsys):
  with pytest.raises(SystemExit) as stopped:
    program.main([arg.format(*two) for arg in args])
  error = capsys.readouterr().err
  assert stopped.value.code == 2 and message in error and len(error.splitlines()) == 1
