"""What looks wrong, worst first. Raters of real sets disagree a lot, so every rule asks for more than disagreement.

A rule about moved masks compares two explanations of the same mask, as it is and moved. Over a whole set: were the
masks right as they are, a move would make most of them fit the others worse; so it fires where the same move makes many
fit better and hardly any worse (`_MARGIN`, `_ODDS`), which bias and disagreement do not. For a single image the mask
must fit badly as it is (`_BAD`), well when moved (`_GOOD`), be large, and the others must agree with one another.
"""

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ordseg.data_check import alignment, common_faults
from ordseg.data_check.finding import Finding
from ordseg.data_check.surveying import Survey

_BAD, _GOOD = 0.25, 0.7  # Dice of one image as it is, and moved
_SURE_PIXELS, _AGREED = 150, 0.6  # marks this large, others with this Dice among them, are no chance
_MARGIN, _ODDS, _ENOUGH, _SHARE = 0.1, 8, 4, 0.15  # Dice that counts, better to worse, images, and their share
_FITS = 0.4  # mean Dice of the images that fit better, once moved
_SAME_IMAGE = 0.985  # correlation of thumbnails
_EQUAL_SHARE = 0.9  # of the images that two raters marked
_BIAS = 5.0  # times the area of the others


def leaks(survey: Survey) -> Iterator[Finding]:
  """Groups (patients) that are in more than one split."""
  where: dict[str, set[str]] = collections.defaultdict(set)
  images: dict[str, list[int]] = collections.defaultdict(list)
  for i, (group, split) in enumerate(zip(survey.groups, survey.splits, strict=True)):
    where[group].add(split)
    images[group].append(i)
  cut = sorted(group for group, splits in where.items() if len(splits) > 1)
  if cut:
    shown = ", ".join(cut[:5]) + (", ..." if len(cut) > 5 else "")
    yield Finding(
      100, f"{len(cut)} group(s) are in more than one split: {shown}", tuple(i for g in cut for i in images[g])[:6]
    )


def duplicates(survey: Survey) -> Iterator[Finding]:
  """Images that are in two splits, exactly or nearly."""
  pairs = _pairs_across_splits(survey)
  if not pairs:
    return
  exact = sum(survey.digests[i] == survey.digests[j] for i, j, _ in pairs)
  i, j, likeness = pairs[0]
  yield Finding(
    95,
    f"{len(pairs)} pair(s) of images in different splits look the same ({exact} pixel by pixel): "
    f"{survey.ids[i]} ({survey.splits[i]}) and {survey.ids[j]} ({survey.splits[j]}), correlation {likeness:.4f}",
    tuple(k for i, j, _ in pairs[:3] for k in (i, j)),
  )


def _pairs_across_splits(survey: Survey) -> list[tuple[int, int, float]]:
  """(i, j, correlation of the thumbnails), most alike first."""
  splits = np.asarray(survey.splits)
  found = []
  for start in range(0, len(splits), 1024):
    rows = slice(start, start + 1024)
    likeness = survey.thumbnails[rows] @ survey.thumbnails.T
    later = np.arange(len(splits))[None, :] > np.arange(start, start + len(likeness))[:, None]
    alike = (likeness > _SAME_IMAGE) & later & (splits[rows, None] != splits[None, :])
    found += [(int(i) + start, int(j), float(likeness[i, j])) for i, j in zip(*np.nonzero(alike), strict=True)]
  return sorted(found, key=lambda pair: -pair[2])


def moved_raters(survey: Survey) -> Iterator[Finding]:
  """A rater whose masks would fit the others better if all were moved in the same way: the move that explains most."""
  found = [finding for r in range(len(survey.raters)) if (finding := _moved_rater(survey, r)) is not None]
  inverted = [finding for finding in found if "inverted" in finding.what]
  # The others are compared with an inverted rater's masks, too: it is reported alone, to be corrected first.
  yield from inverted or found


def _moved_rater(survey: Survey, r: int) -> Finding | None:
  seen = [(i, fit) for i, row in enumerate(survey.fits) if (fit := row[r]) is not None]
  explanations = []
  for move in alignment.MOVES:
    pairs = [(i, fit, fit.moved[move]) for i, fit in seen if move in fit.moved]
    if move == "shifted":
      pairs = _same_shift(pairs)
    if move == "inverted":  # only what covers most of an image can be the outside of something
      pairs = [(i, fit, score) for i, fit, score in pairs if fit.covers > 0.5]
    better = [(i, fit, score) for i, fit, score in pairs if score > fit.as_is + _MARGIN]
    worse = sum(fit.as_is > score + _MARGIN for _, fit, score in pairs)
    if len(better) < max(_ENOUGH, _SHARE * len(seen), _ODDS * worse):
      continue
    before, after = (float(np.mean(x)) for x in ([f.as_is for _, f, _ in better], [s for *_, s in better]))
    if after >= _FITS:
      explanations.append((len(better) * (after - before), move, before, after, better))
  if not explanations:
    return None
  _, move, before, after, better = max(explanations)
  better.sort(key=lambda item: item[1].as_is - item[2])
  shift = -np.rint(np.median([fit.shift for _, fit, _ in better], axis=0)).astype(int)
  by = f" by {tuple(shift.tolist())} pixels (rows, columns)" if move == "shifted" else ""
  return Finding(
    90,
    f"{survey.raters[r]} looks {move}{by} throughout: {len(better)} of {len(seen)} masks fit the others better once "
    f"put right: Dice with them {before:.2f} as the masks are, {after:.2f} put right",
    tuple(i for i, _, _ in better[:4]),
    (r,),
  )


def _same_shift(
  pairs: list[tuple[int, alignment.Alignment, float]],
) -> list[tuple[int, alignment.Alignment, float]]:
  """Keeps the images whose best shift is the commonest one, within two pixels, if that is a shift at all."""
  if not pairs:
    return []
  shifts = np.asarray([fit.shift for _, fit, _ in pairs])
  near = np.abs(shifts[:, None] - shifts[None, :]).max(-1) <= 2
  common = int(np.argmax(near.sum(1)))
  if np.abs(shifts[common]).max() < 3:
    return []
  return [pair for pair, is_near in zip(pairs, near[common], strict=True) if is_near]


def moved_images(survey: Survey) -> Iterator[Finding]:
  """Single images on which one rater's mask fits nobody, but everybody once it is moved."""
  if next(moved_raters(survey), None) is not None:
    return  # a rater who is wrong throughout makes the others look wrong
  found = []
  for i, row in enumerate(survey.fits):
    for r, fit in enumerate(row):
      if fit is None or fit.area < _SURE_PIXELS or fit.others < _AGREED or sum(f is not None for f in row) < 3:
        continue
      move, score = fit.best
      if fit.as_is < _BAD and score > _GOOD:
        found.append((score - fit.as_is, i, r, move, fit))
  for gain, i, r, move, fit in sorted(found, key=lambda item: -item[0]):
    by = f" by {tuple(-n for n in fit.shift)} pixels (rows, columns)" if move == "shifted" else ""
    yield Finding(
      40 + 40 * gain,
      f"{survey.raters[r]} looks {move}{by} on {survey.ids[i]}: Dice with the others {fit.as_is:.2f} as it is, "
      f"{fit.best[1]:.2f} put right",
      (i,),
      (r,),
    )


def equal_raters(survey: Survey) -> Iterator[Finding]:
  """Two columns that hold the same masks."""
  digests = np.asarray(survey.mask_digests)
  for r in range(len(survey.raters)):
    for s in range(r):
      both = (digests[:, r] != "") & (digests[:, s] != "")
      equal = both & (digests[:, r] == digests[:, s])
      if both.sum() >= _ENOUGH and equal.sum() >= _EQUAL_SHARE * both.sum():
        yield Finding(
          85,
          f"{survey.raters[s]} and {survey.raters[r]} hold the same masks on {int(equal.sum())} of {int(both.sum())} "
          "images that both marked: is one a copy?",
          tuple(np.flatnonzero(equal)[:3].tolist()),
          (s, r),
        )


def silent_raters(survey: Survey) -> Iterator[Finding]:
  """A rater who marked nothing anywhere although others did, or who is nowhere."""
  marked, valid = survey.areas > 0, survey.sums.rater_valid > 0
  for r, name in enumerate(survey.raters):
    others = np.delete(marked, r, axis=1).any(axis=1)
    chances = int((valid[:, r] & others).sum())
    if not valid[:, r].any():
      yield Finding(60, f"{name} is missing from every image", (), (r,))
    elif chances >= _ENOUGH and not marked[:, r].any():
      shown = tuple(np.flatnonzero(valid[:, r] & others)[:3].tolist())
      yield Finding(80, f"{name} has empty masks on all {chances} images that others marked", shown, (r,))


def biased_raters(survey: Survey) -> Iterator[Finding]:
  """A rater whose marks are many times larger or smaller than the others'."""
  for r, (name, ratio) in enumerate(zip(survey.raters, area_ratios(survey), strict=True)):
    if np.isfinite(ratio) and (ratio > _BIAS or ratio < 1 / _BIAS) and ratio > 0:
      how = f"{ratio:.1f} times" if ratio > 1 else f"1/{1 / ratio:.1f} of"
      yield Finding(50, f"{name} marks {how} the area of the others: another structure, or inverted?", (), (r,))


def flat_images(survey: Survey) -> Iterator[Finding]:
  """Images without any contrast."""
  flat = [i for i, (low, high) in enumerate(zip(survey.low, survey.high, strict=True)) if low == high]
  if flat:
    shown = ", ".join(survey.ids[i] for i in flat[:3]) + (", ..." if len(flat) > 3 else "")
    yield Finding(45, f"{len(flat)} image(s) hold one value only: {shown}", tuple(flat[:3]))


def area_ratios(survey: Survey) -> np.ndarray:
  """Returns [R]: pixels that a rater marked over those of another, on the images both answered; the median over others,
  so that one who is wrong does not make all look wrong."""
  areas, valid = survey.areas.astype(np.float64), survey.sums.rater_valid > 0
  out = np.full(len(survey.raters), np.nan)
  for r in range(len(survey.raters)):
    ratios = []
    for s in range(len(survey.raters)):
      both = valid[:, r] & valid[:, s]
      if s != r and areas[both, s].sum() > 0:
        ratios.append(areas[both, r].sum() / areas[both, s].sum())
    if ratios:
      out[r] = float(np.median(ratios))
  return out


_OF_IMAGES = (leaks, duplicates, flat_images)
_OF_MASKS = (
  common_faults.inverted,
  common_faults.nothing_or_everything,
  moved_raters,
  moved_images,
  equal_raters,
  silent_raters,
  biased_raters,
)


def examine(surveys: Survey | Sequence[Survey], *, has_groups: bool = False) -> list[Finding]:
  """Returns every finding, worst first.

  Args:
    surveys: The surveys of a data set, one for each structure.
    has_groups: the user has said which images belong together.
  """
  surveys = [surveys] if isinstance(surveys, Survey) else surveys
  found = [finding for rule in _OF_IMAGES for finding in rule(surveys[0])]
  found += common_faults.merged_raters(surveys[0])
  found += [] if has_groups else common_faults.shared_stems(surveys[0])
  for k, survey in enumerate(surveys):
    named = f"{survey.structure}: " if survey.structure else ""
    for rule in _OF_MASKS:
      found += [dataclasses.replace(one, what=named + one.what, structure=k) for one in rule(survey)]
  return sorted(found, key=lambda finding: -finding.weight)
