"""Every number of metrics.json against a program or formula that shares no code with this one; writes a table of docs.

  python benchmarks/oracles.py            # prints the table
  python benchmarks/oracles.py --write    # puts it into docs/metrics.md

Seeded images with everything that is awkward: missing raters, pixels that do not count, an image nobody answered,
images without a mark, groups. Needs pip install ".[test,oracles]"; the programs are called in tests/reference.
"""

import argparse
import os
import pathlib
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from ordseg import ordinal, records
from ordseg.evaluation import evaluator
from ordseg.input_pipeline import EvalBatch
from tests.reference import programs
from tests.reference.programs import BINS, NUM, TOLERANCE, Found, Panel, R

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
MARKS = ("<!-- oracles: written by benchmarks/oracles.py -->", "<!-- oracles end -->")


def evaluated(data: Panel) -> dict[str, Any]:
  """Returns metrics.json of it, as this project has it; the prediction is its own truth in ``oracle``."""
  batch = {"image": data.probs[..., :1], "rater_masks": data.masks, "rater_valid": data.valid, "mask": data.counts}
  item = EvalBatch([f"i{k:02d}" for k in range(NUM)], data.groups, {**batch, "level_probs": data.probs}, NUM)
  predict = lambda _: data.probs  # noqa: E731
  return evaluator.evaluate(predict, [item], num_raters=R, num_bins=BINS, surface_tolerance=TOLERANCE).metrics


# --- The table --------------------------------------------------------------------------------------------------------

TM, SK, MO, NP = "torchmetrics", "scikit-learn", "MONAI", "numpy, tests/reference"
SECTIONS: tuple[tuple[str, Callable[[Panel, str], Found]], ...] = (
  ("read_outs", programs.calibration_errors), ("read_outs", programs.smooth), ("read_outs", programs.top_label),
  ("read_outs", programs.proper), ("read_outs", programs.overlaps), ("read_outs", programs.outlines),
  ("levels", programs.levels), ("floors", programs.floors), ("constant", programs.constant),
  ("raters", programs.raters), ("", programs.sizes),
)  # fmt: skip
# key -> definition in a line (in full above), oracle, largest deviation that is allowed
ROWS: dict[str, tuple[str, str, float]] = {
  "read_outs.mr_ece_pooled": ("ECE over all pairs (pixel, rater)", f"{TM} `binary_calibration_error`", 1e-6),
  "read_outs.mr_ece_rater_mean": ("plain mean over raters of their ECE", f"{TM}, rater by rater", 1e-6),
  "read_outs.mr_ece_per_image_mean": ("mean over images of their pooled ECE", f"{TM}, image by image", 1e-6),
  "read_outs.ece_majority": (
    "ECE against the majority of those who answered",
    f"{TM} `binary_calibration_error`",
    1e-6,
  ),
  "read_outs.ace": ("average calibration error: mean gap of the bins", "scipy `binned_statistic`", 1e-6),
  "read_outs.mce": ("largest gap of a bin", f"{TM}, norm max", 1e-6),
  "read_outs.brier": ("mean squared distance to each vote", f"{SK} `brier_score_loss`", 1e-6),
  "read_outs.nll": ("log loss of each vote, nats", f"{SK} `log_loss`", 1e-5),
  "read_outs.brier_skill": ("1 − Brier / that of a constant map", f"{SK} `brier_score_loss`", 1e-5),
  "read_outs.mr_ece_equal_mass": ("ECE over pairs, bins of equal mass", NP, 2e-3),
  "read_outs.smooth_ece": ("SmoothECE over pairs", f"{NP}, the integral on 1,000 points", 2e-3),
  "read_outs.auc_majority": ("ROC-AUC against the majority", f"{SK} `roc_auc_score`", 2e-4),
  "read_outs.auc_pooled": ("ROC-AUC over pairs", f"{SK} `roc_auc_score`", 2e-4),
  "read_outs.ece_top_label": (
    "ECE of the confidence over pairs, 50 bins",
    f"{TM} `multiclass_calibration_error`",
    1e-4,
  ),
  "read_outs.ece_curvas": ("the same, mean over raters, then images", f"{TM}, the challenge's call", 1e-4),
  "read_outs.ece_curvas_by_group": ("the same, then groups", f"{TM}, the challenge's call", 1e-4),
  "read_outs.dice": ("Dice with the majority, images that have one", f"{MO} `compute_dice`", 1e-6),
  "read_outs.dice_all": ("the same over all images, empty pairs 1", f"{MO} `compute_dice`", 1e-6),
  "read_outs.dice_pooled": ("Dice of all pixels together", f"{SK} `f1_score`", 1e-9),
  "read_outs.dice_rater_mean": ("Dice with each rater, images with a majority", f"{MO} `compute_dice`", 1e-6),
  "read_outs.iou": ("IoU with the majority, images that have one", f"{MO} `compute_iou`", 1e-6),
  "read_outs.soft_dice_5": ("Dice over five cuts with votes", f"{MO} `compute_dice`", 1e-6),
  "read_outs.soft_dice_9": ("Dice over nine cuts with votes", f"{MO} `compute_dice`", 1e-6),
  "read_outs.soft_dice_5_all": ("over five cuts, empty pairs 1", f"{MO} `compute_dice`", 1e-6),
  "read_outs.soft_dice_9_all": ("over nine cuts, empty pairs 1", f"{MO} `compute_dice`", 1e-6),
  "read_outs.empty_marked_share": ("share marked of the images without a majority", "numpy", 1e-9),
  "read_outs.empty_marked_pixels": ("pixels marked in such an image", "numpy", 1e-9),
  "read_outs.hd95": ("95 % Hausdorff distance to the majority", f"{NP}, every pair of outline pixels", 1e-6),
  "read_outs.hd95_rater_mean": ("to each rater", f"{NP}, every pair of outline pixels", 1e-6),
  "read_outs.surface_dice": ("share of outlines within the tolerance", f"{NP}, every pair of outline pixels", 1e-6),
  "read_outs.surface_dice_rater_mean": ("with each rater", f"{NP}, every pair of outline pixels", 1e-6),
  "levels.rps": ("RPS of the thinned distribution, divisor n + 1", "scipy `hypergeom`, numpy", 1e-6),
  "levels.level_ece": ("mean over j of the ECE of P(c ≥ j), thinned", f"scipy `hypergeom`, {TM}", 1e-6),
  "levels.level_ece_per_level": ("the same for each j", f"scipy `hypergeom`, {TM}", 1e-6),
  "levels.ged_nested": ("squared energy distance of the nested masks", NP, 1e-9),
  "levels.ncc_nested": ("their normalised cross-correlation", NP, 1e-5),
  "floors.brier": ("Brier score of the share of votes", f"{SK} `brier_score_loss`", 1e-9),
  "floors.nll": ("log loss of the share of votes", f"{SK} `log_loss`", 1e-9),
  "constant.prevalence": ("share of votes that mark", "numpy", 1e-9),
  "constant.brier": ("Brier score of a map of that value", f"{SK} `brier_score_loss`", 1e-9),
  "constant.nll": ("its log loss", f"{SK} `log_loss`", 1e-9),
  "constant.dice": ("Dice of its mask with the majority", f"{SK} `f1_score`", 1e-9),
  "raters.pairwise_dice": ("Dice of two raters, images one of them marked", f"{SK} `f1_score`", 1e-9),
  "raters.pairwise_dice_mean": ("its mean over pairs", f"{SK} `f1_score`", 1e-9),
  "raters.pairwise_kappa": ("Cohen's kappa of two raters", f"{SK} `cohen_kappa_score`", 1e-9),
  "raters.pairwise_kappa_mean": ("its mean over pairs", f"{SK} `cohen_kappa_score`", 1e-9),
  "raters.fleiss_kappa": ("Fleiss' kappa, varying n", NP, 1e-9),
  "raters.krippendorff_alpha": ("Krippendorff's alpha, nominal", "krippendorff `alpha`", 1e-9),
  "raters.prevalence": ("share of pixels that a rater marked", "numpy", 1e-9),
  "raters.share_disputed": ("share of marked pixels not all marked", "numpy", 1e-9),
  "raters.leave_one_out.dice": ("the others' majority against a rater", f"{SK} `f1_score`", 1e-9),
  "raters.leave_one_out.mr_ece": ("ECE of the others' mean vote over pairs", "numpy, share by share", 1e-9),
  "raters.leave_one_out.brier": ("its squared distance to a rater", f"{SK} `brier_score_loss`", 1e-9),
  "raters.leave_one_out.brier_skill": ("its skill over a constant map", f"{SK} `brier_score_loss`", 1e-9),
  "raters.each.dice": ("a rater's mask against each other rater's", f"{SK} `f1_score`", 1e-9),
  "raters.each.mr_ece": ("ECE of a rater's mask as a map, over pairs", f"{TM} `binary_calibration_error`", 1e-6),
  "raters.each.brier": ("its squared distance to the others' votes", f"{SK} `brier_score_loss`", 1e-9),
  "raters.each.brier_skill": ("its skill over a constant map", f"{SK} `brier_score_loss`", 1e-9),
  "num_images": ("images", "numpy", 0.0),
  "num_images_scored": ("images somebody answered", "numpy", 0.0),
  "num_images_with_majority": ("images in which a majority marked something", "numpy", 0.0),
  "num_pixels": ("pixels that count", "numpy", 0.0),
  "num_raters": ("R", "numpy", 0.0),
  "num_bins": ("bins of the calibration errors", "numpy", 0.0),
}


def deviations(seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, float]:
  """Returns the largest absolute difference of each key between this project and its oracle; NaN where one is NaN."""
  out: dict[str, float] = {}
  for seed in seeds:
    data = programs.panel(seed)
    found = evaluated(data)
    for section, oracle in SECTIONS:
      for name in ordinal.READ_OUTS if section == "read_outs" else ("",):
        ours: Mapping[str, Any] = found[section] if section else found
        for key, want in oracle(data, name).items():
          value = records.at(ours[name] if name else ours, key)
          path = f"{section}.{key}".lstrip(".")
          difference = np.max(np.abs(np.asarray(value, np.float64) - np.asarray(want, np.float64)))
          out[path] = float(np.maximum(out.get(path, 0.0), difference))
  return out


def table(found: Mapping[str, float]) -> str:
  """Returns the Markdown table."""
  lines = ["| number | definition | oracle | largest deviation |", "|---|---|---|---:|"]
  for key, (definition, oracle, _) in ROWS.items():
    size = "0" if found[key] == 0 else f"{found[key]:.0e}".replace("e-0", "e-")
    lines.append(f"| `{key}` | {definition} | {oracle} | {size} |")
  return "\n".join(lines)


def main() -> None:
  parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
  parser.add_argument("--write", action="store_true", help="put the table into docs/metrics.md")
  args = parser.parse_args()
  warnings.simplefilter("ignore")
  text = table(deviations())
  print(text)
  if args.write:
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    DOCS.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
  main()
