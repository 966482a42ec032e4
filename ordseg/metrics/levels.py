"""Metrics of the whole predicted distribution over the number of votes: no read-out."""

from ordseg.metrics import calibration
from ordseg.metrics.calibration import ratio
from ordseg.metrics.gaps import GapBins
from ordseg.metrics.registry import Column, Metric
from ordseg.metrics.scores import image_rps, level_bins
from ordseg.metrics.sums import SQUARE_BITS
from ordseg.metrics.votes import NO_ANSWER

_SHOWN = frozenset({"summary", "card", "recalibrated"})

METRICS = (
  Metric(
    key="rps",
    section="levels",
    formula=lambda tally: ratio(tally.total(tally.sums.rps) / 2.0**SQUARE_BITS, tally.total(tally.sums.num_pixels)),
    image=lambda images: images.of(image_rps),
    label="RPS",
    hint="Squared distance of the whole predicted distribution from the vote.",
    better="lower",
    missing=NO_ANSWER,
    tags=_SHOWN | {"headline"},
    columns=(Column("RPS", 7),),
    definition="the Ranked Probability Score of the whole distribution, thinned to n, divisor n + 1; proper",
    extent="0–1",
    hides="that 0 is out of reach where raters disagree",
  ),
  Metric(
    key="level_ece",
    section="levels",
    gaps=lambda images: GapBins(images.of(level_bins), "rows"),
    label="Level ECE",
    hint="Gap between “at least j raters mark it” and how often they did; mean over j and all pixels.",
    better="lower",
    missing=NO_ANSWER,
    tags=_SHOWN,
    columns=(Column("level\nECE", 8),),
    definition="ECE of `at_least_j` against 1[c ≥ j], of the prediction thinned to n, over images with n ≥ j; "
    "mean over j",
    extent="0–1",
    hides="errors that cancel within a bin; small lesions, since background dominates",
  ),
  Metric(
    key="level_ece_per_level",
    section="levels",
    formula=lambda tally: calibration.ece(tally.bins(tally.images.of(level_bins))),
    definition="the same for each j, a list",
    extent="0–1",
  ),
)
