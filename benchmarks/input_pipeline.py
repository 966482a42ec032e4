"""Training images per second: this project's input pipeline against a PyTorch DataLoader, interleaved in one run.

Three contenders make the same batches from the same uint8 images in memory, with all augmentations on:
  ordseg            train_iterator with threads
  torch, own ops    DataLoader over a Dataset that augments with torch operations (affine_grid, grid_sample)
  torch, our code   DataLoader over a Dataset that calls ordseg.input_pipeline.augment
The DataLoaders run without workers and with `--workers` worker processes; the faster of the two counts.

Usage: python benchmarks/input_pipeline.py [--size 128] [--raters 4] [--batch_size 16] [--rounds 5]
"""

import argparse
import math
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import grain
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ordseg import input_pipeline
from ordseg.config import Augment, Config, Data
from ordseg.input_pipeline import augment, preprocess

try:
  import torch
  from torch.nn import functional
except ImportError:
  sys.exit("error: this benchmark compares against PyTorch, which is not installed: pip install torch")

NUM_EXAMPLES = 256


def make_config(size: int, num_threads: int) -> Config:
  return Config(
    data=Data(crop_size=(size, size), num_threads=num_threads),
    augment=Augment(elastic_alpha=4.0, elastic_sigma=8.0, gamma=0.2, noise=0.05),
  )


def make_source(size: int, num_raters: int) -> list[dict]:
  rng = np.random.default_rng(0)
  return [
    {
      "id": str(i),
      "group": str(i),
      "image": rng.integers(0, 256, (size, size, 1), dtype=np.uint8),
      "rater_masks": (rng.random((size, size, num_raters)) < 0.3).astype(np.uint8),
      "rater_valid": np.ones(num_raters, bool),
      "spacing": np.zeros(2, np.float32),
    }
    for i in range(NUM_EXAMPLES)
  ]


class OurCode(torch.utils.data.Dataset):
  """Prepares and augments with ordseg's functions."""

  def __init__(self, size: int, num_raters: int):
    config = make_config(size, 0)
    self.source = make_source(size, num_raters)
    # Plain objects, as in train_iterator: a ConfigDict's lookups take time.
    self.preprocess, self.augment = config.preprocess, config.augment

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> dict:
    cv2.setNumThreads(0)
    example, rng = self.source[index], np.random.default_rng(int(torch.randint(2**31, ())))
    image = preprocess.prepare_image(example["image"], self.preprocess)
    image, masks, mask = augment.augment(image, example["rater_masks"], rng, self.augment)
    arrays = {"image": image, "rater_masks": masks, "rater_valid": example["rater_valid"], "mask": mask}
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


class TorchOps(torch.utils.data.Dataset):
  """The same augmentations as torch operations on [C, H, W]."""

  def __init__(self, size: int, num_raters: int):
    self.source, self.config = make_source(size, num_raters), make_config(size, 0).augment.to_dict()
    sigma, self.step = self.config["elastic_sigma"], int(self.config["elastic_sigma"] / 2)
    self.radius = int(3 * sigma / self.step)
    kernel = torch.exp(-0.5 * (torch.arange(-self.radius, self.radius + 1) * self.step / sigma) ** 2)
    self.kernel = kernel / kernel.norm()

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> dict:
    example, c = self.source[index], self.config
    image = torch.from_numpy(example["image"]).permute(2, 0, 1).float().mul_(2 / 255).sub_(1)
    masks = torch.from_numpy(example["rater_masks"]).permute(2, 0, 1).float()
    masks = torch.cat([masks, torch.ones_like(masks[:1])])  # the last one says what lies inside
    u = (torch.rand(8) * 2 - 1).tolist()
    grid = self._grid(u, *image.shape[1:])
    image = functional.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]
    masks = functional.grid_sample(masks[None], grid, mode="nearest", align_corners=False)[0].to(torch.uint8)
    low, high = image.min(), image.max()
    gamma = (1 + c["gamma"]) ** u[4]
    image = image.sub_(low).div_(high - low).pow_(gamma).mul_(high - low).add_(low)
    mean = image.mean((1, 2), keepdim=True)
    image = (image - mean).mul_(1 + u[5] * c["contrast"]).add_(mean + u[6] * c["brightness"])
    image = image.add_(torch.randn_like(image), alpha=abs(u[7]) * c["noise"])
    return {"image": image, "rater_masks": masks[:-1], "mask": masks[-1], "rater_valid": example["rater_valid"]}

  def _grid(self, u: list[float], h: int, w: int) -> torch.Tensor:
    c = self.config
    angle, zoom = math.radians(u[2] * c["rotate_degrees"]), (1 + c["scale"]) ** u[3]
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    flip_y, flip_x = -1.0 if u[0] < 0 else 1.0, -1.0 if u[1] < 0 else 1.0
    theta = torch.tensor([[flip_x * cos, -sin * flip_y, 0.0], [flip_x * sin, cos * flip_y, 0.0]])
    cells = (h // self.step + 1 + 2 * self.radius, w // self.step + 1 + 2 * self.radius)
    field = torch.randn(2, 1, *cells) * c["elastic_alpha"]
    field = functional.conv2d(functional.conv2d(field, self.kernel[None, None, None]), self.kernel[None, None, :, None])
    field = functional.interpolate(field, scale_factor=self.step, mode="bicubic")[:, 0, :h, :w]
    grid = functional.affine_grid(theta[None], [1, 1, h, w], align_corners=False)
    return grid + field.permute(1, 2, 0)[None] * torch.tensor([2 / w, 2 / h])


def endless_loader(dataset: torch.utils.data.Dataset, batch_size: int, workers: int) -> Iterator:
  sampler = torch.utils.data.RandomSampler(dataset, num_samples=10**7)
  # JAX has threads, which a forked worker would miss; spawned ones start slower but run at the same speed.
  more = {"num_workers": workers, "multiprocessing_context": "spawn"} if workers else {}
  return iter(torch.utils.data.DataLoader(dataset, batch_size, sampler=sampler, **more))


def images_per_second(iterator: Iterator, batch_size: int, seconds: float) -> float:
  for _ in range(8):  # what was read ahead while the others ran
    next(iterator)
  start, count = time.perf_counter(), 0
  while (elapsed := time.perf_counter() - start) < seconds:
    next(iterator)
    count += batch_size
  return count / elapsed


def parse_args() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--size", type=int, default=128, help="pixels of a side")
  parser.add_argument("--raters", type=int, default=4)
  parser.add_argument("--batch_size", type=int, default=16)
  parser.add_argument("--threads", type=int, default=2, help="read threads of ordseg")
  parser.add_argument("--workers", type=int, default=2, help="worker processes of the DataLoader")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--seconds", type=float, default=1.5, help="per contender and round")
  return parser.parse_args()


def main() -> None:
  args = parse_args()
  torch.set_num_threads(1)  # as in its workers; on small images more threads cost the DataLoader a factor
  config = make_config(args.size, args.threads)
  ours = input_pipeline.train_iterator(
    make_source(args.size, args.raters),
    data_config=config.data,
    preprocess_config=config.preprocess,
    augment_config=config.augment,
    per_process_batch_size=args.batch_size,
    seed=0,
  )
  contenders: dict[str, Iterator] = {f"ordseg, {args.threads} threads": ours}
  for name, dataset in (("torch, own ops", TorchOps), ("torch, our code", OurCode)):
    for workers in (0, args.workers):
      loader = endless_loader(dataset(args.size, args.raters), args.batch_size, workers)
      contenders[f"{name}, {workers} workers"] = loader
  for iterator in contenders.values():
    next(iterator)
  rates: dict[str, list[float]] = {name: [] for name in contenders}
  for _ in range(args.rounds):
    for name, iterator in contenders.items():
      rates[name].append(images_per_second(iterator, args.batch_size, args.seconds))
  report(args, rates)


def report(args: argparse.Namespace, rates: dict[str, list[float]]) -> None:
  versions = {"python": platform.python_version(), "torch": torch.__version__, "opencv": cv2.__version__}
  versions |= {"grain": grain.__version__, "numpy": np.__version__}
  print(", ".join(f"{name} {version}" for name, version in versions.items()))
  print(f"{args.size} x {args.size} x 1 uint8, {args.raters} raters, batches of {args.batch_size}; medians of "
        f"{args.rounds} interleaved rounds of {args.seconds} s")  # fmt: skip
  medians = {name: statistics.median(values) for name, values in rates.items()}
  for name, values in rates.items():
    print(f"{name:28s} {medians[name]:8.0f} images/s   ({min(values):.0f} to {max(values):.0f})")
  ours, *others = medians
  for name in ("torch, own ops", "torch, our code"):
    best = max((n for n in others if n.startswith(name)), key=medians.__getitem__)
    # Each round's own ratio: what slowed the machine for a while slowed both.
    ratio = statistics.median(a / b for a, b in zip(rates[ours], rates[best], strict=True))
    print(f"ordseg / ({best}): {ratio:.2f} x")


if __name__ == "__main__":
  main()
