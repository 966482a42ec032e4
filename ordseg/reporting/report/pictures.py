"""Pictures inside the page: maps as small PNG files in data URIs."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image

from ordseg.reporting import style
from ordseg.reporting.report import figures, outlines
from ordseg.reporting.report.reading import Example

MAX_SIDE = 320  # pixels; larger maps are shown as means of blocks, so that a report stays small
_PIXELATED_SIDE = 160  # smaller pictures are enlarged by whole pixels


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture with its caption, alternative text and whether to enlarge it by whole pixels."""

  uri: str
  caption: str
  alt: str
  pixelated: bool
  width: int
  height: int


def crop(png: bytes, boxes: Sequence[tuple[int, int, int, int]]) -> list[bytes]:
  """Cuts a PNG file into the given boxes: left, top, right, bottom in pixels."""
  with Image.open(io.BytesIO(png)) as picture:
    whole = picture.convert("RGB")
  return [style.png(whole.crop(box)) for box in boxes]


def shrink(values: np.ndarray) -> tuple[np.ndarray, int]:
  """Averages blocks of f x f pixels until no side exceeds `MAX_SIDE`.

  Args:
    values: [H, W, ...].

  Returns:
    The means [ceil(H / f), ceil(W / f), ...], float64, and f; blocks at the border that are cut hold their edge values.
  """
  height, width = values.shape[:2]
  f = -(-max(height, width) // MAX_SIDE)
  values = np.asarray(values, np.float64)
  if f == 1:
    return values, 1
  padding = [(0, -height % f), (0, -width % f), *[(0, 0)] * (values.ndim - 2)]
  padded = np.pad(values, padding, mode="edge")
  blocks = padded.reshape(padded.shape[0] // f, f, padded.shape[1] // f, f, *values.shape[2:])
  return blocks.mean((1, 3)), f


def example_views(example: Example) -> tuple[outlines.Nested | None, list[Picture]]:
  """Returns the nested outlines of an example and its pictures, of which the first goes beneath the outlines."""
  return outlines.nested(example), example_pictures(example)


def example_pictures(example: Example) -> list[Picture]:
  """Returns the pictures of an example: input, if it has one, share of raters, probability, difference."""
  (mean_vote, f), prob = shrink(example.mean_vote), shrink(example.prob)[0]
  what = f"of {example.id}"
  reduced = f", shown at 1/{f} of its resolution" if f > 1 else ""
  shown = [
    ("share of raters", _colored(mean_vote, figures.PROB_COLORS), f"Share of raters who marked each pixel {what}"),
    ("probability", _colored(prob, figures.PROB_COLORS), f"Probability map {what}"),
    (
      "probability \u2212 raters",
      _colored((prob - mean_vote + 1) / 2, figures.DIFFERENCE_COLORS),
      f"Difference of probability and share of raters {what}: {_difference_in_words(example)}",
    ),
  ]
  if example.image is not None:
    drawn = Image.fromarray(figures.display_image(shrink(example.image)[0]))
    shown.insert(0, ("input", drawn, f"Input image {what}{reduced}"))
  return [_picture(*entry) for entry in shown]


def _difference_in_words(example: Example) -> str:
  gap = example.prob - example.mean_vote
  return f"from {float(np.nanmin(gap)):+.2f} to {float(np.nanmax(gap)):+.2f}, mean {float(np.nanmean(gap)):+.3f}"


def color_scale(name: str) -> str:
  """Returns a colour scale from left to right as a data URI."""
  return style.data_uri(style.png(_colored(np.linspace(0, 1, 256).reshape(1, 256), name)))


def _colored(values: np.ndarray, name: str) -> Image.Image:
  """Colours values in [0, 1] as a palette image, which is small and exact to 1 / 255."""
  index = np.round(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)
  picture = Image.frombytes("P", index.shape[::-1], index.tobytes())
  picture.putpalette((255 * colormaps[name](np.linspace(0, 1, 256))[:, :3]).round().astype(np.uint8).tobytes())
  return picture


def _picture(caption: str, picture: Image.Image, alt: str) -> Picture:
  pixelated = max(picture.size) < _PIXELATED_SIDE
  return Picture(style.data_uri(style.png(picture)), caption, alt, pixelated, *picture.size)


def one_of_each(examples: Sequence[Example]) -> list[Example]:
  """Returns the first example of each kind, in the order given."""
  kinds = dict.fromkeys(e.kind for e in examples)
  return [next(e for e in examples if e.kind == kind) for kind in kinds]
