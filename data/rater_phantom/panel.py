"""The simulated panel: what each rater draws, and the exact distribution over the number of votes.

At every pixel the scene has a clarity t = s / sigma: the signed distance s to the object's boundary (pixels, positive
inside) over the width sigma (pixels) of the zone in which the image leaves the boundary open. Rater r marks the pixel
iff

    t + b_r + sqrt(rho) Z + sqrt(1 - rho) Z_r > 0,

where b_r is the rater's bias, Z is common to the panel, and Z, Z_1..Z_R are independent, spatially smooth Gaussian
fields with mean 0 and variance 1 at every pixel. Given t the votes are therefore independent given Z ~ N(0, 1), each
with probability Phi((t + b_r + sqrt(rho) Z) / sqrt(1 - rho)), and their number is a mixture of Poisson-binomials.
"""

import functools

import numpy as np
import scipy.interpolate
import scipy.special

_CERTAIN = 8.5  # Phi(-8.5) = 1e-17: farther from the threshold than this, nobody disagrees


def rater_biases(num_raters: int, spread: float) -> np.ndarray:
  """Returns [R] float64 constants b_r: normal quantiles, symmetric about 0, times `spread` (units of sigma)."""
  return spread * scipy.special.ndtri((np.arange(num_raters) + 0.5) / num_raters)


def smooth_fields(
  rng: np.random.Generator, num: int, shape: tuple[int, ...], scale: float | tuple[float, ...]
) -> np.ndarray:
  """Draws Gaussian fields, each exactly N(0, 1) at every pixel: white noise under a periodic Gaussian kernel.

  Args:
    rng: the generator that draws.
    num: number of independent fields.
    shape: size of each field, (H, W) or (D, H, W).
    scale: standard deviation of the kernel, pixels, the same or one for each axis; two pixels `scale` * 2 apart
      correlate by exp(-1).

  Returns:
    [num, *shape] float64.
  """
  axes = tuple(range(-len(shape), 0))
  frequencies = [np.fft.fftfreq(side) for side in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
  grid = np.meshgrid(*frequencies, indexing="ij", sparse=True)
  if isinstance(scale, tuple):
    response = np.exp(-2 * np.pi**2 * sum((f * s) ** 2 for f, s in zip(grid, scale, strict=True)))
  else:
    response = np.exp(-2 * (np.pi * scale) ** 2 * sum(f**2 for f in grid))
  kernel = np.fft.irfftn(response, s=shape, axes=axes)
  response /= np.sqrt(np.sum(kernel**2))  # the variance of the filtered noise is the kernel's sum of squares
  noise = rng.standard_normal((num, *shape))
  return np.fft.irfftn(np.fft.rfftn(noise, axes=axes) * response, s=shape, axes=axes)


def draw_masks(
  rng: np.random.Generator,
  clarity: np.ndarray,
  biases: np.ndarray,
  *,
  correlation: float,
  scale: float | tuple[float, ...],
) -> np.ndarray:
  """Draws one mask per rater.

  Args:
    rng: the generator that draws.
    clarity: array [H, W] or [D, H, W] float64, the t of each pixel.
    biases: array [R] float64, the b_r of each rater.
    correlation: rho in [0, 1), of two raters' latent fields.
    scale: smoothness of the fields, pixels; see `smooth_fields`.

  Returns:
    [.., R] uint8, 0 or 1.
  """
  fields = smooth_fields(rng, len(biases) + 1, clarity.shape, scale)
  latent = np.sqrt(correlation) * fields[:1] + np.sqrt(1 - correlation) * fields[1:]
  thresholds = biases.reshape(-1, *(1,) * clarity.ndim)
  return np.moveaxis(clarity + thresholds + latent > 0, 0, -1).astype(np.uint8)


def level_probs(clarity: np.ndarray, biases: np.ndarray, *, correlation: float) -> np.ndarray:
  """Returns the exact distribution over the number of votes at each pixel; absolute error below 1e-7.

  It depends on t alone, so it is tabulated once by quadrature and interpolated by a cubic spline.

  Args:
    clarity: array of t, of any shape.
    biases: [R] float64.
    correlation: rho in [0, 1).

  Returns:
    [..., R + 1] float32; sums to 1.
  """
  spline = _table(tuple(np.asarray(biases, np.float64).tolist()), float(correlation))
  low, high = spline.x[0], spline.x[-1]
  probs = np.maximum(spline(np.clip(clarity, low, high)), 0.0)
  probs[probs < 1e-12] = 0.0  # below the quadrature's accuracy
  return (probs / probs.sum(axis=-1, keepdims=True)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _table(biases: tuple[float, ...], correlation: float) -> scipy.interpolate.CubicSpline:
  b = np.asarray(biases)
  # The curves are as steep as Phi(t / sqrt(1 - rho)) conditionally, so both grids follow that width.
  width = np.sqrt(1 - correlation)
  reach = _CERTAIN + np.max(np.abs(b), initial=0.0)
  t = np.linspace(-reach, reach, 2 * int(np.ceil(reach / (0.04 * width))) + 1)
  return scipy.interpolate.CubicSpline(t, quadrature(t, b, correlation))


def quadrature(t: np.ndarray, biases: np.ndarray, correlation: float) -> np.ndarray:
  """Integrates the Poisson-binomial over Z ~ N(0, 1) with the trapezoid rule, which converges geometrically here.

  Args:
    t: [N] float64.
    biases: [R] float64.
    correlation: rho in [0, 1).

  Returns:
    [N, R + 1] float64.
  """
  width = np.sqrt(1 - correlation)
  step = min(0.25, 0.25 * width / max(np.sqrt(correlation), 1e-12))
  nodes = np.arange(-np.ceil(_CERTAIN / step), np.ceil(_CERTAIN / step) + 1) * step
  weights = np.exp(-0.5 * nodes**2)
  weights /= weights.sum()
  out = np.zeros((len(t), len(biases) + 1))
  for node, weight in zip(nodes, weights, strict=True):
    votes = scipy.special.ndtr((t[:, None] + biases + np.sqrt(correlation) * node) / width)
    out += weight * poisson_binomial(votes)
  return out


def poisson_binomial(probs: np.ndarray) -> np.ndarray:
  """Returns the distribution of the number of successes of independent trials, [..., R] -> [..., R + 1]."""
  num = probs.shape[-1]
  out = np.zeros((*probs.shape[:-1], num + 1))
  out[..., 0] = 1.0
  for r in range(num):
    p = probs[..., r : r + 1]
    out[..., 1 : r + 2] = out[..., 1 : r + 2] * (1 - p) + out[..., : r + 1] * p
    out[..., :1] *= 1 - p
  return out
