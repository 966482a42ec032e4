import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg.config import Preprocess
from ordseg.errors import InputError
from ordseg.input_pipeline import preprocess


def config(intensity="range", low=0.0, high=255.0):
  return Preprocess(intensity, low=float(low), high=float(high))


def images(seed, shape=(9, 7, 2), dtype=np.uint8):
  return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


@settings(max_examples=30, deadline=None)
@given(
  seed=st.integers(0, 2**31),
  dtype=st.sampled_from([np.uint8, np.uint16, np.int16, np.int64, np.float16, np.float32, np.float64]),
  low=st.integers(-50, 100),
  width=st.integers(1, 300),
)
def test_range_is_the_formula_for_every_dtype(seed, dtype, low, width):
  image = images(seed, dtype=dtype)
  out = preprocess.prepare_image(image, config(low=float(low), high=float(low + width)))
  expected = np.clip((image.astype(np.float64) - low) / width * 2 - 1, -1, 1)
  np.testing.assert_allclose(out, expected, atol=2e-6)
  assert out.dtype == np.float32
  assert out.flags.c_contiguous


def test_range_maps_its_ends_exactly():
  image = np.asarray([0, 255], np.uint8).reshape(1, 2, 1)
  np.testing.assert_array_equal(preprocess.prepare_image(image, config()).ravel(), [-1, 1])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), gain=st.floats(0.1, 100), offset=st.floats(-1000, 1000))
def test_zscore_of_each_channel_ignores_units(seed, gain, offset):
  image = images(seed, dtype=np.float64)
  out = preprocess.prepare_image(image, config("zscore"))
  np.testing.assert_allclose(out.mean((0, 1)), 0, atol=1e-6)
  np.testing.assert_allclose(out.std((0, 1)), 1, rtol=1e-5)
  rescaled = image.copy()
  rescaled[..., 1] = rescaled[..., 1] * gain + offset
  np.testing.assert_allclose(preprocess.prepare_image(rescaled, config("zscore")), out, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), low=st.floats(0, 40), high=st.floats(60, 100))
def test_percentile_is_the_range_between_the_images_percentiles(seed, low, high):
  image = images(seed)
  ends = np.percentile(image, [low, high])
  out = preprocess.prepare_image(image, config("percentile", low, high))
  np.testing.assert_allclose(out, preprocess.prepare_image(image, config("range", *ends)), atol=1e-6)
  assert out.min() == -1
  assert out.max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("intensity", ["zscore", "percentile"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 3e5])
def test_a_constant_image_becomes_zero(intensity, value):
  image = np.full((9, 7, 1), value)  # float64: the mean of 63 times 0.1 is not 0.1
  np.testing.assert_array_equal(preprocess.prepare_image(image, config(intensity, 1.0, 99.0)), 0)


def test_one_constant_channel_leaves_the_others_alone():
  image = images(0, dtype=np.float32)
  image[..., 0] = 0.1
  out = preprocess.prepare_image(image, config("zscore"))
  np.testing.assert_array_equal(out[..., 0], 0)
  assert out[..., 1].std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("intensity", ["range", "percentile", "zscore"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_input_is_left_as_it_was(intensity, dtype):
  image = images(3, dtype=dtype)
  before = image.copy()
  out = preprocess.prepare_image(image, config(intensity, 0.0, 100.0))
  assert not np.shares_memory(out, image)
  out[:] = 7
  np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
  ("image", "message"),
  [
    (np.zeros((4, 4), np.uint8), r"\[H, W, C\].*\(4, 4\)"),
    (np.zeros((0, 4, 1), np.uint8), "not empty"),
    (np.zeros((4, 4, 1), bool), "integers or floats, got dtype bool"),
    (np.zeros((4, 4, 1), np.complex64), "integers or floats"),
    (np.full((2, 2, 1), np.nan, np.float32), "4 values that are NaN or infinite"),
    (np.asarray([0, np.inf], np.float64).reshape(1, 2, 1), "1 values that are NaN or infinite"),
  ],
)
@pytest.mark.parametrize("intensity", ["range", "percentile", "zscore"])
def test_images_that_cannot_be_prepared(intensity, image, message):
  with pytest.raises(InputError, match=message):
    preprocess.prepare_image(image, config(intensity, 0.0, 100.0))
