"""What a mask means: transparency, palettes, two colours, floats; and the rule that settles what it does not say."""

import pathlib

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from ordseg import image_io
from ordseg.errors import InputError

MARKS = np.zeros((12, 16), bool)
MARKS[2:7, 3:9] = True
BLACK, WHITE, RED, BLUE, DARK_RED = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255), (128, 0, 0)
DRIVE = [(4, 2, 4), (252, 254, 252)]  # the palette of DRIVE's 2nd_manual
SETTING = "--marked={}"


def colours(ground, mark, marks=MARKS):
  return np.where(marks[..., None], mark, ground).astype(np.uint8)


def with_alpha(values, alpha):
  return np.dstack([values, alpha]).astype(np.uint8)


def save(path, values, **options):
  PIL.Image.fromarray(values).save(path, **options)
  return path


def save_palette(path, indices, palette, **options):
  picture = PIL.Image.fromarray(indices.astype(np.uint8), mode="P")
  picture.putpalette([part for colour in palette for part in colour])
  picture.save(path, **options)
  return path


def marked(path, rule="binary"):
  return image_io.read_marks(path, image_io.parse_rule(rule), setting=SETTING).pages[0, ..., 0]


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.bmp"])
@pytest.mark.parametrize("pair", [(BLACK, RED), (BLACK, WHITE), (BLUE, RED), DRIVE, (BLACK, (1, 1, 1))])
def test_of_two_colours_the_darker_is_the_ground(tmp_path, name, pair):
  np.testing.assert_array_equal(marked(save(tmp_path / name, colours(*pair))), MARKS)
  np.testing.assert_array_equal(marked(save(tmp_path / name, colours(*pair, marks=~MARKS))), ~MARKS)


@pytest.mark.parametrize(("ground", "mark"), [(WHITE, RED), ((0, 130, 0), WHITE), (RED, (255, 0, 10))])
def test_two_colours_that_leave_a_doubt_need_a_rule(tmp_path, ground, mark):
  path = save(tmp_path / "m.png", colours(ground, mark))
  name = "#{:02x}{:02x}{:02x}".format(*mark)
  with pytest.raises(InputError, match=f"m.png: the mask has the two colours.*--marked='=={name}'"):
    marked(path)
  np.testing.assert_array_equal(marked(path, f"=={name}"), MARKS)
  np.testing.assert_array_equal(marked(path, f"!={name}"), ~MARKS)


@pytest.mark.parametrize("name", ["m.png", "m.gif", "m.tif", "m.bmp"])
def test_palettes(tmp_path, name):
  np.testing.assert_array_equal(marked(save_palette(tmp_path / name, MARKS, DRIVE)), MARKS)
  np.testing.assert_array_equal(marked(save_palette(tmp_path / name, MARKS, DRIVE), ">=128"), MARKS)
  np.testing.assert_array_equal(image_io.read_mask(save_palette(tmp_path / name, MARKS, DRIVE)), MARKS)
  path = save_palette(tmp_path / name, MARKS, [BLACK, DARK_RED])
  for rule in ("binary", "==1", "==#800000", "!=#000000"):
    np.testing.assert_array_equal(marked(path, rule), MARKS)
  assert not marked(save_palette(tmp_path / name, 0 * MARKS, [BLACK, DARK_RED])).any()
  for palette in ([RED, BLACK], [WHITE, BLACK]):  # the first is not the darker
    with pytest.raises(InputError, match="first of the palette"):
      marked(save_palette(tmp_path / name, MARKS, palette))
  with pytest.raises(InputError, match=r"no order as '>=128' asks for.*--marked='==#800000'"):
    marked(save_palette(tmp_path / name, MARKS, [BLACK, DARK_RED]), ">=128")


def test_a_palette_of_several_structures(tmp_path):
  labels = MARKS.astype(np.uint8)
  labels[9:, :4] = 2
  path = save_palette(tmp_path / "m.png", labels, [BLACK, DARK_RED, (0, 128, 0)])
  with pytest.raises(InputError, match=r"3 colours.*--marked='==#800000' or --marked='==1' .ordseg check: --set="):
    marked(path)
  for rule in ("==1", "==#800000"):
    np.testing.assert_array_equal(marked(path, rule), MARKS)
  np.testing.assert_array_equal(marked(path, "!=0"), labels > 0)


@pytest.mark.parametrize("colour", [WHITE, BLACK, RED])
@pytest.mark.parametrize("name", ["m.png", "m.tif"])
def test_marks_that_lie_in_the_transparency(tmp_path, colour, name):
  clear = MARKS * 255
  for ground in (colour, WHITE, BLACK):  # what is not seen has some colour too
    path = save(tmp_path / name, with_alpha(colours(ground, colour), clear))
    np.testing.assert_array_equal(marked(path), MARKS)
  assert not marked(save(tmp_path / name, with_alpha(colours(colour, colour), 0 * clear))).any()
  half = with_alpha(colours(colour, colour), np.where(MARKS, 128, 0))
  np.testing.assert_array_equal(marked(save(tmp_path / name, half)), MARKS)
  if colour != RED:  # of an opaque picture the colours decide
    opaque = with_alpha(colours(colour, colour), 0 * clear + 255)
    assert marked(save(tmp_path / name, opaque)).all() == (colour == WHITE)


def test_transparency_that_needs_a_rule(tmp_path):
  soft = MARKS * 255
  soft[2] //= 3
  path = save(tmp_path / "m.png", with_alpha(colours(WHITE, WHITE), soft))
  with pytest.raises(InputError, match=r"transparency has 3 levels.*--marked='alpha>=128'"):
    marked(path)
  np.testing.assert_array_equal(marked(path, "alpha>=128"), soft >= 128)
  with pytest.raises(InputError, match=r"its transparency is not.*'alpha!=0'"):
    marked(path, ">=128")
  both = save(tmp_path / "b.png", with_alpha(colours(BLACK, WHITE), np.where(MARKS[::-1], 255, 0) | 255 * MARKS))
  with pytest.raises(InputError, match=r"both the mask's colours .* and its transparency vary.*marked='==#ffffff'"):
    marked(both)
  np.testing.assert_array_equal(marked(both, "==#ffffff"), MARKS)
  with pytest.raises(InputError, match="has no transparency"):
    marked(save(tmp_path / "c.png", MARKS * np.uint8(255)), "alpha>=1")


def test_a_jpeg_needs_a_rule_that_says_how_near(tmp_path):
  path = save(tmp_path / "m.jpg", colours(BLACK, RED), quality=92)
  with pytest.raises(InputError, match=r"smooth edges or is a JPEG.*--marked='~#"):
    marked(path)
  with pytest.raises(InputError, match=r"nearly but not quite #ff0000.*--marked='~#ff0000'"):
    marked(path, "==#ff0000")
  np.testing.assert_array_equal(marked(path, "~#ff0000"), MARKS)
  grey = save(tmp_path / "g.jpg", MARKS * np.uint8(255), quality=92)
  with pytest.raises(InputError, match=r"a JPEG.*--marked='>=128'"):
    marked(grey)
  np.testing.assert_array_equal(marked(grey, ">=128"), MARKS)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_several_channels_are_no_mask(tmp_path, channels):
  values = np.random.default_rng(0).integers(0, 9, (6, 7, channels), np.uint8)
  tifffile.imwrite(tmp_path / "m.tif", values, photometric="minisblack", planarconfig="contig")
  with pytest.raises(InputError, match=f"a mask has one channel, found {channels}"):
    marked(tmp_path / "m.tif")


@pytest.mark.parametrize("value", [0.9999999998, 254.99999, 1.00001, -0.9999999998, 65534.9])
def test_floats_that_are_whole_but_for_rounding(tmp_path, value):
  values = MARKS * np.float64(value)
  values[0, 0] = 1e-9
  tifffile.imwrite(tmp_path / "m.tif", values)
  np.testing.assert_array_equal(marked(tmp_path / "m.tif"), MARKS)
  np.testing.assert_array_equal(marked(tmp_path / "m.tif", f"=={round(value)}"), MARKS)


@pytest.mark.parametrize(("strange", "message"), [(0.5, r"found 0, 0\.5"), (np.nan, "1 values that are not finite")])
def test_floats_that_are_not(tmp_path, strange, message):
  values = MARKS.astype(np.float32)
  values[0, 0] = strange
  tifffile.imwrite(tmp_path / "m.tif", values)
  with pytest.raises(InputError, match=message):
    marked(tmp_path / "m.tif")


@given(st.integers(-(2**20), 2**20), st.floats(-1, 1))
def test_the_tolerance_is_relative(value, share):
  off = share * max(1, abs(value))
  path = pathlib.Path("m.tif")
  near = np.array([0.0, value + 0.99e-4 * off])
  np.testing.assert_array_equal(image_io.to_binary(near, path), [0, value != 0])
  if abs(share) > 0.9 and abs(value) < 1000:
    with pytest.raises(InputError, match="found"):
      image_io.to_binary(np.array([0.0, value + 4e-4 * off]), path)


@pytest.mark.parametrize("rule", ["", "128", "==red", "==#ff00", "~128", "alpha"])
def test_rules_that_are_none(rule):
  with pytest.raises(InputError, match="must be 'binary'"):
    image_io.parse_rule(rule)


@pytest.mark.parametrize(
  ("values", "wanted"), [([0, -1, -1], [0, 1, 1]), ([-1, 0, 2], None), ([-3, -1], None), ([], [])]
)
def test_the_one_other_value_may_have_any_sign(values, wanted):
  values = np.asarray(values, np.int16)
  if wanted is None:
    with pytest.raises(InputError, match="0 and one other value"):
      image_io.to_binary(values, pathlib.Path("x.nii"))
  else:
    np.testing.assert_array_equal(image_io.to_binary(values, pathlib.Path("x.nii")), wanted)
