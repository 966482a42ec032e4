"""Scenes of the phantom: what the image shows, and how clear it leaves the objects' boundaries.

Targets are bright blobs with smooth outlines. A target's edge profile in the image is Phi(t), t = s / sigma, so where
the raters have reason to disagree (sigma large) the edge is visibly blurred; faint targets have wide edges all round,
and may leave open whether there is anything at all. Distractors (dark blobs, striped blobs, rings, vessels) never
count. Intensities are in grey levels, lengths in pixels of a 64 x 64 image; they grow with the image.
"""

import dataclasses

import numpy as np
import scipy.special

from data.rater_phantom import panel

_REFERENCE = 64  # pixels: the image side at which the sizes below hold


def unit_of(shape: tuple[int, int]) -> float:
  """Returns the factor on all lengths for images of this shape (H, W): they follow the shorter side."""
  return min(shape) / _REFERENCE


@dataclasses.dataclass(frozen=True)
class Look:
  """What the images of one group (patient) have in common."""

  background: float
  contrast: float
  texture: float
  noise: float


def draw_look(rng: np.random.Generator) -> Look:
  """Draws the look of a group."""
  return Look(
    background=rng.uniform(65, 105),
    contrast=rng.uniform(75, 110),
    texture=rng.uniform(4, 9),
    noise=rng.uniform(4, 8),
  )


@dataclasses.dataclass(frozen=True)
class Blob:
  """A star-shaped outline: polar coordinates about its centre, log-radius a short Fourier series."""

  centre: tuple[float, float]
  radius: float
  harmonics: np.ndarray  # [K] complex: Re(h_k exp(i k theta)), k = 2..K+1, sums to the log-radius

  def distance(self, yx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the signed distance to the outline, positive inside, to first order, and the angle; [H, W] each.

    The outline's harmonics fade towards the centre, where the angle has no limit.
    """
    dy, dx = yx[0] - self.centre[0], yx[1] - self.centre[1]
    rho, theta = np.hypot(dy, dx), np.arctan2(dy, dx)
    turn = np.exp(1j * theta)
    power, wave, slope = turn, 0.0, 0.0
    for k, harmonic in enumerate(self.harmonics, start=2):
      power = power * turn
      term = harmonic * power
      wave, slope = wave + term.real, slope - k * term.imag
    fade = np.minimum(rho / (0.5 * self.radius), 1.0)
    return (self.radius * np.exp(wave * fade) - rho) / np.sqrt(1 + (slope * fade) ** 2), theta


def draw_blob(rng: np.random.Generator, shape: tuple[int, int], low: float, high: float) -> Blob:
  """Draws a blob inside the image whose radius lies in [low, high] pixels."""
  radius = np.exp(rng.uniform(np.log(low), np.log(high)))
  y, x = (rng.uniform(0.12 * side, 0.88 * side) for side in shape)
  spread = np.array([0.16, 0.09, 0.05, 0.03])
  return Blob((y, x), radius, spread * (rng.standard_normal(4) + 1j * rng.standard_normal(4)))


def draw_scene(
  rng: np.random.Generator, shape: tuple[int, int], look: Look, ambiguity: float
) -> tuple[np.ndarray, np.ndarray]:
  """Draws an image and its clarity.

  Args:
    rng: the generator that draws.
    shape: height and width in pixels.
    look: the look that the images of the group share.
    ambiguity: factor on sigma, > 0.

  Returns:
    image [H, W, 1] uint8 and clarity t [H, W] float64, positive where an unbiased rater marks more often than not.
  """
  unit = unit_of(shape)
  yx = np.stack(np.meshgrid(*(np.arange(side, dtype=np.float64) for side in shape), indexing="ij"))
  image = _background(rng, shape, look, unit)
  grain = 1 + 0.12 * panel.smooth_fields(rng, 1, shape, 1.2 * unit)[0]
  clarity, glow = np.full(shape, -np.inf), np.zeros(shape)
  for _ in range(rng.integers(1, 5)):
    t, contrast = _draw_target(rng, yx, unit, ambiguity)
    clarity, glow = np.maximum(clarity, t), np.maximum(glow, contrast * scipy.special.ndtr(t))
  image += look.contrast * glow * grain
  for _ in range(rng.poisson(2.0)):
    image += look.contrast * _draw_distractor(rng, yx, unit)
  image += look.noise * rng.standard_normal(shape)
  return np.clip(np.rint(image), 0, 255).astype(np.uint8)[..., None], clarity


def _background(rng: np.random.Generator, shape: tuple[int, int], look: Look, unit: float) -> np.ndarray:
  coarse = panel.smooth_fields(rng, 1, shape, 9 * unit)[0]
  fine = panel.smooth_fields(rng, 1, shape, 2 * unit)[0]
  return look.background + look.texture * (coarse + 0.6 * fine)


def _draw_target(rng: np.random.Generator, yx: np.ndarray, unit: float, ambiguity: float) -> tuple[np.ndarray, float]:
  """Returns t [H, W] of one target and its contrast in (0, 1]; the fainter it is, the wider its sigma."""
  blob = draw_blob(rng, yx.shape[1:], 5.5 * unit, 14 * unit)
  distance, theta = blob.distance(yx)
  plainness = rng.beta(1.2, 0.9)  # 0: faint and blurred, 1: bright and sharp
  sigma = ambiguity * unit * np.exp(np.log(5.0) + plainness * np.log(0.8 / 5.0))
  # One side of the object is clearer than the other.
  lean = rng.uniform(0.0, 0.9) * np.cos(theta - rng.uniform(-np.pi, np.pi))
  inside = np.clip(1 - np.abs(distance) / blob.radius, 0, 1)  # the lean fades at the centre and far away
  return distance / (sigma * np.exp(lean * inside)), 0.4 + 0.6 * plainness


def _draw_distractor(rng: np.random.Generator, yx: np.ndarray, unit: float) -> np.ndarray:
  """Returns what one distractor adds to the image, [H, W], in units of the group's contrast."""
  kind = rng.integers(4)
  blob = draw_blob(rng, yx.shape[1:], 4 * unit, 10 * unit)
  distance, _ = blob.distance(yx)
  angle = rng.uniform(0, np.pi)
  along = yx[1] * np.cos(angle) + yx[0] * np.sin(angle)
  across = yx[0] * np.cos(angle) - yx[1] * np.sin(angle)
  edge = scipy.special.ndtr(distance / (rng.uniform(0.7, 2.5) * unit))
  if kind == 0:  # dark blob
    return -rng.uniform(0.3, 0.6) * edge
  if kind == 1:  # striped blob
    return edge * rng.uniform(0.5, 0.9) * np.sign(np.sin(2 * np.pi * along / (5 * unit)))
  if kind == 2:  # ring
    return rng.uniform(0.5, 0.9) * np.exp(-0.5 * (distance / (1.0 * unit)) ** 2)
  bend = rng.uniform(-5, 5) * unit * np.sin(along / (11 * unit) + rng.uniform(-np.pi, np.pi))  # vessel
  offset = across - (blob.centre[0] * np.cos(angle) - blob.centre[1] * np.sin(angle)) - bend
  return rng.uniform(0.5, 0.9) * np.exp(-0.5 * (offset / (0.9 * unit)) ** 2)
