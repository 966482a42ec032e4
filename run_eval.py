"""Evaluates a trained workdir: metrics.json, per_image.csv, report.html and figures under <workdir>/eval/<split>/.

  python run_eval.py --workdir=runs/mine --split=test
  python run_eval.py --workdir=runs/mine --split=validation --step=best
  python run_eval.py --workdir=runs/seed0,runs/seed1,runs/seed2 --flips
  python run_eval.py --workdir=runs/mine --recalibration=temperature

It is ``ordseg evaluate`` with the builders of this clone; --help lists the flags.
"""

from ordseg.errors import interrupts

interrupts.leave_at_once()  # Ctrl-C during the slow imports

import pathlib
import sys

from ordseg.cli import main

if __name__ == "__main__":
  main.run("evaluate", sys.argv[1:], prog="python run_eval.py", clone=pathlib.Path(__file__).resolve().parent)
