"""The picture of a prediction: the image, what the panel would say in colour, and a legend."""

import numpy as np
import PIL.Image
import PIL.ImageDraw

MAX_SIDE = 1600  # pixels; larger images are thinned out
_LEGEND = 46
# From nobody to everybody; told apart by people who do not see red and green too (Okabe, Ito, 2008).
_STOPS = np.asarray([[0, 114, 178], [86, 180, 233], [240, 228, 66], [230, 159, 0], [213, 94, 0]], np.float32)


def draw(image: np.ndarray, mean_vote: np.ndarray, mask: np.ndarray) -> PIL.Image.Image:
  """Draws a page.

  Args:
    image: [H, W, C], any dtype.
    mean_vote: [H, W] in [0, 1]; the more, the warmer and the less transparent.
    mask: [H, W] 0 or 1; its outline is white.
  """
  step = max(1, -(-max(image.shape[:2]) // MAX_SIDE))
  grey = _grey(np.asarray(image[::step, ::step]))
  prob, inside = mean_vote[::step, ::step], mask[::step, ::step] > 0
  opacity = np.clip(prob * 1.5, 0, 0.6)[..., None]
  colours = grey * (1 - opacity) + _colour(prob) * opacity
  colours[_outline(inside)] = 255
  picture = PIL.Image.fromarray(np.rint(colours).astype(np.uint8))
  out = PIL.Image.new("RGB", (max(picture.width, 260), picture.height + _LEGEND), (20, 20, 20))
  out.paste(picture, (0, 0))
  _legend(out, picture.height)
  return out


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
