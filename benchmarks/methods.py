"""Every head and loss of the project under one budget: trains each, evaluates each, prints one table.

python benchmarks/methods.py --config=configs/quickstart.py --steps=200 --out=runs/methods
python benchmarks/methods.py --config=configs/lidc_slices.py --steps=200 --out=runs/methods_lidc \
  --config.data.manual_dir=/path/to/LIDC-IDRI-slices

Arguments that start with --config. go to every run. What is finished is not run again.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

from ordseg import records

ROOT = pathlib.Path(__file__).parent.parent

# (row, head, loss, further overrides)
METHODS: list[tuple[str, str, str, dict[str, str]]] = [
  ("RPS + BCE (hybrid)", "softmax", "rps_bce", {}),
  ("hybrid, mean-vote BCE", "softmax", "rps_bce", {"loss.binary_term": "mean_vote"}),
  ("hybrid + DML", "softmax", "rps_bce_dml", {}),
  ("RPS", "softmax", "rps", {}),
  ("RPS, divisor n", "softmax", "rps", {"loss.divisor": "thresholds"}),
  ("RPS, divisor 1", "softmax", "rps", {"loss.divisor": "none"}),
  ("squared EMD", "softmax", "squared_emd", {}),
  ("nominal CE on the count", "softmax", "nll", {}),
  ("ranked ignorance", "softmax", "ranked_ignorance", {}),
  ("cumulative link, ranked ignorance", "cumulative", "ranked_ignorance", {}),
  ("SORD", "softmax", "sord", {}),
  ("CORAL, hybrid", "coral", "rps_bce", {}),
  ("CORAL, NLL", "coral", "nll", {}),
  ("cumulative link, hybrid", "cumulative", "rps_bce", {}),
  ("CORN, NLL", "corn", "nll", {}),
  ("CORN, hybrid", "corn", "rps_bce", {}),
  ("binomial, NLL", "binomial", "nll", {}),
  ("beta-binomial, NLL", "beta_binomial", "nll", {}),
  ("beta-binomial, hybrid", "beta_binomial", "rps_bce", {}),
  ("majority BCE", "sigmoid", "bce_majority", {}),
  ("soft BCE", "sigmoid", "bce_soft", {}),
  ("random rater", "sigmoid", "bce_soft", {"data.raters": "random"}),
  ("STAPLE", "sigmoid", "bce_staple", {}),
  ("BCE + Dice", "sigmoid", "bce_dice", {}),
  ("DML soft Dice", "sigmoid", "dml", {}),
  ("mL1-ACE", "sigmoid", "bce_ml1_ace", {}),
  ("mL1-ACE, no Dice", "sigmoid", "bce_ml1_ace", {"loss.dice_weight": "0.0"}),
  ("label smoothing", "sigmoid", "label_smoothing", {}),
  ("SVLS", "sigmoid", "svls", {}),
  ("focal", "sigmoid", "focal", {}),
  ("MbLS", "sigmoid", "mbls", {}),
  ("NACL", "sigmoid", "nacl", {}),
  ("W1 (control)", "softmax", "w1", {}),
  ("sa-RPS (control)", "softmax", "sa_rps", {}),
]

COLUMNS = {
  "Dice": "read_outs.majority.dice",
  "Dice, mean vote": "read_outs.mean_vote.dice",
  "MR-ECE": "read_outs.mean_vote.mr_ece_pooled",
  "ACE": "read_outs.mean_vote.ace",
  "Brier": "read_outs.mean_vote.brier",
  "RPS": "levels.rps",
  "level ECE": "levels.level_ece",
}


def run(workdir: pathlib.Path, args: argparse.Namespace, overrides: list[str]) -> dict[str, object]:
  """Trains and evaluates one row unless its metrics are there; returns metrics.json."""
  metrics = workdir / "eval" / "test" / "metrics.json"
  if not metrics.exists():
    train = [sys.executable, "run_train.py", f"--config={args.config}", f"--workdir={workdir}", *overrides]
    for command in (train, [sys.executable, "run_eval.py", f"--workdir={workdir}"]):
      subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
  return json.loads(metrics.read_text())


def pick(metrics: dict[str, object], path: str) -> float:
  """Looks a dotted path up."""
  value = records.at(metrics, path)
  assert isinstance(value, float)
  return value


def cells(values: list[float]) -> str:
  """A row's numbers as Markdown."""
  return " | ".join(f"{value:.4f}".lstrip("0") for value in values)


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
  parser.add_argument("--config", default="configs/quickstart.py")
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--steps", type=int, default=200)
  parser.add_argument("--only", default="", help="rows whose name holds this")
  args, extra = parser.parse_known_args()
  args.out = args.out.resolve()
  every = [
    f"--config.train.{name}={args.steps}" for name in ("num_steps", "eval_every_steps", "checkpoint_every_steps")
  ]
  chosen = [method for method in METHODS if args.only in method[0]]
  print(f"| method | head | loss | {' | '.join(COLUMNS)} | minutes |", flush=True)
  print("|---|---|---|" + "---:|" * (len(COLUMNS) + 1), flush=True)
  oracle: dict[str, object] | None = None
  for name, head, loss, settings in chosen:
    start = time.monotonic()
    own = [f"--config.model.head={head}", f"--config.loss.name={loss}"]
    own += [f"--config.{field}={value}" for field, value in settings.items()]
    folder = args.out / "".join(c if c.isalnum() else "_" for c in name)
    metrics = run(folder, args, [*every, *own, *extra])
    numbers = cells([pick(metrics, path) for path in COLUMNS.values()])
    print(f"| {name} | {head} | {loss} | {numbers} | {(time.monotonic() - start) / 60:.1f} |", flush=True)
    found = metrics.get("oracle")
    oracle = found if isinstance(found, dict) else None
  if oracle:
    print(f"| the truth itself | | | {cells([pick(oracle, path) for path in COLUMNS.values()])} | |")


if __name__ == "__main__":
  main()
