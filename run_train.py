"""Trains a segmentation network on the masks of several raters; ``ordseg train`` with the builders of this clone.

  python run_train.py --config=configs/quickstart.py --workdir=runs/mine
  python run_train.py --config=configs/quickstart.py --workdir=runs/mine --config.loss.alpha=0.5 --config.seed=1
  python run_train.py --config=configs/quickstart.py:baseline --workdir=runs/baseline

configs/default.py lists every field with its unit and allowed values; --help the rest. Next: run_eval.py.
"""

from ordseg.errors import interrupts

interrupts.leave_at_once()  # Ctrl-C during the slow imports

import pathlib
import sys

from ordseg.cli import main

if __name__ == "__main__":
  main.run("train", sys.argv[1:], prog="python run_train.py", clone=pathlib.Path(__file__).resolve().parent)
