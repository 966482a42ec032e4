"""What can be drawn from the level probabilities of a page; each map is [H, W] float32 in [0, 1], masks uint8."""

import functools
from collections.abc import Callable

import numpy as np

from ordseg.errors import InputError, did_you_mean
from ordseg.ordinal import read_out

ALWAYS = ("mean_vote", "majority", "mask")


def entropy(level_probs: np.ndarray) -> np.ndarray:
  """Entropy of the number of votes over its largest value, log(R + 1)."""
  safe = np.maximum(level_probs, np.finfo(np.float32).tiny)
  return (-(level_probs * np.log(safe)).sum(-1) / np.log(level_probs.shape[-1])).astype(np.float32)


def disagreement(level_probs: np.ndarray) -> np.ndarray:
  """Probability that two different raters of the panel say different things; 0 for a panel of one."""
  num_raters = level_probs.shape[-1] - 1
  k = np.arange(num_raters + 1, dtype=np.float32)
  return read_out(level_probs, (2 * k * (num_raters - k) / max(num_raters * (num_raters - 1), 1)).astype(np.float32))


def mask(level_probs: np.ndarray) -> np.ndarray:
  """1 where the majority is more likely to mark the pixel than not."""
  return (read_out(level_probs, "majority") >= 0.5).astype(np.uint8)


def is_probability(name: str) -> bool:
  """Returns whether a map is the probability that a pixel belongs to something."""
  return name in ("mean_vote", "majority") or name.startswith("at_least_")


def describe(name: str, num_raters: int) -> str:
  """Returns what a map is in words, for a viewer's list."""
  words = {
    "mean_vote": "a rater marks it",
    "majority": f"at least half of {num_raters} raters",
    "mask": f"mask: majority of {num_raters} raters",
  }
  return words.get(name, f"{name.replace('_', ' ')} of {num_raters} raters")


def get_maps(names: str, num_raters: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
  """Looks maps up.

  Args:
    names: with commas between, or ``all``.
    num_raters: R.

  Returns:
    name -> (level_probs [..., L]) -> [...].

  Raises:
    InputError: an unknown name.
  """
  at_least = [f"at_least_{j}" for j in range(1, num_raters + 1)]
  read_outs = {name: functools.partial(read_out, weights=name) for name in ("mean_vote", "majority", *at_least)}
  known = read_outs | {"mask": mask, "entropy": entropy, "disagreement": disagreement}
  if names == "all":
    return known
  wanted = [name.strip() for name in names.split(",") if name.strip()]
  for name in wanted:
    if name not in known:
      raise InputError(f"--maps: {name!r} is unknown.{did_you_mean(name, known)} Maps: all, or {', '.join(known)}.")
  if not wanted:
    raise InputError(f"--maps is empty. Maps: all, or {', '.join(known)}.")
  return {name: known[name] for name in wanted}
