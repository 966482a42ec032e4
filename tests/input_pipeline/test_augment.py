import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ordseg.config import Augment
from ordseg.input_pipeline import augment

OFF = {
  "enabled": True,
  "flip": False,
  "rotate_degrees": 0.0,
  "scale": 0.0,
  "elastic_alpha": 0.0,
  "elastic_sigma": 8.0,
  "brightness": 0.0,
  "contrast": 0.0,
  "gamma": 0.0,
  "noise": 0.0,
}
GEOMETRY = {"flip": True, "rotate_degrees": 30.0, "scale": 0.3, "elastic_alpha": 1.5, "elastic_sigma": 4.0}
INTENSITY = {"brightness": 0.3, "contrast": 0.4, "gamma": 0.5, "noise": 0.1}
# OpenCV 4 rounds positions to 1/32 pixel; OpenCV 5 does not.
POSITION_ERROR = 1 / 32 + 1e-3


def config(**fields):
  assert fields.keys() <= OFF.keys()
  return Augment(**{**OFF, **fields})


def example(seed=0, size=(20, 24), channels=1, raters=3):
  rng = np.random.default_rng(seed)
  image = rng.uniform(-1, 1, (*size, channels)).astype(np.float32)
  return image, (rng.random((*size, raters)) < 0.4).astype(np.uint8)


def run(image, masks, seed=0, crop_size=None, **fields):
  return augment.augment(image, masks, np.random.default_rng(seed), config(**fields), crop_size=crop_size)


def test_the_fields_are_those_of_the_default_config():
  assert Augment().to_dict().keys() == OFF.keys()


@pytest.mark.parametrize("fields", [{}, {"enabled": False, **GEOMETRY, **INTENSITY}])
def test_off_is_the_identity_bit_by_bit(fields):
  image, masks = example(channels=2)
  out, out_masks, mask = run(image, masks, **fields)
  np.testing.assert_array_equal(out, image)
  np.testing.assert_array_equal(out_masks, masks)
  np.testing.assert_array_equal(mask, 1)


@settings(max_examples=60, deadline=None)
@given(
  seed=st.integers(0, 2**31),
  size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
  crop=st.none() | st.tuples(st.integers(1, 40), st.integers(1, 40)),
  channels=st.integers(1, 6),
  raters=st.integers(1, 17),
  names=st.sets(st.sampled_from([*GEOMETRY, *INTENSITY])),
)
def test_shapes_values_and_determinism(seed, size, crop, channels, raters, names):
  image, masks = example(seed, size, channels, raters)
  before = image.copy(), masks.copy()
  fields = {name: {**GEOMETRY, **INTENSITY}[name] for name in names}
  fields["elastic_sigma"] = 4.0
  out, out_masks, mask = run(image, masks, seed, crop, **fields)
  h, w = crop or size
  assert out.shape == (h, w, channels)
  assert out.dtype == np.float32
  assert out_masks.shape == (h, w, raters)
  assert mask.shape == (h, w)
  for array in (out_masks, mask):
    assert array.dtype == np.uint8
    assert array.max() <= 1
  assert np.isfinite(out).all()
  again = run(image, masks, seed, crop, **fields)
  for a, b in zip((out, out_masks, mask), again, strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(image, before[0])
  np.testing.assert_array_equal(masks, before[1])


def positions(size):
  """An image whose two channels are its own coordinates (y, x): linear interpolation returns the source position."""
  return np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1).astype(np.float32)


@pytest.mark.parametrize("crop", [(32, 40), (20, 16), (48, 44)])
@pytest.mark.parametrize("fields", [GEOMETRY, {"rotate_degrees": 90.0}, {"scale": 0.5, "flip": True}])
def test_image_masks_and_mask_share_one_geometry(crop, fields):
  size = (32, 40)
  rng = np.random.default_rng(1)
  content = ndimage.gaussian_filter(rng.normal(size=size), 1.0).astype(np.float32)
  image = np.concatenate([positions(size), content[..., None]], axis=-1)
  masks = (rng.random((*size, 9)) < 0.5).astype(np.uint8)
  num_checked = 0
  for seed in range(6):
    out, out_masks, mask = run(image, masks, seed, crop, **fields)
    source = out[..., :2]
    # Inside, away from the border, the recovered position is exact and everything else must follow from it.
    inner = np.all((source > 0.1) & (source < np.asarray(size) - 1.1), axis=-1)
    assert np.all(mask[inner] == 1)
    expected = ndimage.map_coordinates(content, source[inner].T, order=1)
    np.testing.assert_allclose(out[..., 2][inner], expected, atol=5e-3)
    sure = inner & np.all(np.abs(source % 1 - 0.5) > 2 * POSITION_ERROR, axis=-1)
    nearest = np.rint(source[sure]).astype(int)
    np.testing.assert_array_equal(out_masks[sure], masks[nearest[:, 0], nearest[:, 1]])
    num_checked += sure.sum()
  assert num_checked > 500


@pytest.mark.parametrize("crop", [(33, 33), (21, 25)])
def test_rotation_and_scale_keep_to_their_limits_and_turn_about_the_centre(crop):
  size, angles, zooms, signs = (33, 33), [], [], []
  for seed in range(60):
    image, masks = positions(size), np.zeros((*size, 1), np.uint8)
    out, _, _ = run(image, masks, seed, crop, rotate_degrees=20.0, scale=0.25, flip=True)
    i, j = crop[0] // 2, crop[1] // 2
    down, across = out[i + 4, j] - out[i - 4, j], out[i, j + 4] - out[i, j - 4]  # 8 pixels apart
    np.testing.assert_allclose(down @ across, 0, atol=0.2)
    np.testing.assert_allclose(np.linalg.norm(down), np.linalg.norm(across), atol=4 * POSITION_ERROR)
    signs.append((np.sign(down[0]), np.sign(across[1])))
    zooms.append(8 / np.linalg.norm(across))
    angles.append(np.degrees(np.arctan(across[0] / across[1])))
    if crop == size:
      np.testing.assert_allclose(out[i, j], (i, j), atol=POSITION_ERROR)
  assert np.max(np.abs(angles)) <= 20.5
  assert np.min(angles) < -12
  assert np.max(angles) > 12
  assert 1 / 1.27 <= np.min(zooms) < 0.9
  assert 1.1 < np.max(zooms) <= 1.27
  assert len(set(signs)) == 4


def test_flips_are_exact_and_equally_likely():
  image, masks = example(channels=1, raters=2)
  seen = {}
  for seed in range(80):
    out, out_masks, mask = run(image, masks, seed, flip=True)
    matches = [
      (y, x)
      for y in (1, -1)
      for x in (1, -1)
      if np.array_equal(out, image[::y, ::x]) and np.array_equal(out_masks, masks[::y, ::x])
    ]
    assert len(matches) == 1
    assert mask.all()
    seen[matches[0]] = seen.get(matches[0], 0) + 1
  assert len(seen) == 4
  assert min(seen.values()) >= 8


def test_crops_are_exact_and_reach_every_place():
  size, crop = (7, 9), (5, 6)
  image, masks = positions(size), example(size=size)[1]
  corners = set()
  for seed in range(150):
    out, out_masks, mask = run(image, masks, seed, crop)
    y, x = out[0, 0].astype(int)
    np.testing.assert_array_equal(out, image[y : y + 5, x : x + 6])
    np.testing.assert_array_equal(out_masks, masks[y : y + 5, x : x + 6])
    assert mask.all()
    corners.add((y, x))
  assert corners == {(y, x) for y in range(3) for x in range(4)}


@pytest.mark.parametrize("fields", [{}, {"enabled": False}, {"scale": 1e-12}, {"flip": True}])
def test_padding_is_centred_repeats_the_border_and_does_not_count(fields):
  image, masks = example(size=(4, 10), raters=2)
  masks[:] = 1
  for seed in range(4):
    out, out_masks, mask = run(image, masks, seed, (8, 6), **fields)
    expected = np.zeros((8, 6), np.uint8)
    expected[2:6] = 1
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(out_masks, np.broadcast_to(expected[..., None], out_masks.shape))
    np.testing.assert_allclose(out[:2], np.broadcast_to(out[2], (2, 6, 1)), atol=1e-6)
    np.testing.assert_allclose(out[6:], np.broadcast_to(out[5], (2, 6, 1)), atol=1e-6)


def test_what_a_rotation_brings_in_from_outside_does_not_count():
  image, masks = positions((30, 30)), np.ones((30, 30, 1), np.uint8)
  out, out_masks, mask = run(image, masks, 3, rotate_degrees=45.0)
  assert 0.05 < np.mean(mask == 0) < 0.25
  assert not mask[0, 0]
  assert mask[15, 15]
  np.testing.assert_array_equal(out_masks[..., 0], mask)
  assert out.min() >= 0  # the border repeated, nothing beyond the image's own values
  assert out.max() <= 29


@pytest.mark.parametrize("raters", [1, 4, 5, 12])
def test_no_rater_leaks_into_another(raters):
  image, _ = example(size=(24, 24))
  for marked in range(raters):
    masks = np.zeros((24, 24, raters), np.uint8)
    masks[6:18, 6:18, marked] = 1
    _, out, _ = run(image, masks, marked, **GEOMETRY)
    assert out[..., marked].sum() > 40
    assert not np.delete(out, marked, axis=-1).any()


def test_intensity_leaves_the_geometry_and_the_masks_alone():
  image, masks = example(size=(24, 24))
  plain = run(image, masks, 5, (16, 20), **GEOMETRY)
  full = run(image, masks, 5, (16, 20), **GEOMETRY, **INTENSITY)
  np.testing.assert_array_equal(plain[1], full[1])
  np.testing.assert_array_equal(plain[2], full[2])
  assert not np.array_equal(plain[0], full[0])


@pytest.mark.parametrize(("alpha", "sigma"), [(2.0, 6.0), (1.0, 1.5), (3.0, 11.0)])
def test_elastic_displacements_have_the_given_size_and_smoothness(alpha, sigma):
  size, crop = (120, 120), (80, 80)
  image, masks = positions(size), np.zeros((*size, 1), np.uint8)
  off = {"elastic_alpha": alpha, "elastic_sigma": sigma}
  fields = []
  for seed in range(40 if sigma > 5 else 10):
    moved = run(image, masks, seed, crop, **off)[0]
    rigid = run(image, masks, seed, crop)[0]
    fields.append(moved - rigid)
  fields = np.stack(fields)  # [N, h, w, 2]
  assert fields.std() == pytest.approx(alpha, rel=0.1)
  # Of white noise under a Gaussian filter the correlation at distance d is exp(-d^2 / (4 sigma^2)).
  d = round(sigma)
  correlation = np.mean(fields[:, d:] * fields[:, :-d]) / np.mean(fields**2)
  assert correlation == pytest.approx(np.exp(-(d**2) / (4 * sigma**2)), abs=0.1)
  border, middle = fields[:, :2].std(), fields[:, 39:41].std()
  assert border == pytest.approx(middle, rel=0.4)


def test_brightness_adds_a_bounded_constant():
  image, masks = example()
  shifts = []
  for seed in range(40):
    difference = run(image, masks, seed, brightness=0.3)[0] - image
    assert np.ptp(difference) < 1e-6
    shifts.append(difference.mean())
  assert 0.2 < np.max(np.abs(shifts)) <= 0.3
  assert np.min(shifts) < 0 < np.max(shifts)


def test_contrast_scales_deviations_from_the_mean():
  image, masks = example(channels=2)
  factors = []
  for seed in range(40):
    out = run(image, masks, seed, contrast=0.4)[0]
    assert out.mean() == pytest.approx(image.mean(), abs=1e-5)
    factor = out.std() / image.std()
    np.testing.assert_allclose(out - out.mean(), (image - image.mean()) * factor, atol=1e-5)
    factors.append(factor)
  assert 0.6 <= np.min(factors) < 0.8
  assert 1.2 < np.max(factors) <= 1.4


def test_gamma_is_a_power_within_the_images_range():
  image, masks = example()
  exponents = []
  low, high = image.min(), image.max()
  unit = ((image - low) / (high - low)).clip(0, 1).astype(np.float64)
  for seed in range(40):
    out = run(image, masks, seed, gamma=0.5)[0]
    assert out.min() == pytest.approx(low, abs=1e-5)
    assert out.max() == pytest.approx(high, abs=1e-5)
    k = np.argmin(np.abs(unit - 0.5))
    exponent = np.log((out.ravel()[k] - low) / (high - low)) / np.log(unit.ravel()[k])
    np.testing.assert_allclose(out, unit**exponent * (high - low) + low, atol=1e-4)
    exponents.append(exponent)
  assert 1 / 1.501 <= np.min(exponents) < 0.8
  assert 1.2 < np.max(exponents) <= 1.501


def test_gamma_of_a_constant_image_changes_nothing():
  image = np.full((5, 5, 1), 0.3, np.float32)
  np.testing.assert_array_equal(run(image, np.zeros((5, 5, 1), np.uint8), 1, gamma=0.5)[0], image)


def test_noise_is_normal_and_bounded_in_size():
  image, masks = np.zeros((200, 200, 1), np.float32), np.zeros((200, 200, 1), np.uint8)
  sizes = []
  for seed in range(12):
    noise = run(image, masks, seed, noise=0.2)[0]
    sizes.append(noise.std())
    unit = noise / sizes[-1]
    assert unit.mean() == pytest.approx(0, abs=0.02)
    np.testing.assert_allclose(np.mean(np.abs(unit) < [[[1, 2, 3]]], (0, 1)), [0.6827, 0.9545, 0.9973], atol=0.01)
    assert abs(np.mean(unit[1:] * unit[:-1])) < 0.02
  assert np.max(sizes) <= 0.201
  assert np.max(sizes) > 2 * np.min(sizes)
