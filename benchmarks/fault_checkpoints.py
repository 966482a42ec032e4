"""Damaged checkpoints: a part of faults.py, which starts it.

python benchmarks/fault_checkpoints.py WORKDIR FOLDER SEED FIRST LAST: one JSON line for each of the trials.

Trial n damages a file of the best checkpoint (its arrays, their index, the digests, the metric, the place in the
data, Orbax's own files) or takes it away, and asks for the best checkpoint. Outcomes: refused (in one line), equal (the
damage lies where nothing is read), other weights, traceback.
"""

import json
import pathlib
import random
import shutil
import sys
from typing import Any

import damage
import numpy as np

from ordseg import run_record
from ordseg.errors import InputError
from ordseg.prediction import predictor
from ordseg.training import checkpoint, loop


def read_best(workdir: pathlib.Path) -> tuple[str, int]:
  """Returns the digest of the parameters to evaluate with, and their step."""
  with loop.open_checkpoints(run_record.read(workdir)["config"], workdir) as checkpoints:
    params, step = checkpoints.restore_eval_params("best")
  return predictor.digest(params), step


def trial(number: int, seed: int, workdir: pathlib.Path, folder: pathlib.Path, want: tuple[str, int]) -> dict[str, Any]:
  """Damages a copy of the workdir, reads the best checkpoint, and returns what came of it."""
  draws = random.Random(f"{seed} {number}")
  copy = folder / "damaged"
  shutil.rmtree(copy, ignore_errors=True)
  shutil.copytree(workdir, copy)
  files = sorted(p for p in (copy / checkpoint.FOLDER / str(want[1])).rglob("*") if p.is_file())
  sizes = np.asarray([path.stat().st_size for path in files], np.float64)
  # Half of the trials by size, where a disk would fail; half by file, so that small ones are met.
  path = draws.choices(files, sizes if number % 2 else np.ones_like(sizes))[0]
  what, message = damage.file(path, draws), ""
  try:
    outcome = "equal" if read_best(copy) == want else "other weights"
  except InputError as error:
    message = str(error)
    outcome = "traceback" if "\n" in message else "refused"
  except BaseException as error:
    outcome, message = "traceback", f"{type(error).__name__}: {error}"
  return {
    "kind": what.split()[0],
    "file": path.relative_to(copy).as_posix(),
    "outcome": outcome,
    "message": message[:300],
  }


def main() -> None:
  workdir, folder = map(pathlib.Path, sys.argv[1:3])
  seed, first, last = map(int, sys.argv[3:6])
  want = read_best(workdir)
  for number in range(first, last):
    print(json.dumps({"number": number, **trial(number, seed, workdir, folder, want)}), flush=True)


if __name__ == "__main__":
  main()
