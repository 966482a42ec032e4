"""The benchmark of what intervals cover: a few cells, and its sums against the whole way from pixels."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ordseg import calibration, evaluate, statistics
from ordseg.input_pipeline import EvalBatch

ROOT = pathlib.Path(__file__).parent.parent
COVERAGE = [sys.executable, str(ROOT / "benchmarks/coverage.py")]


def coverage(*arguments, record):
  done = subprocess.run(
    [*COVERAGE, f"--record={record}", *arguments], capture_output=True, text=True, cwd=ROOT, check=True
  )
  return done.stdout


def test_the_benchmark_of_coverage(tmp_path):
  """A few cells that percentile intervals fail; a second call resumes, and its numbers are the seed's."""
  record = tmp_path / "c.jsonl"
  only = r"--only=(single mr_ece: sharp (0|0.02)|difference mr_ece: sharp 0.02), sd 0.4, 200 px, 20 images"
  coverage(only, "--repetitions=40", "--resamples=200", record=record)
  lines = [json.loads(line) for line in record.read_text().splitlines()]
  assert len(lines) == 3
  for line in lines:
    assert line["coverage"] >= 0.85 and 0 < line["width"] < 0.06
    assert line["percentile_coverage"] < 0.6
    if line["truth"] > 0:
      assert abs(line["corrected_bias"]) < abs(line["raw_bias"])
  coverage(only.replace("20 images", "(10|20) images"), "--repetitions=40", "--resamples=200", record=record)
  again = [json.loads(line) for line in record.read_text().splitlines()]
  assert len(again) == 6 and again[:3] == lines
  assert "| single |" in coverage("--tables", record=record)


def test_from_pixels_to_the_interval():
  """Pixels of known truth through the whole evaluation, against the sums that the benchmark draws."""
  sys.path.insert(0, str(ROOT / "benchmarks"))
  import coverage as benchmark  # pyright: ignore[reportMissingImports]
  import coverage_worlds as worlds  # pyright: ignore[reportMissingImports]

  num, pixels = 12, 150
  cell = benchmark.Cell("difference", "sharp", "mr_ece", 0.03, 0.4, pixels, num)
  world = benchmark.build(cell)
  drawn = worlds.draw(world, num, pixels, "images", np.random.default_rng(0))
  section, sums = [], []
  chosen, units = statistics.Settings(num_resamples=200), statistics.units_of([""] * num)
  for model in (0, 1):
    prob = np.zeros((num, pixels))
    marks = np.zeros((num, pixels), np.uint8)
    for i in range(num):
      types = np.repeat(np.arange(len(world.share)), drawn.counts[i])
      prob[i] = world.probs[model, 0][types]
      first = np.concatenate([np.arange(n) for n in drawn.counts[i]])
      marks[i] = first < drawn.marks[i, 0][types]
    levels = np.stack([1 - prob, prob], -1).astype(np.float32)[:, None]
    batch = {
      "image": levels[..., :1],
      "rater_masks": marks[:, None, :, None],
      "rater_valid": np.ones((num, 1), np.uint8),
      "mask": np.ones((num, 1, pixels), np.uint8),
    }
    item = EvalBatch([f"{k:02d}" for k in range(num)], [""] * num, batch, num)
    result = evaluate.evaluate(lambda _, levels=levels: levels, [item], num_raters=1)
    section.append(evaluate.intervals(result, chosen))
    sums.append(result.model.gap_bins()["read_outs.mean_vote.mr_ece_pooled"])
    mine = worlds.bins_of(world, drawn, model, "mr_ece")
    one = benchmark.gap_interval([mine], units, chosen)
    path = "read_outs.mean_vote.mr_ece_pooled"
    assert section[-1]["values"][path] == pytest.approx([one.low, one.high], abs=1e-6)
    assert section[-1]["corrected"][path] == pytest.approx(one.corrected, abs=1e-6)
    assert float(calibration.ece(sums[-1].bins.pooled())) == pytest.approx(one.raw, abs=1e-6)
  both = benchmark.gap_interval(
    [worlds.bins_of(world, drawn, m, "mr_ece") for m in (0, 1)], statistics.units_of([""] * num), chosen
  )
  of_pixels = benchmark.gap_interval(sums, units, chosen)
  assert (of_pixels.low, of_pixels.high) == pytest.approx((both.low, both.high), abs=1e-6)


def test_the_documented_tables_are_those_of_the_record():
  written = (ROOT / "docs/statistics.md").read_text().partition("--tables -->")[2].partition("<!-- end")[0]
  done = subprocess.run([*COVERAGE, "--tables"], capture_output=True, text=True, cwd=ROOT, check=True)
  assert written.strip() == done.stdout.strip()
  assert (ROOT / "benchmarks/results/coverage.jsonl").stat().st_size < 200_000
