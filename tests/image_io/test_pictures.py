"""Pictures are what Pillow and libpng's own bytes say: bit depth, transparency, palettes, orientation, frames."""

import gzip
import struct
import zlib

import imagecodecs
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from ordseg import image_io
from ordseg.errors import InputError

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
TURNED = "turned upright as its EXIF orientation says"


def chunk(name, body):
  return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def write_png(path, rows, *, width, bits, kind, extra=b""):
  """Writes rows of packed samples, as the standard has them."""
  head = struct.pack(">II5B", width, len(rows), bits, kind, 0, 0, 0)
  data = zlib.compress(b"".join(b"\0" + row for row in rows))
  path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize("kind", [0, 2, 4, 6])
@pytest.mark.parametrize("extra", [b"", chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"sBIT", bytes(4))])
def test_sixteen_bits_are_kept_in_every_colour_type(tmp_path, kind, extra):
  values = np.random.default_rng(kind).integers(0, 4096, (5, 7, CHANNELS[kind])).astype(">u2")
  write_png(tmp_path / "a.png", [row.tobytes() for row in values], width=7, bits=16, kind=kind, extra=extra)
  file = image_io.read(tmp_path / "a.png")
  colours = values[..., : {2: 1, 4: 3}.get(CHANNELS[kind], CHANNELS[kind])]
  assert file.pages.dtype == np.uint16
  np.testing.assert_array_equal(file.pages[0], colours)
  assert len(file.notes) == (kind in (4, 6))  # the transparency varies
  assert image_io.stored_dtype(tmp_path / "a.png") == np.uint16


@pytest.mark.parametrize("kind", [0, 2])
def test_a_colour_that_stands_for_nothing_seen(tmp_path, kind):
  values = np.random.default_rng(0).integers(0, 4096, (5, 7, CHANNELS[kind])).astype(">u2")
  key = chunk(b"tRNS", values[2, 3].tobytes())
  write_png(tmp_path / "a.png", [row.tobytes() for row in values], width=7, bits=16, kind=kind, extra=key)
  file = image_io.read(tmp_path / "a.png")
  np.testing.assert_array_equal(file.pages[0], values)
  assert file.notes == ("its transparency, which varies, was left out",)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey_as_pillow_shows_them(tmp_path, bits):
  values = np.random.default_rng(0).integers(0, 2**bits, (6, 16))
  rows = [np.packbits(np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, -bits:]).tobytes() for row in values]
  write_png(tmp_path / "a.png", rows, width=16, bits=bits, kind=0)
  shown = np.asarray(PIL.Image.open(tmp_path / "a.png")).astype(np.uint8)
  np.testing.assert_array_equal(image_io.read(tmp_path / "a.png").pages[0, ..., 0], shown)


def test_an_interlaced_png(tmp_path):
  """Adam7, pass by pass, from the standard: section 8.2."""
  values = np.random.default_rng(0).integers(0, 256, (13, 11)).astype(np.uint8)
  rows = []
  for y, x, dy, dx in (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
  ):
    rows += [b"\0" + row.tobytes() for row in values[y::dy, x::dx] if row.size]
  head = struct.pack(">II5B", 11, 13, 8, 0, 0, 0, 1)
  body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
  (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
  np.testing.assert_array_equal(image_io.read(tmp_path / "a.png").pages[0, ..., 0], values)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.bmp", "a.tif"])
def test_palettes_are_looked_up(tmp_path, name):
  picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)).quantize(16)
  picture.save(tmp_path / name)
  np.testing.assert_array_equal(image_io.read(tmp_path / name).pages[0], np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("top", [1, 15, 255, 1000, 4095, 65535])
@pytest.mark.parametrize(("kind", "channels"), [(2, 1), (3, 3), (5, 1), (6, 3)])
def test_pgm_and_ppm_as_stored_whatever_their_maximum(tmp_path, top, kind, channels):
  values = np.random.default_rng(0).integers(0, top + 1, (4, 5, channels))
  head = f"P{kind}\n# a comment\n5 4\n{top}\n".encode()
  plain = " ".join(map(str, values.ravel())).encode()
  body = plain if kind < 4 else values.astype(">u2" if top > 255 else "u1").tobytes()
  for path, content in ((tmp_path / "a.ppm", head + body), (tmp_path / "a.ppm.gz", gzip.compress(head + body))):
    path.write_bytes(content)
    file = image_io.read(path)
    assert file.pages.dtype == (np.uint16 if top > 255 else np.uint8)
    np.testing.assert_array_equal(file.pages[0], values)
  assert image_io.stored_dtype(tmp_path / "a.ppm") == file.pages.dtype


def test_pgm_that_is_not_what_it_says(tmp_path):
  path = tmp_path / "a.pgm"
  for content, message in (
    (b"P5 5 4 100 " + bytes(range(10, 30)) * 2, "20 bytes follow the picture"),
    (b"P5 5 4 100 " + bytes(19), "claims 4 x 5 pixels or 20 bytes; found 19"),
    (b"P5 5 4 100 " + bytes([101]) * 20, "holds 101, more than the 100"),
    (b"P2 5 4 100 " + b"1 " * 19, "holds 19 numbers"),
    (b"P2 5 4 100 " + b"x " * 20, "no number"),
    (b"P5 99999 99999 255 " + bytes(50), "claims 99999 x 99999"),
  ):
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
      image_io.read(path)


@pytest.mark.parametrize("code", range(9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_exif_orientation_as_pillow_turns_it(tmp_path, code, name):
  exif = PIL.Image.Exif()
  exif[274] = code
  values = np.random.default_rng(0).integers(0, 256, (8, 13, 3)).astype(np.uint8)
  PIL.Image.fromarray(values).save(tmp_path / name, exif=exif)
  file = image_io.read(tmp_path / name)
  upright = PIL.ImageOps.exif_transpose(PIL.Image.open(tmp_path / name))
  np.testing.assert_array_equal(file.pages[0], np.asarray(upright))
  assert file.notes == ((TURNED,) if code > 1 else ())


def test_a_mask_is_turned_as_its_image_is(tmp_path):
  mask = np.zeros((8, 13), np.uint8)
  mask[:2, :5] = 1
  exif = PIL.Image.Exif()
  exif[274] = 6
  PIL.Image.fromarray(np.rot90(mask) * np.uint8(255)).save(tmp_path / "m.png", exif=exif)
  np.testing.assert_array_equal(image_io.read_mask(tmp_path / "m.png"), mask)


def test_a_photograph_with_a_preview_is_its_first_picture(tmp_path):
  picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8))
  picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[picture.resize((8, 6))])
  file = image_io.read(tmp_path / "a.jpg")
  np.testing.assert_array_equal(file.pages[0], np.asarray(PIL.Image.open(tmp_path / "a.jpg")))
  assert file.notes == ("the first of the 2 pictures in the file",)


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_animations_are_refused(tmp_path, name):
  frames = [PIL.Image.fromarray(np.full((4, 4), 90 * k, np.uint8)) for k in range(3)]
  frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
  with pytest.raises(InputError, match="an animation of 3 frames"):
    image_io.read(tmp_path / name)


def test_printing_colours_are_refused_with_the_way_out(tmp_path):
  PIL.Image.fromarray(np.zeros((8, 8, 3), np.uint8)).convert("CMYK").save(tmp_path / "a.jpg")
  with pytest.raises(InputError, match=r"'CMYK' are not read.*convert it to RGB"):
    image_io.read(tmp_path / "a.jpg")


def test_files_named_otherwise_than_they_are(tmp_path):
  values = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
  for kind, name in (("TIFF", "a.png"), ("PNG", "a.tif"), ("PNG", "a.jpg"), ("BMP", "a.tiff")):
    PIL.Image.fromarray(values).save(tmp_path / name, format=kind)
    np.testing.assert_array_equal(image_io.read(tmp_path / name).pages[0], values)


def test_jpeg_of_12_bits_is_refused_with_a_way_out(tmp_path):
  path = tmp_path / "a.jpg"
  values = np.arange(0, 4096, 8, dtype=np.uint16).reshape(16, 32)
  path.write_bytes(imagecodecs.jpeg_encode(values, bitspersample=12, lossless=False))
  with pytest.raises(InputError, match=r"a.jpg: a JPEG of 12 bits a value is not read; store it as PNG or TIFF.$"):
    image_io.read(path)
