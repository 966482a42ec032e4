"""The picture of a prediction: the image, what the panel would say in colour, and a legend."""

import numpy as np
import PIL.Image
import PIL.ImageDraw

from ordseg.image_io import ImageFile, segmentations

MAX_SIDE = 1600  # pixels; larger images are thinned out
MIN_SIDE = 512  # pixels of the longer side; smaller images are enlarged by a whole number
_LEGEND = 46
# From nobody to everybody; distinguishable for people who do not see red and green too (Okabe, Ito, 2008).
_STOPS = np.asarray([[0, 114, 178], [86, 180, 233], [240, 228, 66], [230, 159, 0], [213, 94, 0]], np.float32)


def flips(image: ImageFile) -> tuple[bool, bool]:
  """Returns whether rows, and columns, must be turned round to show a NIfTI volume as radiologists hang it: front and
  head up, the patient's right, or front, on the left. DICOM and pictures are stored as they are shown."""
  if image.affine is None or segmentations.is_dicom(image) or not np.isfinite(image.affine).all():
    return False, False
  across, down = image.affine[:3, 0], image.affine[:3, 1]
  main_across, main_down = (int(np.argmax(np.abs(direction))) for direction in (across, down))
  # RAS: x grows to the right, y to the front, z to the head: all should fall down the rows, x and y along the columns.
  return bool(down[main_down] > 0), bool(across[main_across] > 0 and main_across < 2)


def draw(
  image: np.ndarray, mean_vote: np.ndarray, mask: np.ndarray, *, flips: tuple[bool, bool] = (False, False)
) -> PIL.Image.Image:
  """Draws a page.

  Args:
    image: [H, W, C], any dtype.
    mean_vote: [H, W] in [0, 1]; the more, the warmer and the less transparent.
    mask: [H, W] 0 or 1; its outline is white.
    flips: whether to turn the order of rows, of columns; see `flips`.
  """
  step = max(1, -(-max(image.shape[:2]) // MAX_SIDE))
  rows, columns = (slice(None, None, -1 if turned else 1) for turned in flips)
  grey = _grey(np.asarray(image[::step, ::step]))[rows, columns]
  prob = mean_vote[::step, ::step][rows, columns]
  opacity = np.clip(prob * 1.5, 0, 0.6)[..., None]
  colours = _enlarged(np.rint(grey * (1 - opacity) + _colour(prob) * opacity).astype(np.uint8))
  colours[_outline(_enlarged(mask[::step, ::step][rows, columns] > 0))] = 255
  picture = PIL.Image.fromarray(colours)
  out = PIL.Image.new("RGB", (max(picture.width, 260), picture.height + _LEGEND), (20, 20, 20))
  out.paste(picture, (0, 0))
  _legend(out, picture.height)
  return out


def _enlarged(values: np.ndarray) -> np.ndarray:
  """Repeats rows and columns: every pixel of a small image stays one, as a square that can be seen."""
  times = max(1, MIN_SIDE // max(values.shape[:2]))
  return values.repeat(times, axis=0).repeat(times, axis=1)


def _grey(image: np.ndarray) -> np.ndarray:
  """[H, W, 3] float32 in 0..255; intensities between their percentiles 0.5 and 99.5."""
  values = image[..., :3].astype(np.float32) if image.shape[-1] >= 3 else image[..., :1].astype(np.float32)
  low, high = np.percentile(values, [0.5, 99.5])
  values = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255
  return np.broadcast_to(values, (*values.shape[:2], 3)).copy()


def _colour(prob: np.ndarray) -> np.ndarray:
  place = np.clip(prob, 0, 1) * (len(_STOPS) - 1)
  low = np.minimum(place.astype(int), len(_STOPS) - 2)
  share = (place - low)[..., None]
  return _STOPS[low] * (1 - share) + _STOPS[low + 1] * share


def _outline(inside: np.ndarray) -> np.ndarray:
  """Pixels of the mask with a neighbour outside."""
  padded = np.pad(inside, 1)
  within = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
  return inside & ~within


def _legend(picture: PIL.Image.Image, top: int) -> None:
  pen = PIL.ImageDraw.Draw(picture)
  bar = np.rint(_colour(np.linspace(0, 1, 120))).astype(np.uint8)
  picture.paste(PIL.Image.fromarray(np.broadcast_to(bar, (10, 120, 3)).copy()), (8, top + 8))
  pen.text((8, top + 24), "0 %", fill="white")
  pen.text((100, top + 24), "100 %", fill="white")
  pen.text((140, top + 5), "of raters mark it", fill="white")
  pen.text((140, top + 24), "white: majority", fill="white")
