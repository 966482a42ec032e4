"""The first screen of a report: how sure may one be of this map, in plain words and four numbers."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ordseg.reporting.report import figures, noise, prose, reading, terms
from ordseg.reporting.report.reading import Evaluation
from ordseg.reporting.report.terms import number, percent

# What the words of the verdict stand for: neither the average error where the map is unsure, nor the error of any
# percentage in the table, is larger.
NEARLY, ROUGHLY = (0.05, 0.10), (0.10, 0.20)
ALIKE = 0.1  # Brier scores that differ by no larger share are "about as well"
_ANCHORS, _NEAR = (0.1, 0.3, 0.5, 0.7, 0.9), 0.07  # of the table of percentages
_FEW_IMAGES = 30


@dataclasses.dataclass(frozen=True)
class Fact:
  """A number on the first screen: what it is called, and what it means in a sentence or two."""

  title: str
  value: str
  text: str


def verdict(e: Evaluation) -> str:
  """Returns whether the percentages can be taken at their word, in a sentence; `NEARLY` and `ROUGHLY` decide."""
  middle = prose.unsure(_curve(e))
  if not sum(_curve(e)["count"]):
    return "That cannot be said: no pixel of the images has an answer of a rater."
  images = f"On {'only ' if _count(e) < _FEW_IMAGES else 'the '}{_images(e)} checked"
  if middle is None:
    return f"{images}, the map was never unsure: it says nearly 0\u00a0% or nearly 100\u00a0% everywhere."
  errors = (middle.gap, max((abs(p.did - p.said) for p in percentages(e)), default=0.0))
  direction = prose.tendency(middle)
  if _within(errors, NEARLY):
    return f"{images}, its percentages can be taken nearly at their word{_LEANINGS.get(direction, '')}."
  words = "are a fair guide, and no more" if _within(errors, ROUGHLY) else "should not be taken at their word"
  return f"{images}, its percentages {words}{_TENDENCIES.get(direction, '')}."


def beside_people(e: Evaluation) -> str:
  """Returns how well the map predicts a rater beside the other raters, by the Brier score; '' where that is unknown.

  A map can be calibrated and say little: this is what the verdict on its percentages leaves out.
  """
  ours, theirs = e.number("read_outs.mean_vote.brier"), e.number("raters.leave_one_out.brier")
  if ours is None or theirs is None:
    return ""
  if ours > (1 + ALIKE) * theirs:
    return (
      "It predicts what a rater marks less well than the other raters do: it is vaguer than they are, or misplaced."
    )
  how = "better than" if ours < (1 - ALIKE) * theirs else "about as well as"
  return f"It predicts what a rater marks {how} the other raters do."


def _within(errors: tuple[float, float], bounds: tuple[float, float]) -> bool:
  return errors[0] <= bounds[0] and errors[1] <= bounds[1]


_LEANINGS = {"high": "; if anything, they are too high", "low": "; if anything, they are too low"}
_TENDENCIES = {
  "high": ": where the map is unsure, they are nearly always too high",
  "low": ": where the map is unsure, they are nearly always too low",
  "sure": ": the map is surer than it should be",
  "cautious": ": the map is less sure than it could be",
}


def facts(e: Evaluation) -> list[Fact]:
  """Returns the four numbers: a percentage and what it was worth, the average error, people, the amount checked."""
  return [_said_and_done(e), _error(e), _people(e), _evidence(e)]


def _curve(e: Evaluation) -> figures.Curve:
  return e.curves["read_outs"]["mean_vote"]["pooled"]


def _count(e: Evaluation) -> int:
  return int(e.number("num_images_scored") or e.metrics["num_images"])


def _images(e: Evaluation) -> str:
  count = _count(e)
  return f"{count:,} image{'s' * (count != 1)}"


def _said_and_done(e: Evaluation) -> Fact:
  pairs = prose.says_and_did(_curve(e))
  if not pairs:
    text = "It gave no percentage near 70\u00a0% or 30\u00a0% to enough pixels to check one."
    return Fact("Does the percentage hold?", terms.MISSING, text)
  said, did = pairs[0]
  more = "".join(f" Where it says {percent(p)}, {percent(y)} did." for p, y in pairs[1:])
  return Fact(
    f"Where the map says {percent(said)}",
    percent(did),
    f"of the raters marked the pixel, on average.{more}",
  )


def _error(e: Evaluation) -> Fact:
  title, middle = "Average error where it is unsure", prose.unsure(_curve(e))
  if middle is None:
    return Fact(title, terms.MISSING, "It is unsure nowhere.")
  low, high = prose.UNSURE
  return Fact(
    title,
    f"{100 * middle.gap:.1f}\u00a0points",
    f"Percentage points. Unsure means between {percent(low)} and {percent(high)}: {percent(middle.share, 1)} of all "
    "pixels. Everywhere else it is nearly certain.",
  )


def _people(e: Evaluation) -> Fact:
  title = "Overlap with one rater's outline"
  path = f"read_outs.{e.mask_read_out}.dice_rater_mean"
  mask, others = e.number(path), e.number("raters.leave_one_out.dice")
  if mask is None:
    return Fact(title, terms.MISSING, "In no image did a majority of the raters mark anything.")
  inside = _interval(e, path, 2)
  if others is None:
    return Fact(
      title, f"{mask:.2f}{inside}", "1 is the same outline. No two raters answered the same image to compare with."
    )
  theirs = f"{others:.2f}{_interval(e, 'raters.leave_one_out.dice', 2)}"
  text = f"The other raters together reach {theirs}; 1 is the same outline."
  brier, people, floor = (
    e.number(path) for path in ("read_outs.mean_vote.brier", "raters.leave_one_out.brier", "floors.brier")
  )
  if brier is not None and people is not None and floor is not None:
    text += (
      f" Squared error in predicting a rater's marks: map {number(brier)}, the other raters {number(people)}; raters "
      f"differ, so nothing can be below {number(floor)}."
    )
  return Fact(title, f"{mask:.2f}{inside}", text)


def _interval(e: Evaluation, path: str, decimals: int) -> str:
  ends = e.interval(path)
  return "" if ends is None else f" ({ends[0]:.{decimals}f} to {ends[1]:.{decimals}f})"


def _evidence(e: Evaluation) -> Fact:
  raters, disputed = e.num_raters, e.number("raters.share_disputed")
  text = f"outlined by {f'up to {raters} raters' if raters > 1 else 'one rater'}{_seen_before(e)}."
  if disputed is not None:
    text += f" Of what any of them marked, {percent(disputed)} was disputed: an honest map is unsure there."
  return Fact("Checked on", _images(e), text)


def _seen_before(e: Evaluation) -> str:
  """Says whether training saw these images, where the run's config tells."""
  split = e.text("split", "")
  train, validation = (e.text(f"model.config.data.{name}_split", "") for name in ("train", "validation"))
  if not (split and train):
    return ""
  if split == train:
    return "; the model was trained on these very images, so expect less of others"
  if split == validation:
    return "; they also chose the checkpoint, so expect a little less of others"
  unseen = split.partition("[")[0] not in (train.partition("[")[0], validation.partition("[")[0])
  return "; none was used in training" if unseen else ""


@dataclasses.dataclass(frozen=True)
class Percentage:
  """A row of the table of percentages: what the map says, what the raters did, [0, 1], and on how many votes."""

  said: float
  did: float
  votes: int


def percentages(e: Evaluation) -> list[Percentage]:
  """Returns what percentages near 10, 30, 50, 70 and 90 % were worth, those that enough votes were given to."""
  prob, label, count = figures.points(_curve(e))
  enough = count >= figures.FEW
  prob, label, count = prob[enough], label[enough], count[enough]
  found: dict[int, Percentage] = {}
  for anchor in _ANCHORS if prob.size else ():
    k = int(np.abs(prob - anchor).argmin())
    if abs(prob[k] - anchor) <= _NEAR:
      found[k] = Percentage(float(prob[k]), float(label[k]), int(count[k]))
  return list(found.values())


def limits(e: Evaluation, rows: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
  """Returns what the numbers cannot tell, as (headword, text).

  Args:
    e: the evaluation.
    rows: of per_image.csv.
  """
  truth = "The raters are the yardstick. If all of them are wrong, so is a map that agrees with them."
  others = (
    f"The numbers hold for images like those of {e.data_name}. With another scanner, clinic, preparation or kind of "
    "patient they can be worse, and this page would not know."
  )
  yours = f"They are averages over many images. {_spread(e, rows)}"
  out = [("What is really there.", truth), ("Other images.", others), ("Your image.", yours)]
  if terms.region(e):
    out.append(
      ("The rest of the image.", f"Only pixels {terms.region(e)}. What the map says farther away is not seen.")
    )
  missing = int((reading.column(rows, "num_valid") < e.num_raters).sum())
  if missing:
    out.append(("Raters who did not answer.", f"{missing} of {len(rows)} images lack some; there, the others count."))
  out.append(("Chance.", _chance(e)))
  return out


def _spread(e: Evaluation, rows: Sequence[Mapping[str, str]]) -> str:
  dice = reading.column(rows, f"{e.mask_read_out}_dice")
  dice = dice[np.isfinite(dice) & (reading.column(rows, "majority_pixels") > 0)]
  if dice.size < 4:
    return "One image can be far off."
  low, high = np.quantile(dice, (0.25, 0.75))
  return (
    f"Overlap with the majority's outline is {low:.2f} or less in a quarter of the images and {high:.2f} or more in "
    "another; the report shows the worst."
  )


def _chance(e: Evaluation) -> str:
  few = f"{_images(e)}: that is little. " if _count(e) < _FEW_IMAGES else ""
  described = intervals(e)
  if described:
    old = f" {noise.why_none(e)}" if e.old_intervals else ""
    return f"{few}A range after a number, or beneath it, is its {described}.{old}"
  if why := noise.why_none(e):
    return f"{few}{why} Small differences may be luck."
  return f"{few}No confidence intervals were computed: small differences may be luck."


def intervals(e: Evaluation) -> str:
  """Returns what the intervals are: '95 % bootstrap interval (20 groups resampled)', '' without any."""
  return terms.interval_kind(e) if (e.metrics.get("intervals") or {}).get("values") else ""
