"""Losses on pixels, images, volumes and batches of them: the same numbers, whatever axes stand before the levels."""

import inspect

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from beartype import beartype

from ordseg import heads, losses, ordinal
from ordseg.errors import InputError

R = 4
CHECKED = jaxtyping.jaxtyped(typechecker=beartype)


def scene(shape, seed=0):
  draws = np.random.default_rng(seed)
  log_probs = np.log(draws.dirichlet(np.ones(R + 1), shape).astype(np.float32) * 0.9 + 0.1 / (R + 1))
  return log_probs, draws.integers(0, 2, (*shape, R)).astype(np.uint8), draws.random(shape).astype(np.float32)


def value(fn, log_probs, masks, label, valid=None, **more):
  """Calls a loss on plain arrays, its annotated shapes checked, with the arguments that its signature names."""
  target = ordinal.encode(masks, valid)
  known = {"votes": target.votes, "num_valid": target.num_valid, "estimated_label": label, **more}
  wanted = list(inspect.signature(fn).parameters)[1:]
  return np.asarray(CHECKED(fn)(log_probs, **{name: x for name, x in known.items() if name in wanted}))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_leading_axes_do_not_matter(name):
  fn, (log_probs, masks, label) = losses.LOSSES[name].fn, scene((6, 5))
  image = value(fn, log_probs, masks, label)
  assert image.shape == (6, 5)

  def lifted(*axes):
    return (x.reshape(*axes, *x.shape) for x in (log_probs, masks, label))

  np.testing.assert_allclose(value(fn, *lifted(1))[0], image, rtol=1e-6)
  np.testing.assert_allclose(value(fn, *lifted(1, 1))[0, 0], image, rtol=1e-6)
  parameters = inspect.signature(fn).parameters
  if "weight" not in parameters:  # pixels know nothing of one another
    pixels = [x.reshape(30, *x.shape[2:]) for x in (log_probs, masks, label)]
    np.testing.assert_allclose(value(fn, *pixels).reshape(6, 5), image, rtol=1e-6)
  if "axes" in parameters:  # a volume of six rows is the image
    volume = [x.reshape(2, 3, *x.shape[1:]) for x in (log_probs, masks, label)]
    np.testing.assert_allclose(value(fn, *volume, axes=(0, 1, 2)).reshape(6, 5), image, rtol=1e-5)
    assert not np.allclose(value(fn, *volume).reshape(6, 5), image, rtol=1e-3), "two images are not one"


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_number_of_raters_may_vary_over_any_leading_axes(name):
  """Two images of which the second lacks a rater, together and apart; n as one number, by image and by slice."""
  fn, arrays = losses.LOSSES[name].fn, scene((2, 2, 6, 5))
  valid = np.asarray([[1, 1, 1, 1], [1, 0, 1, 1]])
  by_image = value(fn, *arrays, valid)
  for b in range(2):
    np.testing.assert_allclose(value(fn, *(x[b] for x in arrays), valid[b]), by_image[b], rtol=1e-6)
  by_slice = value(fn, *arrays, np.repeat(valid[:, None], 2, axis=1))
  np.testing.assert_allclose(by_slice, by_image, rtol=1e-6)


def test_without_a_number_all_raters_answered():
  log_probs, masks, _ = scene((6, 5))
  votes = ordinal.encode(masks).votes
  for fn in (losses.rps, losses.bce_majority, losses.nll):
    np.testing.assert_array_equal(fn(log_probs, votes), fn(log_probs, votes, R))
    assert not np.allclose(fn(log_probs, np.minimum(votes, 3), 3), fn(log_probs, np.minimum(votes, 3)))


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (((6, 5, R + 1), (5,), None), r"votes have the shape \(5,\); log_probs \(6, 5, 5\) need \(6, 5\)"),
    (((6, 5, R + 1), (6, 5), np.full(5, R)), r"num_valid has the shape \(5,\), but belongs to arrays \(6, 5\)"),
    (((6, 5, R + 1), (6, 5), R + 1), r"num_valid=5 must be in 0\.\.4"),
  ],
)
def test_shapes_that_do_not_fit_are_refused(arguments, message):
  log_probs, votes, num_valid = arguments
  for fn in (losses.rps, losses.bce_mean_vote, losses.sord):
    with pytest.raises(InputError, match=message):
      fn(np.zeros(log_probs, np.float32), np.zeros(votes, np.int32), num_valid)


def test_regions_and_neighbours_want_an_image():
  log_probs, masks, _ = scene((30,))
  votes = ordinal.encode(masks).votes
  with pytest.raises(InputError, match=r"one of whole images, with the axes \(-2, -1\).*\(30,\): give `axes`"):
    losses.dice(log_probs, votes)
  with pytest.raises(InputError, match=r"needs images \[\.\., H, W\], not pixels of the shape \(30,\)"):
    losses.svls(log_probs, votes)
  assert losses.dice(log_probs, votes, axes=(0,)).shape == (30,)


@pytest.mark.parametrize(
  ("masks", "more", "message"),
  [
    (np.full((4, 4, 3), 255, np.uint8), {}, "rater_masks has values besides 0 and 1, up to 255"),
    (
      np.zeros((4, 4, 3)),
      {"rater_valid": np.ones((5, 3))},
      r"rater_valid has the shape \(5, 3\).*expected \[R\] = \(3,\)",
    ),
    (np.zeros((4, 4, 3)), {"rater_valid": np.ones(4)}, r"rater_valid has the shape \(4,\)"),
    (np.zeros((4, 4, 3)), {"mask": np.ones(4)}, r"mask has the shape \(4,\)"),
    (
      np.zeros((4, 4, 3)),
      {"label_weights": np.ones(3, np.float32)},
      r"label_weights have the shape \(3,\); expected \(4,\)",
    ),
  ],
)
def test_encode_refuses_what_does_not_fit(masks, more, message):
  with pytest.raises(InputError, match=message):
    ordinal.encode(masks, **more)


def test_encode_knows_which_axes_are_one_image():
  masks = np.zeros((2, 3, 4, 5, R), np.uint8)
  assert ordinal.encode(masks, np.ones((2, R))).axes == (1, 2, 3)
  assert ordinal.encode(masks[0, 0]).axes == (0, 1)
  assert ordinal.encode(masks, np.ones((2, 3, R))).axes == (2, 3)


def test_annotations_are_checked():
  """The check of shapes that the tests above rely on does refuse."""
  with pytest.raises(jaxtyping.TypeCheckError):
    CHECKED(losses.rps)(jnp.zeros((6, 5, 3)), jnp.zeros((6, 4), jnp.int32))
  with pytest.raises(jaxtyping.TypeCheckError):
    CHECKED(losses.rps)(jnp.zeros((6, 5, 3)), jnp.zeros((6, 5)))


@pytest.mark.parametrize("name", heads.HEADS)
def test_heads_keep_the_leading_axes(name):
  head = heads.get_head(name)
  logits = np.random.default_rng(0).normal(size=(2, 3, head.num_outputs(R))).astype(np.float32)
  got = CHECKED(heads.predict)(head, logits, R)
  assert CHECKED(head.log_level_probs)(jnp.asarray(logits), R).shape == (2, 3, R + 1)
  np.testing.assert_allclose(heads.predict(head, logits[1, 2], R), got[1, 2], rtol=1e-5, atol=1e-6)
  with pytest.raises(InputError, match=f"the head '{name}' reads"):
    heads.predict(head, np.zeros((3, 99), np.float32), R)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4)])
def test_thinning_keeps_the_leading_axes(shape):
  log_probs, masks, _ = scene((*shape, 3))
  probs, votes = np.exp(log_probs), ordinal.encode(masks, np.asarray([1, 0, 1, 1])).votes
  thinned = CHECKED(ordinal.thin)(probs, 3)
  assert thinned.shape == probs.shape
  np.testing.assert_allclose(CHECKED(ordinal.thinned_cdf)(probs, 3), ordinal.level_cdf(thinned), atol=1e-6)
  logs = CHECKED(ordinal.thinned_log_probs)(log_probs, 3)
  np.testing.assert_allclose(np.exp(logs[..., :4]), thinned[..., :4], rtol=1e-4)
  at_votes = np.take_along_axis(np.asarray(thinned), np.asarray(votes)[..., None], -1)[..., 0]
  np.testing.assert_allclose(np.exp(ordinal.thinned_log_prob_of(log_probs, votes, 3)), at_votes, rtol=1e-4)
