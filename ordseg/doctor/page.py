"""doctor.html: one self-contained page with the tables, the suspicions and pictures of what they are about."""

import base64
import io
import pathlib
from collections.abc import Mapping
from typing import Any

import cv2
import jinja2
import numpy as np
import PIL.Image

from ordseg import files
from ordseg.doctor import tables
from ordseg.doctor.survey import Survey
from ordseg.doctor.suspicions import Suspicion

MAX_PICTURES = 24
_SIDE = 360  # pixels of a picture
# Told apart by people who do not see red and green too (Okabe, Ito, 2008).
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def wanted_images(suspicions: list[Suspicion]) -> list[int]:
  """Returns the numbers of the images that the page shows."""
  found = dict.fromkeys(i for suspicion in suspicions for i in suspicion.images[:4])
  return list(found)[:MAX_PICTURES]


def draw(record: Mapping[str, Any]) -> PIL.Image.Image:
  """Draws an image with each rater's outline in a colour of its own."""
  image = np.asarray(record["image"])
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
  masks = np.asarray(record["rater_masks"])
  for r in range(masks.shape[-1]):
    mask = cv2.resize(np.ascontiguousarray(masks[..., r]), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, _COLOURS[r % len(_COLOURS)], 2)
  return PIL.Image.fromarray(canvas)


def write(
  path: pathlib.Path,
  survey: Survey,
  suspicions: list[Suspicion],
  pictures: Mapping[int, PIL.Image.Image],
  title: str,
) -> None:
  """Writes the page; replaces its predecessor at once.

  Args:
    path: of the page.
    survey: the numbers.
    suspicions: worst first.
    pictures: number of an image -> its picture from `draw`.
    title: what was examined.
  """
  loader = jinja2.PackageLoader("ordseg", "templates")
  template = jinja2.Environment(loader=loader, autoescape=True).get_template("doctor.html")
  colours = ["rgb({}, {}, {})".format(*_COLOURS[r % len(_COLOURS)]) for r in range(len(survey.raters))]
  raters = [{"name": name, "colour": colour} for name, colour in zip(survey.raters, colours, strict=True)]
  shown = [
    {
      "what": suspicion.what,
      "pictures": [
        {"uri": _uri(pictures[i]), "alt": f"{survey.ids[i]} with the raters' outlines", "name": survey.ids[i]}
        for i in suspicion.images
        if i in pictures
      ],
    }
    for suspicion in suspicions
  ]
  page = template.render(title=title, tables=tables.all_tables(survey), suspicions=shown, raters=raters)
  files.write_text(path, page)


def _uri(picture: PIL.Image.Image) -> str:
  content = io.BytesIO()
  picture.save(content, format="PNG")
  return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
