"""Faults that all images or all raters share: nothing stands out, so nothing that compares raters can see them."""

import collections
import re
from collections.abc import Iterator, Mapping

import numpy as np

from ordseg.data_check.finding import Finding
from ordseg.data_check.surveying import Survey

_NEARLY_ALL = 0.9  # of the masks
_ENOUGH = 4  # images
# Parts of the names that people give to what raters were merged into.
_MERGED = re.compile(
  r"gt|(ground)?truth|mean|avg|median|maj|mv|vot(e|ed|ing)|staple|fus(ed|ion)|merged|union|combined|agreed|agreement|"
  r"reference|gold(standard)?|ensemble|.*(consensus|majority|groundtruth|average|adjudicat|aggregat|intersect).*"
)
_TILE = re.compile(r"(/z\d{4})?(/y\d{5}-x\d{5})?$")  # what folder_raters adds to the name of an image
# Where the patient may end in an image's name, the likeliest first.
_STEMS = (
  r"^([^/]+)/",
  r"^(\D*\d+)\D",
  r"^([^_]+)_",
  r"^([^-]+)-",
  r"^([^ ]+) ",
  r"^([^.]+)\.",
  r"^(.+)_[^_]+$",
  r"^(.+)-[^-]+$",
  r"^(.+)[ .][^ .]+$",
  r"^(.*\d)[A-Za-z]+$",
)


def inverted(survey: Survey) -> Iterator[Finding]:
  """Masks of all raters that mark the background: more than half of the image, on to every border."""
  pixels, answered = survey.num_pixels[:, None], survey.sums.rater_valid > 0
  some = answered & (survey.areas > 0) & (survey.areas < pixels)
  inside_out = some & (2 * survey.areas > pixels) & survey.touches
  if some.sum() and inside_out.sum() >= _NEARLY_ALL * some.sum():
    yield Finding(
      97,
      f"every mask looks inverted: {int(inside_out.sum())} of {int(some.sum())} mark more than half of their image and "
      "reach all its borders. If marks and background are swapped, say which value is the mark: marked='==0'",
      tuple(np.flatnonzero(inside_out.any(axis=1))[:4].tolist()),
    )


def nothing_or_everything(survey: Survey) -> Iterator[Finding]:
  """Nobody marks anything, or everybody everything, in all images or in those of a split."""
  answered = survey.sums.rater_valid > 0
  whole = {"": np.arange(len(survey.ids))}
  splits = {f" of split {split}": survey.of_split(split) for split in dict.fromkeys(survey.splits)}
  for where, index in (whole | splits).items():
    areas, pixels, who = survey.areas[index], survey.num_pixels[index, None], answered[index]
    if not who.any() or (where and len(index) < _ENOUGH):
      continue
    shown = tuple(index[:4].tolist())
    if not areas.any():
      yield Finding(
        98,
        f"nobody marks anything in any of the {len(index)} images{where}: are the masks read as they are meant "
        "(the setting marked), or lost on export?",
        shown,
      )
    elif (areas == pixels)[who].all():
      yield Finding(
        98, f"everybody marks everything in all of the {len(index)} images{where}: is it the setting marked?", shown
      )
    else:
      continue
    if not where:
      return


def merged_raters(survey: Survey) -> Iterator[Finding]:
  """A column among the raters that is named like what raters are merged into, or holds their majority."""
  if len(survey.raters) < 2:
    return
  marked = (survey.areas > 0) & (survey.sums.rater_valid.sum(axis=1) > 3)[:, None]
  named = [_is_merged(name) for name in survey.raters]
  for r, name in enumerate(survey.raters):
    same = survey.is_majority[:, r]
    if named[r] and not all(named):  # where all are called gt_1, gt_2, .. it is what their owner calls raters
      why = "is named like a consensus, not like a rater"
    elif same.sum() >= _ENOUGH and same.sum() >= _NEARLY_ALL * marked[:, r].sum():
      why = f"is what most of the others marked, pixel by pixel, on {int(same.sum())} images: a consensus?"
    else:
      continue
    yield Finding(
      88,
      f"{name} {why}; counted as a rater it makes the others look surer than they are. Leave it out: "
      "rater_pattern='...' or a folder elsewhere",
      tuple(np.flatnonzero(survey.areas[:, r] > 0)[:2].tolist()),
      (r,),
    )


def _is_merged(name: str) -> bool:
  spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
  words = re.findall(r"[a-z]+", spaced.casefold())
  return any(_MERGED.fullmatch(word) for word in (*words, "".join(words)))


def shared_stems(survey: Survey) -> Iterator[Finding]:
  """Images whose names begin alike, as those of one patient do, although each is a group of its own."""
  names = [_TILE.sub("", name) for name in survey.ids]
  if names != survey.groups:
    return
  pattern, stems = group_regex(sorted(set(names)))
  if not pattern:
    return
  images: dict[str, list[int]] = collections.defaultdict(list)
  for i, name in enumerate(names):
    images[stems[name]].append(i)
  together = {stem: index for stem, index in images.items() if len({names[i] for i in index}) > 1}
  cut = [stem for stem, index in together.items() if len({survey.splits[i] for i in index}) > 1]
  first = (cut or sorted(together))[0]
  alike = sorted({names[i] for i in together[first]})
  in_two = f"; {len(cut)} of {len(images)} lie in more than one split" if cut else ""
  yield Finding(
    96,
    f"images share the beginning of their names ({', '.join(alike[:3])}) and each is a group of its own{in_two}. If "
    f"that is the patient, keep a patient's images together: group_regex='{pattern}'; if not, say so: "
    "group_regex='(.*)'",
    tuple(together[first][:4]),
  )


def group_regex(names: list[str]) -> tuple[str, dict[str, str]]:
  """Finds the beginning that images of a patient may share.

  Args:
    names: The names of all images, each once.

  Returns:
    A pattern whose parenthesis finds a number or the like in every name, two or more of them and fewer than names;
    and name -> what it finds. '' and nothing where there is none.
  """
  for pattern in _STEMS:
    found = [re.search(pattern, name) for name in names]
    if not all(found):
      continue
    stems = {name: match[1] for name, match in zip(names, found, strict=True) if match}
    kinds = set(stems.values())
    if 1 < len(kinds) < len(names) and all(re.search(r"\d", stem) for stem in kinds):
      return _readable(pattern, stems), stems
  return "", {}


def _readable(pattern: str, stems: Mapping[str, str]) -> str:
  """Returns ``(patient\\d+)`` for ``^(\\D*\\d+)\\D`` where all stems begin with the same word and it finds the same."""
  words = {re.match(r"\D*", stem)[0] for stem in stems.values()}  # type: ignore[index] (\D* matches anything)
  word = next(iter(words))
  plain = rf"({word}\d+)"
  is_same = len(words) == 1 and re.fullmatch(r"[\w-]*", word) is not None
  if is_same and all((m := re.search(plain, name)) is not None and m[1] == stem for name, stem in stems.items()):
    return plain
  return pattern


def labels(values: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
  """Masks whose marks have another value here than there: several structures, taken for one.

  Args:
    values: rater -> mask file -> the value of its marks.
  """
  differing = []
  for rater, files in values.items():
    counts = collections.Counter(files.values())
    if len(counts) > 1:
      rare = counts.most_common()[-1][0]
      example = next(file for file, value in files.items() if value == rare)
      parts = ", ".join(f"{value:g} in {count}" for value, count in counts.most_common(4))
      differing.append(f"{rater}: {parts} (as {example})")
  if differing:
    yield Finding(
      94,
      f"label values differ between images: {'; '.join(differing[:3])}{'; ...' if len(differing) > 3 else ''}. "
      "All count as marked; if they are different structures, choose one: marked='==1'",
    )
    return
  by_value: dict[float, list[str]] = collections.defaultdict(list)
  for rater, files in values.items():
    for value in set(files.values()):
      by_value[value].append(rater)
  if set(by_value) - {1.0, 255.0, 65535.0} and len(by_value) > 1:
    parts = "; ".join(f"{value:g} by {', '.join(raters[:3])}" for value, raters in by_value.items())
    yield Finding(94, f"raters mark with different label values: {parts}. Do all mean the same structure?")
