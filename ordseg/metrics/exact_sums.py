"""Sums over pixels that stay exact at any number of them: integers on the device, 64 bit on the host.

Several small integers share a 32-bit word, words are added up over as many pixels as cannot overflow them, and partial
sums leave the device as limbs of 11 bits. float32 counters stop at 2**24.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from ordseg.types import Array, ArrayLike

PIXELS_PER_SUM = 512  # pixels added up in one 32-bit word, at most; a power of two
_MAX_SUMS_PER_PASS = 24  # more run out of registers: 50 bins in one pass take twice as long
_LIMB_BITS = 11
_MAX_PIXELS = 2**28  # of one call: at most 2**21 first sums, whose limbs of 11 bits add up to less than 2**32


def selected_sums(selectors: Sequence[Array], words: Sequence[Array], *, pixels_per_sum: int) -> Array:
  """Adds up words over the pixels that each selector holds for, all in one pass over the pixels.

  A variadic reduction keeps every sum in a register and reads each pixel once. Scattering pixels into bins and
  multiplying by one-hot codes are about 5 times slower on a CPU (benchmarks/calibration.py).

  Args:
    selectors: S boolean arrays [N].
    words: W uint32 arrays [N].
    pixels_per_sum: how many pixels may share a sum without overflow.

  Returns:
    [S, W, C] uint32, C partial sums of at most `pixels_per_sum` pixels.
  """
  num_pixels = words[0].shape[0]
  whole = num_pixels - num_pixels % pixels_per_sum
  parts = []
  if whole:
    parts.append(_row_sums(*([x[:whole].reshape(-1, pixels_per_sum) for x in xs] for xs in (selectors, words))))
  if whole < num_pixels or not whole:
    parts.append(_row_sums(*([x[whole:][None] for x in xs] for xs in (selectors, words))))
  return jnp.concatenate(parts, axis=-1)


def _row_sums(selectors: Sequence[Array], words: Sequence[Array]) -> Array:
  """[C, width] arrays -> [S, W, C]."""
  per_pass = max(1, _MAX_SUMS_PER_PASS // len(words))
  sums: list[Array] = []
  for start in range(0, len(selectors), per_pass):
    terms = [jnp.where(s, w, jnp.uint32(0)) for s in selectors[start : start + per_pass] for w in words]
    sums += lax.reduce(terms, [jnp.uint32(0)] * len(terms), _add, (1,))
  return jnp.stack(sums).reshape(len(selectors), len(words), -1)


def _add(xs: Sequence[Array], ys: Sequence[Array]) -> list[Array]:
  return [x + y for x, y in zip(xs, ys, strict=True)]


def count_fields(selectors: Sequence[Array], fields: Sequence[Array], *, max_value: int = 1) -> Array:
  """Adds up small integers over the pixels that each selector holds for.

  Args:
    selectors: S boolean arrays [N].
    fields: F integer arrays [N] in 0..max_value.
    max_value: N * max_value must stay below 2**31.

  Returns:
    [S, F] int32.
  """
  words, places = pack(fields, [max_value] * len(fields), PIXELS_PER_SUM)
  sums = selected_sums(selectors, words, pixels_per_sum=PIXELS_PER_SUM)
  return jnp.sum(unpack(sums, places), axis=-1).astype(jnp.int32)


def pack(
  fields: Sequence[Array], max_values: Sequence[int], pixels_per_sum: int
) -> tuple[list[Array], list[tuple[int, int, int]]]:
  """Puts several fields in a word, each with room for the sum of `pixels_per_sum` of it.

  Returns:
    The words, and the place of each field: (word, first bit, number of bits).
  """
  words: list[Array] = []
  places, used = [], 32
  for field, max_value in zip(fields, max_values, strict=True):
    bits = (pixels_per_sum * max_value).bit_length()
    if bits > 32:
      raise ValueError(f"a label of {max_value} is too large to be counted")
    if used + bits > 32:
      words.append(jnp.zeros(field.shape, jnp.uint32))
      used = 0
    words[-1] = words[-1] | (field.astype(jnp.uint32) << used)
    places.append((len(words) - 1, used, bits))
    used += bits
  return words, places


def unpack(sums: Array, places: Sequence[tuple[int, int, int]]) -> Array:
  """[S, W, C] -> [S, F, C] uint32."""
  return jnp.stack([(sums[:, word] >> first) & jnp.uint32(2**bits - 1) for word, first, bits in places], axis=1)


def to_limbs(sums: Array) -> Array:
  """[..., C] uint32 -> [..., 3] uint32: the sums over C of the low, middle and high bits."""
  low = jnp.uint32(2**_LIMB_BITS - 1)
  limbs = [sums & low, (sums >> _LIMB_BITS) & low, sums >> (2 * _LIMB_BITS)]
  return jnp.stack([jnp.sum(limb, axis=-1, dtype=jnp.uint32) for limb in limbs], axis=-1)


def from_limbs(limbs: ArrayLike) -> np.ndarray:
  """Returns the int64 sums [...] that the device holds as limbs [..., 3]."""
  wide = np.asarray(limbs).astype(np.int64)
  return wide[..., 0] + (wide[..., 1] << _LIMB_BITS) + (wide[..., 2] << (2 * _LIMB_BITS))


def fixed_point_sum(values: Array, mask: Array, *, fraction_bits: int) -> Array:
  """Adds up numbers without rounding any sum.

  Args:
    values: [N] float32, >= 0, below 2**(32 - fraction_bits).
    mask: [N] boolean, which of them count.
    fraction_bits: each value is first rounded to a multiple of 2**-fraction_bits.

  Returns:
    [2, 3] uint32 for `fixed_point_total`.
  """
  check_size(values.size)
  fixed = jnp.where(mask, jnp.round(values * 2.0**fraction_bits), 0.0).astype(jnp.uint32)
  halves = [fixed & jnp.uint32(0xFFFF), fixed >> 16]
  return to_limbs(selected_sums([jnp.ones_like(mask, bool)], halves, pixels_per_sum=PIXELS_PER_SUM)[0])


def fixed_point_total(parts: ArrayLike) -> np.ndarray:
  """Returns what `fixed_point_sum` found, [..., 2, 3] -> [...] int64, in units of 2**-fraction_bits."""
  halves = from_limbs(parts)
  return halves[..., 0] + (halves[..., 1] << 16)


def check_size(num_pixels: int, max_value: int = 1) -> None:
  """Raises a ValueError where so many pixels with labels up to `max_value` could overflow a sum."""
  if num_pixels > _MAX_PIXELS or num_pixels * max_value >= 2**31:
    raise ValueError(f"{num_pixels} pixels (labels up to {max_value}) are too many for one call; split and merge them")
