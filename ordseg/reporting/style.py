"""What all pages share: their templates, and pictures that stand inside them."""

import base64
import io

import jinja2
from PIL import Image


def templates() -> jinja2.Environment:
  """Returns the pages' templates; what is put into them is escaped, and what they lack is an error."""
  return jinja2.Environment(
    loader=jinja2.PackageLoader("ordseg.reporting", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )


def png(picture: Image.Image) -> bytes:
  """Returns a picture as a small PNG file."""
  out = io.BytesIO()
  picture.save(out, "PNG", optimize=True)
  return out.getvalue()


def data_uri(content: bytes) -> str:
  """Returns a PNG file as a data URI."""
  return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
