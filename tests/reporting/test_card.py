"""The model card, written by the program and by its function, and the record of the training time."""

import html
import json
import os
import pathlib
import re
import subprocess
import sys

import jax.numpy as jnp
import pytest

from ordseg import run_record
from ordseg.errors import InputError
from ordseg.reporting import card
from ordseg.reporting.card import writing
from ordseg.training import compute_log
from ordseg.types import Panel
from tests.helpers import evaluations, training

ROOT = pathlib.Path(__file__).parent.parent.parent
DATA = {
  **evaluations.INFO["data"],
  "homepage": "example.org/blobs",
  "citation": "@article{blobs,\n  title = {Blobs | pipes},\n}",
  "splits": {"train": 50, "test": 12},
}
SESSION = {"first_step": 0, "last_step": 6, "seconds": 5400.0, "platform": "gpu", "device": "H200", "num_devices": 2}


def workdir(folder, *, old=False):
  """A run with an evaluation, as this version leaves them, or an earlier one."""
  info = run_record.describe(
    training.tiny(),
    data_info=evaluations.INFO["data"] if old else DATA,
    panel=Panel(1, 3),
    image_info=None if old else {"dtype": "int16", "spacing": [0.7, 0.7]},
    num_examples=None if old else {"train": 40, "validation": 10},
  )
  if old:
    for name in ("num_examples", "image"):
      info.pop(name)
    info["data"] = {k: v for k, v in info["data"].items() if k != "licence"}
  run_record.open_run(folder, info)
  if not old:
    content = {"num_parameters": 482517, "sessions": [{**SESSION, "num_processes": 1}] * 2}
    (folder / "compute.json").write_text(json.dumps(content))
  evaluations.write(folder / "eval/test")
  if old:
    evaluations.change(folder / "eval/test", "metrics.json", lambda m: m.pop("intervals", None))
  return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return workdir(tmp_path_factory.mktemp("runs") / "mine")


def program(*args, cwd):
  command = [sys.executable, "-m", "ordseg", "card", *map(str, args)]
  env = {**os.environ, "PYTHONPATH": str(ROOT)}
  return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def written(run):
  done = program("--workdir=mine", "--power_watts=700", cwd=run.parent)
  assert done.returncode == 0, done.stderr
  assert done.stdout == "model card: mine/card.md, mine/card.html\n"
  page = (run / "card.html").read_text()
  visible = html.unescape(re.sub(r"<[^>]*>", " ", page.split("<body>")[1]))
  return (run / "card.md").read_text(), page, " ".join(visible.split())


def test_the_card_holds_what_the_files_hold(written, run):
  markdown, _, page = written
  plain = re.sub(r"\\(.)", r"\1", markdown)
  scores = json.loads((run / "eval/test/metrics.json").read_text())
  dice, brier = scores["read_outs"]["majority"]["dice"], scores["read_outs"]["mean_vote"]["brier"]
  for text in (plain, page):
    for fact in (
      "Not for clinical use.",
      "blobs/small 1.2.0",
      "CC0",
      "example.org/blobs",
      "@article{blobs",
      "ab" * 32,
      "num_raters=3",
      "train, 40 images",
      "validation, 10 images",
      "test, 12 images",
      "train=50, test=12",
      "482,517",
      "int16, 0.7 x 0.7 mm",
      "6 of 8 images",
      "3 h 00 min of the wall clock, in 2 starts of the program",
      "2 x H200 (gpu)",
      "about 2.1 kWh, an estimate: time x 700 W as stated by the user",
      "In 0 of the 12 images evaluated",
      f"{dice:.3f}",
      f"{brier:.4f}",
      f"{scores['raters']['leave_one_out']['dice']:.3f}",
      f"{scores['floors']['brier']:.4f}",
      f"{scores['raters']['pairwise_dice_mean']:.3f}",
      "python run_eval.py --workdir=mine --split=test --step=40",
      "Not stated by the authors of this model.",
      f"python {run_record.versions()['python']}",
      "jax 0.10.2",
    ):
      assert fact in text, fact
    assert (
      "None" not in re.sub("Clinical use. None|None: this", "", text.replace("**", "")) and "nan" not in text.split()
    )
    assert "carbon" not in text.lower()


def test_the_page_stands_alone_and_the_text_has_its_figures(written, run):
  markdown, page, _ = written
  assert not re.search(r"(src|href)=\"(?!data:|#)", page) and "<script" not in page and "url(" not in page
  pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", markdown)
  assert len(pictures) == 2 and all(len(alt) > 30 and (run / path).is_file() for alt, path in pictures)
  assert page.count("<img ") == 2 and page.count('src="data:image/png;base64,') == 2
  assert [int(n) for n in re.findall(r"<h(\d)", page)] == [1, 2, 2, 2, 2, 2, 2, 2, 3, 2]
  assert "secret" not in markdown + page


def test_an_earlier_run_has_gaps_and_no_guesses(tmp_path):
  path = card.write_card(workdir(tmp_path / "old", old=True), power_watts=10.0)
  text = path.read_text()
  for name in ("Licence", "Homepage", "Parameters", "Time", "Devices"):
    assert f"- **{name}:** not recorded\n" in text
  assert "Citation of the data: not recorded." in text and "number of images not recorded" in text
  assert "- **Intervals:** none were computed" in text and "kWh" not in text and "spacing not recorded" in text


def test_intervals_are_shown(run, tmp_path):
  metrics = run / "eval/test/metrics.json"
  before = metrics.read_text()
  intervals = {"confidence": 0.95, "method": "percentile", "unit": "groups", "num_units": 5}
  intervals["values"] = {"read_outs.majority.dice": [0.4561, 0.5678], "levels.rps": [0.01234, 0.05678]}
  try:
    evaluations.change(run / "eval/test", "metrics.json", lambda m: m.update(intervals=intervals))
    text = card.write_card(run, out=tmp_path / "c").read_text()
  finally:
    metrics.write_text(before)
  assert "| 0.456 to 0.568 |" in text and "| 0.0123 to 0.0568 |" in text
  assert "bootstrap interval (5 groups resampled)" in text


def test_a_recalibrated_evaluation_says_so(run, tmp_path):
  metrics = run / "eval/test/metrics.json"
  before = metrics.read_text()
  named = {"recalibration": {"method": "beta", "fitted": {"split": "validation"}}}
  assert "Recalibration" not in card.write_card(run, out=tmp_path / "a").read_text()
  try:
    evaluations.change(run / "eval/test", "metrics.json", lambda m: m.update(named))
    text = card.write_card(run, out=tmp_path / "b").read_text()
  finally:
    metrics.write_text(before)
  assert "**Recalibration:** beta, fitted to the votes of the split validation" in text


def test_what_you_wrote_is_kept_or_replaced(run, tmp_path):
  out = tmp_path / "card"
  path = card.write_card(run, out=out)
  mine = "For **our** ward's study.\n\n- Dr A <checks> it\n- never alone"
  text = path.read_text()
  path.write_text(text.replace(writing.DEFAULT_USE, mine))
  for _ in range(2):
    card.write_card(run, out=out)
    assert f"{writing.BEGIN}\n\n{mine}\n\n{writing.END}" in path.read_text()
  page = path.with_suffix(".html").read_text()
  assert "<li>Dr A &lt;checks&gt; it</li>" in page and "<li>never alone</li>" in page
  use = tmp_path / "use.txt"
  use.write_text("Only for teaching.\n")
  text = card.write_card(run, out=out, intended_use=use).read_text()
  assert "Only for teaching." in text and "Dr A" not in text and writing.DEFAULT_USE not in text


def test_text_that_would_be_lost_is_not(run, tmp_path):
  path = card.write_card(run, out=tmp_path)
  path.write_text("my own card")
  with pytest.raises(InputError, match=r"card\.md lacks the lines around.*--intended_use"):
    card.write_card(run, out=tmp_path)
  assert path.read_text() == "my own card"


def test_a_slip_gets_one_line_and_writes_nothing(run, tmp_path):
  done = program("--workdir", run, "--split=validation", "--out=c", cwd=tmp_path)
  assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
  assert f"Make one with python run_eval.py --workdir={run} --split=validation" in done.stderr
  for args, message in (
    ({"workdir": tmp_path}, "holds no run"),
    ({"intended_use": tmp_path / "none.txt"}, "none.txt cannot be read"),
  ):
    with pytest.raises(InputError, match=message):
      card.write_card(args.pop("workdir", run), out=tmp_path / "c", **args)
  evaluations.write(tmp_path / "w/eval/test", info={"data": {**DATA, "fingerprint": "cd" * 32}})
  (tmp_path / "w/config.json").write_text((run / "config.json").read_text())
  with pytest.raises(InputError, match="is of other data"):
    card.write_card(tmp_path / "w", out=tmp_path / "c")
  assert not (tmp_path / "c").exists()


def test_blocks_of_plain_text():
  assert writing.blocks("a\nb\n\n- c\n  d\n- e\n\n\nf:\n* g") == [
    ("p", ["a b"]),
    ("ul", ["c d", "e"]),
    ("p", ["f:"]),
    ("ul", ["g"]),
  ]
  assert writing.blocks("") == []


def test_every_start_of_a_training_is_recorded(tmp_path):
  now = [100.0]
  params = {"a": jnp.zeros((3, 4)), "b": jnp.zeros(5)}
  for first, last in ((0, 10), (8, 20)):  # the second start was from an earlier checkpoint
    log = compute_log.ComputeLog(tmp_path, step=first, parameters=params, clock=lambda: now[0])
    for step in (first + 1, last):
      now[0] += 30
      log.write(step)
  content = compute_log.read(tmp_path)
  assert content["num_parameters"] == 17
  assert [(s["first_step"], s["last_step"], s["seconds"]) for s in content["sessions"]] == [(0, 10, 60), (8, 20, 60)]
  assert content["sessions"][0]["platform"] == "cpu" and content["sessions"][0]["num_devices"] == 4
  (tmp_path / "compute.json").write_text("{")
  with pytest.raises(InputError, match=r"compute\.json is damaged: .*delete it, and the model card will say"):
    compute_log.read(tmp_path)
  (tmp_path / "compute.json").unlink()
  assert compute_log.read(tmp_path) == {}
