"""The digest by which two evaluations know that they were made on the same masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg.errors import InputError
from ordseg.evaluation import MultiRaterMetrics, evaluator, scoring, votes
from ordseg.input_pipeline import EvalBatch
from tests.helpers import evaluations


def one(masks, valid=None, counts=None):
  """The digest of one image [H, W, R]."""
  masks = np.asarray(masks)
  batch = {
    "rater_masks": masks[None],
    "rater_valid": np.ones((1, masks.shape[-1]), np.uint8) if valid is None else np.asarray([valid]),
    "mask": np.ones((1, *masks.shape[:-1]), np.uint8) if counts is None else np.asarray(counts)[None],
  }
  (found,) = votes.digests(batch, 1)
  assert found.shape == (votes.NUM_BYTES,) and found.dtype == np.uint8
  return found.tobytes()


def drawn(seed, shape=(5, 7, 3)):
  return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), right=st.integers(0, 3), below=st.integers(0, 3))
def test_neither_padding_nor_the_raters_order_nor_who_is_missing_changes_it(seed, right, below):
  masks = drawn(seed)
  draws = np.random.default_rng(seed + 1)
  padded = np.pad(masks, [(0, below), (0, right), (0, 0)])
  counts = np.pad(np.ones(masks.shape[:2], np.uint8), [(0, below), (0, right)])
  padded[counts == 0] = draws.integers(0, 2, padded[counts == 0].shape)  # what does not count may hold anything
  assert one(padded, counts=counts) == one(masks)
  assert one(masks[..., draws.permutation(3)]) == one(masks)
  absent = np.concatenate([masks, drawn(seed + 2, (5, 7, 1))], -1)
  assert one(absent, valid=[1, 1, 1, 0]) == one(masks)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), y=st.integers(0, 4), x=st.integers(0, 6), r=st.integers(0, 2))
def test_any_other_mask_region_or_panel_changes_it(seed, y, x, r):
  masks = drawn(seed)
  changed, counts = masks.copy(), np.ones(masks.shape[:2], np.uint8)
  changed[y, x, r] ^= 1
  counts[y, x] = 0
  assert len({one(masks), one(changed), one(masks, counts=counts), one(masks, valid=[1, 1, 0])}) == 4


def test_the_same_counts_of_other_masks_and_empty_masks_of_another_shape_differ():
  a, b = np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8)
  a[0, 0, 0] = a[1, 1, 1] = 1
  b[0, 0, 0] = b[1, 1, 0] = 1
  assert (a.sum(-1) == b.sum(-1)).all() and one(a) != one(b)
  empty = np.zeros((4, 6, 1), np.uint8)
  assert one(empty) != one(empty.reshape(6, 4, 1))


def test_a_run_and_maps_keep_the_same_digests_in_their_files(tmp_path):
  """A batch of two sizes, padded, against the images one by one, with a rater missing and in another order."""
  masks = [drawn(0), drawn(1, (4, 6, 3))]
  batch = {
    "image": np.zeros((2, 5, 7, 1), np.float32),
    "rater_masks": np.stack([np.pad(m, [(0, 5 - m.shape[0]), (0, 7 - m.shape[1]), (0, 0)]) for m in masks]),
    "rater_valid": np.asarray([[1, 1, 1], [1, 0, 1]], np.uint8),
    "mask": np.stack([np.pad(np.ones(m.shape[:2], np.uint8), [(0, 5 - len(m)), (0, 7 - m.shape[1])]) for m in masks]),
  }
  levels = np.full((2, 5, 7, 4), 0.25, np.float32)
  run = evaluator.evaluate(lambda _: levels, [EvalBatch(["b", "a"], ["", ""], batch, 2)], num_raters=3)
  maps = MultiRaterMetrics()
  maps.update(np.full((4, 6), 0.5), masks[1][..., ::-1], [1, 0, 1], name="a")
  other = MultiRaterMetrics()
  other.update(np.full((5, 7), 0.5), masks[0], name="b")
  for name, result in (("run", run), ("maps", other.merge(maps).compute())):
    evaluator.write(result, tmp_path / name, {})
  a, b = (scoring.read(tmp_path / name) for name in ("run", "maps"))
  assert a.votes is not None and b.votes is not None
  assert a.ids == b.ids == ["a", "b"] and (a.votes == b.votes).all() and (a.votes[0] != a.votes[1]).any()


@pytest.mark.parametrize("shape", [(1, votes.NUM_BYTES), (2, 3)])
def test_digests_of_another_shape_are_damage(tmp_path, shape):
  folder = evaluations.write_maps(tmp_path / "maps", num_images=2)
  stored = scoring.read(folder)
  evaluations.store(folder, scoring.Stored(stored.scores, stored.ids, stored.groups, np.zeros(shape, np.uint8)))
  with pytest.raises(InputError, match="votes has shape"):
    scoring.read(folder)
