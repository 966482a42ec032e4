"""Metrics of a read-out's probability against every rater's vote, and against the majority of them.

Calibration errors, Brier score and NLL are pooled: over all pairs (pixel, rater who answered), or over pixels where the
label is the majority vote.
"""

import numpy as np

from ordseg.metrics.calibration import ratio
from ordseg.metrics.gaps import GapBins
from ordseg.metrics.registry import Column, Metric, Tally
from ordseg.metrics.scores import image_metrics, majority_bins, rater_bins, vote_bins

NO_ANSWER = "no pixel has an answer"
_SHOWN = frozenset({"summary", "card", "recalibrated"})


def over_pairs(tally: Tally, key: str) -> np.ndarray:
  """Returns the mean over pairs of what `image_metrics` has as a mean over the pixels of an image."""
  pairs = tally.sums.num_pairs
  return ratio(tally.total(np.nan_to_num(tally.images.of(image_metrics)[key]) * pairs), tally.total(pairs))


METRICS = (
  Metric(
    key="mr_ece_pooled",
    section="read_outs",
    gaps=lambda images: GapBins(images.of(vote_bins), "pooled"),
    label="MR-ECE",
    hint="Gap between probability and share of raters who marked the pixel; mean over all pixels.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    tags=_SHOWN | {"headline"},
    columns=(
      Column("MR-ECE\nmean\nvote", 2, "mean_vote"),
      Column("MR-ECE\nmajority", 3, "majority"),
    ),
    definition="Σ_b (n_b/N) · |mean_b p − mean_b y| over all pairs, 15 equal bins",
    extent="0–1",
    hides="errors that cancel within a bin; small lesions, since background dominates",
  ),
  Metric(
    key="mr_ece_rater_mean",
    section="read_outs",
    gaps=lambda images: GapBins(images.of(rater_bins), "rows"),
    image=lambda images: images.of(image_metrics)["mr_ece_rater_mean"],
    label="MR-ECE, mean over raters",
    hint="The same gap to one rater at a time, each counting the same, so the raters' own habits count too.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    definition="plain mean over raters of the same with one rater, whatever share they answered",
    extent="0–1; ≥ pooled where all answered all",
    hides="whose fault it is: a strict and a lax rater both disagree with a calibrated mean; how few images a rater "
    "answered",
  ),
  Metric(
    key="mr_ece_per_image_mean",
    section="read_outs",
    formula=lambda tally: tally.mean(tally.images.of(image_metrics)["mr_ece"]),
    image=lambda images: images.of(image_metrics)["mr_ece"],
    image_key="mr_ece",
    label="MR-ECE, mean over images",
    hint="The same gap within one image at a time; errors of different images cannot cancel.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    definition="mean over images of the pooled error of one image",
    extent="0–1",
    hides="that it is biased upwards in small images",
  ),
  Metric(
    key="ece_majority",
    section="read_outs",
    gaps=lambda images: GapBins(images.of(majority_bins), "pooled"),
    image=lambda images: images.of(image_metrics)["ece_majority"],
    label="ECE, majority",
    hint="Gap between probability and how often the majority marked the pixel; mean over all pixels.",
    better="lower",
    missing=NO_ANSWER,
    table="majority",
    tags=_SHOWN,
    columns=(Column("ECE\nmajority", 4, "majority"),),
    definition="ECE against 1[c ≥ n/2] of the n who answered",
    extent="0–1",
    hides="how large the majority was",
  ),
  Metric(
    key="ace",
    section="read_outs",
    gaps=lambda images: GapBins(images.of(vote_bins), "bins"),
    label="ACE, average",
    hint="Average calibration error: each bin of equal width counts the same, whatever it holds; not the adaptive one.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    tags=_SHOWN,
    columns=(Column("ACE\nmean\nvote", 5, "mean_vote"),),
    definition="average calibration error: mean gap over non-empty bins of equal width (Neumann et al., 2018); **not** "
    "the adaptive one of Nixon et al. (2019), which is `mr_ece_equal_mass`",
    extent="0–1",
    hides="how many pixels a bin holds",
  ),
  Metric(
    key="mce",
    section="read_outs",
    gaps=lambda images: GapBins(images.of(vote_bins), "worst"),
    label="MCE",
    hint="The gap of the worst bin; a bin with few pixels can decide it.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    definition="largest gap of a bin",
    extent="0–1",
    hides="that it may rest on a handful of pixels",
  ),
  Metric(
    key="brier",
    section="read_outs",
    formula=lambda tally: over_pairs(tally, "brier"),
    image=lambda images: images.of(image_metrics)["brier"],
    label="Brier score",
    short="Brier",
    hint="Squared distance to each vote: calibration and sharpness in one number.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    place=1,
    tags=_SHOWN,
    columns=(Column("Brier\nmean\nvote", 6, "mean_vote"),),
    definition="mean of (p − y)² over pairs; proper",
    extent="0–1",
    hides="that 0 is out of reach: compare with `floors.brier`",
  ),
  Metric(
    key="nll",
    section="read_outs",
    formula=lambda tally: over_pairs(tally, "nll"),
    image=lambda images: images.of(image_metrics)["nll"],
    label="NLL (nats)",
    hint="Log loss of each vote: punishes confident mistakes most.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    place=1,
    tags=_SHOWN,
    definition="mean of −y log p − (1 − y) log(1 − p), nats; p kept 2⁻²⁴ from 0 and 1; proper",
    extent="≥ 0",
    hides="that 0 is out of reach: compare with `floors.nll`",
  ),
)

FLOORS = (
  Metric(
    key="brier",
    section="floors",
    formula=lambda tally: ratio(
      tally.total(tally.sums.vote_variance * tally.sums.num_valid), tally.total(tally.sums.num_pairs)
    ),
    image=lambda images: ratio(images.sums.vote_variance, images.sums.num_pixels),
    image_key="brier_floor",
    definition="mean of m(1 − m): what a map equal to the mean vote would score; no map can be lower on these votes",
    extent="0–¼",
  ),
  Metric(
    key="nll",
    section="floors",
    formula=lambda tally: ratio(
      tally.total(tally.sums.vote_entropy * tally.sums.num_valid), tally.total(tally.sums.num_pairs)
    ),
    image=lambda images: ratio(images.sums.vote_entropy, images.sums.num_pixels),
    image_key="nll_floor",
    definition="mean of the entropy of m, nats: the same for the NLL",
    extent="0–log 2",
  ),
)
