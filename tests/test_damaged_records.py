"""Bits flipped in, and ends cut off, every file that a run keeps, and every program that reads it.

What is allowed: one line and exit status 2, or the same as with the whole file. Never a traceback, never other numbers.
Checkpoints: test_checkpoint.py; the records of a data set: data/test_damaged_records.py.
"""

import io
import json
import re
import shutil

import numpy as np
import PIL.Image
import pytest

from ordseg import errors, recalibration, records, run_record
from ordseg.cli import card as card
from ordseg.cli import compare as compare
from ordseg.cli import report as report
from ordseg.errors import InputError
from ordseg.prediction import predictor
from ordseg.reporting.report import figures
from ordseg.training.logs import MetricsLog
from ordseg.types import Panel
from tests.helpers import evaluations, training

INFO = {**evaluations.INFO["data"], "raters": ["ann", "bob", "cy"]}
SESSION = {"first_step": 0, "last_step": 6, "seconds": 54.0, "platform": "cpu", "device": "cpu", "num_devices": 1}


def describe():
  return run_record.describe(training.tiny(), data_info=INFO, panel=Panel(1, 3))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  root = tmp_path_factory.mktemp("runs") / "mine"
  run_record.open_run(root, describe())
  log = MetricsLog(root, step=0)
  for step in range(1, 4):
    log.write(step, {"loss": 1 / step})
  log.close()
  shutil.rmtree(root / "tensorboard")
  records.write_json(root / "compute.json", {"num_parameters": 17, "sessions": [SESSION]})
  found = recalibration.Recalibration("temperature", 3, {"temperature": np.asarray([1.25])})
  (root / "recalibration").mkdir()
  records.write_json(root / "recalibration/temperature.json", {**found.plain(), "fitted": {}})
  for split, sharpen in (("test", 2.0), ("validation", 1.5)):
    evaluations.write(root / "eval" / split, sharpen=sharpen, num_images=6, info={"data": INFO})
  return root


@pytest.fixture
def undrawn(monkeypatch):
  blank = io.BytesIO()
  PIL.Image.new("1", (1, 1)).save(blank, "PNG")
  monkeypatch.setattr(figures, "_rendered", lambda *_: blank.getvalue())


def continued(run):
  """What run_train does with the folder it finds."""
  run_record.open_run(run, describe(), write=False)
  MetricsLog(run, step=2).close()
  print((run / "train_metrics.jsonl").read_text())


def loaded(run):
  """What run_eval, predict, recalibrate and export begin with."""
  found = predictor.load_run(run)
  print(found.config, found.panel, found.data_info, found.image_info)


PROGRAMS = {
  "report": lambda run: report.main([str(run / "eval/test")]),
  "card": lambda run: card.main(["--workdir", str(run)]),
  "compare": lambda run: compare.main(
    [str(run), str(run / "eval/validation"), "--out", str(run / "c"), "--resamples=100", "--metric=levels.rps"]
  ),
  "train": continued,
  "load": loaded,
  "map": lambda run: print(recalibration.read(run / "recalibration/temperature.json")),
}
READ_BY = {
  "config.json": ("card", "train", "load"),
  "compute.json": ("card",),
  "train_metrics.jsonl": ("train",),
  "recalibration/temperature.json": ("map",),
  "eval/test/metrics.json": ("report", "card", "compare"),
  "eval/test/per_image.csv": ("report", "card"),
  "eval/test/curves.json": ("report", "card", "compare"),
  "eval/test/examples.npz": ("report",),
  "eval/test/sums.npz": ("compare",),
}


def outcome(program, run, capsys):
  """Returns ('line', what it said) or ('done', all that it printed and wrote)."""
  try:
    with errors.one_line_errors():
      PROGRAMS[program](run)
  except SystemExit as stop:
    said = capsys.readouterr()
    assert stop.code == 2 and len(said.err.strip().splitlines()) == 1, said.err
    return "line", said.err
  pages = [path for path in (run / "eval/test/report.html", run / "card.md") if path.exists()]
  return "done", (capsys.readouterr().out, *(path.read_text() for path in pages))


def damaged(content, rng):
  content = bytearray(content)
  if rng.random() < 1 / 4:
    return content[: rng.integers(len(content))]
  for _ in range(rng.integers(1, 3)):
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
  return content


@pytest.mark.parametrize("name", READ_BY)
def test_damage_is_one_line_or_changes_nothing(made, tmp_path, capsys, undrawn, name):
  fuzz(made, tmp_path, capsys, name, times=6)


@pytest.mark.slow
@pytest.mark.parametrize("name", READ_BY)
def test_damage_is_one_line_or_changes_nothing_at_length(made, tmp_path, capsys, undrawn, name):
  fuzz(made, tmp_path, capsys, name, times=150)


def fuzz(made, tmp_path, capsys, name, *, times):
  rng, refusals = np.random.default_rng(len(name)), 0
  run = tmp_path / "mine"
  want = {}
  for program in READ_BY[name]:
    shutil.copytree(made, run)
    want[program] = outcome(program, run, capsys)
    assert want[program][0] == "done", want[program]
    shutil.rmtree(run)
  for _ in range(times):
    content = damaged((made / name).read_bytes(), rng)
    for program in READ_BY[name]:
      shutil.copytree(made, run)
      (run / name).write_bytes(content)
      kind, said = outcome(program, run, capsys)
      if kind == "line":
        refusals += 1
        assert name.split("/")[-1] in said, said
      elif name != "train_metrics.jsonl":  # a log has no digests; nothing is computed from it
        assert said == want[program][1]
      shutil.rmtree(run)
  assert refusals >= times / 3


def unsigned(run):
  """Makes the run one of a version that kept no digests."""
  for path in run.rglob("*.json"):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in content.items() if k not in ("evaluation", "sha256")}))
  for path in run.rglob("*.npz"):
    with np.load(path) as arrays:
      np.savez_compressed(path, **{k: v for k, v in arrays.items() if k != "evaluation"})


@pytest.mark.parametrize("name", READ_BY)
def test_records_without_digests_give_no_traceback(made, tmp_path, capsys, undrawn, name):
  """Of those not every damage can be known, but what does not fit is one line."""
  old, run, rng = shutil.copytree(made, tmp_path / "old"), tmp_path / "mine", np.random.default_rng(len(name))
  unsigned(old)
  for _ in range(4):
    content = damaged((old / name).read_bytes(), rng)
    for program in READ_BY[name]:
      shutil.copytree(old, run)
      (run / name).write_bytes(content)
      outcome(program, run, capsys)
      shutil.rmtree(run)


def test_a_damaged_log_names_its_line(made, tmp_path):
  path = shutil.copy(made / "train_metrics.jsonl", tmp_path)
  lines = (tmp_path / "train_metrics.jsonl").read_text().splitlines(keepends=True)
  (tmp_path / "train_metrics.jsonl").write_text("".join([lines[0], "{oops\n", lines[2]]))
  with pytest.raises(
    InputError, match=rf"{re.escape(str(path))} is damaged: line 2 is no row of a log.*Remove that line"
  ):
    MetricsLog(tmp_path, step=3)
