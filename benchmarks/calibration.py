"""Multi-rater ECE of a large image: this project's counting kernel against torchmetrics, numpy, and other ways in JAX.

  python benchmarks/calibration.py [--pixels 4194304] [--raters 7] [--bins 15] [--rounds 9]

All contenders get the same probabilities [N] and rater masks [N, R], in memory, in their own array type, and run
interleaved; ratios are medians over the rounds, since a busy machine slows all of a round. torchmetrics gets the N * R
pairs that it needs, made beforehand. The second table shows which of them count on past 2**24 pixels. Contenders whose
package is missing are left out: pip install torch torchmetrics.
"""

import argparse
import functools
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KMP_BLOCKTIME", "0")  # so that PyTorch's threads do not spin while the others are timed
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ordseg.metrics import calibration

try:
  import torch
  import torchmetrics
  from torchmetrics.classification import BinaryCalibrationError
except ImportError:
  torch = torchmetrics = None

Contender = tuple[Callable[[], float], str]  # what is timed, and the memory it takes besides its input


def make_data(num_pixels: int, num_raters: int) -> tuple[np.ndarray, np.ndarray]:
  """Mostly certain background, as a network predicts it, and raters whose votes follow the probability loosely."""
  rng = np.random.default_rng(0)
  prob = rng.random(num_pixels, dtype=np.float32)
  prob = np.where(rng.random(num_pixels) < 0.8, 0.02 * prob**4, prob).astype(np.float32)
  masks = np.stack([rng.random(num_pixels, dtype=np.float32) < prob**1.1 for _ in range(num_raters)], axis=-1)
  return prob, masks.astype(np.uint8)


def megabytes(num_bytes: float) -> str:
  return f"{num_bytes / 2**20:.1f} MB"


# --- Contenders -------------------------------------------------------------------------------------------------------


def ordseg_kernel(prob: np.ndarray, masks: np.ndarray, num_bins: int) -> Contender:
  p, y = jnp.asarray(prob), jnp.asarray(masks)
  count = calibration._bin_votes.lower({"prob": p, "rater_masks": y}, num_bins=num_bins)
  memory = count.compile().memory_analysis()
  return lambda: calibration.mr_ece(p, y, num_bins=num_bins), megabytes(memory.temp_size_in_bytes)


def ordseg_from_numpy(prob: np.ndarray, masks: np.ndarray, num_bins: int) -> Contender:
  return lambda: calibration.mr_ece(prob, masks, num_bins=num_bins), f"+ {megabytes(prob.nbytes + masks.nbytes)} copied"


def numpy_mean_vote(prob: np.ndarray, masks: np.ndarray, num_bins: int) -> Contender:
  """What a careful user writes: one pass on the share of votes, chunks that fit the cache, float64 sums."""
  chunk = 1 << 16

  def run() -> float:
    sums = np.zeros(num_bins)
    for start in range(0, len(prob), chunk):
      p, y = prob[start : start + chunk], masks[start : start + chunk]
      index = np.minimum((p * num_bins).astype(np.int32), num_bins - 1)
      sums += np.bincount(index, p - y.sum(-1, dtype=np.uint8) / np.float32(masks.shape[1]), num_bins)
    return float(np.abs(sums).sum() / len(prob))

  return run, megabytes(5 * 4 * chunk)


def torchmetrics_pairs(prob: np.ndarray, masks: np.ndarray, num_bins: int) -> Contender:
  p = torch.from_numpy(prob).repeat_interleave(masks.shape[1])
  y = torch.from_numpy(masks.ravel()).to(torch.int64)
  metric = BinaryCalibrationError(n_bins=num_bins, norm="l1", validate_args=False)

  def run() -> float:
    metric.reset()
    metric.update(p, y)
    return float(metric.compute())

  run()
  return run, megabytes(sum(x.nbytes for x in (*metric.confidences, *metric.accuracies)))


def _jitted(fn: Callable, prob: np.ndarray, masks: np.ndarray) -> Contender:
  p, y = jnp.asarray(prob), jnp.asarray(masks)
  compiled = jax.jit(fn).lower(p, y).compile()
  return lambda: float(compiled(p, y)), megabytes(compiled.memory_analysis().temp_size_in_bytes)


def jax_segment_sum(prob: np.ndarray, masks: np.ndarray, num_bins: int) -> Contender:
  """The textbook way: scatter into float32 bins."""

  def fn(p: jax.Array, y: jax.Array) -> jax.Array:
    index = jnp.minimum((p * num_bins).astype(jnp.int32), num_bins - 1)
    difference = p - jnp.mean(y, axis=-1, dtype=jnp.float32)
    return jnp.abs(jax.ops.segment_sum(difference, index, num_bins)).sum() / p.size

  return _jitted(fn, prob, masks)


def jax_one_hot(prob: np.ndarray, masks: np.ndarray, num_bins: int) -> Contender:
  """One-hot codes times values, chunk by chunk: made for matrix units."""
  chunk = 1 << 13

  def step(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    p, y = part
    index = jnp.minimum((p * num_bins).astype(jnp.int32), num_bins - 1)
    codes = jax.nn.one_hot(index, num_bins, axis=0)
    return total + codes @ (p - jnp.mean(y, axis=-1, dtype=jnp.float32)), None

  def fn(p: jax.Array, y: jax.Array) -> jax.Array:
    size = p.size - p.size % chunk
    parts = p[:size].reshape(-1, chunk), y[:size].reshape(-1, chunk, y.shape[-1])
    return jnp.abs(jax.lax.scan(step, jnp.zeros(num_bins), parts)[0]).sum() / size

  return _jitted(fn, prob, masks)


CONTENDERS: dict[str, Callable[[np.ndarray, np.ndarray, int], Contender]] = {
  "ordseg": ordseg_kernel,
  "ordseg, from numpy arrays": ordseg_from_numpy,
  "numpy, share of votes": numpy_mean_vote,
  "JAX segment_sum, float32": jax_segment_sum,
  "JAX one-hot product, float32": jax_one_hot,
  **({"torchmetrics, all pairs": torchmetrics_pairs} if torch else {}),
}

# --- Tables -----------------------------------------------------------------------------------------------------------


def seconds(run: Callable[[], float]) -> float:
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def speed_table(args: argparse.Namespace) -> None:
  prob, masks = make_data(args.pixels, args.raters)
  runs = {name: make(prob, masks, args.bins) for name, make in CONTENDERS.items()}
  values = {name: run() for name, (run, _) in runs.items()}
  times: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(args.rounds):
    for name, (run, _) in runs.items():
      times[name].append(seconds(run))
  print(f"{args.pixels:,} pixels x {args.raters} raters, {args.bins} bins; {args.rounds} interleaved rounds")
  print(f"{'':30s}{'median ms':>10s}{'min ms':>9s}{'x ordseg':>10s}  {'MR-ECE':>12s}  memory besides the input")
  for name, (_, memory) in runs.items():
    factor = statistics.median(a / b for a, b in zip(times[name], times["ordseg"], strict=True))
    median, least = (1e3 * f(times[name]) for f in (statistics.median, min))
    print(f"{name:30s}{median:10.1f}{least:9.1f}{factor:10.1f}  {values[name]:12.9f}  {memory}")


def exactness_table(args: argparse.Namespace) -> None:
  """Calibrated background: 1 in 50 pixels of the first half is marked, 2 of the second, as the probabilities say."""
  half = args.large // 100 * 50
  share = np.repeat(np.asarray([1, 2]), half)
  prob = (share / 50).astype(np.float32)
  masks = (np.arange(2 * half) % 50 < share).astype(np.uint8)[:, None]
  print(f"\n{2 * half:,} pixels in one bin of {args.bins}, one rater; the truth is 0")
  for name in CONTENDERS:
    print(f"{name:30s}{CONTENDERS[name](prob, masks, args.bins)[0]():12.9f}")


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  add = functools.partial(parser.add_argument, type=int)
  add("--pixels", default=2048 * 2048)
  add("--raters", default=7)
  add("--bins", default=15)
  add("--rounds", default=9)
  add("--large", default=2**25 + 2**20, help="pixels of the exactness table; 0 leaves it out")
  args = parser.parse_args()
  versions = {"python": platform.python_version(), "jax": jax.__version__, "numpy": np.__version__}
  if torch:
    versions |= {"torch": torch.__version__, "torchmetrics": torchmetrics.__version__}
  print(", ".join(f"{name} {version}" for name, version in versions.items()), f"({jax.devices()[0].platform})")
  speed_table(args)
  if args.large:
    exactness_table(args)


if __name__ == "__main__":
  main()
