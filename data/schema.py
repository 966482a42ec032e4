"""A record of the built data sets: how it is put together and checked (data/README.md)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.errors import DataError

Example = dict[str, Any]


def make_example(
  name: str,
  group: str,
  image: np.ndarray,
  masks: Sequence[np.ndarray | None],
  *,
  spacing: tuple[float, ...] = (0.0, 0.0),
) -> Example:
  """Puts a record together.

  Args:
    name: the record's id, unique in the data set.
    group: the patient, or what else must not be cut by a split.
    image: array [H, W, C] or [D, H, W, C] of the builder's dtype.
    masks: for each rater an array [H, W] or [D, H, W] of 0 and 1, or None where the rater is missing.
    spacing: mm per pixel along (D,) H and W; 0 = unknown.
  """
  empty = np.zeros(image.shape[:-1], np.uint8)
  return {
    "id": name,
    "group": group,
    "image": np.ascontiguousarray(image),
    "rater_masks": np.stack([empty if mask is None else mask.astype(np.uint8) for mask in masks], axis=-1),
    "rater_valid": np.asarray([mask is not None for mask in masks]),
    "spacing": np.asarray(spacing, np.float32),
  }


def join_classes(examples: Sequence[Example]) -> Example:
  """Returns one record of several that differ in their structure alone: a class each, side by side."""
  out = {**examples[0], "rater_valid": np.stack([example["rater_valid"] for example in examples])}
  for name in ("rater_masks", "level_probs"):
    if name in out:
      out[name] = np.stack([example[name] for example in examples], axis=-2)
  return out


def check_example(
  example: Example, *, num_raters: int, num_channels: int, dtype: Any, num_axes: int = 2, num_classes: int = 0
) -> None:
  """Checks a record against the schema of data/README.md; `num_classes` is 0 where there is no axis for them.

  Raises:
    DataError: something is not as in the schema; names the example and the feature.
  """
  name, image, masks = example["id"], example["image"], example["rater_masks"]
  valid = np.asarray(example["rater_valid"])

  def expect(is_right: Any, what: str) -> None:
    if not is_right:
      raise DataError(f"example {name!r}: {what}.")

  expect(example["group"], "'group' must name the patient")
  is_image = image.ndim == num_axes + 1 and image.shape[-1] == num_channels and image.size > 0
  expect(is_image, f"'image' must be [{'D, ' * (num_axes - 2)}H, W, {num_channels}], found {image.shape}")
  expect(image.dtype == dtype, f"'image' must be {np.dtype(dtype)}, found {image.dtype}")
  panel = (num_classes, num_raters) if num_classes else (num_raters,)
  shape = (*image.shape[:-1], *panel)
  expect(masks.shape == shape, f"'rater_masks' must be {shape}, found {masks.shape}")
  expect(masks.dtype == np.uint8 and masks.max() <= 1, "'rater_masks' must be uint8 0 or 1")
  expect(valid.shape == panel and valid.dtype == np.bool_, f"'rater_valid' must be {list(panel)} bool")
  expect(valid.any(), "no rater answered; leave such an example out")
  expect(not masks[..., ~valid].any(), "'rater_masks' must be 0 where 'rater_valid' is False")
  if "level_probs" in example:
    probs, shape = example["level_probs"], (*image.shape[:-1], *panel[:-1], num_raters + 1)
    expect(probs.shape == shape and probs.dtype == np.float32, f"'level_probs' must be {shape} float32")
