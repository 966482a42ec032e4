"""Windows: they cover an image, blend without seams, and give what the whole image gives where that is possible."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg import heads, models
from ordseg.errors import InputError
from ordseg.models import sliding_window
from ordseg.models.sliding_window import Windows

MODEL = {"name": "unet", "width": 4, "depth": 3, "blocks_per_level": 1, "norm": "none", "dropout": 0.0}
MODEL |= {"dtype": "float32"}
LEVELS = 4


@functools.cache
def network(norm="none"):
  net = models.get_model({**MODEL, "norm": norm}, num_outputs=LEVELS)
  params = net.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)), is_training=False)

  @jax.jit
  def predict(images):
    return jnp.exp(heads.predict(heads.get_head("softmax"), 20 * net.apply(params, images, is_training=False), 3))

  return lambda images: np.asarray(predict(images))


def pixelwise(images):
  scores = np.exp(images * np.arange(LEVELS, dtype=np.float32))
  return scores / scores.sum(-1, keepdims=True)


def image_of(height, width, seed=0):
  return np.random.default_rng(seed).normal(size=(height, width, 1)).astype(np.float32)


@given(
  length=st.integers(1, 300),
  size=st.integers(8, 64),
  overlap=st.floats(0, 0.9),
  multiple=st.sampled_from([1, 2, 4]),
  margin=st.integers(0, 1),
)
def test_windows_cover_an_axis(length, size, overlap, multiple, margin):
  windows = Windows(size=size, overlap=overlap, multiples=(multiple,), margin=margin)
  found = windows.spans((length, 1))[0]
  assert found[0][0] == 0 and found[-1][1] == length
  assert all(start % multiple == 0 for start, _ in found)
  for (start, stop), (following, _) in itertools.pairwise(found):
    assert start < following <= stop - 2 * margin and stop - start == size
  assert found[-1][1] - found[-1][0] < max(size + multiple, length + 1)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(16, 48), batch=st.integers(1, 5))
def test_a_network_that_sees_one_pixel_gives_the_same_in_windows(height, width, size, batch):
  image = image_of(height, width)
  windows = Windows(size=size, overlap=0.3, batch_size=batch)
  tops = []
  for rows, strip in sliding_window.predict_rows(pixelwise, image, windows):
    tops.append((rows.start, rows.stop))
    np.testing.assert_allclose(strip, pixelwise(image[None, rows])[0], atol=1e-5)
  assert tops[0][0] == 0 and tops[-1][1] == height
  assert all(a[1] == b[0] for a, b in itertools.pairwise(tops))


@pytest.mark.parametrize(("height", "width"), [(96, 96), (101, 131), (40, 200)])
def test_with_a_margin_it_is_the_whole_image(height, width):
  """The network of three levels with one block each sees at most 20 pixels around."""
  image = image_of(height, width)
  whole = network()(image[None])[0]
  windows = Windows(size=64, overlap=0.1, multiples=(4,), margin=20)
  found = sliding_window.predict_image(network(), image, windows)
  np.testing.assert_allclose(found, whole, atol=1e-5)


def test_without_a_margin_it_is_close():
  image = image_of(128, 128)
  found = sliding_window.predict_image(network(), image, Windows(size=64, overlap=0.5, multiples=(4,)))
  assert np.abs(found - network()(image[None])[0]).mean() < 0.01
  np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_size_0_and_small_images_are_predicted_at_once():
  image = image_of(37, 41)
  whole = network("group")(image[None])[0]
  for windows in (Windows(size=0), Windows(size=64)):
    np.testing.assert_allclose(sliding_window.predict_image(network("group"), image, windows), whole, atol=1e-6)


def test_only_windows_are_read_and_progress_is_told():
  class Lazy:
    shape = (200, 90, 1)
    largest = 0

    def __getitem__(self, index):
      crop = image_of(200, 90)[index]
      self.largest = max(self.largest, crop.shape[0])
      return crop

  image, reports = Lazy(), []
  prepared = lambda crop: crop * 2  # noqa: E731
  rows = list(
    sliding_window.predict_rows(
      pixelwise, image, Windows(size=32), prepare=prepared, progress=lambda done, total: reports.append((done, total))
    )
  )
  assert image.largest == 32
  assert reports[-1][0] == reports[-1][1] and [d for d, _ in reports] == sorted(d for d, _ in reports)
  np.testing.assert_allclose(rows[0][1], pixelwise(image_of(200, 90)[None, rows[0][0]] * 2)[0], atol=1e-5)


@pytest.mark.parametrize(
  "wrong", [{"overlap": 1.0}, {"size": -1}, {"batch_size": 0}, {"size": 40, "margin": 20}, {"multiples": (0,)}]
)
def test_windows_that_make_no_sense(wrong):
  with pytest.raises(InputError):
    Windows(**wrong)
