"""Time of each loss beside majority cross-entropy, in a whole training step of the default U-Net and alone.

python benchmarks/losses.py

The losses take turns in every round; medians and their ratio to bce_majority are printed, as Markdown. ``alone`` is
head, loss and gradient on ready logits.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ordseg import heads, losses, models, ordinal

NUM_RATERS = 7
MODEL = {"name": "unet", "width": 16, "depth": 4, "blocks_per_level": 2, "norm": "group", "dropout": 0.0}


def batch(size: int, batch_size: int) -> ordinal.OrdinalTarget:
  """Masks of a panel with some raters missing, and weights for the loss that wants an estimate of the truth."""
  rng = np.random.default_rng(0)
  masks = rng.integers(0, 2, (batch_size, size, size, NUM_RATERS), np.uint8)
  valid = (rng.random((batch_size, NUM_RATERS)) < 0.8).astype(np.uint8)
  valid[:, 0] = 1
  return ordinal.encode(masks, valid, label_weights=rng.normal(size=(batch_size, NUM_RATERS + 1)).astype(np.float32))


def sides(name: str, size: int, batch_size: int) -> tuple[Callable[[], object], Callable[[], object]]:
  """Returns (loss and gradient from logits, gradient of the network) for one loss, compiled, on the softmax head."""
  head = heads.get_head("softmax")
  loss_fn = losses.get_loss(name, head, {})
  target = batch(size, batch_size)
  net = models.get_model({**MODEL, "dtype": "float32"}, num_outputs=NUM_RATERS + 1)
  images = jax.random.normal(jax.random.key(0), (batch_size, size, size, 1))
  params = net.init(jax.random.key(1), images, is_training=True)

  def mean(logits: jax.Array) -> jax.Array:
    return jnp.sum(loss_fn(heads.predict(head, logits, NUM_RATERS), target) * target.weight) / target.weight.sum()

  alone = jax.jit(jax.value_and_grad(mean))
  whole = jax.jit(jax.grad(lambda p: mean(net.apply(p, images, is_training=True))))
  logits = jax.random.normal(jax.random.key(2), (batch_size, size, size, NUM_RATERS + 1))
  return lambda: jax.block_until_ready(alone(logits)), lambda: jax.block_until_ready(whole(params))


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
  parser.add_argument("--size", type=int, default=128)
  parser.add_argument("--batch_size", type=int, default=8)
  parser.add_argument("--rounds", type=int, default=5)
  args = parser.parse_args()
  runs = {name: sides(name, args.size, args.batch_size) for name in losses.LOSSES}
  seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in runs}
  for number in range(args.rounds + 1):
    for name, pair in runs.items():
      for k, run in enumerate(pair):
        start = time.perf_counter()
        run()
        if number:  # the first compiles
          seconds[name][k].append(time.perf_counter() - start)
  base = statistics.median(seconds["bce_majority"][1])
  print("| loss | alone, ms | step / step of bce_majority |\n|---|---:|---:|")
  for name, (alone, whole) in seconds.items():
    print(f"| {name} | {1000 * statistics.median(alone):.0f} | {statistics.median(whole) / base:.2f} |")


if __name__ == "__main__":
  main()
