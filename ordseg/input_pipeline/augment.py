"""Random geometry and intensity of one training example: image and rater masks together, encoded only afterwards.

Crop, flip, rotation, scale and elastic displacement are composed into one map, so the image is interpolated once
(linearly; rater masks take the nearest pixel) and a rotated crop still shows what lies beyond the crop's edge.
Output pixels whose source lies outside the image repeat its border and get mask 0: they do not count.
"""

import cmath
import functools
import math
from typing import Any

import cv2
import numpy as np
from scipy import special

from ordseg.config import Augment

_MAX_CHANNELS = 64  # of one call of cv2.remap, whose arrays may have 128
_NO_MAP: Any = None  # cv2.remap's second map, for the first holds x and y; OpenCV 5 takes no empty array for it


def augment(
  image: np.ndarray,
  rater_masks: np.ndarray,
  rng: np.random.Generator,
  augment_config: Augment,
  *,
  crop_size: tuple[int, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Augments one prepared example and brings it to `crop_size`.

  With every field 0 or False the result is the crop itself, bit by bit. The crop is placed at random where the image
  is larger and centred where it is smaller.

  Args:
    image: [H, W, C] float32, as `preprocess.prepare_image` returns it. Not changed.
    rater_masks: [H, W, R] uint8 in {0, 1}. Each rater keeps its channel.
    rng: the only source of randomness.
    augment_config: the section of the config. `enabled=False` leaves the crop alone.
    crop_size: (h, w) in pixels; the image's own size by default.

  Returns:
    image [h, w, C] float32, rater_masks [h, w, R] uint8 in {0, 1}, and mask [h, w] uint8: 1 where the pixel comes from
    inside the image. They may share memory with the input.
  """
  c = augment_config
  size = image.shape[:2] if crop_size is None else (crop_size[0], crop_size[1])
  # One draw for all numbers, so that switching one transform on leaves the draws of the others as they were.
  row, column, flip_y, flip_x, angle, scale, gamma, contrast, brightness, noise = rng.uniform(-1, 1, 10)
  offset = (_crop_offset(image.shape[0], size[0], row), _crop_offset(image.shape[1], size[1], column))
  if not c.enabled:
    return _crop(image, rater_masks, offset, size)
  signs = (-1 if c.flip and flip_y < 0 else 1, -1 if c.flip and flip_x < 0 else 1)
  if c.rotate_degrees or c.scale or c.elastic_alpha:
    zoom = math.exp(scale * math.log1p(c.scale))
    down, across = _similarity(offset, size, signs, math.radians(angle * c.rotate_degrees), zoom)
    displacement = _elastic(size, c.elastic_alpha, c.elastic_sigma, rng) if c.elastic_alpha else None
    image, rater_masks, mask = _sample(image, rater_masks, down, across, displacement)
  else:
    cropped = _crop(image, rater_masks, offset, size)
    image, rater_masks, mask = (np.ascontiguousarray(a[:: signs[0], :: signs[1]]) for a in cropped)
  noise_std = abs(noise) * c.noise
  image = _intensity(image, gamma * c.gamma, contrast * c.contrast, brightness * c.brightness, noise_std, rng)
  return image, rater_masks, mask


def augment_volume(
  image: np.ndarray,
  rater_masks: np.ndarray,
  rng: np.random.Generator,
  augment_config: Augment,
  *,
  crop_size: tuple[int, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Augments one prepared volume and brings it to `crop_size`: all slices alike, as `augment` does one image.

  Turning and bending stay within slices, whose pixels are usually finer than the slices' distance; across slices the
  crop is placed, and mirrored where `flip` is on.

  Args:
    image: [D, H, W, C] float32. Not changed.
    rater_masks: [D, H, W, R] uint8 in {0, 1}.
    rng: the only source of randomness.
    augment_config: the section of the config.
    crop_size: (d, h, w); the volume's own size by default.

  Returns:
    image [d, h, w, C], rater_masks [d, h, w, R] and mask [d, h, w], as those of `augment`.
  """
  slices = crop_size[0] if crop_size is not None else len(image)
  place, flip = rng.uniform(-1, 1, 2)
  source = np.arange(slices) + _crop_offset(len(image), slices, place)
  if augment_config.enabled and augment_config.flip and flip < 0:
    source = source[::-1]
  inside = (source >= 0) & (source < len(image))
  source = np.clip(source, 0, len(image) - 1)
  plane = crop_size[1:] if crop_size is not None else image.shape[1:3]
  stacks = (_as_channels(image[source]), _as_channels(rater_masks[source]))
  image_stack, mask_stack, mask = augment(*stacks, rng, augment_config, crop_size=(plane[0], plane[1]))
  masks = _as_slices(mask_stack, slices)
  counts = inside[:, None, None] & (mask != 0)
  return _as_slices(image_stack, slices), masks * counts[..., None], counts.astype(np.uint8)


def _as_channels(volume: np.ndarray) -> np.ndarray:
  """[D, H, W, C] -> [H, W, D C], contiguous."""
  return np.ascontiguousarray(volume.transpose(1, 2, 0, 3)).reshape(*volume.shape[1:3], -1)


def _as_slices(stack: np.ndarray, slices: int) -> np.ndarray:
  """[h, w, D C] -> [D, h, w, C], contiguous."""
  return np.ascontiguousarray(stack.reshape(*stack.shape[:2], slices, -1).transpose(2, 0, 1, 3))


def _crop_offset(length: int, crop: int, u: float) -> int:
  """First source pixel of the crop: any that fits (u in [-1, 1)), or a negative one that centres a smaller image."""
  if length <= crop:
    return -((crop - length) // 2)
  return min(int((u + 1) / 2 * (length - crop + 1)), length - crop)


def _crop(
  image: np.ndarray, rater_masks: np.ndarray, offset: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Cuts out the crop; pixels outside the image repeat its border and have mask 0."""
  index, inside = [], []
  for first, length, crop in zip(offset, image.shape, size, strict=False):
    source = np.arange(first, first + crop)
    inside.append((source >= 0) & (source < length))
    index.append(slice(first, first + crop) if inside[-1].all() else np.clip(source, 0, length - 1))
  mask = (inside[0][:, None] & inside[1]).astype(np.uint8)
  image, rater_masks = image[index[0]][:, index[1]], rater_masks[index[0]][:, index[1]]
  return image, rater_masks if mask.all() else rater_masks * mask[..., None], mask


def _similarity(
  offset: tuple[int, int], size: tuple[int, int], signs: tuple[int, int], angle: float, zoom: float
) -> tuple[np.ndarray, np.ndarray]:
  """Flips, turns and scales about the crop's centre. Positions are complex numbers, x + iy in pixels.

  Args:
    offset: source pixel of the crop's first pixel, (y, x).
    size: (h, w) of the output.
    signs: -1 where an axis is flipped, (y, x).
    angle: radians.
    zoom: > 1 enlarges what is seen.

  Returns:
    down [h] and across [w]: output pixel (i, j) reads the source position down[i] + across[j].
  """
  centre = ((size[0] - 1) / 2, (size[1] - 1) / 2)
  turn = cmath.rect(1 / zoom, angle)
  down = (np.arange(size[0]) - centre[0]) * (turn * signs[0] * 1j) + complex(
    offset[1] + centre[1], offset[0] + centre[0]
  )
  return down, (np.arange(size[1]) - centre[1]) * (turn * signs[1])


def _elastic(size: tuple[int, int], alpha: float, sigma: float, rng: np.random.Generator) -> np.ndarray:
  """A smooth Gaussian displacement field.

  White noise under a Gaussian of `sigma` pixels, scaled to standard deviation `alpha` pixels, as in Simard et al.
  (2003). It is drawn on a grid of sigma / 2 pixels, where the field holds no finer detail, and enlarged.

  Returns:
    [h, w] complex64, x + iy in pixels.
  """
  step = max(1, int(sigma / 2))
  cell_sigma = sigma / step
  radius = math.ceil(3 * cell_sigma)
  kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / cell_sigma) ** 2)
  kernel /= math.sqrt(np.sum(kernel**2))  # so that filtered white noise keeps standard deviation 1
  cells = [math.ceil(n / step) + 1 for n in size]  # one more, so that enlarging never extrapolates
  noise = _normal(rng, (cells[0] + 2 * radius, cells[1] + 2 * radius, 2))
  # Filter with a margin and cut it off: at a border the filter would repeat values and the deviation grow.
  field = cv2.sepFilter2D(noise, -1, kernel * alpha, kernel)[radius : radius + cells[0], radius : radius + cells[1]]
  if step > 1:
    field = cv2.resize(field, (cells[1] * step, cells[0] * step), interpolation=cv2.INTER_CUBIC)
  return field.view(np.complex64)[step // 2 :, step // 2 :, 0][: size[0], : size[1]]


def _sample(
  image: np.ndarray, rater_masks: np.ndarray, down: np.ndarray, across: np.ndarray, displacement: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Reads image (linear) and rater masks (nearest) at down[i] + across[j] + displacement[i, j], complex positions."""
  reach = 0.0 if displacement is None else float(np.abs(displacement.view(np.float32)).max())
  corners = down[[0, -1], None] + across[None, [0, -1]]
  shape = image.shape[:2]
  (y0, y1, y_inside), (x0, x1, x_inside) = (
    _window(float(c.min()) - reach, float(c.max()) + reach, length)
    for c, length in zip((np.imag(corners), np.real(corners)), shape, strict=True)
  )
  positions = np.add.outer((down - complex(x0, y0)).astype(np.complex64), across.astype(np.complex64))
  if displacement is not None:
    positions += displacement
  xy = positions.view(np.float32).reshape(*positions.shape, 2)
  image, rater_masks = (np.ascontiguousarray(a[y0:y1, x0:x1]) for a in (image, rater_masks))
  linear = _remap(image, xy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
  masks = _nearest(rater_masks, xy)
  inside = y_inside and x_inside
  mask = np.ones(positions.shape, np.uint8) if inside else _nearest(np.ones(image.shape[:2], np.uint8), xy)
  # OpenCV drops a last axis of length 1.
  return linear.reshape(*mask.shape, image.shape[-1]), masks.reshape(*mask.shape, rater_masks.shape[-1]), mask


def _window(low: float, high: float, length: int) -> tuple[int, int, bool]:
  """The part [first, end) of an axis that holds the coordinates low..high, and whether they all lie inside the axis.

  Reading from a part keeps the cost that of the crop, however large the image. One pixel more on each side, so that
  the part's border is the image's border wherever it is seen.
  """
  first = min(max(math.floor(low) - 1, 0), length - 1)
  return first, min(max(math.ceil(high) + 2, first + 1), length), low >= 0 and high <= length - 1


def _nearest(array: np.ndarray, xy: np.ndarray) -> np.ndarray:
  return _remap(array, xy, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def _remap(array: np.ndarray, xy: np.ndarray, interpolation: int, **border: Any) -> np.ndarray:
  """cv2.remap for any number of channels."""
  if array.ndim == 2 or array.shape[-1] <= _MAX_CHANNELS:
    return cv2.remap(array, xy, _NO_MAP, interpolation, **border)
  starts = range(0, array.shape[-1], _MAX_CHANNELS)
  parts = [np.ascontiguousarray(array[..., k : k + _MAX_CHANNELS]) for k in starts]
  found = [cv2.remap(part, xy, _NO_MAP, interpolation, **border) for part in parts]
  return np.concatenate([x.reshape(*xy.shape[:2], -1) for x in found], axis=-1)


def _intensity(
  image: np.ndarray, gamma: float, contrast: float, brightness: float, noise_std: float, rng: np.random.Generator
) -> np.ndarray:
  """Applies gamma within the image's own range, contrast about its mean, brightness and noise; 0 is off.

  Args:
    image: [h, w, C] float32.
    gamma: the exponent is 1 + gamma, or 1 / (1 - gamma) for negative values.
    contrast: deviations from the mean grow by the factor 1 + contrast.
    brightness: added.
    noise_std: standard deviation of the noise.
    rng: draws the noise.

  Returns:
    [h, w, C] float32.
  """
  scale, shift = 1.0, 0.0  # the result is scale * image + shift + noise
  low, high = (float(image.min()), float(image.max())) if gamma else (0.0, 0.0)
  if high > low:
    unit = _affine(image, 1 / (high - low), -low / (high - low))
    np.clip(unit, 0, 1, out=unit)
    image = cv2.pow(_flat(unit), 1 + gamma if gamma > 0 else 1 / (1 - gamma)).reshape(image.shape)
    scale, shift = high - low, low
  if contrast:
    mean = scale * float(image.mean()) + shift
    scale, shift = scale * (1 + contrast), shift * (1 + contrast) - contrast * mean
  if (scale, shift + brightness, noise_std) == (1.0, 0.0, 0.0):
    return image
  return _affine(image, scale, shift + brightness, _normal(rng, image.shape) if noise_std else None, noise_std)


def _affine(
  image: np.ndarray, scale: float, shift: float, other: np.ndarray | None = None, weight: float = 0.0
) -> np.ndarray:
  """scale * image + shift + weight * other, in one pass."""
  flat = _flat(image)
  return cv2.addWeighted(flat, scale, flat if other is None else _flat(other), weight, shift).reshape(image.shape)


def _flat(image: np.ndarray) -> np.ndarray:
  """[H, W, C] -> [H, W C]: OpenCV's arrays have few channels, a volume has many."""
  return image.reshape(len(image), -1)


@functools.cache
def _normal_quantiles() -> np.ndarray:
  return special.ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
  """Standard normal float32 in steps of 2**-16 of probability, up to 4.2: a tenth of the time of exact draws."""
  count = math.prod(shape)
  return np.take(_normal_quantiles(), np.frombuffer(rng.bytes(2 * count), "<u2")).reshape(shape)
