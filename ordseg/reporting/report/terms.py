"""What each number is called, what it answers, how it is written and why it may be missing."""

import dataclasses

from ordseg.reporting.report.reading import Evaluation

LABELS = {"mean_vote": "mean vote", "majority": "majority"}
MISSING = "\u2013"

_NO_IMAGE = "there is no image"
_NO_MAJORITY = "in no image did a majority mark anything"
_FULL = "in every image a majority marked something"
_EMPTY = "Of the images in which no majority marked anything, "
_NO_ANSWER = "no pixel has an answer"
_ONE_CLASS = "needs both marked and unmarked pixels"
_NO_PAIR = "needs images that two raters answered"


@dataclasses.dataclass(frozen=True)
class Metric:
  """One number of metrics.json.

  Attributes:
    key: its name there, inside its section.
    label: its name in a report.
    hint: the question it answers, for people.
    better: 'lower', 'higher' or '' where it is no score.
    missing: why it can be undefined.
    decimals: digits after the point.
  """

  key: str
  label: str
  hint: str
  better: str
  missing: str
  decimals: int = 4


@dataclasses.dataclass(frozen=True)
class Group:
  """Metrics with one target.

  Attributes:
    title: of the group.
    note: what the group scores against, in a sentence.
    own: the read-out that is calibrated to that target; '' where neither has the advantage.
    metrics: its rows.
    optional: whether an evaluation may lack it; it is left out then.
  """

  title: str
  note: str
  own: str
  metrics: tuple[Metric, ...]
  optional: bool = False


def _soft_dice(cuts: str, number: str, where: str) -> tuple[Metric, Metric]:
  hint = f"Overlap of the map and the share of votes, both cut at {where}; means over cuts and images with votes."
  every = "The same over all images and cuts; two empty masks count as 1."
  key, label = f"soft_dice_{cuts}", f"Soft Dice, {number}"
  some = Metric(key, label, hint, "higher", "nobody marked anything", 3)
  return some, Metric(f"{key}_all", f"{label}, all images", every, "higher", _NO_IMAGE, 3)


READ_OUT_GROUPS = (
  Group(
    "Against every rater's vote",
    "What share of the raters mark the pixel? The mean vote is made to answer this.",
    "mean_vote",
    (
      Metric(
        "mr_ece_pooled",
        "MR-ECE",
        "Gap between probability and share of raters who marked the pixel; mean over all pixels.",
        "lower",
        _NO_ANSWER,
      ),
      Metric(
        "mr_ece_rater_mean",
        "MR-ECE, mean over raters",
        "The same gap to one rater at a time, each counting the same, so the raters' own habits count too.",
        "lower",
        _NO_ANSWER,
      ),
      Metric(
        "mr_ece_per_image_mean",
        "MR-ECE, mean over images",
        "The same gap within one image at a time; errors of different images cannot cancel.",
        "lower",
        _NO_ANSWER,
      ),
      Metric(
        "ace",
        "ACE, average",
        "Average calibration error: each bin of equal width counts the same, whatever it holds; not the adaptive one.",
        "lower",
        _NO_ANSWER,
      ),
      Metric("mce", "MCE", "The gap of the worst bin; a bin with few pixels can decide it.", "lower", _NO_ANSWER),
      Metric(
        "mr_ece_equal_mass",
        "MR-ECE, equal-mass bins",
        "MR-ECE with as many pixels in each bin as ties allow, the adaptive error of Nixon et al.",
        "lower",
        _NO_ANSWER,
      ),
      Metric(
        "smooth_ece",
        "SmoothECE",
        "MR-ECE without bins: the gap smoothed over neighbouring probabilities.",
        "lower",
        _NO_ANSWER,
      ),
      Metric(
        "ece_top_label",
        "ECE, top label",
        "Gap between how sure the mask is and how often a rater agrees with it; mean over all pixels.",
        "lower",
        _NO_ANSWER,
      ),
      Metric(
        "ece_curvas",
        "ECE as in CURVAS",
        "The same to one rater at a time within one image; mean over raters, then over images.",
        "lower",
        _NO_ANSWER,
      ),
      Metric(
        "ece_curvas_by_group",
        "ECE as in CURVAS, groups",
        "The same within one group, such as all slices of a volume; mean over groups.",
        "lower",
        _NO_ANSWER,
      ),
      Metric(
        "brier",
        "Brier score",
        "Squared distance to each vote: calibration and sharpness in one number.",
        "lower",
        _NO_ANSWER,
      ),
      Metric("nll", "NLL (nats)", "Log loss of each vote: punishes confident mistakes most.", "lower", _NO_ANSWER),
      Metric(
        "auc_pooled",
        "AUC, all votes",
        "How often a marked pixel ranks above an unmarked one; says nothing about calibration.",
        "higher",
        _ONE_CLASS,
      ),
    ),
  ),
  Group(
    "Against the majority",
    "Does the majority of those who answered mark the pixel? The majority read-out is made to answer this.",
    "majority",
    (
      Metric(
        "ece_majority",
        "ECE, majority",
        "Gap between probability and how often the majority marked the pixel; mean over all pixels.",
        "lower",
        _NO_ANSWER,
      ),
      Metric("auc_majority", "AUC, majority", "How often a pixel of it ranks above another one.", "higher", _ONE_CLASS),
    ),
  ),
  Group(
    "Masks",
    "Either map cut at 50 % unless said otherwise. Both columns count.",
    "",
    (
      Metric(
        "dice",
        "Dice",
        "Overlap with the majority's mask, mean over images with one.",
        "higher",
        _NO_MAJORITY,
        3,
      ),
      Metric(
        "dice_all", "Dice, all images", "The same over all images; two empty masks count as 1.", "higher", _NO_IMAGE, 3
      ),
      Metric(
        "dice_pooled",
        "Dice, pixels pooled",
        "The same over all pixels at once, so large objects weigh more.",
        "higher",
        "neither the map nor the majority marked a pixel",
        3,
      ),
      Metric(
        "dice_rater_mean",
        "Dice, each rater",
        "Overlap with one rater's mask at a time, mean over raters.",
        "higher",
        _NO_MAJORITY,
        3,
      ),
      Metric("iou", "IoU", "Shared area over joint area, with the majority's mask.", "higher", _NO_MAJORITY, 3),
      *_soft_dice("5", "five cuts", "10, 30, 50, 70 and 90 % (MRNet, D-Persona)"),
      *_soft_dice("9", "nine cuts", "10, 20, .. 90 % (QUBIQ)"),
      Metric(
        "empty_marked_share", "Empty images marked", _EMPTY + "the share with a mark of the map.", "lower", _FULL, 3
      ),
      Metric("empty_marked_pixels", "Pixels marked there", _EMPTY + "the mean number of these.", "lower", _FULL, 1),
    ),
  ),
  Group(
    "Outlines",
    "Either map cut at 50 %; tolerance and unit are under “Where the numbers come from”.",
    "",
    (
      Metric(
        "hd95",
        "Hausdorff distance, 95 %",
        "How far apart the outlines of mask and majority are, but for the farthest 5 %.",
        "lower",
        _NO_MAJORITY,
        2,
      ),
      Metric(
        "hd95_rater_mean",
        "Hausdorff distance, 95 %, each rater",
        "The same with one rater's mask at a time, mean over raters.",
        "lower",
        _NO_MAJORITY,
        2,
      ),
      Metric(
        "surface_dice",
        "Surface Dice",
        "Share of both outlines, mask and majority, that lies within the tolerance of the other.",
        "higher",
        _NO_MAJORITY,
        3,
      ),
      Metric(
        "surface_dice_rater_mean",
        "Surface Dice, each rater",
        "The same with one rater's mask at a time, mean over raters.",
        "higher",
        _NO_MAJORITY,
        3,
      ),
    ),
    optional=True,
  ),
)

LEVEL_METRICS = (
  Metric("rps", "RPS", "Squared distance of the whole predicted distribution from the vote.", "lower", _NO_ANSWER),
  Metric(
    "level_ece",
    "Level ECE",
    "Gap between “at least j raters mark it” and how often they did; mean over j and all pixels.",
    "lower",
    _NO_ANSWER,
  ),
  Metric(
    "ged_nested",
    "GED, nested masks",
    "Distance of the masks “at least j raters”, taken as samples, from the raters' masks; mean over images.",
    "lower",
    _NO_ANSWER,
    3,
  ),
  Metric(
    "ncc_nested",
    "NCC, nested masks",
    "Do these masks differ where they miss a rater's mask? Correlation within an image; mean over images.",
    "higher",
    "every mask agrees with every rater everywhere, or nobody answered",
    3,
  ),
)

AGREEMENT_METRICS = (
  Metric("pairwise_dice_mean", "Dice of two raters", "Overlap of two raters' masks, mean over pairs.", "", _NO_PAIR, 3),
  Metric(
    "share_disputed",
    "Disputed share",
    "Of the pixels that anyone marked, the share that not everyone marked.",
    "",
    "needs marked pixels in images that two raters answered",
    3,
  ),
  Metric(
    "fleiss_kappa",
    "Fleiss' kappa",
    "Agreement of the panel beyond chance: 0 is chance, 1 is full agreement.",
    "",
    _NO_PAIR,
    3,
  ),
  Metric(
    "krippendorff_alpha",
    "Krippendorff's alpha",
    "The same, by disagreement; made for panels in which raters are missing.",
    "",
    _NO_PAIR,
    3,
  ),
  Metric(
    "pairwise_kappa_mean",
    "Cohen's kappa of two raters",
    "Agreement of two raters beyond chance, mean over pairs.",
    "",
    _NO_PAIR,
    3,
  ),
)

# (metric of a rater predicted by the others, path of the model's number that may stand beside it)
LEAVE_ONE_OUT = (
  (
    Metric("dice", "Dice, each rater", "Overlap with one rater's mask, mean over raters.", "higher", _NO_PAIR, 3),
    "read_outs.majority.dice_rater_mean",
  ),
  (
    Metric(
      "mr_ece",
      "MR-ECE",
      "Gap between the share of votes foretold and the votes; mean over all pixels.",
      "lower",
      _NO_PAIR,
    ),
    "read_outs.mean_vote.mr_ece_pooled",
  ),
  (
    Metric("brier", "Brier score", "Squared distance to each vote.", "lower", _NO_PAIR),
    "read_outs.mean_vote.brier",
  ),
)


def number(value: float | None, decimals: int = 4, missing: str = MISSING) -> str:
  """Writes a number with a fixed count of decimals; `missing` for None."""
  return missing if value is None else f"{value:.{decimals}f}"


def interval(evaluation: Evaluation, path: str, decimals: int = 4) -> str:
  """Writes the interval of a number of metrics.json as ``0.81 to 0.85``; '' where it has none."""
  ends = evaluation.interval(path)
  return "" if ends is None else " to ".join(number(end, decimals) for end in ends)


def interval_kind(evaluation: Evaluation) -> str:
  """Returns what the intervals are: confidence, what was drawn, how often."""
  units = int(evaluation.number("intervals.num_units") or 0)
  return (
    f"{percent(evaluation.number('intervals.confidence'))} bootstrap interval "
    f"({units} {evaluation.text('intervals.unit', 'images')} resampled)"
  )


def percent(value: float | None, decimals: int = 0) -> str:
  """Writes a share as a percentage with a no-break space."""
  return MISSING if value is None else f"{100 * value:.{decimals}f}\u00a0%"


def one_map(evaluation: Evaluation) -> bool:
  """Returns whether both read-outs are the same map, as with a head of one probability."""
  a, b = (evaluation.metrics["read_outs"][name] for name in LABELS)
  return a == b


def subject(evaluation: Evaluation) -> str:
  """Returns what was evaluated: data set, split, images, raters."""
  images, raters = int(evaluation.metrics["num_images"]), evaluation.num_raters
  return (
    f"{evaluation.data_name}, {evaluation.text('split')} split: {images} image{'s' * (images != 1)}, "
    f"{raters} rater{'s' * (raters != 1)}"
  )


def region(evaluation: Evaluation) -> str:
  """Returns which pixels count where not all of them do, '' where all do."""
  margin = evaluation.number("roi.margin")
  if evaluation.text("roi.kind", "image") == "image" or margin is None:
    return ""
  return f"within {int(margin)} pixels of what any rater marked; images in which nobody marked anything count whole"


def outlines(evaluation: Evaluation) -> str:
  """Returns unit and tolerance of the distances between outlines; '' where none were measured."""
  tolerance, unit = evaluation.number("surface.tolerance"), evaluation.text("surface.unit")
  return "" if tolerance is None else f"distances in {unit}, tolerance of the surface Dice {tolerance:g}"


def model_name(evaluation: Evaluation) -> str:
  """Returns loss, head and step of the model."""
  loss, head, step = (evaluation.text(path, "unknown") for path in ("model.loss", "model.head", "step"))
  return f"{loss} loss, {head} head, step {step}"
