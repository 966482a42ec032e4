"""What is declared of a metric is what every table shows."""

import doctest
import json
import pathlib
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest

from ordseg import metrics, ordinal, statistics
from ordseg.errors import InputError
from ordseg.evaluation import result as results
from ordseg.metrics import METRICS, GapBins, Metric, agreement, calibration, documentation, registry
from ordseg.reporting import report
from ordseg.reporting.compare import differences, runs, writing
from tests.helpers import evaluations, panels

ROOT = pathlib.Path(__file__).parent.parent.parent
DOCS = (ROOT / "docs" / "metrics.md").read_text()


@pytest.fixture
def made_up():
  """The example of docs/metrics.md, as it is printed there."""
  before = list(METRICS)
  (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL) if "register(" in block)
  exec(compile(code, "docs/metrics.md", "exec"), {})
  (name,) = set(METRICS) - set(before)
  yield METRICS[name]
  METRICS.remove(name)
  assert list(METRICS) == before


def test_a_metric_that_is_registered_appears_everywhere(made_up, tmp_path):
  folders = [evaluations.write(tmp_path / name / "eval" / "test", sharpen=s) for name, s in (("a", 2.0), ("b", 0.5))]
  found = json.loads((folders[0] / "metrics.json").read_text())
  _, _, levels = evaluations.blobs(12, 3, 0)
  prob = levels**2 / (levels**2).sum(-1, keepdims=True)
  shares = {
    "mean_vote": np.mean(prob @ (np.arange(4) / 3) >= 0.5),
    "majority": np.mean(prob[..., 2:].sum(-1) >= 0.5),
  }
  for name, share in shares.items():
    assert found["read_outs"][name]["marked_share"] == pytest.approx(share, abs=1e-12)
  # the report
  report.write_report(folders[0])
  html = (folders[0] / "report.html").read_text()
  row = html[html.index("Share marked") :][:700]
  assert made_up.hint in row and f"{shares['mean_vote']:.4f}" in row and f"{shares['majority']:.4f}" in row
  # comparisons
  methods = runs.load([str(tmp_path / "a"), str(tmp_path / "b")], "test")
  text = writing.comparison_text(differences.analyse(methods, paths=["read_outs.majority.marked_share"]))
  assert "marked" in text and "Share marked (majority)" in text and f"{shares['majority']:.4f}" in text
  # the docs
  assert f"| `marked_share` | {made_up.definition} |" in documentation.markdown_table("read_outs")


def test_its_interval_comes_with_it(made_up):
  result = panels.run(panels.images(num=30))
  value = result.metrics["read_outs"]["majority"][made_up.key]
  section = results.intervals(result, statistics.Settings(num_resamples=200))
  low, high = section["values"][f"read_outs.majority.{made_up.key}"]
  assert low < value < high and section["methods"][f"read_outs.majority.{made_up.key}"] == "percentile"


def test_the_tables_of_the_docs_are_those_of_the_registry():
  with_tables = runpy.run_path(str(ROOT / "docs" / "metrics_tables.py"))["with_tables"]
  assert with_tables(DOCS) == DOCS, "run python docs/metrics_tables.py"
  with pytest.raises(SystemExit, match="expected once: <!-- levels"):
    with_tables(DOCS.replace("<!-- levels end -->", ""))


def test_every_number_says_what_it_is():
  for metric in METRICS.values():
    assert metric.definition and metric.extent, metric.path
    if metric.label:
      assert metric.hint and metric.missing, metric.path
      # The number of a rater has a counterpart of the model, or is none of quality.
      assert bool(metric.better) != metric.path.startswith("raters.") or metric.beside, metric.path
    if metric.section == "read_outs":
      assert metric.table in ("votes", "majority", "masks", "outlines"), metric.path
    if metric.beside:
      assert registry.counterpart(metric.beside) == metric.path and registry.find(metric.beside).better == metric.better


def test_paths_lead_to_metrics():
  for metric in METRICS.values():
    read_outs = [f"read_outs.{name}.{metric.key}" for name in ordinal.READ_OUTS]
    for path in read_outs if metric.section == "read_outs" else [metric.path]:
      assert registry.find(path) is metric and registry.find(f"oracle.{path}") is metric
  assert registry.known("read_outs.brier") is METRICS["read_outs.brier"]
  assert registry.known("read_outs.nobody.brier") is None and registry.known("num_images") is None
  with pytest.raises(InputError, match=r"'levels\.rsp' is unknown\. Did you mean 'levels\.rps'\?"):
    registry.find("levels.rsp")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"key": "brier"}, "registered already"),
    ({"section": "read_out"}, "'read_out' is none of"),
    ({"better": "high"}, "'high' is none of"),
    ({"needs": "gpu"}, "'gpu' is none of"),
    ({"formula": None}, "a formula or gaps"),
    ({"gaps": lambda images: GapBins(images.of(metrics.vote_bins), "pooled")}, "a formula or gaps"),
    ({"definition": ""}, "says how it is defined"),
  ],
)
def test_a_metric_that_is_declared_wrongly_is_refused(changes, message):
  before = dict(METRICS)
  declared = {"key": "x", "section": "read_outs", "formula": len, "definition": "nothing", **changes}
  with pytest.raises(ValueError, match=message):
    registry.register(Metric(**declared))
  assert dict(METRICS) == before


def test_formulas_share_what_is_derived_from_single_images():
  calls = []

  def derived(sums, read_out):
    calls.append(read_out)
    return sums.num_pixels

  images = registry.Images(metrics.empty(2, 5), "mean_vote")
  assert images.of(derived) is images.of(derived) and calls == ["mean_vote"]


def test_bins_that_nobody_keeps_are_not_taken_for_others():
  sums = metrics.empty(2, 5)
  tally = registry.Tally(registry.Images(sums.replace(bin_count=np.zeros((1, 2, 5), np.int64)), "mean_vote"))
  for k in range(50):  # each of them at the place in memory of the one before, unless it is kept
    made = calibration.BinSums(*(np.full((1, 5), float(k)) for _ in range(3)))
    assert tally.bins(made).count.tolist() == [k] * 5
    del made


def test_metrics_import_no_library_of_pictures_figures_or_input():
  """Whoever scores arrays needs none of them."""
  code = "import sys, ordseg.metrics, ordseg.evaluation; print(*sys.modules)"
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
  loaded = {name.split(".")[0] for name in done.stdout.split()}
  assert "jax" in loaded
  assert not loaded & {"cv2", "matplotlib", "grain", "jinja2", "PIL", "optax", "orbax", "imagecodecs"}


@pytest.mark.parametrize("module", [registry, agreement, calibration])
def test_examples_of_the_docstrings(module):
  found = doctest.testmod(module)
  assert found.attempted and not found.failed
