"""A digest of the votes on each image, by which two evaluations know that they were made on the same masks."""

import hashlib

import numpy as np

from ordseg.types import Batch

NUM_BYTES = 16


def digests(batch: Batch, num_images: int) -> np.ndarray:
  """Returns a digest of the votes that count on each image.

  It holds the masks of the raters who answered, in whatever order, on the pixels that count, and how many of these lie
  in each row. So neither what a batch pads, nor a rater who did not answer, nor the rater's place changes it; another
  mask, another region, another size of the image and a turned one do.

  Args:
    batch: rater_masks [B, *image, R], rater_valid [B, R], mask [B, *image].
    num_images: I, the first ones; the others are dummies.

  Returns:
    [I, NUM_BYTES] uint8.
  """
  masks, valid, counts = (np.asarray(batch[name]) != 0 for name in ("rater_masks", "rater_valid", "mask"))
  found = [_digest(masks[k], valid[k], counts[k]) for k in range(num_images)]
  return np.frombuffer(b"".join(found), np.uint8).reshape(num_images, NUM_BYTES)


def _digest(masks: np.ndarray, valid: np.ndarray, counts: np.ndarray) -> bytes:
  rows = np.count_nonzero(counts, axis=-1).ravel().astype("<u8")
  inside = slice(None) if counts.all() else counts.ravel()
  each = [_hash(np.packbits(masks[..., r].ravel()[inside])) for r in np.flatnonzero(valid)]
  return _hash(rows[rows > 0], *sorted(each))


def _hash(*parts: np.ndarray | bytes) -> bytes:
  out = hashlib.blake2b(digest_size=NUM_BYTES)
  for part in parts:
    out.update(part if isinstance(part, bytes) else part.tobytes())
  return out.digest()
