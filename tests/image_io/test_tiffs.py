"""TIFF files are what their tags say: types, colours, channels, orientation; oracles are tifffile and Pillow."""

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile

from ordseg import image_io
from ordseg.errors import InputError


def numbers(*shape, high=250, dtype=np.uint8, seed=0):
  return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def read(path):
  return image_io.read(path).pages


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_every_type_in_both_byte_orders(tmp_path, kind, order):
  values = numbers(5, 7, high=100, dtype=kind)
  tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order, photometric="minisblack", compression="deflate")
  found = read(tmp_path / "a.tif")
  assert found.dtype == (np.uint8 if kind == "bool" else np.dtype(kind)) and found.dtype.isnative
  np.testing.assert_array_equal(found[0, ..., 0], values)
  assert image_io.stored_dtype(tmp_path / "a.tif") == found.dtype


def test_complex_numbers_are_refused(tmp_path):
  tifffile.imwrite(tmp_path / "a.tif", numbers(5, 7).astype(np.complex64))
  with pytest.raises(InputError, match="complex64 are not read; store real numbers"):
    read(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16, 32])
def test_white_is_zero_at_every_depth(tmp_path, bits):
  dtype = np.dtype(bool) if bits == 1 else np.min_scalar_type(2**bits - 1)
  values = numbers(5, 16, high=2**bits, dtype=np.int64)
  options = {"bitspersample": bits} if bits in (2, 4, 12) else {}
  tifffile.imwrite(tmp_path / "a.tif", values.astype(dtype), photometric="miniswhite", **options)
  np.testing.assert_array_equal(read(tmp_path / "a.tif")[0, ..., 0], 2**bits - 1 - values)
  if bits in (1, 8):
    shown = np.asarray(PIL.Image.open(tmp_path / "a.tif"))
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0, ..., 0], shown)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_white_is_zero_without_a_white(tmp_path, dtype):
  tifffile.imwrite(tmp_path / "a.tif", numbers(5, 7, dtype=dtype), photometric="miniswhite")
  with pytest.raises(InputError, match="WhiteIsZero with values of type"):
    read(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_lzw", "packbits"])
def test_bilevel_pages_as_pillow_shows_them(tmp_path, compression):
  PIL.Image.fromarray(numbers(20, 30) > 99).save(tmp_path / "a.tif", compression=compression)
  np.testing.assert_array_equal(read(tmp_path / "a.tif")[0, ..., 0], np.asarray(PIL.Image.open(tmp_path / "a.tif")))


def test_a_colour_map_of_sixteen_bits(tmp_path):
  colours, indices = numbers(3, 256, high=65536, dtype=np.uint16), numbers(6, 7, high=256)
  tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=colours)
  found = read(tmp_path / "a.tif")
  assert found.dtype == np.uint16
  np.testing.assert_array_equal(found[0], colours.T[indices])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_colours_that_need_more_than_the_file_are_refused(tmp_path, mode):
  PIL.Image.fromarray(numbers(8, 8, 3)).convert(mode).save(tmp_path / "a.tif")
  with pytest.raises(InputError, match=f"{mode}.* are not read; convert them to RGB"):
    read(tmp_path / "a.tif")


def test_jpeg_inside_as_pillow_decodes_it(tmp_path):
  smooth = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8)
  tifffile.imwrite(tmp_path / "a.tif", np.dstack([smooth, smooth[::-1], 255 - smooth]), compression="jpeg")
  with tifffile.TiffFile(tmp_path / "a.tif") as file:
    assert file.pages[0].photometric == 6  # YCbCr
  np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], np.asarray(PIL.Image.open(tmp_path / "a.tif")))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("meaning", "kept"), [("unspecified", 4), ("assocalpha", 3), ("unassalpha", 3)])
def test_extra_samples_say_what_is_transparency(tmp_path, planar, dtype, meaning, kept):
  values = numbers(6, 7, 4, dtype=dtype)
  stored = values if planar == "contig" else np.moveaxis(values, -1, 0)
  tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, extrasamples=[meaning])
  file = image_io.read(tmp_path / "a.tif")
  np.testing.assert_array_equal(file.pages[0], values[..., :kept])
  assert len(file.notes) == (kept == 3)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_stay_in_every_order(tmp_path, channels):
  values = numbers(3, 6, 7, channels, dtype=np.uint16)
  first = np.moveaxis(values, -1, 1)
  tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")
  tifffile.imwrite(tmp_path / "b.tif", first, photometric="minisblack", planarconfig="separate")
  tifffile.imwrite(tmp_path / "c.ome.tif", first, metadata={"axes": "ZCYX"}, photometric="minisblack")
  tifffile.imwrite(tmp_path / "d.tif", first, imagej=True, metadata={"axes": "ZCYX"}, photometric="minisblack")
  for name in ("a.tif", "b.tif", "c.ome.tif", "d.tif"):
    np.testing.assert_array_equal(read(tmp_path / name), values)


@pytest.mark.parametrize("code", range(1, 9))
def test_orientation_as_pillow_turns_it(tmp_path, code):
  tifffile.imwrite(tmp_path / "a.tif", numbers(8, 13, 3), photometric="rgb", extratags=[(274, 3, 1, code, True)])
  upright = PIL.ImageOps.exif_transpose(PIL.Image.open(tmp_path / "a.tif"))
  np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], np.asarray(upright))


def write(path, *pages, **options):
  with tifffile.TiffWriter(path, **options) as file:
    for values, settings in pages:
      file.write(values, **{"metadata": None, "photometric": "minisblack", **settings})


BIG, SMALL = numbers(64, 80), numbers(32, 40, seed=1)
REDUCED = {"subfiletype": 1}


@pytest.mark.parametrize(
  "pages",
  [
    [(BIG, {}), (SMALL, REDUCED)],
    [(SMALL, REDUCED), (BIG, {})],
    [(BIG, {"subifds": 1}), (SMALL, REDUCED)],
    [(BIG, {"subifds": 1, "metadata": {}}), (SMALL, {**REDUCED, "metadata": {}})],
    [(SMALL, {"subifds": 1, **REDUCED}), (BIG, {})],
    [(BIG, {}), (BIG > 99, {"subfiletype": 4})],
  ],
)
def test_the_full_resolution_is_read(tmp_path, pages):
  write(tmp_path / "a.tif", *pages)
  file = image_io.read(tmp_path / "a.tif")
  np.testing.assert_array_equal(file.pages[0, ..., 0], BIG)
  assert file.notes == ("the full-resolution one of the 2 pictures in the file",)


@pytest.mark.parametrize("other", [SMALL, numbers(16, 20), BIG.astype(np.uint16)])
def test_pages_of_several_kinds_are_refused(tmp_path, other):
  write(tmp_path / "a.tif", (BIG, {}), (other, {}))
  with pytest.raises(InputError, match=r"holds 2 pictures of different kinds .64 x 80 uint8, "):
    read(tmp_path / "a.tif")


def test_pages_that_the_description_promises(tmp_path, caplog, capfd):
  tifffile.imwrite(tmp_path / "a.ome.tif", numbers(3, 6, 7), metadata={"axes": "ZYX"}, photometric="minisblack")
  content = (tmp_path / "a.ome.tif").read_bytes()
  (tmp_path / "a.ome.tif").write_bytes(content.replace(b'SizeZ="3"', b'SizeZ="4"'))
  tifffile.imwrite(tmp_path / "b.tif", numbers(3, 6, 7), imagej=True, metadata={"axes": "ZYX"})
  content = (tmp_path / "b.tif").read_bytes()
  (tmp_path / "b.tif").write_bytes(content.replace(b"images=3", b"images=9"))
  for name, message in (("a.ome.tif", "missing 1 frames"), ("b.tif", "ImageJ wrote 9 images, found 3 x 6 x 7")):
    with pytest.raises(InputError, match=message) as caught:
      read(tmp_path / name)
    assert "\n" not in str(caught.value)
  assert capfd.readouterr().err == ""


def test_a_tile_that_was_never_written(tmp_path):
  tifffile.imwrite(tmp_path / "a.tif", numbers(32, 48), tile=(16, 16), compression="deflate")
  with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
    counts = list(file.pages[0].databytecounts)
    file.pages[0].tags["TileByteCounts"].overwrite([0, *counts[1:]])
  with pytest.raises(InputError, match="page 0 lacks strips or tiles"):
    read(tmp_path / "a.tif")


COLORMAP = (np.arange(256) * np.asarray([[257], [0], [0]])).astype(np.uint16)
ODD_PAGES = {
  "WhiteIsZero": ({}, {"photometric": "miniswhite"}),
  "size": ({}, {"data": np.zeros((4, 9), np.uint8)}),
  "type": ({}, {"data": np.zeros((6, 9), np.uint16)}),
  "predictor": ({"compression": "lzw"}, {"predictor": True}),
  "compression": ({"compression": "lzw"}, {"compression": "zlib"}),
  "ColorMap": ({"photometric": "palette", "colormap": COLORMAP}, {"colormap": COLORMAP[::-1]}),
  "reduced": ({}, {"subfiletype": 1}),
}


@pytest.mark.parametrize("count", [3, 12])  # tifffile compares all pages of the short stack
@pytest.mark.parametrize("name", ODD_PAGES)
def test_one_odd_page_in_a_stack_is_refused(tmp_path, name, count):
  alike, odd = ODD_PAGES[name]
  with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
    for number in range(count):
      tags = {"photometric": "minisblack", "data": np.full((6, 9), number, np.uint8), **alike}
      tags |= odd if number == count // 2 else {}
      tiff.write(tags.pop("data"), metadata=None, **tags)
  with pytest.raises(InputError, match=r"a.tif: (page \d+ is of another kind than the first|holds 2 pictures)"):
    image_io.read(tmp_path / "a.tif")


def test_a_page_in_a_long_stack_that_is_turned_otherwise_is_refused(tmp_path):
  with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
    for number in range(12):
      tiff.write(np.zeros((6, 9), np.uint8), metadata=None, extratags=[(274, 3, 1, 3 if number == 4 else 1, True)])
  with pytest.raises(InputError, match=r"turned differently \(Orientation \[1, 3\]\)"):
    image_io.read(tmp_path / "a.tif")


def test_channels_of_colours_are_not_taken_for_pages(tmp_path):
  values = np.random.default_rng(0).integers(0, 250, (2, 6, 9, 3)).astype(np.uint8)
  for axes in ("CYXS", "ZYXS"):
    tifffile.imwrite(tmp_path / f"{axes}.ome.tif", values, photometric="rgb", metadata={"axes": axes}, ome=True)
  np.testing.assert_array_equal(image_io.read(tmp_path / "ZYXS.ome.tif").pages, values)
  with pytest.raises(InputError, match=r"axes CYXS .* has 2 channels of 3 colours each"):
    image_io.read(tmp_path / "CYXS.ome.tif")
