"""No number of metrics.json without a definition, an oracle, and a bound on how far they may be apart."""

import importlib
import json
import pathlib
import re
import sys

import numpy as np
import pytest

from tests.helpers import evaluations

ROOT = pathlib.Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
# Sections that are no numbers of the predictor: settings, the same code on the truth, and their uncertainty.
NOT_HERE = {"oracle", "intervals", "roi", "surface", "evaluation", "sha256", *evaluations.INFO}


@pytest.fixture(scope="module")
def oracles():
  for name in ("torch", "torchmetrics", "monai"):
    pytest.importorskip(name, reason='needs pip install ".[oracles]"')
  sys.path.insert(0, str(ROOT / "benchmarks"))
  return importlib.import_module("oracles")


def numbers(content):
  """The dotted paths of the numbers, read-outs as one."""
  for name, value in content.items():
    if isinstance(value, dict):
      yield from (f"{name}.{rest}" for rest in numbers(value))
    else:
      yield name


def test_every_number_has_a_row_in_the_docs(tmp_path):
  written = json.loads((evaluations.write(tmp_path, surface_tolerance=2.0) / "metrics.json").read_text())
  known = {k: v for k, v in written.items() if k not in NOT_HERE}
  found = {re.sub(r"^read_outs\.(majority|mean_vote)\.", "read_outs.", path) for path in numbers(known)}
  rows = re.findall(r"^\| `([\w.]+)` \|[^|]+\|[^|]+\| [\d.e-]+ \|$", TEXT, re.MULTILINE)
  assert len(rows) == len(set(rows)) and set(rows) == found


def test_every_number_is_its_oracle_s(oracles):
  assert set(re.findall(r"^\| `([\w.]+)` \|[^|]+\|[^|]+\| [\d.e-]+ \|$", TEXT, re.MULTILINE)) == set(oracles.ROWS)
  found = oracles.deviations(seeds=(7,))
  assert found.keys() == oracles.ROWS.keys()
  assert {key: x for key, x in found.items() if not x <= oracles.ROWS[key][2]} == {}


def test_the_comparison_would_notice(oracles, monkeypatch):
  """A rater mean that weighs by pixels is another number where raters are missing."""
  from ordseg.metrics import GapBins, calibration

  whole = GapBins.join

  def weighted(self, bins):
    weight = bins.count.sum(-1)
    rows = self.weighting == "rows"
    return (np.nan_to_num(calibration.ece(bins)) * weight).sum(-1) / weight.sum(-1) if rows else whole(self, bins)

  plain = oracles.evaluated(oracles.programs.panel(7))["read_outs"]["mean_vote"]["mr_ece_rater_mean"]
  monkeypatch.setattr(GapBins, "join", weighted)
  changed = oracles.evaluated(oracles.programs.panel(7))["read_outs"]["mean_vote"]["mr_ece_rater_mean"]
  assert abs(plain - changed) > 10 * oracles.ROWS["read_outs.mr_ece_rater_mean"][2]
