"""Time of the bootstrap of every metric that is resampled, from sums per image that are made up.

python benchmarks/bootstrap.py
python benchmarks/bootstrap.py --images=1000 --method=bca
"""

import argparse
import time

import numpy as np

from ordseg import metrics, statistics


def made_up_sums(num_images: int, num_raters: int, num_bins: int, seed: int = 0) -> metrics.ImageSums:
  """Returns sums with the right shapes and magnitudes; the time does not depend on what they hold."""
  random = np.random.default_rng(seed)
  sizes = {name: 2**30 if name.endswith("prob") else 2**10 for name in vars(metrics.empty(num_raters, num_bins))}
  arrays = {
    name: random.integers(1, sizes[name], (num_images, *x.shape[1:]))
    for name, x in vars(metrics.empty(num_raters, num_bins)).items()
  }
  arrays |= {"rater_valid": np.ones((num_images, num_raters), np.int64), "num_valid": np.full(num_images, num_raters)}
  arrays["nested_rater"] = np.minimum(arrays["nested_rater"], arrays["nested_count"][:, None])
  return metrics.ImageSums(**arrays)


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
  parser.add_argument("--images", type=int, default=100)
  parser.add_argument("--raters", type=int, default=7)
  parser.add_argument("--bins", type=int, default=15)
  parser.add_argument("--resamples", type=int, default=10_000)
  parser.add_argument("--method", choices=statistics.METHODS, default="percentile")
  parser.add_argument("--repeats", type=int, default=5)
  args = parser.parse_args()
  scores = metrics.Scores(made_up_sums(args.images, args.raters, args.bins))
  groups = [""] * args.images
  settings = statistics.Settings(num_resamples=args.resamples, method=args.method)
  seconds, cpu, found = [], [], {}
  for _ in range(args.repeats):
    start, cpu_start = time.perf_counter(), time.process_time()
    found = statistics.intervals(
      lambda pool: scores.resampled(groups, pool), statistics.units_of(groups), settings, scores.gap_bins()
    )
    seconds.append(time.perf_counter() - start)
    cpu.append(time.process_time() - cpu_start)
  print(
    f"{args.resamples} resamples of {args.images} images, {args.raters} raters, {args.bins} bins, {args.method}: "
    f"{len(found['values'])} metrics in {min(seconds):.2f} s (best of {args.repeats}, worst {max(seconds):.2f} s), "
    f"{min(cpu):.2f} s of processor time"
  )


if __name__ == "__main__":
  main()
