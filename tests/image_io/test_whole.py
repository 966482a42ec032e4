"""Files that are cut short, damaged or claim too much: one line, no other pixels, nothing on stderr, little memory."""

import gzip
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import PIL.Image
import pytest
import tifffile

from ordseg import image_io
from ordseg.errors import InputError
from ordseg.image_io import bounds
from tests.image_io.test_pictures import chunk, write_png

SMOOTH = (np.add.outer(np.arange(60) ** 2, 7 * np.arange(70)) // 16 % 256).astype(np.uint8)
COLOUR = np.dstack([SMOOTH, SMOOTH[::-1], 255 - SMOOTH])


def write_picture(path, values, **options):
  PIL.Image.fromarray(values).save(path, **options)


def write_stack(path, **options):
  tifffile.imwrite(
    path, np.stack([SMOOTH, SMOOTH.T[:60, :60].repeat(2, 1)[:, :70]]), photometric="minisblack", **options
  )


WRITERS = {
  "grey.png": lambda path: write_picture(path, SMOOTH),
  "colour.png": lambda path: write_picture(path, COLOUR),
  "deep.png": lambda path: write_picture(path, SMOOTH.astype(np.uint16) * 200),
  "palette.png": lambda path: PIL.Image.fromarray(COLOUR).quantize(16).save(path),
  "base.jpg": lambda path: write_picture(path, COLOUR, quality=90),
  "progressive.jpg": lambda path: write_picture(path, COLOUR, progressive=True),
  "a.gif": lambda path: write_picture(path, SMOOTH),
  "a.bmp": lambda path: write_picture(path, COLOUR),
  "a.ppm": lambda path: write_picture(path, COLOUR),
  "a.ppm.gz": lambda path: path.write_bytes(gzip.compress(b"P5 70 60 255 " + SMOOTH.tobytes())),
  "plain.tif": write_stack,
  "lzw.tif": lambda path: write_stack(path, compression="lzw", rowsperstrip=16),
  "deflate.tif": lambda path: write_stack(path, compression="deflate", predictor=True),
  "tiles.tif": lambda path: write_stack(path, tile=(32, 32), compression="zstd"),
  "imagej.tif": lambda path: write_stack(path, imagej=True, metadata={"axes": "ZYX"}),
  "a.ome.tif": lambda path: write_stack(path, metadata={"axes": "ZYX"}),
  "big.tif": lambda path: write_stack(path, bigtiff=True, byteorder=">"),
}
WITH_CHECKSUM = ("grey.png", "colour.png", "deep.png", "palette.png", "a.ppm.gz")


def outcome(path, pages):
  """Returns whether a file is refused in one line, or read as it was before; anything else fails the test."""
  try:
    found = image_io.read(path).pages
  except InputError as error:
    assert str(path) in str(error) and "\n" not in str(error)
    return "refused"
  np.testing.assert_array_equal(found, pages)
  return "whole"


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path, name, capfd):
  path = tmp_path / name
  WRITERS[name](path)
  pages, content = image_io.read(path).pages, path.read_bytes()
  rng = np.random.default_rng(0)
  for end in {*rng.integers(0, len(content), 25).tolist(), len(content) - 1, len(content) - 2, len(content) - 20}:
    path.write_bytes(content[:end])
    # The last bytes may say nothing: what fills up a row of a BMP, the end mark of a GIF, a tag that is not needed.
    assert outcome(path, pages) == "refused" or end >= len(content) - 2000 * name.endswith(".tif") - 20
  assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", WITH_CHECKSUM)
def test_a_bit_that_flipped_is_found_by_the_checksum(tmp_path, name):
  path = tmp_path / name
  WRITERS[name](path)
  pages, content = image_io.read(path).pages, path.read_bytes()
  for bit in np.random.default_rng(0).integers(0, 8 * len(content), 60):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(damaged)
    assert outcome(path, pages) == "refused" or bit < 8 * 10  # the header of gzip has a date


def test_what_follows_a_whole_picture_is_not_its_business(tmp_path):
  for name in ("grey.png", "base.jpg", "a.gif", "a.bmp", "plain.tif"):
    WRITERS[name](tmp_path / name)
    pages, content = image_io.read(tmp_path / name).pages, (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content + bytes(range(256)) * 3)
    assert outcome(tmp_path / name, pages) == "whole"


def test_a_preview_that_is_damaged_says_nothing(tmp_path, recwarn):
  first, second = PIL.Image.fromarray(COLOUR), PIL.Image.fromarray(SMOOTH)
  first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
  pages, content = image_io.read(tmp_path / "a.jpg").pages, (tmp_path / "a.jpg").read_bytes()
  for end in (len(content) - 50, content.rfind(b"\xff\xd8") + 3):
    (tmp_path / "a.jpg").write_bytes(content[:end])
    assert outcome(tmp_path / "a.jpg", pages) == "whole"
  assert not recwarn.list


def test_a_stack_cut_by_a_broken_download(tmp_path):
  write_stack(tmp_path / "a.tif", compression="lzw")
  content = (tmp_path / "a.tif").read_bytes()
  (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
  with pytest.raises(InputError, match=r"a.tif: cannot be read as an image, the TIFF may be damaged or cut short \("):
    image_io.read(tmp_path / "a.tif")


# --- Claims


def claim_tif(path, tags, **options):
  tifffile.imwrite(path, np.zeros((64, 64), np.uint8), metadata=None, **options)
  with tifffile.TiffFile(path, mode="r+") as file:
    for name, value in tags.items():
      file.pages[0].tags[name].overwrite(value)


def claim_jpg(path):
  content = io.BytesIO()
  write_picture(content, np.zeros((16, 16), np.uint8), format="JPEG")
  found = bytearray(content.getvalue())
  place = found.find(b"\xff\xc0") + 5
  found[place : place + 4] = struct.pack(">HH", 65500, 65500)
  path.write_bytes(found)


def bomb(path, side):
  """A PNG of zeros, one bit each, which is as whole as any."""
  packer = zlib.compressobj(9)
  data = b"".join(packer.compress(bytes((side + 7) // 8 + 1)) for _ in range(side)) + packer.flush()
  head = chunk(b"IHDR", struct.pack(">II5B", side, side, 1, 0, 0, 0, 0))
  path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b""))


BMP = struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
GIF = struct.pack("<HH", 65535, 65535) + b"\x80\0\0\0\0\0\xff\xff\xff," + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
HUGE = {"ImageWidth": 999999, "ImageLength": 999999}
CLAIMS = {
  "a.png": lambda path: write_png(path, [bytes(90)], width=2**31 - 1, bits=8, kind=0),
  "a.bmp": lambda path: path.write_bytes(b"BM" + BMP + bytes(50)),
  "a.gif": lambda path: path.write_bytes(b"GIF89a" + GIF + b"\x02\x02\x4c\x01\0;"),
  "a.jpg": claim_jpg,
  "a.ppm": lambda path: path.write_bytes(b"P6 99999 99999 255 " + bytes(100)),
  "a.ppm.gz": lambda path: path.write_bytes(gzip.compress(b"P6 30000 30000 255 " + bytes(10**6))),
  "plain.tif": lambda path: claim_tif(path, {"ImageLength": 99999999, "RowsPerStrip": 99999999}),
  "tiles.tif": lambda path: claim_tif(path, HUGE, tile=(16, 16), compression="deflate"),
  "lzma.tif": lambda path: claim_tif(path, {**HUGE, "RowsPerStrip": 999999}, compression="lzma"),
  "bomb.png": lambda path: bomb(path, 33000),
}
CHILD = r"""
import pathlib, re, sys, time
from ordseg import image_io
from ordseg.errors import InputError
for path in sys.argv[1:]:
  start = time.monotonic()
  try:
    sys.exit(f"{path} was read as {image_io.read(path).pages.shape}")
  except InputError as error:
    print(error)
  assert time.monotonic() - start < 5, path
print(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
"""


def test_headers_that_claim_too_much_take_no_memory(tmp_path):
  paths = [tmp_path / name for name in CLAIMS]
  for path in paths:
    CLAIMS[path.name](path)
  child = subprocess.run([sys.executable, "-c", CHILD, *map(str, paths)], capture_output=True, text=True, check=False)
  assert child.returncode == 0 and child.stderr == "", child.stderr
  *lines, kib = child.stdout.splitlines()
  assert len(lines) == len(paths) and int(kib) < 2**20
  for path, line in zip(paths, lines, strict=True):
    assert line.startswith(f"{path}: ") and "claims" in line


def test_genuine_large_pictures_have_a_way_in(tmp_path, monkeypatch):
  bomb(tmp_path / "a.png", 1500)
  assert not image_io.read(tmp_path / "a.png").pages.any()
  monkeypatch.setenv(bounds.VARIABLE, "0.001")
  with pytest.raises(InputError, match=r"fill the memory.*tiles, or set the environment variable ORDSEG_MAX"):
    image_io.read(tmp_path / "a.png")
  monkeypatch.setenv(bounds.VARIABLE, "much")
  with pytest.raises(InputError, match="must be a number of GiB"):
    image_io.read(tmp_path / "a.png")


def test_the_bound_of_deflate_is_what_zlib_reaches():
  size = 1 << 22
  ratio = size / len(zlib.compress(bytes(size), 9))
  assert 0.97 * bounds.DEFLATE < ratio <= bounds.DEFLATE
