"""The statistics of a comparison: a value for each method, and its difference from the baseline."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ordseg import metrics, statistics
from ordseg.errors import InputError, check_choice, did_you_mean
from ordseg.evaluation.scoring import Scores
from ordseg.metrics import Resamples, SurfaceScores, surface
from ordseg.reporting.compare.runs import Method, Run
from ordseg.statistics import Measure, Settings, Units, Values, gaps, noise

Ends = Callable[[float], tuple[float, float]]  # confidence -> interval

DEFAULT_METRICS = (
  "read_outs.mean_vote.mr_ece_pooled",
  "read_outs.majority.dice",
  "read_outs.mean_vote.brier",
  "levels.rps",
)


@dataclasses.dataclass(frozen=True)
class Value:
  """A metric of a method, mean over its seeds.

  Attributes:
    estimate: NaN where undefined; so is everything else here.
    low, high: interval over images or groups, for these seeds.
    seed_values: one per seed.
    corrected: for noise, of calibration errors; NaN of other metrics.
    noise_p: p of "calibrated, but for noise"; NaN of other metrics, and where there is no interval.
  """

  estimate: float
  low: float
  high: float
  seed_values: tuple[float, ...]
  corrected: float = float("nan")
  noise_p: float = float("nan")

  @property
  def seed_spread(self) -> float:
    """Standard deviation over seeds; NaN with one."""
    return float(np.std(self.seed_values, ddof=1)) if len(self.seed_values) > 1 else float("nan")


@dataclasses.dataclass(frozen=True)
class Difference:
  """A metric of a method minus that of the baseline.

  One thing decides: of calibration errors the interval, since the permutation test asks whether the methods are
  exchangeable in every image, not whether their errors are equal; of other metrics the permutation test, where seeds
  can be paired, else the interval too. p of what the interval decides is the smallest level at which it leaves out 0,
  so the interval at Holm's level leaves out 0 just where Holm's p is below the level.

  Attributes:
    method: its name.
    metric: its path.
    estimate: of the means over seeds; of calibration errors, of the values corrected for noise.
    raw: of the values as they are measured.
    low, high: interval over images or groups, for these seeds.
    held_low, held_high: the same at `held`.
    held: the confidence at which Holm's procedure judges this comparison, 1 - level / (comparisons not yet decided).
    by_interval: whether the interval decides.
    p: two-sided, of what decides; NaN where nothing can.
    p_holm: the same, corrected for the number of comparisons.
    swap_p: of the permutation test; NaN where the methods have unequal numbers of seeds.
    seed_low, seed_high: interval over seeds, for these images, of values as measured; NaN unless both have two or more.
  """

  method: str
  metric: str
  estimate: float
  raw: float
  low: float
  high: float
  held_low: float
  held_high: float
  held: float
  by_interval: bool
  p: float
  p_holm: float
  swap_p: float
  seed_low: float
  seed_high: float


@dataclasses.dataclass(frozen=True)
class Results:
  """Everything a comparison found.

  Attributes:
    methods: in the order given.
    baseline: the method that the others are compared with.
    metrics: paths in metrics.json.
    values: by name of the method and path.
    differences: method by method.
    settings: of the intervals.
    units: what was resampled.
    lacking: path -> the methods without it, of metrics that were left out.
  """

  methods: tuple[Method, ...]
  baseline: str
  metrics: tuple[str, ...]
  values: dict[tuple[str, str], Value]
  differences: tuple[Difference, ...]
  settings: Settings
  units: Units
  lacking: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

  def method(self, name: str) -> Method:
    """Returns the method of that name."""
    return next(method for method in self.methods if method.name == name)

  @property
  def num_tested(self) -> int:
    """Comparisons that can be decided; what Holm's correction counts."""
    return sum(not np.isnan(d.p) for d in self.differences)


def analyse(
  methods: Sequence[Method],
  *,
  paths: Sequence[str] = DEFAULT_METRICS,
  baseline: str | None = None,
  settings: Settings | None = None,
  group_by: str | None = None,
) -> Results:
  """Compares each method with the baseline, by the metrics that all of them have.

  All methods share the resamples, so differences are paired. Metrics of several seeds are averaged in each resample;
  their sums are never put together.

  Args:
    methods: from `runs.load`.
    paths: metrics, dotted as in metrics.json.
    baseline: a method's name; None takes the first.
    settings: of the intervals; `num_resamples` is also the number of permutations.
    group_by: 'image' or 'group'; None takes groups where there are any.

  Raises:
    InputError: a name is unknown, a metric is not resampled, or none is left.
  """
  baseline = methods[0].name if baseline is None else baseline
  check_choice(baseline, [method.name for method in methods], field="baseline")
  settings, groups = settings or Settings(), methods[0].runs[0].stored.groups
  units = statistics.units_of(groups, group_by)
  shared, lacking = _shared_paths(_wanted(paths, methods), methods, units)
  found = _Analysis(methods, baseline, shared, units, settings).results()
  return dataclasses.replace(found, lacking=lacking)


class _Analysis:
  """What all comparisons share: names ``<number of the method> <path>``, resamples, noise."""

  def __init__(
    self, methods: Sequence[Method], baseline: str, paths: tuple[str, ...], units: Units, settings: Settings
  ):
    self._methods, self._baseline, self._paths, self._units, self._settings = methods, baseline, paths, units, settings
    self._base = next(k for k, method in enumerate(methods) if method.name == baseline)
    self._others = [k for k in range(len(methods)) if k != self._base]
    errors = _gaps(methods, paths, units)
    names = {key.partition(" ")[2] for key in errors}
    plan = noise.Plan(errors, [(f"{k} {path}", f"{self._base} {path}") for k in self._others for path in names])
    own = [[statistics.estimates(_run_measure(run, paths), units) for run in method.runs] for method in methods]
    self._seeds = {f"{k} {path}": tuple(found[path] for found in each) for k, each in enumerate(own) for path in paths}
    self._samples = _drawn(methods, paths, units, settings, plan)
    self._left_out: Values = {}
    if settings.method == "bca" and units.num >= statistics.FEWEST:
      self._left_out = statistics.jackknife(_all_measures(methods, paths), units)
    raw = {key: float(np.mean(values)) for key, values in self._seeds.items()}
    resampled = units.num > 1
    self._errors = plan.estimates(raw, self._samples) if resampled else {}
    self._pairs = plan.pairs(self._errors, self._samples) if resampled else {}

  def results(self) -> Results:
    """Puts everything together."""
    values = {(m.name, path): self._value(f"{k} {path}") for k, m in enumerate(self._methods) for path in self._paths}
    return Results(
      tuple(self._methods), self._baseline, self._paths, values, self._differences(), self._settings, self._units
    )

  def _value(self, key: str) -> Value:
    seeds, confidence = self._seeds[key], self._settings.confidence
    estimate = float(np.mean(seeds))
    if (error := self._errors.get(key)) is not None and not np.isnan(estimate):
      p = error.p if error.known else float("nan")
      return Value(estimate, *error.ends(confidence), seeds, error.corrected, p)
    ends = self._mean_ends(self._samples[key], estimate, self._left_out.get(key), confidence)
    return Value(estimate, *ends, seeds)

  def _mean_ends(
    self, samples: np.ndarray, estimate: float, left_out: np.ndarray | None, confidence: float
  ) -> tuple[float, float]:
    settings = dataclasses.replace(self._settings, confidence=confidence)
    return statistics.mean_interval(samples, self._units, settings, estimate, left_out)

  def _differences(self) -> tuple[Difference, ...]:
    found: list[tuple[Difference, Ends]] = []
    for k in self._others:
      swapped = _p_values(self._methods[k], self._methods[self._base], self._paths, self._units, self._settings)
      found += [self._difference(k, path, swapped[path]) for path in self._paths]
    level = 1 - self._settings.confidence
    p_values = [d.p for d, _ in found]
    levels, corrected = statistics.holm_levels(p_values, level), statistics.holm(p_values)
    out = []
    for (d, ends), own, p_holm in zip(found, levels, corrected, strict=True):
      low, high = ends(1 - own)
      out.append(dataclasses.replace(d, held_low=low, held_high=high, held=1 - own, p_holm=p_holm))
    return tuple(out)

  def _difference(self, k: int, path: str, swap_p: float) -> tuple[Difference, Ends]:
    """Returns a difference before Holm's correction, and its interval at any confidence."""
    a, b = f"{k} {path}", f"{self._base} {path}"
    raw = float(_cleared(float(np.mean(self._seeds[a])) - float(np.mean(self._seeds[b]))))
    estimate, ends = raw, self._mean_difference(a, b, raw)
    if (a, b) in self._pairs and not np.isnan(raw):
      estimate, ends = float(_cleared(self._pairs[a, b].difference)), self._pairs[a, b].ends
    by_interval = (a, b) in self._pairs or np.isnan(swap_p)
    p = noise.p_from_interval(ends) if by_interval else swap_p
    seeds = statistics.welch(self._seeds[a], self._seeds[b], self._settings.confidence)
    low, high = ends(self._settings.confidence)
    nothing = float("nan")
    name = self._methods[k].name
    d = Difference(
      name, path, estimate, raw, low, high, nothing, nothing, nothing, bool(by_interval), p, nothing, swap_p, *seeds
    )
    return d, ends

  def _mean_difference(self, a: str, b: str, gap: float) -> Ends:
    samples = _cleared(self._samples[a] - self._samples[b])
    left_out = self._left_out[a] - self._left_out[b] if self._left_out else None
    return lambda confidence: self._mean_ends(samples, gap, left_out, confidence)


def _gaps(methods: Sequence[Method], paths: Sequence[str], units: Units) -> dict[str, gaps.Gaps]:
  """Gaps of the metrics that are made of them, by name."""
  out = {}
  for k, method in enumerate(methods):
    bins = [run.stored.scores.gap_bins(panel=False) for run in method.runs]
    for path in paths:
      if path in bins[0]:
        out[f"{k} {path}"] = gaps.mean_over_seeds([gaps.gaps_of(one[path], units) for one in bins])
  return out


def _cleared(gap: float | np.ndarray) -> np.ndarray:
  """What is 0 but for rounding is 0."""
  return np.where(np.abs(gap) < 1e-12, 0.0, gap)


def _drawn(
  methods: Sequence[Method], paths: Sequence[str], units: Units, settings: Settings, plan: noise.Plan
) -> Values:
  if units.num < 2:
    return {f"{k} {path}": np.full(1, np.nan) for k in range(len(methods)) for path in paths}
  errors = _all_measures(methods, paths)

  def measure(pool: Resamples) -> dict[str, np.ndarray]:
    return {**errors(pool), **plan.measure(pool)}

  return statistics.bootstrap(measure, units, num_resamples=settings.num_resamples, seed=settings.seed)


def _run_measure(run: Run, paths: Sequence[str]) -> Measure:
  return _scores_measure(run.stored.scores, run.stored.groups, paths)


def _scores_measure(scores: Scores, groups: Sequence[str], paths: Sequence[str]) -> Measure:
  def measure(pool: Resamples) -> dict[str, np.ndarray]:
    found = scores.resampled(groups, pool, panel=False)
    return {path: found[path] for path in paths}

  return measure


def _mean_measure(
  measures: Sequence[Measure],
) -> Measure:
  def measure(pool: Resamples) -> dict[str, np.ndarray]:
    found = [one(pool) for one in measures]
    return {path: np.mean([values[path] for values in found], axis=0) for path in found[0]}

  return measure


def _all_measures(methods: Sequence[Method], paths: Sequence[str]) -> Measure:
  """Measures every method; keys are its number and the path."""
  each = [_mean_measure([_run_measure(run, paths) for run in method.runs]) for method in methods]

  def measure(pool: Resamples) -> dict[str, np.ndarray]:
    return {f"{k} {path}": x for k, one in enumerate(each) for path, x in one(pool).items()}

  return measure


def _p_values(a: Method, b: Method, paths: Sequence[str], units: Units, settings: Settings) -> dict[str, float]:
  """p of each metric by swaps; NaN where seeds cannot be paired, so that nothing can be swapped."""
  if len(a.runs) != len(b.runs) or units.num < 2:
    return dict.fromkeys(paths, float("nan"))
  pairs = [_both(x, y) for x, y in zip(a.runs, b.runs, strict=True)]
  measure = _mean_measure([_scores_measure(scores, groups, paths) for scores, groups in pairs])
  seed = settings.seed + 1  # not the draws of the bootstrap
  found, _ = statistics.swap_differences(measure, units, num_resamples=settings.num_resamples, seed=seed)
  return {path: statistics.permutation_p(found[path]) for path in paths}


def _both(a: Run, b: Run) -> tuple[Scores, list[str]]:
  """The images of two runs one after the other; groups of different runs stay apart."""
  x, y = a.stored.scores, b.stored.scores
  outlines: SurfaceScores | None = None
  if x.surface is not None and y.surface is not None:
    outlines = surface.concatenate([x.surface, y.surface])
  groups = [group and f"{which} {group}" for which in ("a", "b") for group in a.stored.groups]
  has_levels = x.has_levels and y.has_levels
  return Scores(metrics.concatenate([x.sums, y.sums]), surface=outlines, has_levels=has_levels), groups


def _wanted(paths: Sequence[str], methods: Sequence[Method]) -> tuple[str, ...]:
  """Returns the metrics asked for, each once; by default also the Dice of the mean vote where some have no majority."""
  out = dict.fromkeys(paths)
  if tuple(paths) == DEFAULT_METRICS and not all(run.stored.scores.has_levels for m in methods for run in m.runs):
    out = dict.fromkeys([*DEFAULT_METRICS[:2], "read_outs.mean_vote.dice", *DEFAULT_METRICS[2:]])
  return tuple(out)


def _shared_paths(
  wanted: Sequence[str], methods: Sequence[Method], units: Units
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
  """Returns the metrics that all methods have, and the others with the names of the methods that lack them."""
  once = Resamples(np.ones((1, units.num)), units.index)
  known = {
    m.name: [set(run.stored.scores.resampled(run.stored.groups, once, panel=False)) for run in m.runs] for m in methods
  }
  somewhere = set().union(*(paths for each in known.values() for paths in each))
  for path in wanted:
    if path not in somewhere and not _of_levels(path, methods):
      raise InputError(
        f"metric={path!r} of {methods[0].runs[0].folder} cannot be resampled.{did_you_mean(path, sorted(somewhere))} "
        "Paths are those of metrics.json under read_outs and levels; docs/statistics.md names those left out."
      )
    if units.splits_groups and path.endswith("ece_curvas_by_group"):
      raise InputError(f"metric={path!r} is of whole groups: it needs group-by='group'.")
  lacking = {
    path: names
    for path in wanted
    if (names := tuple(name for name, each in known.items() if not all(path in paths for paths in each)))
  }
  shared = tuple(path for path in wanted if path not in lacking)
  if not shared:
    raise InputError(f"nothing is left to compare: {_who_lacks(lacking)}.")
  _check_outlines(shared, methods)
  return shared, lacking


def _of_levels(path: str, methods: Sequence[Method]) -> bool:
  """Returns whether a metric is missing since no method has levels."""
  without = not any(run.stored.scores.has_levels for method in methods for run in method.runs)
  return without and metrics.known(path) is not None and path.startswith(("levels.", "read_outs.majority."))


def _who_lacks(lacking: Mapping[str, tuple[str, ...]]) -> str:
  return "; ".join(f"{', '.join(names)} lacks {path}" for path, names in lacking.items())


def _check_outlines(paths: Sequence[str], methods: Sequence[Method]) -> None:
  if any("hd95" in path or "surface_dice" in path for path in paths):
    kinds = {run.evaluation.text("surface") for method in methods for run in method.runs}
    if len(kinds) > 1:
      raise InputError(f"distances between outlines were measured in different ways: {'; '.join(sorted(kinds))}.")
