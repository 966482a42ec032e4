"""How often intervals hold the true value: calibration errors, plain means, and differences of both.

Runs the product's own code (ordseg.statistics) on data whose truth is known (benchmarks/coverage_worlds.py), cell by
cell, and adds a line per cell to a record. A cell that is in it already, with as many repetitions or more, is not run
again.

python benchmarks/coverage.py                        # all cells, some 8 minutes on a free core
python benchmarks/coverage.py --only=patients --repetitions=1000 --record=/tmp/patients.jsonl
python benchmarks/coverage.py --tables               # the tables of docs/statistics.md, from the record
"""

import argparse
import dataclasses
import json
import pathlib
import re
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import coverage_tables
import coverage_worlds as worlds
import numpy as np
from coverage_worlds import Images, World

from ordseg import statistics
from ordseg.metrics import GapBins, Resamples
from ordseg.statistics import gaps, noise

RECORD = pathlib.Path(__file__).parent / "results/coverage.jsonl"
CONFIDENCE = 0.95
SIZES = (10, 20, 50, 200)


@dataclasses.dataclass(frozen=True)
class Cell:
  """One setting.

  Attributes:
    kind: 'single' or 'difference', of two models on the same images.
    what: name of the population, see `build`.
    metric: mr_ece, ace, mce, level_ece, rater_mean (each rater counts the same), rater_pooled (each pixel that a rater
      answered); brier, dice of plain means.
    error: parameter of the population, such as the true error.
    sd: of the effect of an image on log-odds.
    pixels: of an image.
    n: units.
    units: 'images', 'patients' or 'lognormal'.
    method: 'percentile' or 'bca' of plain means.
  """

  kind: str
  what: str
  metric: str
  error: float
  sd: float
  pixels: int
  n: int
  units: str = "images"
  method: str = ""

  @property
  def name(self) -> str:
    """For selection and seeds."""
    method = f" {self.method}" if self.method else ""
    return (
      f"{self.kind} {self.metric}{method}: {self.what} {self.error:g}, sd {self.sd:g}, {self.pixels} px, "
      f"{self.n} {self.units}"
    )


# --- Populations ------------------------------------------------------------------------------------------------------


def build(cell: Cell) -> World:
  """Returns the population of a cell.

  - 'sharp': log-odds multiplied, so gaps of both signs; model a is calibrated, b has the error.
  - 'two errors': .02 and .04.
  - 'bad bin': one of 15 bins of b wrong by .15; 'bad bins': another one of each model by .04.
  - 'shift': all log-odds of b moved by `error`, which the images' effect can hide; 'shift on .02': both sharp too.
  - 'near': log-odds +-.1 at random, in a and b opposite, on an error of `error`.
  - 'raters': four raters with habits of their own, who answer 100, 80, 50 and 30 % of the images.
  - 'phantom': as 'sharp', with 88 % of the pixels near 0.
  """
  base, share = worlds.grid(cell.what == "phantom")
  rater = np.ones(1)
  if cell.metric == "level_ece":
    return _levels(base, share, cell)
  if cell.what == "raters":
    per_rater = np.stack([worlds.shifted(base, offset) for offset in worlds.OFFSETS])
    mean = worlds.ANSWERED @ per_rater / worlds.ANSWERED.sum()
    world = World(share, per_rater, worlds.solved(per_rater, cell.sd), np.zeros((0, 1, 0)), cell.sd, worlds.ANSWERED)
    return _with(world, [mean, _sharp(world, mean, cell.error)])
  if cell.what == "near":
    base, share = np.repeat(base, 2), np.repeat(share, 2) / 2
  truth = base.copy()
  inside = {"bad bin": [7], "bad bins": [4, 10]}.get(cell.what, [])
  bins = (base * worlds.K).astype(int)
  if cell.what == "bad bin":
    truth[bins == inside[0]] -= 0.15
  world = World(share, truth[None], worlds.solved(truth[None], cell.sd), np.zeros((0, 1, 0)), cell.sd, rater)
  if cell.what == "bad bin":
    return _with(world, [truth, base])
  if cell.what == "bad bins":
    return _with(world, [np.where(bins == k, base + 0.04, base) for k in inside])
  if cell.what == "shift":
    return _with(world, [truth, worlds.shifted(truth, cell.error)])
  if cell.what == "shift on .02":
    sharp = _sharp(world, truth, 0.02)
    return _with(world, [sharp, worlds.shifted(sharp, cell.error)])
  if cell.what == "two errors":
    return _with(world, [_sharp(world, truth, 0.02), _sharp(world, truth, 0.04)])
  if cell.what == "near":
    sharp, noise = _sharp(world, truth, cell.error), np.tile([0.1, -0.1], len(truth) // 2)
    return _with(world, [worlds.shifted(sharp, noise), worlds.shifted(sharp, -noise)])
  return _with(world, [truth, _sharp(world, truth, cell.error)])


def _with(world: World, probs: Sequence[np.ndarray]) -> World:
  return dataclasses.replace(world, probs=np.stack(probs)[:, None])


def _sharp(world: World, truth: np.ndarray, error: float) -> np.ndarray:
  """Multiplies the log-odds of `truth` until its error in bins is `error`."""
  if error == 0:
    return truth

  def excess(by: float) -> float:
    return worlds.true_error(_with(world, [worlds.sharper(truth, by)]), 0, "mr_ece") - error

  return worlds.sharper(truth, worlds.root(excess))


def _levels(base: np.ndarray, share: np.ndarray, cell: Cell) -> World:
  logit = worlds.solved(base[None], cell.sd)
  world = World(share, base[None], logit, np.zeros((0, 0, 0)), cell.sd, np.ones(1), levels=True)
  votes = 1 / (1 + np.exp(-(logit[0][:, None] + cell.sd * worlds._NODES)))
  tails = np.stack([worlds.at_least(votes, j) @ worlds._NODE_WEIGHTS for j in range(1, worlds.LEVELS + 1)])

  def made(by: float) -> World:
    return dataclasses.replace(world, probs=np.stack([tails, worlds.sharper(tails, by)]))

  if cell.error == 0:
    return made(1.0)
  return made(worlds.root(lambda by: worlds.true_error(made(by), 1, "level_ece") - cell.error))


# --- Intervals, by the product's code ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Found:
  """What one repetition found."""

  raw: float
  corrected: float
  low: float
  high: float
  percentile: tuple[float, float]


def gap_interval(bins: Sequence[GapBins], units: statistics.Units, settings: statistics.Settings) -> Found:
  """The interval of an error, or of the difference of the second from the first."""
  names = ["a", "b"][: len(bins)]
  parts = {name: gaps.gaps_of(x, units) for name, x in zip(names, bins, strict=True)}
  plan = noise.Plan(parts, [("b", "a")] if len(bins) > 1 else [])

  def errors(pool: Resamples) -> dict[str, np.ndarray]:
    return {name: x.error(pool) for name, x in zip(names, bins, strict=True)}

  def both(pool: Resamples) -> dict[str, np.ndarray]:
    return {**errors(pool), **plan.measure(pool)}

  found = statistics.bootstrap(both, units, num_resamples=settings.num_resamples, seed=settings.seed)
  estimates = plan.estimates(statistics.estimates(errors, units), found)
  if len(bins) == 1:
    one = estimates["a"]
    plain = statistics.interval(found["a"], settings)
    return Found(one.raw, one.corrected, *one.ends(settings.confidence), plain)
  pair = plan.pairs(estimates, found)["b", "a"]
  plain = statistics.interval(found["b"] - found["a"], settings)
  return Found(pair.b.raw * -1 + pair.a.raw, pair.difference, *pair.ends(settings.confidence), plain)


def mean_measure(world: World, images: Images, cell: Cell) -> Callable[[Resamples], dict[str, np.ndarray]]:
  """Measures a plain mean: Brier score over pixels, or Dice of the mask, mean over images."""
  values = [_image_values(world, images, model, cell.metric) for model in (0, 1)]
  value = values[1] if cell.kind == "single" else values[1] - values[0]
  size = images.counts.sum(1)

  def measure(pool: Resamples) -> dict[str, np.ndarray]:
    if cell.metric == "brier":
      return {"x": pool.total(value * size) / pool.total(size)}
    return {"x": pool.mean(value)}

  return measure


def _image_values(world: World, images: Images, model: int, metric: str) -> np.ndarray:
  p, counts, marks = world.probs[model][0], images.counts, images.marks[:, 0]
  if metric == "brier":
    return (counts @ p**2 - 2 * marks @ p + marks.sum(1)) / counts.sum(1)
  mask = p >= (0.5 if model == 0 else 0.6)
  return 2 * marks[:, mask].sum(1) / np.maximum(counts[:, mask].sum(1) + marks.sum(1), 1)


def is_mean(cell: Cell) -> bool:
  """Whether the metric is no sum of absolute gaps."""
  return cell.metric in ("brier", "dice")


def truth_of(world: World, cell: Cell) -> float:
  """The true value: closed form of the errors; of means, 100,000 images apart from those of the repetitions."""
  if is_mean(cell):
    totals = []
    for part in range(20):
      images = worlds.draw(world, 5000, cell.pixels, "images", np.random.default_rng([99, part]))
      both = [_image_values(world, images, model, cell.metric).mean() for model in (0, 1)]
      totals.append(both[1] - both[0] if cell.kind == "difference" else both[1])
    return float(np.mean(totals))
  errors = [worlds.true_error(world, model, cell.metric) for model in (0, 1)]
  return errors[1] - errors[0] if cell.kind == "difference" else errors[1]


def once(world: World, cell: Cell, num_resamples: int, seeds: Sequence[int]) -> Found:
  """One data set and its interval."""
  images = worlds.draw(world, cell.n, cell.pixels, cell.units, np.random.default_rng(seeds))
  units = statistics.units_of(images.groups)
  settings = statistics.Settings(num_resamples, CONFIDENCE, cell.method or "percentile", seed=seeds[-1])
  if is_mean(cell):
    section = statistics.intervals(mean_measure(world, images, cell), units, settings)
    estimate = statistics.estimates(mean_measure(world, images, cell), units)["x"]
    low, high = section["values"].get("x", (np.nan, np.nan))
    return Found(estimate, estimate, low, high, (low, high))
  models = [1] if cell.kind == "single" else [0, 1]
  return gap_interval([worlds.bins_of(world, images, m, cell.metric) for m in models], units, settings)


def run(cell: Cell, repetitions: int, num_resamples: int, seed: int) -> dict[str, Any]:
  """Returns the record of a cell."""
  start, world = time.perf_counter(), build(cell)
  truth = truth_of(world, cell)
  number = zlib.crc32(cell.name.encode())
  found = [once(world, cell, num_resamples, [seed, number, k]) for k in range(repetitions)]
  low, high = np.asarray([(f.low, f.high) for f in found]).T
  raw, corrected = (np.asarray([getattr(f, name) for f in found]) for name in ("raw", "corrected"))
  p_low, p_high = np.asarray([f.percentile for f in found]).T
  slack = 1e-12
  inside = (low <= truth + slack) & (truth <= high + slack)
  return {
    **dataclasses.asdict(cell),
    "repetitions": repetitions,
    "num_resamples": num_resamples,
    "seed": seed,
    "truth": round(truth, 6),
    "coverage": round(float(inside.mean()), 4),
    "too_low": round(float((high < truth - slack).mean()), 4),
    "width": round(float((high - low).mean()), 5),
    "zero_left_out": round(float(((low > 0) | (high < 0)).mean()), 4),
    "raw_bias": round(float((raw - truth).mean()), 5),
    "corrected_bias": round(float((corrected - truth).mean()), 5),
    "raw_rmse": round(float(np.sqrt(((raw - truth) ** 2).mean())), 5),
    "corrected_rmse": round(float(np.sqrt(((corrected - truth) ** 2).mean())), 5),
    "percentile_coverage": round(float(((p_low <= truth + slack) & (truth <= p_high + slack)).mean()), 4),
    "seconds": round(time.perf_counter() - start, 1),
  }


# --- Cells ------------------------------------------------------------------------------------------------------------


def cells() -> list[Cell]:
  """Returns every cell."""
  out: list[Cell] = []

  def add(kind: str, what: str, metric: str = "mr_ece", errors: Sequence[float] = (0,), sds: Sequence[float] = (0.4,),
          pixels: Sequence[int] = (200,), sizes: Sequence[int] = SIZES, **more: str) -> None:  # fmt: skip
    for error in errors:
      for sd in sds:
        for size in pixels:
          out.extend(Cell(kind, what, metric, error, sd, size, n, **more) for n in sizes)

  both = ("single", "difference")
  for kind in both:
    errors = (0, 0.01, 0.02, 0.04, 0.08) if kind == "single" else (0.01, 0.02, 0.04, 0.08)
    add(kind, "sharp", errors=errors, pixels=(200, 4000))
    add(kind, "sharp", errors=(errors[0], 0.02), sds=(0, 0.2, 0.8))
    add(kind, "sharp", errors=(0.02,), sds=(0, 0.8), pixels=(4000,), sizes=(20, 50))
    add(kind, "bad bin", errors=(0.15,), pixels=(200, 4000))
    add(kind, "shift", errors=(0.02, 0.06, 0.15), pixels=(200, 4000))
    add(kind, "shift on .02", errors=(0.15,), pixels=(200, 4000))
    add(kind, "sharp", errors=(errors[0], 0.02, 0.04), units="patients")
    add(kind, "sharp", errors=(errors[0], 0.02), units="lognormal")
    add(kind, "phantom", errors=(errors[0], 0.02))
    for metric in ("mr_ece", "rater_mean", "rater_pooled"):
      add(kind, "raters", metric, errors=(0, 0.02) if kind == "single" else (0.02, 0.04))
    for metric in ("level_ece", "ace", "mce"):
      add(kind, "sharp", metric, errors=(errors[0], 0.02))
    for metric in ("ace", "mce"):
      add(kind, "bad bin", metric, errors=(0.15,))
    for metric in ("brier", "dice"):
      for method in ("percentile", "bca"):
        add(kind, "sharp", metric, errors=(0.04,), method=method)
  add("difference", "two errors", pixels=(200, 4000))
  add("difference", "near", errors=(0, 0.02), pixels=(200, 4000))
  add("difference", "bad bins", errors=(0.04,), pixels=(200, 4000))
  return list(dict.fromkeys(out))


# --- The program ------------------------------------------------------------------------------------------------------


def read(record: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Returns the lines of a record by the names of their cells; the last one of a cell counts."""
  if not record.exists():
    return {}
  lines = [json.loads(line) for line in record.read_text().splitlines() if line.strip()]
  fields = [field.name for field in dataclasses.fields(Cell)]
  named = [(Cell(**{name: line[name] for name in fields}).name, line) for line in lines]
  return {name: {**line, "name": name} for name, line in named}


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
  parser.add_argument("--only", default="", help="regular expression; cells whose names hold it")
  parser.add_argument("--repetitions", type=int, default=100)
  parser.add_argument("--resamples", type=int, default=400)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--record", type=pathlib.Path, default=RECORD)
  parser.add_argument("--list", action="store_true", help="the names of the cells, and nothing else")
  parser.add_argument("--tables", action="store_true", help="the tables of the record, and nothing else")
  args = parser.parse_args()
  chosen = [cell for cell in cells() if re.search(args.only, cell.name)]
  if args.list:
    print("\n".join(cell.name for cell in chosen))
    return
  done = read(args.record)
  if args.tables:
    names = [cell.name for cell in chosen if cell.name in done]
    if not names:
      parser.exit(2, f"{args.record} holds none of these cells: run them first, without --tables.\n")
    print(coverage_tables.tables([done[name] for name in names]))
    return
  args.record.parent.mkdir(parents=True, exist_ok=True)
  for cell in chosen:
    old = done.get(cell.name, {})
    if old.get("repetitions", 0) >= args.repetitions and (old["num_resamples"], old["seed"]) == (
      args.resamples,
      args.seed,
    ):
      continue
    line = run(cell, args.repetitions, args.resamples, args.seed)
    with args.record.open("a") as file:
      file.write(json.dumps(line) + "\n")
    print(f"{line['coverage']:.3f}  {line['width']:.4f}  {line['percentile_coverage']:.3f}  {cell.name}", flush=True)


if __name__ == "__main__":
  main()
