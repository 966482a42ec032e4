"""The statistics of a comparison: a value for each method, and its difference from the baseline."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ordseg import metrics, statistics
from ordseg.compare.runs import Method, Run
from ordseg.metrics import Resamples, SurfaceScores, surface
from ordseg.scoring import Scores
from ordseg.statistics import Measure, Settings, Units, Values
from ordseg.validate import InputError, check_choice, did_you_mean

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
  """

  estimate: float
  low: float
  high: float
  seed_values: tuple[float, ...]

  @property
  def seed_spread(self) -> float:
    """Standard deviation over seeds; NaN with one."""
    return float(np.std(self.seed_values, ddof=1)) if len(self.seed_values) > 1 else float("nan")


@dataclasses.dataclass(frozen=True)
class Difference:
  """A metric of a method minus that of the baseline.

  Attributes:
    method: its name.
    metric: its path.
    estimate: of the means over seeds.
    low, high: interval over images or groups, for these seeds.
    p: two-sided, of the permutation test; NaN where the methods have unequal numbers of seeds.
    p_holm: the same, corrected for the number of comparisons.
    seed_low, seed_high: interval over seeds, for these images; NaN unless both have two or more.
  """

  method: str
  metric: str
  estimate: float
  low: float
  high: float
  p: float
  p_holm: float
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
  """

  methods: tuple[Method, ...]
  baseline: str
  metrics: tuple[str, ...]
  values: dict[tuple[str, str], Value]
  differences: tuple[Difference, ...]
  settings: Settings
  units: Units

  def method(self, name: str) -> Method:
    """Returns the method of that name."""
    return next(method for method in self.methods if method.name == name)

  @property
  def num_tested(self) -> int:
    """Comparisons that have a p-value; what Holm's correction counts."""
    return sum(not np.isnan(d.p) for d in self.differences)


def analyse(
  methods: Sequence[Method],
  *,
  paths: Sequence[str] = DEFAULT_METRICS,
  baseline: str | None = None,
  settings: Settings | None = None,
  group_by: str | None = None,
) -> Results:
  """Compares each method with the baseline.

  All methods share the resamples, so differences are paired. Metrics of several seeds are averaged in each resample;
  their sums are never put together.

  Args:
    methods: from `runs.load`.
    paths: metrics, dotted as in metrics.json.
    baseline: a method's name; None takes the first.
    settings: of the intervals; `num_resamples` is also the number of permutations.
    group_by: 'image' or 'group'; None takes groups where there are any.

  Raises:
    InputError: a name is unknown, or a metric is not resampled.
  """
  baseline = methods[0].name if baseline is None else baseline
  check_choice(baseline, [method.name for method in methods], field="baseline")
  settings, groups = settings or Settings(), methods[0].runs[0].stored.groups
  units = statistics.units_of(groups, group_by)
  paths = tuple(dict.fromkeys(paths))
  _check_paths(paths, methods, units)
  values, samples, left_out = {}, _drawn(methods, paths, units, settings), {}
  if settings.method == "bca":
    left_out = statistics.jackknife(_all_measures(methods, paths), units)
  for k, method in enumerate(methods):
    own = [statistics.estimates(_run_measure(run, paths), units) for run in method.runs]
    for path in paths:
      key, seeds = f"{k} {path}", tuple(found[path] for found in own)
      ends = statistics.interval(samples[key], settings, float(np.mean(seeds)), left_out.get(key))
      values[method.name, path] = Value(float(np.mean(seeds)), *ends, seeds)
  differences = _differences(methods, baseline, paths, values, samples, left_out, units, settings)
  return Results(tuple(methods), baseline, paths, values, differences, settings, units)


def _differences(
  methods: Sequence[Method],
  baseline: str,
  paths: Sequence[str],
  values: dict[tuple[str, str], Value],
  samples: Values,
  left_out: Values,
  units: Units,
  settings: Settings,
) -> tuple[Difference, ...]:
  base = next(k for k, method in enumerate(methods) if method.name == baseline)
  found: list[Difference] = []
  for k, method in enumerate(methods):
    if k == base:
      continue
    p_values = _p_values(method, methods[base], paths, units, settings)
    for path in paths:
      ours, theirs = values[method.name, path], values[baseline, path]
      gap = _cleared(ours.estimate - theirs.estimate)
      a, b = f"{k} {path}", f"{base} {path}"
      jackknifed = left_out[a] - left_out[b] if left_out else None
      ends = statistics.interval(_cleared(samples[a] - samples[b]), settings, float(gap), jackknifed)
      seeds = statistics.welch(ours.seed_values, theirs.seed_values, settings.confidence)
      found.append(Difference(method.name, path, float(gap), *ends, p_values[path], np.nan, *seeds))
  corrected = statistics.holm([d.p for d in found])
  return tuple(dataclasses.replace(d, p_holm=p) for d, p in zip(found, corrected, strict=True))


def _cleared(gap: float | np.ndarray) -> np.ndarray:
  """What is 0 but for rounding is 0."""
  return np.where(np.abs(gap) < 1e-12, 0.0, gap)


def _drawn(methods: Sequence[Method], paths: Sequence[str], units: Units, settings: Settings) -> Values:
  if units.num < 2:
    return {f"{k} {path}": np.full(1, np.nan) for k in range(len(methods)) for path in paths}
  measure = _all_measures(methods, paths)
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
  """p of each metric; NaN where seeds cannot be paired, so that nothing can be swapped."""
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
  return Scores(metrics.concatenate([x.sums, y.sums]), surface=outlines), groups


def _check_paths(paths: Sequence[str], methods: Sequence[Method], units: Units) -> None:
  once = Resamples(np.ones((1, units.num)), units.index)
  for run in (run for method in methods for run in method.runs):
    known = run.stored.scores.resampled(run.stored.groups, once, panel=False)
    for path in paths:
      if path not in known:
        raise InputError(
          f"metric={path!r} of {run.folder} cannot be resampled.{did_you_mean(path, known)} Paths are those of "
          "metrics.json under read_outs and levels; docs/statistics.md names the few that are left out."
        )
      if units.splits_groups and path.endswith("ece_curvas_by_group"):
        raise InputError(f"metric={path!r} is of whole groups: it needs group-by='group'.")
  if any("hd95" in path or "surface_dice" in path for path in paths):
    kinds = {run.evaluation.text("surface") for method in methods for run in method.runs}
    if len(kinds) > 1:
      raise InputError(f"distances between outlines were measured in different ways: {'; '.join(sorted(kinds))}.")
