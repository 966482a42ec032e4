"""doctor.html: one self-contained page with the tables, the findings and pictures of what they are about."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import PIL.Image

from ordseg import files
from ordseg.data_check import tables
from ordseg.data_check.finding import Finding
from ordseg.data_check.surveying import Survey, as_pages, fullest_page, masks_of
from ordseg.reporting import style

MAX_PICTURES = 24
EXAMPLES = 6  # pictures where nothing is found
_SIDE = 360  # pixels of a picture
# Colours that can be distinguished by people who do not see red and green too (Okabe, Ito, 2008).
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


Key = tuple[int, int]  # number of the structure, of the image


@functools.cache
def colours(count: int) -> tuple[tuple[int, int, int], ...]:
  """Returns a colour for each rater, all different: those of Okabe and Ito, then each time the one that is farthest, in
  CIELAB, from all before and from black and white."""
  values = np.asarray([0, 51, 102, 153, 204, 255], np.uint8)
  grid = np.stack(np.meshgrid(values, values, values, indexing="ij"), axis=-1).reshape(-1, 3)
  chosen = np.asarray(_COLOURS[:count], np.uint8)
  taken = np.concatenate([np.asarray(_COLOURS, np.uint8), np.asarray([[0, 0, 0], [255, 255, 255]], np.uint8)])
  while len(chosen) < count:
    apart = np.linalg.norm(_lab(grid)[:, None] - _lab(taken)[None], axis=-1).min(axis=1)
    best = grid[int(np.argmax(apart))][None]
    chosen, taken = np.concatenate([chosen, best]), np.concatenate([taken, best])
  return tuple((int(red), int(green), int(blue)) for red, green, blue in chosen)


def _lab(rgb: np.ndarray) -> np.ndarray:
  return cv2.cvtColor(rgb[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]


def wanted_images(findings: list[Finding], survey: Survey | None = None) -> list[Key]:
  """Returns (structure, image) of the pictures that the page shows.

  Args:
    findings: worst first.
    survey: of the set: some of its images are shown where no finding names one.
  """
  found = list(dict.fromkeys((finding.structure, i) for finding in findings for i in finding.images[:4]))
  if not found and survey is not None:
    marked = np.flatnonzero(survey.areas.any(axis=1))
    index = marked if len(marked) else np.arange(len(survey.ids))
    found = [(0, int(i)) for i in index[np.unique(np.linspace(0, len(index) - 1, EXAMPLES).astype(int))]]
  return found[:MAX_PICTURES]


def draw(record: Mapping[str, Any], structure: int | None = None) -> PIL.Image.Image:
  """Draws an image, or a volume's fullest page, with each rater's outline in a colour of its own.

  Args:
    record: in the schema of data/README.md.
    structure: number of the class; None where there is no axis for them.
  """
  volume, _ = masks_of(record, structure)
  page = fullest_page(volume)
  image, masks = as_pages(record)[page], volume[page]
  grey = (
    image[..., :3].astype(np.float32) if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, -1).astype(np.float32)
  )
  low, high = np.percentile(grey, [0.5, 99.5])
  scale = _SIDE / max(image.shape[:2])
  size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
  canvas = np.clip((grey - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
  canvas = np.ascontiguousarray(
    cv2.resize(canvas, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
  )
  for r in range(masks.shape[-1]):
    mask = cv2.resize(np.ascontiguousarray(masks[..., r]), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, colours(masks.shape[-1])[r], 2)
  return PIL.Image.fromarray(canvas)


def write(
  path: pathlib.Path,
  surveys: Survey | Sequence[Survey],
  findings: list[Finding],
  pictures: Mapping[Key, PIL.Image.Image],
  title: str,
) -> None:
  """Writes the page; replaces its predecessor at once.

  Args:
    path: of the page.
    surveys: the numbers; of each structure.
    findings: worst first.
    pictures: (structure, image) -> its picture from `draw`; see `wanted_images`.
    title: what was examined.
  """
  template = style.templates().get_template("doctor.html")
  survey = surveys if isinstance(surveys, Survey) else surveys[0]
  css = ["rgb({}, {}, {})".format(*colour) for colour in colours(len(survey.raters))]
  raters = [{"name": name, "colour": colour} for name, colour in zip(survey.raters, css, strict=True)]

  def figures(keys: Sequence[Key]) -> list[dict[str, str]]:
    return [
      {
        "uri": style.data_uri(style.png(pictures[key])),
        "alt": f"{survey.ids[key[1]]} with the raters' outlines",
        "name": survey.ids[key[1]],
      }
      for key in keys
      if key in pictures
    ]

  shown = [
    {"what": finding.what, "pictures": figures([(finding.structure, i) for i in finding.images])}
    for finding in findings
  ]
  used = {(finding.structure, i) for finding in findings for i in finding.images}
  examples = figures([key for key in pictures if key not in used])
  page = template.render(
    title=title, tables=tables.all_tables(surveys), findings=shown, raters=raters, examples=examples
  )
  files.write_text(path, page)
