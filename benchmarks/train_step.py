"""Seconds per training step: this project's U-Net against the same net in PyTorch, and the hybrid loss against BCE.

All contenders take turns, a few steps each, in every round, so that what else the machine does hits all of them. While
one works the others sleep: PyTorch is in a process of its own (`torch_worker.py`), its threads told not to spin. Both
sides do forward, backward and Adam on softmax cross-entropy over 8 outputs, on the same sizes and in the same dtype.

  python benchmarks/train_step.py                                          # torch in this environment
  python benchmarks/train_step.py --torch_python=/path/to/other/bin/python
  GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python benchmarks/train_step.py    # both sides inherit it (docs/sharp_edges.md)

On a GPU both sides run in bfloat16 and PyTorch also through torch.compile.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import optax

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ordseg import heads, losses, models
from ordseg.models import LevelModel
from ordseg.training import step
from ordseg.types import Panel

NUM_RATERS = 7
NUM_OUTPUTS = NUM_RATERS + 1
# Threads that wait by spinning would slow the side that works, and on a shared machine also their own side.
QUIET_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}

Timer = Callable[[int], list[float]]  # number of steps -> seconds of each


def make_batch(args: argparse.Namespace) -> dict[str, jax.Array]:
  image_key, label_key = jax.random.split(jax.random.key(0))
  shape = (args.batch_size, args.size, args.size)
  labels = jax.random.randint(label_key, shape, 0, NUM_OUTPUTS)
  return {
    "image": jax.random.normal(image_key, (*shape, 1)),
    "label": labels,
    "rater_masks": (jnp.arange(NUM_RATERS) < labels[..., None]).astype(jnp.uint8),
    "rater_valid": jnp.ones((args.batch_size, NUM_RATERS), jnp.uint8),
    "mask": jnp.ones(shape, jnp.uint8),
  }


def make_model(args: argparse.Namespace):
  config = {"name": "unet", "width": args.width, "depth": args.depth, "blocks_per_level": 2}
  config |= {"norm": "group", "dropout": 0.0, "dtype": args.dtype}
  return models.get_model(config, num_outputs=NUM_OUTPUTS)


def cross_entropy_gradients(net) -> Callable:
  """(params, batch) -> gradients of the mean cross-entropy, the loss of `torch_worker.py`."""

  def loss(params, batch):
    logits = net.apply({"params": params}, batch["image"], is_training=True)
    return optax.softmax_cross_entropy(logits, jax.nn.one_hot(batch["label"], NUM_OUTPUTS)).mean()

  return jax.value_and_grad(loss)


def loss_head_gradients(net, name: str) -> Callable:
  """(params, batch) -> gradients of a loss of this project, divided as a training step does."""
  head = heads.get_head("softmax")
  loss_fn, model = losses.get_loss(name, head, {}), LevelModel(net, head, Panel(1, NUM_RATERS))

  def gradients(params, batch):
    sums = step.local_gradients(params, batch, jax.random.key(0), model=model, loss_fn=loss_fn)
    return sums.loss_sum / sums.weight_sum, jax.tree.map(lambda g: g / sums.weight_sum, sums.grads)

  return gradients


def jax_timer(args: argparse.Namespace, make_gradients: Callable) -> Timer:
  """Compiles a train step, runs it once, and returns a timer of it."""
  model, batch = make_model(args), make_batch(args)
  tx = optax.adam(1e-3)
  gradients = make_gradients(model)

  def train_step(params, opt_state, batch):
    loss, grads = gradients(params, batch)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss

  init = jax.jit(lambda key: model.init(key, batch["image"][:1], is_training=False)["params"])
  params = init(jax.random.key(0))
  state = [params, tx.init(params)]
  compiled = jax.jit(train_step, donate_argnums=(0, 1))

  def run(num_steps: int) -> list[float]:
    seconds = []
    for _ in range(num_steps):
      start = time.perf_counter()
      state[0], state[1], loss = compiled(*state, batch)
      jax.block_until_ready((state, loss))
      seconds.append(time.perf_counter() - start)
    return seconds

  run(2)
  return run


@contextlib.contextmanager
def torch_timers(args: argparse.Namespace, variants: list[str], device: str) -> Iterator[tuple[dict[str, Timer], dict]]:
  """Starts the worker; yields one timer per variant and what the worker says of itself."""
  python = args.torch_python or sys.executable
  found = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True, check=False)
  if found.returncode:
    sys.exit(
      f"error: {python} cannot import torch. Install it (pip install torch), name an interpreter that has it with "
      "--torch_python, or compare the losses only with --skip_torch."
    )
  options = {name: getattr(args, name) for name in ("batch_size", "size", "width", "depth", "dtype")}
  options |= {"in_channels": 1, "num_outputs": NUM_OUTPUTS, "threads": args.torch_threads, "device": device}
  command = [python, str(Path(__file__).with_name("torch_worker.py")), *(f"--{k}={v}" for k, v in options.items())]
  command += ["--variants", *variants]
  with subprocess.Popen(
    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **QUIET_THREADS}
  ) as process:

    def answer() -> dict:
      line = process.stdout.readline()
      if not line:
        sys.exit("error: the PyTorch worker stopped; its message is above.")
      return json.loads(line)

    def timer(variant: str) -> Timer:
      def run(num_steps: int) -> list[float]:
        process.stdin.write(json.dumps({"variant": variant, "steps": num_steps}) + "\n")
        process.stdin.flush()
        return answer()["seconds"]

      return run

    yield {f"torch {variant}": timer(variant) for variant in variants}, answer()
    process.stdin.close()


def interleave(timers: dict[str, Timer], *, rounds: int, steps: int) -> dict[str, list[float]]:
  """Runs every timer in every round and returns all their seconds."""
  seconds: dict[str, list[float]] = {name: [] for name in timers}
  for _ in range(rounds):
    for name, timer in timers.items():
      seconds[name] += timer(steps)
  return seconds


def print_table(title: str, seconds: dict[str, list[float]], rival: str) -> None:
  """Prints median and minimum of each, and the ratio to `rival` of both."""
  print(f"\n{title:24s} {'median ms':>10s} {'min ms':>8s}   ratio to {rival} (median, min)")
  base = seconds[rival]
  for name, values in seconds.items():
    median, least = statistics.median(values), min(values)
    ratios = f"{median / statistics.median(base):.3f}  {least / min(base):.3f}"
    print(f"{name:24s} {1e3 * median:10.1f} {1e3 * least:8.1f}   {ratios}")


def compare_with_torch(args: argparse.Namespace, on_gpu: bool) -> None:
  variants = ["channels_last", "compiled"] if on_gpu else ["nchw", "channels_last"]
  ours = jax_timer(args, cross_entropy_gradients)
  with torch_timers(args, variants, "cuda" if on_gpu else "cpu") as (timers, info):
    print(f"torch {info['torch']}, {info['threads']} threads, {info['num_params']} parameters, {QUIET_THREADS}")
    seconds = interleave({"ordseg": ours, **timers}, rounds=args.rounds, steps=args.steps)
  rival = min((name for name in seconds if name != "ordseg"), key=lambda name: statistics.median(seconds[name]))
  print_table("train step", seconds, rival)


def compare_losses(args: argparse.Namespace) -> None:
  names = ("bce_majority", "rps_bce")
  timers = {name: jax_timer(args, lambda net, name=name: loss_head_gradients(net, name)) for name in names}
  print_table("loss", interleave(timers, rounds=args.rounds, steps=args.steps), names[0])


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--batch_size", type=int, default=8)
  parser.add_argument("--size", type=int, default=128, help="pixels per side, divisible by 2**(depth - 1)")
  parser.add_argument("--width", type=int, default=16)
  parser.add_argument("--depth", type=int, default=4)
  parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: float32, on a GPU bfloat16")
  parser.add_argument("--rounds", type=int, default=9)
  parser.add_argument("--steps", type=int, default=2, help="of each contender in each round")
  parser.add_argument("--torch_python", default="", help="interpreter that has torch; default: this one")
  parser.add_argument("--torch_threads", type=int, default=0, help="0: torch's own choice")
  parser.add_argument("--skip_torch", action="store_true")
  parser.add_argument("--skip_losses", action="store_true")
  args = parser.parse_args()
  if args.size % 2 ** (args.depth - 1):
    parser.error(f"--size={args.size} must be divisible by {2 ** (args.depth - 1)}: the PyTorch net does not pad.")
  on_gpu = jax.default_backend() == "gpu"
  args.dtype = args.dtype or ("bfloat16" if on_gpu else "float32")
  device = jax.devices()[0].device_kind
  print(f"python {sys.version.split()[0]}, jax {jax.__version__}, flax {flax.__version__}, {device}, {args.dtype}")
  print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, allocator: {allocator_settings()}")
  if not args.skip_torch:
    compare_with_torch(args, on_gpu)
  if not args.skip_losses:
    compare_losses(args)


def allocator_settings() -> str:
  names = [n for n in os.environ if n.startswith("MALLOC_") or n in ("GLIBC_TUNABLES", "LD_PRELOAD")]
  return ", ".join(f"{n}={os.environ[n]}" for n in sorted(names)) or "default"


if __name__ == "__main__":
  main()
