"""Every number of an evaluation, declared once: its formula, and how tables show it.

metrics.json, per_image.csv, the report, the model card, comparisons and the tables of docs/metrics.md take formulas,
names, directions and digits from here, and choose by section, table and tag. Adding a metric is a `Metric` that is
registered, in a module of its own or beside its kin, and its test.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from ordseg import ordinal
from ordseg.metrics.calibration import BinSums
from ordseg.metrics.gaps import GapBins
from ordseg.metrics.pooling import EVERY_IMAGE, Pool
from ordseg.metrics.sums import ImageSums
from ordseg.metrics.surface import SurfaceScores
from ordseg.settings import Registry

T = TypeVar("T")
# Where a number stands in metrics.json. Those of ``read_outs`` are there once per read-out.
SECTIONS = ("read_outs", "levels", "samples", "floors", "constant", "raters", "raters.leave_one_out", "raters.each")
BETTER = ("lower", "higher", "")
NEEDS = ("sums", "ranks", "surface", "samples")


# --- What a formula reads ---------------------------------------------------------------------------------------------


class Images:
  """What was counted of I images for one read-out, or for none; what is derived from it image by image is kept."""

  def __init__(
    self,
    sums: ImageSums,
    read_out: str = "",
    *,
    groups: Sequence[str] | None = None,
    ranks: np.ndarray | None = None,
    surface: SurfaceScores | None = None,
    samples: Any = None,
  ) -> None:
    """Collects.

    Args:
      sums: of the images.
      read_out: one of `ordinal.READ_OUTS`, or '' for numbers that belong to none.
      groups: [I], '' for an image that is a case by itself; None: all are.
      ranks: [T, 5] int64 of the read-out, pooled over the images; None leaves out what needs them.
      surface: of the images; None leaves out distances between outlines.
      samples: `samples.SampleScores` of the images; None leaves out what is of several maps of an image.
    """
    self.sums, self.read_out, self.ranks, self.surface, self.samples = sums, read_out, ranks, surface, samples
    self.groups: Sequence[str] = [""] * sums.num_images if groups is None else groups
    self._kept: dict[Callable[..., Any], Any] = {}

  def grouped(self, groups: Sequence[str]) -> "Images":
    """Returns the same images with other groups [I]; what is kept is shared."""
    out = copy.copy(self)
    out.groups = groups
    return out

  @property
  def num_bins(self) -> int:
    """Bins of the calibration errors."""
    return self.sums.bin_count.shape[-1]

  def of(self, function: Callable[..., T]) -> T:
    """Returns function(sums), or function(sums, read_out) where there is a read-out, computed once.

    The function is what it is remembered by: give one that has a name, not a lambda.
    """
    if function not in self._kept:
      self._kept[function] = function(self.sums, self.read_out) if self.read_out else function(self.sums)
    return self._kept[function]


class Tally:
  """Images, and the pool that puts them together: what the formula of a metric reads."""

  def __init__(self, images: Images, pool: Pool = EVERY_IMAGE) -> None:
    self.images, self.pool = images, pool
    self._pooled: dict[int, tuple[BinSums, BinSums]] = {}
    self._kept: dict[Callable[..., Any], Any] = {}

  @property
  def sums(self) -> ImageSums:
    """Of the images."""
    return self.images.sums

  def total(self, x: np.ndarray) -> np.ndarray:
    """Sums over images, [I, ...] -> [...] of the pool."""
    return self.pool.total(x)

  def mean(self, values: np.ndarray) -> np.ndarray:
    """Means over the images that have a value (are not NaN), [I, ...] -> [...] of the pool."""
    return self.pool.mean(values)

  def of(self, function: Callable[[ImageSums, Pool], T]) -> T:
    """Returns function(sums, pool), computed once."""
    if function not in self._kept:
      self._kept[function] = function(self.sums, self.pool)
    return self._kept[function]

  def bins(self, bins: BinSums) -> BinSums:
    """Sums bins over images; errors that share bins, which `Images.of` keeps, share the sums."""
    if id(bins) not in self._pooled:
      self._pooled[id(bins)] = (bins, self.pool.bins(bins))  # kept, so that no other has its id
    return self._pooled[id(bins)][1]


# --- What is declared -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of the overview that compares methods.

  Attributes:
    header: of the column; newlines break it.
    place: columns stand in this order.
    read_out: the column's, where the section has several.
  """

  header: str
  place: int
  read_out: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
  """One number of metrics.json.

  Attributes:
    key: its name there, inside its section.
    section: one of `SECTIONS`.
    formula: totals and means of the images -> the number; lists and matrices have no interval.
    gaps: in place of a formula, bins per image of an error that is made of absolute gaps, which noise raises: its
      interval is corrected for that.
    image: per image [I], NaN where not scored: a column of per_image.csv.
    image_key: name of that column, after that of the read-out; `key` by default.
    needs: one of `NEEDS`. What needs pooled ranks is not resampled.
    label: its name for people; '' where no table shows it.
    short: the same in running text; `label` by default.
    hint: the question it answers, for people.
    better: 'lower', 'higher', or '' where it is no score.
    decimals: digits after the point.
    missing: why it can be undefined.
    table: of the report, by the name of its target: 'votes', 'majority', 'masks', 'outlines'.
    place: order in tables, where it is not that of registration.
    tags: 'summary' (the text that an evaluation prints), 'headline' (its line of intervals), 'card', 'recalibrated'.
    columns: of the overview of a comparison.
    beside: path of the model's number that answers the same question, of numbers of the raters.
    definition, extent, hides: for docs/metrics.md: the formula, the values it can have, what it does not show.
  """

  key: str
  section: str
  formula: Callable[[Tally], Any] | None = None
  gaps: Callable[[Images], GapBins] | None = None
  image: Callable[[Images], np.ndarray] | None = None
  image_key: str = ""
  needs: str = "sums"
  label: str = ""
  short: str = ""
  hint: str = ""
  better: str = ""
  decimals: int = 4
  missing: str = ""
  table: str = ""
  place: int = 0
  tags: frozenset[str] = frozenset()
  columns: tuple[Column, ...] = ()
  beside: str = ""
  definition: str = ""
  extent: str = ""
  hides: str = ""

  def __post_init__(self) -> None:
    if (self.formula is None) == (self.gaps is None):
      raise ValueError(f"{self.path}: a metric has a formula or gaps.")
    for value, choices in ((self.section, SECTIONS), (self.better, BETTER), (self.needs, NEEDS)):
      if value not in choices:
        raise ValueError(f"{self.path}: {value!r} is none of {choices}.")
    if not self.definition:
      raise ValueError(f"{self.path}: a metric says how it is defined.")

  @property
  def path(self) -> str:
    """Section and key, without a read-out."""
    return f"{self.section}.{self.key}"

  @property
  def name(self) -> str:
    """In running text."""
    return self.short or self.label or self.key

  def value(self, tally: Tally) -> np.ndarray:
    """Returns the number, [...] as the pool has it."""
    if self.gaps is not None:
      gaps = self.gaps(tally.images)
      return gaps.join(tally.bins(gaps.bins))
    assert self.formula is not None
    return np.asarray(self.formula(tally))


METRICS: Registry[Metric] = Registry("metric")


def register(metric: Metric) -> Metric:
  """Adds a metric; metrics.json has it in the order of registration.

  Raises:
    ValueError: its section has the key already.
  """
  METRICS.add(metric.path, metric)
  return metric


def known(path: str) -> Metric | None:
  """Returns the metric at a dotted path of metrics.json, None where the number is not a metric.

  >>> known("oracle.read_outs.mean_vote.brier").label
  'Brier score'
  """
  parts = path.removeprefix("oracle.").split(".")
  if parts[0] == "read_outs" and len(parts) > 2 and parts[1] in ordinal.READ_OUTS:
    del parts[1]
  return METRICS.get(".".join(parts))


def find(path: str) -> Metric:
  """Returns the metric at a dotted path of metrics.json.

  Raises:
    InputError: there is none; with the nearest path and all of them.
  """
  return known(path) or METRICS.find(path)


def select(section: str, *, table: str | None = None, tag: str | None = None) -> tuple[Metric, ...]:
  """Returns the metrics that people see, in the order of tables.

  Args:
    section: one of `SECTIONS`.
    table: only those of this table of the report.
    tag: only those with this tag.
  """
  found = [m for m in METRICS.values() if m.section == section and m.label]
  found = [m for m in found if table in (None, m.table) and (tag is None or tag in m.tags)]
  return tuple(sorted(found, key=lambda m: m.place))


def counterpart(path: str) -> str:
  """Returns the path of the raters' number that answers the same question as the model's at `path`; '' for none."""
  return next((m.path for m in METRICS.values() if m.beside and m.beside == path), "")


# --- Numbers ----------------------------------------------------------------------------------------------------------


def numbers(section: str, images: Images, pool: Pool = EVERY_IMAGE, *, with_ranks: bool = True) -> dict[str, Any]:
  """Returns the numbers of a section for which `images` has what they need.

  Args:
    section: one of `SECTIONS`.
    images: what was counted.
    pool: How the images are put together.
    with_ranks: whether to include what needs pooled ranks, which no resample has.

  Returns:
    key -> number, as `pool` has it.
  """
  tally = Tally(images, pool)
  found = (m for m in _of_section(section, images) if with_ranks or m.needs != "ranks")
  return {metric.key: pool.plain(metric.value(tally)) for metric in found}


def gap_bins(section: str, images: Images) -> dict[str, GapBins]:
  """Returns key -> bins per image of each error of a section that is made of absolute gaps."""
  return {m.key: m.gaps(images) for m in _of_section(section, images) if m.gaps is not None}


def image_values(section: str, images: Images) -> dict[str, np.ndarray]:
  """Returns column -> [I] of each metric of a section that an image has alone."""
  return {m.image_key or m.key: m.image(images) for m in _of_section(section, images) if m.image is not None}


def _of_section(section: str, images: Images) -> Iterator[Metric]:
  there = {"sums": True, "ranks": images.ranks is not None, "surface": images.surface is not None}
  there["samples"] = images.samples is not None
  return (m for m in METRICS.values() if m.section == section and there[m.needs])
