"""Pixels drawn from images, so that a fit over thousands of images holds in memory, and what that costs is known."""

import dataclasses
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

_SURE = 0.99  # P(nobody marks it) above which a pixel that nobody marked is plain background


@dataclasses.dataclass(frozen=True)
class Sample:
  """N pixels.

  Attributes:
    log_probs: [N, L] float32, as predicted.
    votes: [N] int32, c.
    num_valid: [N] int32, n >= 1.
    weight: [N] float64, how many pixels of the split it stands for.
    stratum: [N] int64, equal for pixels drawn from one pool: plain background of one image, or the rest of it.
    cluster: [N] int64, equal for pixels of one image, or of the images of one group (patient).
  """

  log_probs: np.ndarray
  votes: np.ndarray
  num_valid: np.ndarray
  weight: np.ndarray
  stratum: np.ndarray
  cluster: np.ndarray

  def __len__(self) -> int:
    return len(self.votes)

  @property
  def num_raters(self) -> int:
    """R."""
    return self.log_probs.shape[-1] - 1


class Sampler:
  """Draws pixels image by image into two disjoint samples: one to fit on and one to check with.

  In most images nearly all pixels are background that nobody marked and the network is sure of. They would fill a
  uniform sample and say nothing, so they and the rest are two pools, which get equal shares of what is drawn, and every
  pixel counts as often as it has others beside it in its pool: the weighted means estimate those over all pixels.
  """

  def __init__(self, pixels_per_image: int, seed: int = 0):
    """Starts with nothing drawn.

    Args:
      pixels_per_image: for each of the two samples; images with fewer than twice as many are cut in halves.
      seed: what is drawn of an image depends on it and the image's id alone.
    """
    self._size, self._seed = pixels_per_image, seed
    self._parts: tuple[list[Sample], list[Sample]] = ([], [])
    self._clusters: dict[str, int] = {}
    self._num_pools = self.num_images = self.num_pixels = 0

  def add(
    self,
    log_probs: np.ndarray,
    rater_masks: np.ndarray,
    rater_valid: np.ndarray,
    mask: np.ndarray,
    *,
    name: str,
    group: str = "",
  ) -> None:
    """Draws from an image; one that nobody rated, or of which no pixel counts, is left out.

    Args:
      log_probs: [H, W, L].
      rater_masks: [H, W, R] in {0, 1}.
      rater_valid: [R] in {0, 1}.
      mask: [H, W], 1 where a pixel counts.
      name: the image's id.
      group: its group, '' for none.
    """
    answered = np.flatnonzero(rater_valid)
    pixels = np.flatnonzero(mask)
    if not answered.size or not pixels.size:
      return
    votes = rater_masks.reshape(-1, rater_masks.shape[-1])[:, answered].sum(-1, dtype=np.int32)
    log_probs = log_probs.reshape(-1, log_probs.shape[-1])
    sure = (votes[pixels] == 0) & (log_probs[pixels, 0] > np.log(_SURE))
    cluster = self._clusters.setdefault(f"group {group}" if group else f"image {name}", len(self._clusters))
    draws = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
    for chosen, pool_size in _draw(draws, [pixels[sure], pixels[~sure]], 2 * self._size):
      halves = chosen[: -(-len(chosen) // 2)], chosen[-(-len(chosen) // 2) :]
      for part, half in zip(self._parts, halves, strict=True):
        if half.size:
          whole = (np.full(half.size, x) for x in (answered.size, pool_size / half.size, self._num_pools, cluster))
          n, weight, stratum, cluster_of = whole
          part.append(Sample(log_probs[half], votes[half], n.astype(np.int32), weight, stratum, cluster_of))
      self._num_pools += 1
    self.num_images += 1
    self.num_pixels += pixels.size

  def samples(self) -> tuple[Sample | None, Sample | None]:
    """Returns the sample to fit on and the one to check with; None where nothing was drawn."""
    return _join(self._parts[0]), _join(self._parts[1])


def _draw(draws: np.random.Generator, pools: Sequence[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, int]]:
  """Yields what is drawn of each of two pools, in random order, and the pool's size; half each, or what is there."""
  first = min(len(pools[0]), max(size - size // 2, size - len(pools[1])))
  for pool, wanted in zip(pools, (first, size - first), strict=True):
    if pool.size:
      yield draws.choice(pool, min(wanted, pool.size), replace=False), pool.size


def _join(parts: Sequence[Sample]) -> Sample | None:
  if not parts:
    return None
  names = [field.name for field in dataclasses.fields(Sample)]
  return Sample(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
