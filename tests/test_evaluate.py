import csv
import json

import numpy as np
import pytest

from ordseg import evaluate
from tests.test_metrics import R, batches_of, images, run


def test_files(tmp_path):
  result = run(images())
  evaluate.write(result, tmp_path / "eval", {"split": "test", "step": 3})
  written = json.loads((tmp_path / "eval/metrics.json").read_text())
  assert {"split", "step", "num_images", "num_pixels", "num_raters", "read_outs", "levels", "floors", "raters"} <= set(
    written
  )
  assert written["num_images"] == 6 and "oracle" not in written
  with (tmp_path / "eval/per_image.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert [r["id"] for r in rows] == [f"image-{k}" for k in range(6)]
  assert (
    rows[3]["num_valid"] == "0" and rows[3]["mean_vote_mr_ece"] == ""
  )  # nobody rated it: no score, not a perfect one
  curves = json.loads((tmp_path / "eval/curves.json").read_text())
  assert len(curves["levels"]) == R and len(curves["read_outs"]["mean_vote"]["raters"]) == R
  assert sum(curves["read_outs"]["majority"]["majority"]["count"]) == written["num_pixels"]
  with np.load(tmp_path / "eval/examples.npz") as arrays:
    meta = json.loads(str(arrays["meta"]))
    assert all(arrays[f"prob_{m['k']}"].shape == arrays[f"mean_vote_{m['k']}"].shape for m in meta)
  assert not [p for p in (tmp_path / "eval").iterdir() if p.name.startswith(".")]


def test_the_oracle_goes_through_the_same_code():
  data = images()

  def with_truth():
    for item in batches_of(data):
      item.batch["level_probs"] = item.batch["prediction"]
      yield item

  result = evaluate.evaluate(lambda b: np.asarray(b["prediction"]), with_truth(), num_raters=R, num_bins=10)
  assert result.metrics["oracle"] == {key: result.metrics[key] for key in ("read_outs", "levels")}


def test_gather_merges_processes():
  """Two processes that hold the same images: every pooled mean stays, every count doubles."""
  data = images()

  def twice(tree):
    if isinstance(tree, dict):
      return {name: twice(value) for name, value in tree.items()}
    return np.concatenate([tree, tree])

  alone = run(data)
  both = evaluate.evaluate(
    lambda b: np.asarray(b["prediction"]), batches_of(data), num_raters=R, num_bins=10, gather=twice
  )
  assert both.metrics["num_images"] == 2 * alone.metrics["num_images"] and len(both.ids) == 12
  for name in ("mr_ece_pooled", "brier", "dice", "auc_pooled"):
    assert both.metrics["read_outs"]["mean_vote"][name] == pytest.approx(alone.metrics["read_outs"]["mean_vote"][name])


def test_examples_are_the_best_and_the_worst_and_never_twice():
  result = run(images(seed=2, num=20), batch_size=5)
  scores = {r["id"]: r["mean_vote_dice"] for r in evaluate.per_image_rows(result) if r["majority_pixels"] > 0}
  ranked = sorted(s for s in scores.values() if np.isfinite(s))
  worst = [e.dice for kind, e in result.examples if kind == "worst"]
  best = [e.dice for kind, e in result.examples if kind == "best"]
  assert worst == pytest.approx(ranked[:3]) and best == pytest.approx(ranked[:-4:-1])
  ids = [e.id for _, e in result.examples]
  assert len(set(ids)) == len(ids) == 9


def test_progress_and_errors():
  data, seen = images(), []
  evaluate.evaluate(lambda b: np.asarray(b["prediction"]), batches_of(data), num_raters=R, progress=seen.append)
  assert seen == [4, 6]
  with pytest.raises(ValueError, match="no batch came"):
    evaluate.evaluate(lambda b: b, [], num_raters=R)
  with pytest.raises(ValueError, match="expected"):
    evaluate.evaluate(lambda b: np.asarray(b["prediction"]), batches_of(data), num_raters=R + 1)
