"""Tables from the records alone: what is done, every metric, and differences from the baseline with their intervals."""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import special

from benchmarks.study import plan, record
from benchmarks.study import sums as counting
from benchmarks.study.plan import METHODS
from benchmarks.study.record import Record
from ordseg import rng, statistics
from ordseg.errors import InputError

DOCS = pathlib.Path(__file__).parent.parent.parent / "docs" / "results.md"
BEGIN, END = "<!-- study: made by `make results` -->", "<!-- study: end -->"
NUM_RESAMPLES, CONFIDENCE = 10_000, 0.95

Block = tuple[int, int]  # fold, seed


@dataclasses.dataclass(frozen=True)
class Loaded:
  """The records of a study.

  Attributes:
    name: of the study.
    records: method -> block -> record.
    panels: fold -> patients' panel columns.
  """

  name: str
  records: Mapping[str, Mapping[Block, Record]]
  panels: Mapping[int, Mapping[str, np.ndarray]]


def load(results: pathlib.Path, name: str) -> Loaded:
  """Reads what there is of a study.

  Raises:
    InputError: a file is damaged, or belongs to no cell of the plan.
  """
  planned = {cell.name: cell for cell in plan.cells(name)}
  records: dict[str, dict[Block, Record]] = {}
  panels: dict[int, Mapping[str, np.ndarray]] = {}
  for path in sorted((results / name).glob("*.npz")):
    cell = planned.get(path.name.removesuffix(".npz"))
    if cell is None:
      raise InputError(f"{path} is the record of no cell of the plan of {name!r}.")
    found = record.read(path)
    if cell.fold not in panels:
      patients, panels[cell.fold] = record.read_panel(path.parent / f"panel.f{cell.fold}.tsv")
      if tuple(patients) != found.patients:
        raise InputError(f"{path}: its patients are not those of panel.f{cell.fold}.tsv.")
    records.setdefault(cell.method, {})[cell.fold, cell.seed] = found
  if beside := plan.get_study(name).beside:
    other = load(results, beside)
    records[plan.BASELINE] = dict(other.records.get(plan.BASELINE, {}))
    panels = {**other.panels, **panels}
  return Loaded(name, records, panels)


@dataclasses.dataclass(frozen=True)
class Pool:
  """The cells of a method side by side, patients along the last axis; one seed.

  Attributes:
    record: arrays of all folds, concatenated.
    panel: likewise.
    bins: [O, K, 3] exact sums over all patients: pixels or pairs, said, true.
  """

  record: Mapping[str, np.ndarray]
  panel: Mapping[str, np.ndarray]
  bins: np.ndarray

  def gaps(self, name: str) -> np.ndarray:
    """Returns [K]: said minus true of a reliability by bin, in pairs or pixels."""
    bins = self.bins[counting.RELIABILITIES.index(name)]
    return bins[:, 1] - bins[:, 2]

  def gap_variance(self, name: str) -> np.ndarray:
    """Returns [K]: the variance of `gaps` over drawing other patients."""
    by_patient = self.record["gaps"][counting.RELIABILITIES.index(name)]
    return by_patient.shape[-1] * by_patient.var(axis=-1, ddof=1)


def pooled(loaded: Loaded, method: str, blocks: Sequence[Block]) -> Pool:
  """Puts the folds of one seed together."""
  own, cells = loaded.records[method], sorted(blocks)
  found = [own[block if block in own else (block[0], 0)] for block in cells]
  arrays = {
    "scores": np.concatenate([r.scores.T for r in found], axis=-1),
    "dices": np.concatenate([r.dices.T for r in found], axis=-1),
    **{name: np.concatenate([getattr(r, name) for r in found], axis=-1) for name in ("gaps", "counts", "said", "auc")},
  }
  panels = [loaded.panels[fold] for fold, _ in cells]
  panel = {name: np.concatenate([p[name] for p in panels]) for name in panels[0]}
  return Pool(arrays, panel, np.sum([r.pooled for r in found], axis=0))


# --- Metrics ----------------------------------------------------------------------------------------------------------


def _score(name: str) -> Callable[[Pool], float]:
  row = counting.SCORES.index(name)
  return lambda pool: float(pool.record["scores"][row].sum() / pool.panel["pixels"].sum())


def _dice(name: str) -> Callable[[Pool], float]:
  row, tie = counting.DICES.index(name), "strict" if name.endswith("strict") else "majority"
  return lambda pool: float(pool.record["dices"][row].sum() / pool.panel[f"slices_{tie}"].sum())


def _mr_ece(name: str, *, corrected: bool = False) -> Callable[[Pool], float]:
  def value(pool: Pool) -> float:
    square = pool.gaps(name) ** 2
    if corrected:  # E[G^2] = g^2 + Var G
      square = square - pool.gap_variance(name)
    return float(np.sqrt(np.maximum(square, 0)).sum() / pool.panel["pairs"].sum())

  return value


def _ace(pool: Pool) -> float:
  count = pool.bins[0, :, 0]
  return float(np.mean(np.abs(pool.gaps("mean_vote"))[count > 0] / count[count > 0]))


def _part(first: int, last: int) -> Callable[[Pool], float]:
  return lambda pool: float(pool.gaps("mean_vote")[first:last].sum() / pool.panel["pairs"].sum())


def level_eces(pool: Pool) -> np.ndarray:
  """Returns [R], the calibration error of each at_least_j, over the pixels where it was asked."""
  bins = pool.bins[len(counting.RELIABILITIES) :]
  return np.abs(bins[..., 1] - bins[..., 2]).sum(-1) / bins[..., 0].sum(-1)


def _auc(row: int) -> Callable[[Pool], float]:
  return lambda pool: float(np.nanmean(pool.record["auc"][row]))


METRICS: dict[str, tuple[Callable[[Pool], float], float]] = {  # column -> (value, factor)
  "RPS": (_score("rps"), 1e4),
  "vote NLL": (_score("vote_nll"), 1e4),
  "Brier - floor": (_score("brier_mean_vote"), 1e4),
  "MR-ECE": (_mr_ece("mean_vote"), 1e4),
  "corrected": (_mr_ece("mean_vote", corrected=True), 1e4),
  "lowest bin": (_part(0, 1), 1e4),
  "middle": (_part(1, counting.NUM_BINS - 1), 1e4),
  "highest": (_part(counting.NUM_BINS - 1, counting.NUM_BINS), 1e4),
  "MR-ECE, majority": (_mr_ece("majority_votes"), 1e4),
  "level ECE": (lambda pool: float(level_eces(pool).mean()), 1e4),
  "ACE": (_ace, 1.0),
  "AUC": (_auc(0), 1.0),
  "Dice .5": (_dice("half_majority"), 1.0),
  "Dice, rank rule": (_dice("rank_majority"), 1.0),
  "strict .5": (_dice("half_strict"), 1.0),
  "strict, rank rule": (_dice("rank_strict"), 1.0),
}


def values(loaded: Loaded, method: str, blocks: Sequence[Block]) -> dict[str, np.ndarray]:
  """Returns column -> [S], the value of each seed over its folds."""
  seeds = sorted({seed for _, seed in blocks})
  pools = [pooled(loaded, method, [block for block in blocks if block[1] == seed]) for seed in seeds]
  return {name: np.asarray([factor * fn(pool) for pool in pools]) for name, (fn, factor) in METRICS.items()}


# --- Differences ------------------------------------------------------------------------------------------------------

# title -> (array, row, column of the panel that it is divided by, factor)
ENDPOINTS: dict[str, tuple[str, int, str, float]] = {
  "RPS": ("scores", counting.SCORES.index("rps"), "pixels", 1e4),
  "vote NLL": ("scores", counting.SCORES.index("vote_nll"), "pixels", 1e4),
  "Dice .5": ("dices", counting.DICES.index("half_majority"), "slices_majority", 1.0),
  "Dice, rank rule": ("dices", counting.DICES.index("rank_majority"), "slices_majority", 1.0),
}
PRIMARY = ("RPS", "vote NLL")


@dataclasses.dataclass(frozen=True)
class Difference:
  """A method minus the baseline.

  Attributes:
    estimate: of the ratio of sums.
    low, high: its interval.
    p: two-sided, from the normal distribution with the resamples' standard deviation.
  """

  estimate: float
  low: float
  high: float
  p: float


def difference(loaded: Loaded, method: str, blocks: Sequence[Block], endpoint: str) -> Difference:
  """Compares a method with the baseline, paired by patient and seed; patients and seeds are both resampled."""
  name, row, per, factor = ENDPOINTS[endpoint]
  seeds, folds = sorted({seed for _, seed in blocks}), sorted({fold for fold, _ in blocks})
  sizes = {fold: len(loaded.panels[fold]["pixels"]) for fold in folds}
  total = np.concatenate([loaded.panels[fold][per] for fold in folds])
  gaps = np.full((len(seeds), len(total)), np.nan)
  for s, seed in enumerate(seeds):
    start = 0
    for fold in folds:
      if (fold, seed) in blocks:
        one, other = (getattr(pooled_record(loaded, m, (fold, seed)), name)[:, row] for m in (method, plan.BASELINE))
        gaps[s, start : start + sizes[fold]] = factor * (one - other)
      start += sizes[fold]
  estimate = float(np.nanmean(gaps, axis=0).sum() / total.sum())
  samples = resampled(gaps, total)
  low, high = np.quantile(samples, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
  spread = samples.std()
  p = float(2 * special.ndtr(-abs(estimate) / spread)) if spread > 0 else 1.0
  return Difference(estimate, float(low), float(high), p)


def pooled_record(loaded: Loaded, method: str, block: Block) -> Record:
  """Returns a method's record of a block; that of seed 0 for rows without training."""
  own = loaded.records[method]
  return own[block if block in own else (block[0], 0)]


def resampled(gaps: np.ndarray, total: np.ndarray) -> np.ndarray:
  """Draws patients and seeds, each with replacement, and returns the ratio of sums in each resample.

  Args:
    gaps: [S, I] differences of sums, NaN where a seed has not judged a patient.
    total: [I] what they are divided by.
  """
  known = ~np.isnan(gaps)
  weight, _, _ = _draws("patients", gaps.shape[1])
  _, pattern, which = _draws("seeds", gaps.shape[0])  # of the seeds there are few different draws
  asked = pattern @ known
  mean = np.where(asked > 0, pattern @ np.where(known, gaps, 0.0) / np.maximum(asked, 1), np.nanmean(gaps, axis=0))
  return (weight @ mean.T)[np.arange(NUM_RESAMPLES), which] / (weight @ total)


@functools.lru_cache(maxsize=4)
def _draws(what: str, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns how often each of `num` things is drawn in each resample, [S, num]; the different rows of it, and which one
  each resample is, where there are few things. The same for every method."""
  random = np.random.default_rng(rng.numpy_seed(num, what))
  weight = random.multinomial(num, np.full(num, 1 / num), size=NUM_RESAMPLES).astype(np.float64)
  few = num <= 10
  pattern, which = np.unique(weight, axis=0, return_inverse=True) if few else (weight[:0], np.zeros(0, np.intp))
  return weight, pattern, which.reshape(-1)


# --- Markdown ---------------------------------------------------------------------------------------------------------


def _number(x: float, digits: int = 3) -> str:
  if np.isnan(x):
    return ""
  text = f"{x:.{digits}f}"
  return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _cell(column: str, found: np.ndarray) -> str:
  digits = 2 if METRICS[column][1] > 1 else 3
  spread = f" ± {_number(float(found.std(ddof=1)), digits)}" if len(found) > 1 else ""
  return _number(float(found.mean()), digits) + spread


def _row(cells: Sequence[str]) -> str:
  return f"| {' | '.join(cells)} |"


def _metric_table(loaded: Loaded, blocks: Mapping[str, Sequence[Block]]) -> list[str]:
  lines = [_row(["method", "cells", *METRICS]), "|---|---:|" + "---:|" * len(METRICS)]
  for method, own in blocks.items():
    found = values(loaded, method, own)
    lines.append(_row([METHODS[method].title, str(len(own)), *(_cell(name, x) for name, x in found.items())]))
  return lines


def _difference_table(loaded: Loaded, blocks: Mapping[str, Sequence[Block]]) -> list[str]:
  compared = [method for method in blocks if method != plan.BASELINE and METHODS[method].loss]
  if not compared or plan.BASELINE not in blocks:
    return []
  found = {(m, e): difference(loaded, m, blocks[m], e) for m in compared for e in ENDPOINTS}
  keys = [(m, e) for m in compared if m in plan.MAIN for e in PRIMARY]
  holm = dict(zip(keys, statistics.holm([found[key].p for key in keys]), strict=True))
  lines = [
    "",
    f"Minus {METHODS[plan.BASELINE].title}, [95 % interval], p by Holm over the main methods' primary endpoints:",
    "",
  ]
  lines += [_row(["method", *ENDPOINTS]), "|---|" + "---:|" * len(ENDPOINTS)]
  for method in compared:
    cells = []
    for endpoint in ENDPOINTS:
      d, digits = found[method, endpoint], 2 if endpoint in PRIMARY else 3
      p = f", p {holm[method, endpoint]:.2g}" if (method, endpoint) in holm else ""
      cells.append(f"{_number(d.estimate, digits)} [{_number(d.low, digits)}, {_number(d.high, digits)}]{p}")
    lines.append(_row([METHODS[method].title, *cells]))
  return lines


def whole_seeds(blocks: Sequence[Block]) -> list[Block]:
  """Leaves out the seeds that have judged fewer folds than others: their spread must be over the same patients."""
  folds = collections.Counter(seed for _, seed in blocks)
  return [(fold, seed) for fold, seed in blocks if folds[seed] == max(folds.values())]


def section(results: pathlib.Path) -> str:
  """Returns the Markdown of all that the records say so far."""
  lines = [
    "Cells done of planned. A cell is one training and its evaluation on the patients of one fold: see the",
    "[protocol](study_protocol.md).",
    "RPS, vote NLL, Brier, the MR-ECEs with their signed parts and level ECE are in units of 1e-4; ± is the standard",
    "deviation over seeds; the AUC is a mean over patients. Each method is shown on the folds and seeds that it shares",
    "with the baseline.",
    "",
    _row(["study", "done", "planned", "patients judged"]),
    "|---|---:|---:|---:|",
  ]
  every = {name: load(results, name) for name in plan.STUDIES}
  for name, loaded in every.items():
    own = [blocks for method, blocks in loaded.records.items() if method in plan.get_study(name).methods]
    done = sum(map(len, own))
    folds = {fold for blocks in own for fold, _ in blocks}
    judged = sum(len(loaded.panels[fold]["pixels"]) for fold in folds)
    lines.append(_row([name, str(done), str(len(plan.cells(name))), str(judged)]))
  for name, loaded in every.items():
    base = loaded.records.get(plan.BASELINE, {})
    blocks = {
      method: sorted(block for block in base if block in own or (not METHODS[method].loss and (block[0], 0) in own))
      for method in dict.fromkeys((plan.BASELINE, *plan.get_study(name).methods))
      if (own := loaded.records.get(method))
    }
    blocks = {method: whole_seeds(own) for method, own in blocks.items() if own}
    if blocks.keys() & set(plan.get_study(name).methods):
      lines += ["", f"### {name}", "", *_metric_table(loaded, blocks), *_difference_table(loaded, blocks)]
  return "\n".join(lines) + "\n"


def replaced(text: str, new: str) -> str:
  """Returns docs/results.md with what stands between the two marks replaced.

  Raises:
    InputError: the marks are not there, each once and in order.
  """
  if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
    raise InputError(f"{DOCS} lacks the lines {BEGIN!r} and {END!r}, between which the tables go.")
  before, rest = text.split(BEGIN)
  return f"{before}{BEGIN}\n\n{new}\n{END}{rest.split(END)[1]}"


def publish(results: pathlib.Path, *, write: bool) -> None:
  """Prints the tables, and puts them into docs/results.md where asked to."""
  text = section(results)
  print(text, end="")
  if write:
    DOCS.write_text(replaced(DOCS.read_text(), text))
