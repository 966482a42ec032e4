"""The benchmark of what intervals cover: a few cells, and its sums against the whole way from pixels."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ordseg import statistics
from ordseg.evaluation import evaluator
from ordseg.evaluation import result as results
from ordseg.input_pipeline import EvalBatch
from ordseg.metrics import calibration

ROOT = pathlib.Path(__file__).parent.parent.parent
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


@pytest.fixture
def benchmark(monkeypatch):
  """benchmarks/coverage.py as a module; not by its name, which is that of a package."""
  monkeypatch.syspath_prepend(ROOT / "benchmarks")
  spec = importlib.util.spec_from_file_location("coverage_benchmark", ROOT / "benchmarks/coverage.py")
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  monkeypatch.setitem(sys.modules, spec.name, module)
  spec.loader.exec_module(module)
  return module


def test_from_pixels_to_the_interval(benchmark):
  """Pixels of known truth through the whole evaluation, against the sums that the benchmark draws."""
  worlds = benchmark.worlds
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
    result = evaluator.evaluate(lambda _, levels=levels: levels, [item], num_raters=1)
    section.append(results.intervals(result, chosen))
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


def test_the_documented_tables_are_those_of_the_record(benchmark):
  written = (ROOT / "docs/statistics.md").read_text().partition("--tables -->")[2].partition("<!-- end")[0]
  found = benchmark.read(benchmark.RECORD)
  names = [cell.name for cell in benchmark.cells() if cell.name in found]
  assert written.strip() == benchmark.coverage_tables.tables([found[name] for name in names])
  assert benchmark.RECORD.stat().st_size < 200_000 and len(names) > 300


@pytest.mark.parametrize("what", ["sharp", "bad bin", "shift", "near", "raters", "phantom"])
def test_the_truth_is_what_many_images_have(benchmark, what):
  """The closed form against one large data set, of both models and every way of putting gaps together."""
  error = 0.15 if what in ("bad bin", "shift") else 0.03
  world = benchmark.build(benchmark.Cell("difference", what, "mr_ece", error, 0.8, 500, 10))
  drawn = benchmark.worlds.draw(world, 6_000, 500, "images", np.random.default_rng(0))
  for metric in ("mr_ece", "ace", "rater_mean", "rater_pooled"):
    for model in (0, 1):
      found = float(benchmark.worlds.bins_of(world, drawn, model, metric).error())
      assert found == pytest.approx(benchmark.worlds.true_error(world, model, metric), abs=0.006), (metric, model)


def test_the_truth_of_levels(benchmark):
  world = benchmark.build(benchmark.Cell("single", "sharp", "level_ece", 0.03, 0.8, 500, 10))
  drawn = benchmark.worlds.draw(world, 6_000, 500, "images", np.random.default_rng(0))
  for model, want in ((0, 0.0), (1, 0.03)):
    assert benchmark.worlds.true_error(world, model, "level_ece") == pytest.approx(want, abs=1e-9)
    assert float(benchmark.worlds.bins_of(world, drawn, model, "level_ece").error()) == pytest.approx(want, abs=0.006)
