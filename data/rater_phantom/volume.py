"""Volumes of the phantom: `scene` in three dimensions, with slices farther apart than pixels.

Lengths are in pixels within a slice; slices are `slice_spacing` pixels apart. There may be two structures to segment,
bright bodies and dark ones; where only the bright ones are, the dark ones are distractors. Hollow and striped bodies
never count.
"""

import dataclasses

import numpy as np
import scipy.special

from data.rater_phantom import panel, scene

_LARGEST, _SMALLEST = 15.0, 6.5  # radius in pixels of a slice of 64 x 64


@dataclasses.dataclass(frozen=True)
class Body:
  """A ball whose radius varies with the direction within the slice: `scene.Blob` turned into a solid.

  Attributes:
    middle: coordinate of its centre across slices, pixels.
    blob: its outline in the middle slice.
  """

  middle: float
  blob: scene.Blob

  def distance(self, zyx: np.ndarray) -> np.ndarray:
    """Returns the signed distance to the surface, positive inside, to first order; [D, H, W], pixels."""
    dz, dy, dx = (x - c for x, c in zip(zyx, (self.middle, *self.blob.centre), strict=True))
    within = np.hypot(dy, dx)
    rho = np.hypot(within, dz)
    turn = np.exp(1j * np.arctan2(dy, dx))
    wave = sum((h * turn ** (k + 2)).real for k, h in enumerate(self.blob.harmonics))
    fade = np.minimum(within / (0.5 * self.blob.radius), 1.0) * within / np.maximum(rho, 1e-9)
    return self.blob.radius * np.exp(wave * fade) - rho


def draw_body(rng: np.random.Generator, shape: tuple[int, int, int], slice_spacing: float) -> Body:
  """Draws a body whose centre lies inside the volume (D, H, W)."""
  unit = scene.unit_of(shape[1:])
  blob = scene.draw_blob(rng, shape[1:], _SMALLEST * unit, _LARGEST * unit)
  return Body(rng.uniform(0.15, 0.85) * (shape[0] - 1) * slice_spacing, blob)


def draw_volume(
  rng: np.random.Generator,
  shape: tuple[int, int, int],
  look: scene.Look,
  *,
  slice_spacing: float,
  ambiguity: float,
  num_classes: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Draws a volume and the clarity of each structure.

  Args:
    rng: the generator that draws.
    shape: depth, height and width in voxels.
    look: the look that the images of the group share.
    slice_spacing: distance of the slices, in pixels.
    ambiguity: factor on sigma, > 0.
    num_classes: 1, the bright bodies, or 2, bright and dark ones.

  Returns:
    image [D, H, W, 1] uint8 and clarity t [num_classes, D, H, W] float64.
  """
  unit = scene.unit_of(shape[1:])
  scale = np.asarray([slice_spacing, 1.0, 1.0])
  zyx = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, scale, strict=True)), indexing="ij"))
  smooth = lambda width: tuple((width * unit / scale).tolist())  # noqa: E731
  image = look.background + look.texture * panel.smooth_fields(rng, 1, shape, smooth(4.0))[0]
  clarity, glow = np.full((2, *shape), -np.inf), np.zeros((2, *shape))
  for kind in range(2):
    for _ in range(rng.integers(1, 4)):
      distance, plainness = draw_body(rng, shape, slice_spacing).distance(zyx), rng.beta(1.2, 0.9)
      t = distance / (ambiguity * unit * np.exp(np.log(5.0) + plainness * np.log(0.8 / 5.0)))
      clarity[kind] = np.maximum(clarity[kind], t)
      glow[kind] = np.maximum(glow[kind], (0.4 + 0.6 * plainness) * scipy.special.ndtr(t))
  image += look.contrast * (glow[0] - 0.5 * glow[1])
  for _ in range(rng.poisson(1.0)):  # hollow bodies
    distance = draw_body(rng, shape, slice_spacing).distance(zyx)
    image += look.contrast * rng.uniform(0.5, 0.9) * np.exp(-0.5 * (distance / (1.5 * unit)) ** 2)
  image += look.noise * rng.standard_normal(shape)
  return np.clip(np.rint(image), 0, 255).astype(np.uint8)[..., None], clarity[:num_classes]
