"""Sliding-window prediction against MONAI's, the same U-Net on both sides: 1024 x 1024, windows of 256, overlap .25.

python benchmarks/sliding_window.py          # needs torch and monai beside this project's own environment

Both blend with Gaussian weights. The two take turns; the median of each and their ratio are printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_worker
from monai.inferers.utils import sliding_window_inference

from ordseg import heads, models
from ordseg.models import sliding_window

WIDTH, DEPTH, NUM_RATERS = 16, 4, 7
MODEL = {"name": "unet", "width": WIDTH, "depth": DEPTH, "blocks_per_level": 2, "norm": "group", "dropout": 0.0}


def ours(image: np.ndarray, args: argparse.Namespace) -> Callable[[], None]:
  """A prediction with this project."""
  net = models.get_model({**MODEL, "dtype": "float32"}, num_outputs=NUM_RATERS + 1)
  params = net.init(jax.random.key(0), np.zeros((1, 64, 64, 1), np.float32), is_training=False)
  head = heads.get_head("softmax")

  @jax.jit
  def predict(images: jax.Array) -> jax.Array:
    return jnp.exp(heads.predict(head, net.apply(params, images, is_training=False), NUM_RATERS))

  windows = sliding_window.Windows(size=args.window, overlap=args.overlap, batch_size=args.batch_size, multiples=(8,))

  def run() -> None:
    sliding_window.predict_image(lambda images: np.asarray(predict(images)), image, windows)

  return run


def monai(image: np.ndarray, args: argparse.Namespace) -> Callable[[], None]:
  """The same with MONAI and PyTorch, channels last."""
  net = torch_worker.UNet(1, NUM_RATERS + 1, WIDTH, DEPTH).to(memory_format=torch.channels_last).eval()
  tensor = torch.from_numpy(image).permute(2, 0, 1)[None]

  def predict(images: torch.Tensor) -> torch.Tensor:
    return torch.softmax(net(images.contiguous(memory_format=torch.channels_last)), dim=1)

  def run() -> None:
    with torch.inference_mode():
      size = (args.window, args.window)
      sliding_window_inference(tensor, size, args.batch_size, predict, overlap=args.overlap, mode="gaussian").numpy()

  return run


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
  parser.add_argument("--size", type=int, default=1024)
  parser.add_argument("--window", type=int, default=256)
  parser.add_argument("--overlap", type=float, default=0.25)
  parser.add_argument("--batch_size", type=int, default=4)
  parser.add_argument("--rounds", type=int, default=7)
  args = parser.parse_args()
  image = np.random.default_rng(0).normal(size=(args.size, args.size, 1)).astype(np.float32)
  sides = {"ordseg": ours(image, args), "MONAI": monai(image, args)}
  seconds: dict[str, list[float]] = {name: [] for name in sides}
  for number in range(args.rounds + 1):
    for name, run in sides.items():
      start = time.perf_counter()
      run()
      if number:  # the first compiles
        seconds[name].append(time.perf_counter() - start)
  medians = {name: statistics.median(values) for name, values in seconds.items()}
  for name, value in medians.items():
    print(f"{name:8s} {1000 * value:7.0f} ms (fastest {1000 * min(seconds[name]):.0f})")
  print(f"ratio    {medians['ordseg'] / medians['MONAI']:7.2f} (bar: 1.0)")


if __name__ == "__main__":
  main()
