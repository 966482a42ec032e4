"""Fine cells of the probability, for what needs an order but no fixed bins: AUC, equal-mass bins, smooth errors.

By the distance of a probability from 0, or from 1 above 1/2: 2**-12 wide from 1/64 on, and 1/16 of an octave below
that, down to the smallest float32 near 0 and to 2**-24 near 1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ordseg.metrics import calibration
from ordseg.types import Array, ArrayLike

_CELLS_PER_UNIT, _TAIL, _TAIL_BITS = 4096, 2.0**-6, 4
_TAIL_CELLS = (127 - 6) << _TAIL_BITS
_FIRST_ABOVE = (127 - 24) << _TAIL_BITS
_HALF = _TAIL_CELLS + int((0.5 - _TAIL) * _CELLS_PER_UNIT)
NUM_RANKS = 2 * _HALF - _FIRST_ABOVE + 2
# In units of 2**-24 no cell holds a multiple of 2**13 but at its near edge, so the higher bits are known from the cell.
_LOW_BITS = 13


def rank_cell(prob: Array) -> Array:
  """Returns the cell of each probability, int32 in 0..NUM_RANKS-1, never decreasing in the probability.

  Cells are small near 0 and 1, where most probabilities are: 1e-9 and 1e-12 have different cells. They are read off the
  bits of the float, so that no cell depends on how a logarithm is rounded.
  """
  prob = jnp.clip(prob, 0.0, 1.0)
  above = NUM_RANKS - 1 - jnp.maximum(_distance_cell(1.0 - prob) - _FIRST_ABOVE + 1, 0)
  return jnp.where(prob < 0.5, _distance_cell(prob), above)


def _distance_cell(s: Array) -> Array:
  tail = lax.bitcast_convert_type(s, jnp.int32) >> (23 - _TAIL_BITS)
  middle = _TAIL_CELLS + ((s - _TAIL) * _CELLS_PER_UNIT).astype(jnp.int32)
  return jnp.where(s < _TAIL, tail, middle)


def cell_edges() -> np.ndarray:
  """Returns [NUM_RANKS] float64, the lower edge of each cell; up to 1/2 it belongs to the cell, above not."""
  tail = (np.arange(_TAIL_CELLS, dtype=np.int32) << (23 - _TAIL_BITS)).view(np.float32).astype(np.float64)
  middle = _TAIL + np.arange(_HALF - _TAIL_CELLS + 1) / _CELLS_PER_UNIT
  distance = np.concatenate([tail, middle])  # [_HALF + 1], the last one is 1/2
  mirrored = 1.0 - np.flip(distance[_FIRST_ABOVE:])  # from 1/2 on
  return np.concatenate([distance[:_HALF], mirrored[:1], mirrored])


def _limb_bits(num_pixels: int) -> int:
  """Bits that can be added up over all pixels without leaving 32."""
  return min(_LOW_BITS, 32 - num_pixels.bit_length())


def low_sums(prob: Array, cell: Array, counts: Array) -> Array:
  """Adds up, in each cell, the low bits of the distance from 0, or from 1 from 1/2 on, cut to multiples of 2**-24.

  Args:
    prob: [P] float32, at most 2**28.
    cell: [P] int32, `rank_cell` of it.
    counts: [P] boolean, which pixels count.

  Returns:
    [NUM_RANKS, K] uint32 for `prob_total`; K is 1 up to 2**19 pixels.
  """
  bits = _limb_bits(prob.size)
  prob = jnp.clip(prob, 0.0, 1.0)
  distance = jnp.where(prob < 0.5, prob, 1.0 - prob) * 2.0**calibration.FRACTION_BITS
  low = jnp.where(counts, distance, 0.0).astype(jnp.uint32) & jnp.uint32(2**_LOW_BITS - 1)
  limbs = [(low >> first) & jnp.uint32(2**bits - 1) for first in range(0, _LOW_BITS, bits)]
  return jnp.stack([jax.ops.segment_sum(limb, cell, num_segments=NUM_RANKS) for limb in limbs], axis=-1)


def prob_total(sums: ArrayLike, count: np.ndarray, num_pixels: int) -> np.ndarray:
  """Returns the sums of the probabilities per cell, each cut to a multiple of 2**-24 towards the nearer of 0 and 1.

  Args:
    sums: [..., NUM_RANKS, K] from `low_sums`.
    count: [..., NUM_RANKS] int64, pixels.
    num_pixels: P.

  Returns:
    [..., NUM_RANKS] int64 in units of 2**-24.
  """
  wide, bits = np.asarray(sums).astype(np.int64), _limb_bits(num_pixels)
  weights = np.left_shift(1, bits * np.arange(wide.shape[-1]))
  one, edges = 1 << calibration.FRACTION_BITS, cell_edges()
  above = np.arange(NUM_RANKS) >= _HALF
  near = np.where(above, 1.0 - np.append(edges[1:], 1.0), edges)  # the distance of the edge nearer to 0 or 1
  high = (near * one).astype(np.int64) >> _LOW_BITS << _LOW_BITS
  distance = wide @ weights + count * high
  return np.where(above, count * one - distance, distance)
