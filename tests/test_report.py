import html.parser
import itertools
import json
import re
import shutil
import subprocess
import warnings

import numpy as np
import pytest
from PIL import Image

from ordseg import report
from ordseg.report import __main__ as program
from ordseg.report import compare, figures, page, pictures, prose, reading, terms, text
from ordseg.validate import InputError
from tests.helpers import evaluations

FIGURES = ("examples", "reliability_levels", "reliability_majority", "reliability_raters", "reliability_votes")
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(html.parser.HTMLParser):
  """Collects tags and text, and notes every tag that is not closed where it was opened."""

  def __init__(self, source):
    super().__init__()
    self.tags, self.wrong, self.words, self._open = [], [], [], []
    self.feed(source)
    self.close()
    self.wrong += self._open

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self._open.append(tag)

  def handle_endtag(self, tag):
    if not self._open or self._open.pop() != tag:
      self.wrong.append(f"/{tag}")

  def handle_data(self, data):
    if self._open and self._open[-1] not in ("style", "script"):
      self.words.append(data)

  def all(self, *names):
    return [attrs for tag, attrs in self.tags if tag in names]

  @property
  def text(self):
    return re.sub(r"\s+", " ", " ".join(self.words))


def numbers(tree, path=()):
  for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
    if isinstance(value, dict | list):
      yield from numbers(value, (*path, key))
    else:
      yield (*path, key), value


@pytest.fixture(scope="module")
def original(tmp_path_factory):
  folder = evaluations.write(tmp_path_factory.mktemp("runs") / "mine/eval/test")
  report.write_report(folder)
  return folder


@pytest.fixture
def copy(original, tmp_path):
  """An evaluation to spoil, without its report."""
  folder = tmp_path / "runs/spoilt/eval/test"
  shutil.copytree(original, folder, ignore=shutil.ignore_patterns("report.html", "figures"))
  return folder


@pytest.fixture(scope="module")
def parsed(original):
  return Page((original / "report.html").read_text())


def test_the_page_is_well_formed_and_stands_alone(parsed, original):
  assert parsed.wrong == []
  for attrs in parsed.all(*{tag for tag, _ in parsed.tags}):
    for name in ("src", "href", "srcset", "data", "action"):
      assert attrs.get(name, "#").startswith(("data:", "#")), attrs
  assert not parsed.all("script", "iframe", "object", "embed")
  source = (original / "report.html").read_text()
  assert "@import" not in source and "url(" not in source and "http" not in source
  ids = [attrs["id"] for attrs in parsed.all(*{tag for tag, _ in parsed.tags}) if "id" in attrs]
  assert len(ids) == len(set(ids))
  links = [attrs["href"][1:] for attrs in parsed.all("a")]
  assert links and set(links) <= set(ids)


def test_the_page_is_accessible(parsed):
  assert parsed.all("html") == [{"lang": "en"}]
  images = parsed.all("img")
  assert len(images) > 20 and all(len(attrs["alt"]) > 10 for attrs in images)
  assert all(attrs.get("scope") in ("row", "col", "rowgroup") for attrs in parsed.all("th"))
  levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
  assert levels.count(1) == 1 and levels[0] == 1
  assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
  assert all({"tabindex", "aria-label"} <= set(a) for a in parsed.all("div") if a.get("class") == "scroll")


def luminance(color):
  channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
  linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
  return linear @ [0.2126, 0.7152, 0.0722]


def test_contrast_suffices_in_light_dark_and_print(original):
  """WCAG 2 AA: 4.5 to 1."""
  themes = re.findall(r"--ground: .*?--accent: #\w{6};", (original / "report.html").read_text())
  assert len(themes) == 3
  for theme in themes:
    color = dict(re.findall(r"--(\w+): (#\w{6})", theme))
    for front in ("ink", "soft", "accent"):
      for ground in ("ground", "band"):
        light, dark = sorted((luminance(color[front]), luminance(color[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, ground, color)


def test_every_number_of_the_evaluation_is_on_the_page(parsed, original):
  metrics = json.loads((original / "metrics.json").read_text())
  shown = {s: metrics[s] for s in ("read_outs", "levels", "floors", "oracle")}
  shown["oracle"]["levels"].pop("level_ece_per_level")
  for predictor, unseen in ((shown["oracle"], {"majority", "mean_vote"}), (shown, {"mean_vote"})):
    for name in unseen:  # of these, only the mean is shown
      predictor["read_outs"][name].pop("dice_per_rater")
  shown["raters"] = {k: v for k, v in metrics["raters"].items() if k != "pairwise_kappa"}
  groups = [*(g.metrics for g in terms.READ_OUT_GROUPS), terms.AGREEMENT_METRICS, [m for m, _ in terms.LEAVE_ONE_OUT]]
  decimals = {m.key: m.decimals for group in groups for m in group}
  checked = 0
  for path, value in numbers(shown):
    if "prevalence" in path:
      written = f"{100 * value:.1f}\u00a0%"
    elif "pairwise_dice" in path:
      written = "" if path[-1] == path[-2] else f"{value:.3f}"
    else:
      written = f"{value:.{3 if 'dice_per_rater' in path else decimals.get(path[-1], 4)}f}"
    assert written in "\u00a0".join(parsed.words), path
    checked += 1
  assert checked > 80


def test_each_read_out_has_its_own_column_and_mark(original):
  e = reading.load(original)
  rows = {m.key: cells for _, group in page.score_groups(e) for m, cells in group}
  for key, own in (("mr_ece_pooled", 0), ("brier", 0), ("ece_majority", 1)):
    assert rows[key][own].own and not rows[key][1 - own].own
    for k, name in enumerate(("mean_vote", "majority")):
      assert float(rows[key][k].text) == pytest.approx(e.metrics["read_outs"][name][key], abs=5e-5)
  assert rows["dice"][0].own and rows["dice"][1].own
  floor = e.metrics["floors"]["brier"]
  assert f"floor {floor:.4f}" in rows["brier"][0].notes
  assert f"oracle {e.metrics['oracle']['read_outs']['majority']['brier']:.4f}" in rows["brier"][1].notes


def test_page_says_what_was_evaluated_and_how_to_repeat_it(parsed):
  title = parsed.text
  assert "blobs/small, test split: 12 images, 3 raters" in title
  assert "rps_bce loss, softmax head, step 40" in title
  assert "python run_eval.py --workdir=mine --split=test --step=40" in title
  assert "ab" * 32 in title and "jax 0.10.2" in title and "loss.alpha" in title and "CC0" in title
  assert "Research use only" in title and "not for clinical use" in title
  assert "secret" not in title  # folders stay private


def test_figures_are_files_for_a_paper(original):
  assert sorted(p.name for p in (original / "figures").iterdir()) == sorted(
    f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "png")
  )
  for name in FIGURES:
    with Image.open(original / f"figures/{name}.png") as picture:
      assert min(picture.size) > 300
      assert np.asarray(picture.convert("L")).std() > 5
    assert (original / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")


def test_writing_again_gives_the_same_bytes(original):
  before = {p.name: p.read_bytes() for p in original.rglob("*") if p.is_file()}
  assert report.write_report(original) == original / "report.html"
  assert {p.name: p.read_bytes() for p in original.rglob("*") if p.is_file()} == before


def test_text_of_others_is_escaped(copy):
  evil = '<script>alert("1")</script>&<img src=x onerror=y>'
  change_id(copy, evil)
  evaluations.change(copy, "metrics.json", lambda m: m.update(split=evil, step=evil))
  evaluations.change(copy, "metrics.json", lambda m: m["data"].update(builder=evil, licence=evil))
  evaluations.change(copy, "metrics.json", lambda m: m["model"].update(loss="$x_$", config={evil: evil}))
  parsed = Page(report.write_report(copy).read_text())
  assert not parsed.all("script") and parsed.wrong == []
  assert not [attrs for attrs in parsed.all("img") if "onerror" in attrs]
  assert parsed.text.count(evil) > 5
  assert any(evil in attrs["alt"] for attrs in parsed.all("img"))


def change_id(folder, new_id):
  with np.load(folder / "examples.npz") as arrays:
    content = dict(arrays)
  meta = json.loads(str(content.pop("meta")))
  meta[0]["id"] = new_id
  np.savez_compressed(folder / "examples.npz", meta=np.asarray(json.dumps(meta)), **content)


def test_undefined_numbers_are_dashes_with_a_reason(tmp_path):
  """Nobody rated anything: everything is undefined, and nothing breaks or warns."""
  folder = evaluations.write(tmp_path / "eval/test", num_images=4, valid=0, oracle=False)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    parsed = Page(report.write_report(folder).read_text())
    summary = report.text_summary(folder)
  assert "\u2013" in parsed.text and "nan" not in parsed.text.lower().split()
  for reason in ("in no image did a majority mark anything", "no pixel has an answer", "that two raters answered"):
    assert reason in parsed.text
  assert "No pictures" in parsed.text
  assert "None" not in parsed.text and "nan" not in summary


def test_a_metric_that_a_file_lacks_is_a_dash(copy):
  evaluations.change(copy, "metrics.json", lambda m: m["read_outs"]["majority"].pop("dice"))
  evaluations.change(copy, "metrics.json", lambda m: m.pop("raters"))
  evaluations.change(copy, "metrics.json", lambda m: m["levels"].update(rps=float("nan")))
  parsed = Page(report.write_report(copy).read_text())
  assert "Dice \u2013" in parsed.text and "RPS \u2193 lower is better" in parsed.text


@pytest.mark.parametrize(("num_raters", "num_images"), [(1, 2), (9, 2)])
def test_small_and_large_panels(tmp_path, num_raters, num_images):
  folder = evaluations.write(tmp_path / "eval/test", num_images=num_images, num_raters=num_raters, oracle=False)
  parsed = Page(report.write_report(folder).read_text())
  assert parsed.wrong == [] and "oracle" not in parsed.text.lower()
  assert f"at least {num_raters} of {num_raters}" in " ".join(a["alt"] for a in parsed.all("img"))
  assert ("both maps are the same" in parsed.text) == (num_raters == 1)


def curve(*bins):
  """A curve of bins of equal width from (count, mean_prob, mean_label)."""
  count, prob, label = zip(*bins, strict=True)
  edges = np.linspace(0, 1, len(bins) + 1).tolist()
  return {"bin_edges": edges, "count": [*count], "mean_prob": [*prob], "mean_label": [*label]}


def test_sentences_say_what_the_curve_says():
  c = curve((8000, 0.02, 0.01), (1000, 0.31, 0.36), (0, None, None), (1000, 0.68, 0.62), (90, 0.75, 0.1))
  first, second = prose.calibration_sentences(c)
  assert first == (
    "When the map says 68\u00a0%, on average 62\u00a0% of the raters marked the pixel; "
    "when it says 31\u00a0%, 36\u00a0% did."
  )  # the bin at .75 is nearer to no anchor, and holds too little to be quoted
  middle = prose.unsure(c)
  weight = np.array([1000, 1000, 90]) / 2090
  assert middle.share == pytest.approx(2090 / 10090)
  assert middle.gap == pytest.approx(weight @ [0.05, 0.06, 0.65])
  assert middle.bias == pytest.approx(weight @ [-0.05, 0.06, 0.65])
  assert middle.excess == pytest.approx(weight @ [0.05, 0.06, 0.65])
  assert "on 20.7\u00a0% of the pixels" in second and "off by 8.1 percentage points" in second
  assert second.endswith("being too sure: too near to 0 or 1.")


@pytest.mark.parametrize(
  ("low", "high", "words"),
  [
    (0.2, 0.6, "nearly always too high."),
    (0.4, 0.8, "nearly always too low."),
    (0.2, 0.8, "being too cautious: too near to one half."),
    (0.302, 0.698, "points on average."),
  ],
)
def test_sentences_name_the_direction(low, high, words):
  assert prose.calibration_sentences(curve((1000, 0.3, low), (1000, 0.7, high)))[1].endswith(words)


def test_sentences_where_nothing_can_be_said():
  sure = curve((9000, 0.01, 0.01), (9000, 0.99, 0.99))
  assert "No probability near" in prose.calibration_sentences(sure)[0]
  assert "never unsure" in prose.calibration_sentences(sure)[1]
  empty = curve((0, None, None), (0, None, None))
  assert prose.curve_in_words(empty) == "No bin holds a pixel." and prose.ece(empty) is None
  assert len(prose.calibration_sentences(empty)) == 2


def test_ece_of_a_curve_is_the_reported_one(original):
  e = reading.load(original)
  levels = [prose.ece(c) for c in e.curves["levels"]]
  assert levels == pytest.approx(e.metrics["levels"]["level_ece_per_level"], abs=1e-12)
  pooled = prose.ece(e.curves["read_outs"]["mean_vote"]["pooled"])
  assert pooled == pytest.approx(e.number("read_outs.mean_vote.mr_ece_pooled"), abs=1e-12)


def test_bins_without_pixels_are_absent_and_few_are_hollow():
  figure = figures.reliability(
    [figures.Series(curve((9000, 0.1, 0.1), (0, None, None), (20, 0.8, 0.6)), "x", figures.BLUE)],
    x_label="p",
    y_label="y",
    count_label="n",
  )
  full, hollow = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
  assert full.get_xydata().tolist() == [[0.1, 0.1]] and full.get_markerfacecolor() == figures.BLUE
  assert hollow.get_xydata().tolist() == [[0.8, 0.6]] and hollow.get_markerfacecolor() == "white"
  assert figure.axes[1].get_yscale() == "log"


def test_pictures_keep_values_and_large_maps_are_averaged():
  assert pictures.shrink(np.ones((320, 10)))[1] == 1
  values = np.arange(641 * 3, dtype=np.float32).reshape(641, 3)
  small, f = pictures.shrink(values)
  assert f == 3 and small.shape == (214, 1)
  assert small[0, 0] == values[:3].mean()
  grey = figures.display_image(np.array([[[-1.0], [0.0]], [[1.0], [np.nan]]]))
  assert grey.tolist() == [[0, 128], [255, 0]] and grey.dtype == np.uint8
  assert figures.display_image(np.full((2, 2, 1), 5.0)).max() == 0  # a flat image divides by nothing
  assert figures.display_image(np.zeros((2, 2, 3))).shape == (2, 2, 3)


def test_maps_share_one_scale(original):
  rows = reading.load_per_image(original)
  example = reading.load_examples(original)[0]
  assert example.scores["dice"] is not None and example.scores["mr_ece"] is not None
  row = next(r for r in rows if r["id"] == example.id)
  assert example.scores["brier"] == pytest.approx(float(row["mean_vote_brier"]))
  same = reading.Example("best", "x", example.scores, example.image, np.zeros((4, 4)), np.zeros((4, 4)))
  votes, prob, gap = pictures.example_pictures(same)[1:]
  assert votes.uri == prob.uri != gap.uri and votes.pixelated
  assert gap.alt.endswith("from +0.00 to +0.00, mean +0.000")


def test_summary_fits_a_terminal(original):
  summary = report.text_summary(original)
  metrics = json.loads((original / "metrics.json").read_text())
  lines = summary.splitlines()
  assert all(len(line) <= 100 for line in lines) and summary.isascii()
  row = next(line for line in lines if line.startswith("MR-ECE"))
  expected = [metrics["read_outs"]["mean_vote"], metrics["read_outs"]["majority"]]
  expected += [metrics["oracle"]["read_outs"]["mean_vote"], metrics["oracle"]["read_outs"]["majority"]]
  a, b, c, d = [f"{r['mr_ece_pooled']:.4f}" for r in expected]
  assert row.split()[1:5] == [a, f"({b})", c, f"({d})"]
  assert f"floor {metrics['floors']['brier']:.4f}" in summary


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
  cut = {"bin_edges": [0.0, 1.0], "count": [1], "mean_prob": [0.5], "mean_label": [0.5]}
  evaluations.change(two[1], "curves.json", lambda c: c["read_outs"]["mean_vote"].update(pooled=cut))
  with pytest.raises(InputError, match=r"eval.num_bins is 15 in .* and 1 in"):
    report.compare_table(two)


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (lambda f: (f / "metrics.json").unlink(), "there is no metrics.json"),
    (lambda f: (f / "metrics.json").write_text("{"), "metrics.json is damaged"),
    (lambda f: (f / "metrics.json").write_text("[]"), "expected an object, found list"),
    (lambda f: evaluations.change(f, "curves.json", lambda c: c.pop("levels")), "curves.json lacks 'levels'"),
    (lambda f: (f / "examples.npz").write_bytes(b"no zip"), "examples.npz is damaged"),
    (lambda f: (f / "per_image.csv").unlink(), "there is no per_image.csv"),
  ],
)
def test_a_damaged_folder_is_named_and_gets_no_report(copy, spoil, message):
  spoil(copy)
  with pytest.raises(InputError, match=re.escape(message)):
    report.write_report(copy)
  assert not (copy / "report.html").exists() and not (copy / "figures").exists()


def test_command_line(two, tmp_path, capsys):
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


def test_command_keeps_absolute_folders_private(original, monkeypatch):
  assert "--workdir=mine " in page.command(reading.load(original))
  monkeypatch.chdir(original.parent.parent.parent)
  assert "--workdir=mine " in page.command(reading.load("mine/eval/test"))
  monkeypatch.chdir(original)
  assert "--workdir=mine " in page.command(reading.load("."))


def test_every_reported_metric_is_explained(original):
  """A metric that evaluate gains must gain a name and a hint here."""
  metrics = json.loads((original / "metrics.json").read_text())
  known = {m.key for group in terms.READ_OUT_GROUPS for m in group.metrics}
  assert set(metrics["read_outs"]["majority"]) == set(metrics["read_outs"]["mean_vote"]) == known | {"dice_per_rater"}
  assert set(metrics["levels"]) == {m.key for m in terms.LEVEL_METRICS} | {"level_ece_per_level"}
  assert {k for k, v in metrics["raters"].items() if isinstance(v, float)} == {m.key for m in terms.AGREEMENT_METRICS}
  assert {m.key for m, _ in terms.LEAVE_ONE_OUT} == set(metrics["raters"]["leave_one_out"])
  assert set(metrics["floors"]) <= known


def test_tables():
  table = text.text_table(["", "a\nb", "c"], [["x", "1", "22"], ["long", "-", "3"]])
  assert table == "      a\n      b   c\n----  -  --\nx     1  22\nlong  -   3"
  assert text.escaped("a|b*_`<\\\n") == "a\\|b\\*\\_\\`&lt;\\\\ "


PROBE = """<!doctype html><body style="margin:0">
<iframe style="width:400px;height:30000px;border:0" srcdoc="{page}"></iframe>
<script>onload = () => {{
  const inner = document.querySelector('iframe').contentDocument, images = [...inner.images];
  Promise.all(images.map(i => i.decode().then(() => 1, () => 0))).then(done => {{
    document.body.textContent = JSON.stringify({{width: inner.documentElement.scrollWidth, images: images.length,
      decoded: done.reduce((a, b) => a + b, 0)}});
  }});
}};</script>"""


def test_a_phone_shows_it_without_scrolling_sideways(original, tmp_path):
  browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
  if browser is None:
    pytest.skip("needs a browser: neither chromium, chromium-browser nor google-chrome is installed")
  source = (original / "report.html").read_text().replace("&", "&amp;").replace('"', "&quot;")
  (tmp_path / "probe.html").write_text(PROBE.format(page=source.replace("loading=&quot;lazy&quot;", "")))
  options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
  options += " --disable-component-update --disable-sync --virtual-time-budget=5000 --dump-dom"
  command = [browser, *options.split(), f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "probe.html").as_uri()]
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
  except subprocess.TimeoutExpired:
    pytest.skip("the browser did not answer within a minute")
  found = re.search(r"\{.*\}", done.stdout)
  if done.returncode or found is None:
    pytest.skip(f"the browser does not run here: {done.stderr[-200:]}")
  seen = json.loads(found.group())
  assert seen["width"] <= 400
  assert seen["decoded"] == seen["images"] > 20
