"""Faults to plant: (records, rater) -> records, and the words the doctor must find."""

import numpy as np


def change(records, rater, function, where=None):
  """Applies `function` to one rater's masks, on all images or those of `where`."""
  out = []
  for k, record in enumerate(records):
    masks = record["rater_masks"].copy()
    if where is None or k in where:
      masks[..., rater] = function(masks[..., rater]) * record["rater_valid"][rater]
    out.append({**record, "rater_masks": masks})
  return out


def shift(mask):
  return np.roll(mask, (9, -7), axis=(0, 1))


MOVES = {
  "mirrored left-right": lambda mask: mask[:, ::-1],
  "mirrored up-down": lambda mask: mask[::-1],
  "transposed": lambda mask: mask.T,
  "inverted": lambda mask: 1 - mask,
  "shifted": shift,
}


def copied(records, rater, source):
  """One rater's masks in place of another's."""
  out = []
  for record in records:
    masks, valid = record["rater_masks"].copy(), record["rater_valid"].copy()
    masks[..., rater], valid[rater] = masks[..., source], valid[source]
    out.append({**record, "rater_masks": masks, "rater_valid": valid})
  return out
