import base64
import hashlib
import html.parser
import io
import itertools
import json
import re
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from ordseg.errors import InputError
from ordseg.metrics import METRICS, select
from ordseg.reporting import report
from ordseg.reporting.report import figures, page, pictures, prose, reading, terms
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


@pytest.fixture
def undrawn(monkeypatch):
  """Figures are made but not rendered, which takes most of a report's time."""
  blank = io.BytesIO()
  Image.new("1", (1, 1)).save(blank, "PNG")
  monkeypatch.setattr(figures, "_rendered", lambda *_: blank.getvalue())


@pytest.fixture(scope="module")
def parsed(original):
  return Page((original / "report.html").read_text())


def test_the_page_is_well_formed_and_stands_alone(parsed, original):
  assert parsed.wrong == []
  for attrs in parsed.all(*{tag for tag, _ in parsed.tags}):
    for name in ("src", "href", "srcset", "data", "action"):
      assert attrs.get(name, "#").startswith(("data:", "#")), attrs
  assert len(parsed.all("script")) == 1 and not parsed.all("iframe", "object", "embed")
  source = (original / "report.html").read_text()
  assert "@import" not in source and "url(" not in source and not re.search("https?:", source)
  policy = next(a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
  script = re.search(r"<script>(.*?)</script>", source, re.DOTALL)[1]
  assert (
    base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy and "default-src 'none'" in policy
  )
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
  shown["constant"] = {name: metrics["constant"][name] for name in ("brier", "dice")}
  shown["oracle"]["levels"].pop("level_ece_per_level")
  shown["raters"] = {k: v for k, v in metrics["raters"].items() if k != "pairwise_kappa"}
  decimals = {m.key: m.decimals for m in METRICS.values() if m.label}
  checked = 0
  for path, value in numbers(shown):
    if value is None:
      written = terms.MISSING
    elif "prevalence" in path:
      written = f"{100 * value:.1f}\u00a0%"
    elif path[1:3] == ("each", "dice"):
      written = f"{value:.3f}"
    elif "pairwise_dice" in path:
      written = "" if path[-1] == path[-2] else f"{value:.3f}"
    else:
      written = f"{value:.{decimals.get(path[-1], 4)}f}"
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


def test_text_of_others_is_escaped(copy, undrawn):
  evil = '<script>alert("1")</script>&<img src=x onerror=y>'
  change_id(copy, evil)
  evaluations.change(copy, "metrics.json", lambda m: m.update(split=evil, step=evil))
  evaluations.change(copy, "metrics.json", lambda m: m["data"].update(builder=evil, licence=evil))
  evaluations.change(copy, "metrics.json", lambda m: m["model"].update(loss="$x_$", config={evil: evil}))
  parsed = Page(report.write_report(copy).read_text())
  assert len(parsed.all("script")) == 1 and parsed.wrong == []
  assert not [attrs for attrs in parsed.all("img") if "onerror" in attrs]
  assert parsed.text.count(evil) > 5
  assert any(evil in attrs["alt"] for attrs in parsed.all("img"))


def change_id(folder, new_id):
  with np.load(folder / "examples.npz") as arrays:
    content = dict(arrays)
  meta = json.loads(str(content.pop("meta")))
  meta[0]["id"] = new_id
  np.savez_compressed(folder / "examples.npz", meta=np.asarray(json.dumps(meta)), **content)
  evaluations.sign(folder)


def test_undefined_numbers_are_dashes_with_a_reason(tmp_path):
  """Nobody rated anything: everything is undefined, and nothing breaks or warns."""
  folder = evaluations.write(tmp_path / "eval/test", valid=0, oracle=False)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    parsed = Page(report.write_report(folder).read_text())
    summary = report.text_summary(folder)
  assert "\u2013" in parsed.text and "nan" not in parsed.text.lower().split()
  for reason in ("in no image did a majority mark anything", "no pixel has an answer", "that two raters answered"):
    assert reason in parsed.text
  assert "No pictures" in parsed.text
  assert "None" not in parsed.text and "nan" not in summary


def test_a_metric_that_a_file_lacks_is_a_dash(copy, undrawn):
  evaluations.change(copy, "metrics.json", lambda m: m["read_outs"]["majority"].pop("dice"))
  evaluations.change(copy, "metrics.json", lambda m: m.pop("raters"))
  evaluations.change(copy, "metrics.json", lambda m: m["levels"].update(rps=float("nan")))
  parsed = Page(report.write_report(copy).read_text())
  assert (
    "\u2013 in no image did a majority mark anything" in parsed.text and "RPS \u2193 lower is better" in parsed.text
  )


def test_an_evaluation_of_an_earlier_version_has_no_outlines(copy, undrawn):
  with np.load(copy / "examples.npz") as arrays:
    old = {name: array for name, array in arrays.items() if not name.startswith("tails_")}
  np.savez_compressed(copy / "examples.npz", **old)
  evaluations.sign(copy)
  parsed = Page(report.write_report(copy).read_text())
  assert parsed.wrong == [] and not parsed.all("input", "use") and "Evaluate again" in parsed.text
  assert len(parsed.all("img")) > 20


def test_intervals_stand_beside_their_numbers(copy, undrawn):
  paths = {"read_outs.majority.dice": [0.4567, 0.5678], "read_outs.mean_vote.brier": [0.0012, 0.0345]}
  paths |= {"read_outs.majority.dice_rater_mean": [0.111, 0.999], "levels.rps": [None, 0.2]}
  intervals = {"confidence": 0.9, "unit": "groups", "num_units": 7, "values": paths}
  evaluations.change(copy, "metrics.json", lambda m: m.update(intervals=intervals))
  text = Page(report.write_report(copy).read_text()).text
  assert "0.457 to 0.568" in text and "0.0012 to 0.0345" in text and "(0.11 to 1.00)" in text
  assert "its 90 % bootstrap interval (7 groups resampled)" in text.replace("\u00a0", " ")
  assert "No confidence intervals" not in text and "None" not in text


@pytest.mark.parametrize("num_raters", [1, 9])
def test_small_and_large_panels(copy, num_raters):
  def resize(curves):
    for panels in (curves["levels"], *(r["raters"] for r in curves["read_outs"].values())):
      panels[:] = (3 * panels)[:num_raters]

  def reduce(metrics):
    metrics["num_raters"] = num_raters
    metrics["raters"]["pairwise_dice"] = [[1.0] * num_raters] * num_raters
    metrics["raters"]["prevalence"] = [0.25] * num_raters
    if num_raters == 1:  # one rater is the majority, and the share of raters
      metrics["read_outs"]["majority"] = metrics["read_outs"]["mean_vote"]

  evaluations.change(copy, "curves.json", resize)
  evaluations.change(copy, "metrics.json", reduce)
  parsed = Page(report.write_report(copy).read_text())
  assert parsed.wrong == []
  assert f"at least {num_raters} of {num_raters}" in " ".join(a["alt"] for a in parsed.all("img"))
  assert parsed.text.count("25.0 %") == num_raters
  assert ("both maps are the same" in parsed.text) == (num_raters == 1)
  with Image.open(copy / "figures/reliability_raters.png") as picture:
    boxes = figures.panel_boxes(num_raters)
    assert max(b[2] for b in boxes) <= picture.width and max(b[3] for b in boxes) <= picture.height
    shades = [np.asarray(picture.convert("L").crop(box)).std() for box in boxes]
  assert min(shades) > 10  # each panel is where its box is


def test_ece_of_a_curve_is_the_reported_one(original):
  e = reading.load(original)
  levels = [prose.ece(c) for c in e.curves["levels"]]
  assert levels == pytest.approx(e.metrics["levels"]["level_ece_per_level"], abs=1e-12)
  pooled = prose.ece(e.curves["read_outs"]["mean_vote"]["pooled"])
  assert pooled == pytest.approx(e.number("read_outs.mean_vote.mr_ece_pooled"), abs=1e-12)


def test_maps_share_one_scale(original):
  rows = reading.load_per_image(original)
  example = reading.load_examples(original)[0]
  assert example.scores["dice"] is not None and example.scores["mr_ece"] is not None
  row = next(r for r in rows if r["id"] == example.id)
  assert example.scores["brier"] == pytest.approx(float(row["mean_vote_brier"]))
  assert example.tails.shape == (*example.prob.shape, 3) and example.tails.dtype == np.uint8
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


def test_command_keeps_absolute_folders_private(original, monkeypatch):
  assert "--workdir=mine " in page.command(reading.load(original))
  monkeypatch.chdir(original.parent.parent.parent)
  assert "--workdir=mine " in page.command(reading.load("mine/eval/test"))
  monkeypatch.chdir(original)
  assert "--workdir=mine " in page.command(reading.load("."))


def test_every_reported_metric_is_explained(original):
  """A metric that an evaluation gains has a name and a hint."""
  metrics = json.loads((original / "metrics.json").read_text())
  known = {m.key for group in terms.READ_OUT_GROUPS if not group.optional for m in group.metrics}
  assert set(metrics["read_outs"]["majority"]) == set(metrics["read_outs"]["mean_vote"]) == known
  assert set(metrics["levels"]) == {m.key for m in select("levels")} | {"level_ece_per_level"}
  assert {k for k, v in metrics["raters"].items() if isinstance(v, float)} == {m.key for m in select("raters")}
  told = {m.key for m in select("raters.leave_one_out")} | {"brier_skill"}  # that in the table of floor and ceiling
  assert told == set(metrics["raters"]["leave_one_out"])
  assert set(metrics["floors"]) <= known
