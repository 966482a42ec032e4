"""Maps and masks in, sums per image out: what the evaluation of a run and `MultiRaterMetrics` share."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ordseg import metrics, ordinal
from ordseg.errors import InputError
from ordseg.metrics import ImageSums, Scores, surface
from ordseg.types import Batch

MAX_PIXELS = 2**22  # of an image that are counted at once; a volume is counted in parts


class Counter:
  """Sums of one predictor over batches. Its memory grows by the sums of each image; no map is kept."""

  def __init__(self, num_raters: int, num_bins: int, surface_tolerance: float | None = None, what: str = "prediction"):
    """Starts with no image.

    Args:
      num_raters: R.
      num_bins: bins of the calibration errors, 1..255.
      surface_tolerance: of the surface Dice; None leaves distances between outlines out.
      what: what is counted, for error messages.
    """
    self._num_levels, self._tolerance, self._what = num_raters + 1, surface_tolerance, what
    self._count = count_batch(num_bins)
    self._parts = [metrics.empty(num_raters, num_bins)]
    self._surface = [] if surface_tolerance is None else [surface.empty(num_raters)]
    self._ranks = np.zeros((len(ordinal.READ_OUTS), metrics.NUM_RANKS, 5), np.int64)
    self.ids: list[str] = []
    self.groups: list[str] = []

  def add(self, level_probs: np.ndarray, batch: Batch, ids: Sequence[str], groups: Sequence[str]) -> ImageSums:
    """Counts a batch.

    Args:
      level_probs: [B, H, W, L], or [B, D, H, W, L]; any axes between the first and the last.
      batch: rater_masks, rater_valid, mask, and spacing where outlines are measured in mm.
      ids: of the first images; the others are dummies, which do not count.
      groups: of the same.

    Returns:
      The sums of the images that count.

    Raises:
      InputError: the prediction is of another shape, or no distribution over the levels.
    """
    want = (*np.shape(batch["mask"]), self._num_levels)
    if level_probs.shape != want:
      raise InputError(f"the {self._what} of a batch has shape {level_probs.shape}, expected {want} [B, S, levels].")
    columns = [_columns(x, len(want) - 1) for x in (level_probs, batch["rater_masks"], batch["mask"])]
    parts = [
      self._add_part([x[:, start : start + MAX_PIXELS] for x in columns], batch, ids)
      for start in range(0, columns[0].shape[1], MAX_PIXELS)
    ]
    self._parts.append(metrics.add(parts) if len(parts) > 1 else parts[0])
    if self._tolerance is not None:
      self._surface.append(surface.batch_scores(level_probs, batch, len(ids), self._tolerance))
    self.ids += ids
    self.groups += groups
    return self._parts[-1]

  def _add_part(self, columns: list[np.ndarray], batch: Batch, ids: Sequence[str]) -> ImageSums:
    """Counts some pixels of each image: [B, P, L], [B, P, R], [B, P]."""
    size = padded_size(columns[0].shape[1])
    found = jax.device_get(self._count(*(_padded(x, size) for x in columns), np.asarray(batch["rater_valid"])))
    proper = found.pop("proper")[: len(ids)]
    if not proper.all():
      name = ids[int(np.argmin(proper))]
      raise InputError(
        f"the {self._what} of image {name!r} is no distribution over levels: not finite, or its sum not 1."
      )
    self._ranks += metrics.pooled_ranks(found, len(ids), size)
    return metrics.to_host(found, len(ids))

  def merge(self, other: "Counter") -> None:
    """Adds the images of another counter of as many raters and bins."""
    self._parts += other._parts
    self._surface += other._surface
    self._ranks += other._ranks
    self.ids += other.ids
    self.groups += other.groups

  def state(self) -> dict[str, Any]:
    """Returns a pytree of arrays that concatenate, along their first axis, with those of other counters."""
    names = np.asarray([*zip(self.ids, self.groups, strict=True)], np.str_).reshape(-1, 2)
    state = {"sums": metrics.concatenate(self._parts), "ranks": self._ranks[None], "names": names}
    return {**state, "surface": surface.concatenate(self._surface)} if self._surface else state


def scores_of(state: dict[str, Any], *, has_levels: bool = True) -> tuple[Scores, list[str], list[str]]:
  """Returns scores, ids and groups from a `Counter.state`, images sorted by id: their order then changes no number."""
  names = state["names"]
  order = np.argsort(names[:, 0], kind="stable")
  distances = jax.tree.map(lambda x: x[order], state.get("surface"))
  scores = Scores(state["sums"].rows(order), state["ranks"].sum(0), distances, has_levels)
  return scores, names[order, 0].tolist(), names[order, 1].tolist()


@functools.cache
def count_batch(num_bins: int) -> Callable[..., dict[str, jax.Array]]:
  """Returns the compiled count of a batch: [B, P, L], [B, P, R], [B, P], [B, R] -> sums with a leading axis B."""

  def count(level_probs: Any, rater_masks: Any, mask: Any, rater_valid: Any) -> dict[str, jax.Array]:
    def one(*arrays: Any) -> dict[str, jax.Array]:
      example: dict[str, Any] = dict(zip(("rater_masks", "mask", "rater_valid"), arrays[1:], strict=True))
      return metrics.image_sums(arrays[0], example, num_bins=num_bins)

    return jax.vmap(one)(level_probs, rater_masks, mask, rater_valid)

  return jax.jit(count)


def padded_size(num_pixels: int) -> int:
  """Rounds up to one of four sizes per octave, so that images of many sizes share few compiled programs."""
  step = max(256, (1 << num_pixels.bit_length()) // 8)
  return -(-num_pixels // step) * step


def _columns(x: Any, axes: int) -> np.ndarray:
  """[B, S, ...] -> [B, P, ...], with `axes` axes before the dots."""
  x = np.asarray(x)
  return x.reshape(len(x), -1, *x.shape[axes:])


def _padded(x: np.ndarray, size: int) -> np.ndarray:
  """[B, P, ...] -> [B, size, ...]; what is added is 0, so its mask is."""
  missing = size - x.shape[1]
  return np.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)) if missing else x
