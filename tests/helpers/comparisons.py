"""Runs that can be compared, of made-up predictors."""

import dataclasses

from ordseg.evaluation import scoring
from tests.helpers import evaluations

PLAN = {"a": (2.0, 7), "b": (1.1, 7), "s0": (1.5, 0), "s1": (1.6, 1), "t0": (1.51, 0), "t1": (1.57, 1)}


def of_seed(seed):
  """Returns what `evaluations.write` takes as info, of a training seed."""
  return {"model": {**evaluations.INFO["model"], "config": {"seed": seed}}}


def lone_images(folder):
  """Takes the groups away, so that there are 12 units."""
  stored = scoring.read(folder)
  evaluations.store(folder, dataclasses.replace(stored, groups=[""] * len(stored.ids)))
  return folder


def write(root):
  """Writes workdirs: a (too sharp), b (nearly the truth), and seeds of two methods that hardly differ."""
  for name, (sharpen, seed) in PLAN.items():
    lone_images(evaluations.write(root / name / "eval/test", sharpen=sharpen, info=of_seed(seed)))
  return root
