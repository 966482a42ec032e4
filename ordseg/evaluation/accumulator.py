"""Multi-rater metrics of maps that any tool made: arrays in, image by image, every number of an evaluation out."""

from typing import Any

import numpy as np

from ordseg import statistics
from ordseg.errors import InputError
from ordseg.evaluation import gallery
from ordseg.evaluation import result as results
from ordseg.evaluation.counting import Counter, scores_of
from ordseg.evaluation.result import EvalResult
from ordseg.metrics import Region, SampleScores, Scores, image_samples, surface
from ordseg.types import Batch

_ROUNDING = 1e-6  # by which a probability may leave [0, 1]
_SUM_ROUNDING = 1e-3  # by which the probabilities of the levels may miss 1
_WAY_OUT = "Give probabilities: a sigmoid or softmax of logits, an 8-bit map divided by 255."


class MultiRaterMetrics:
  """Scores maps against the masks of several raters, with the sums and formulas of the evaluation of a run.

  Takes NumPy arrays and whatever `numpy.asarray` reads: tensors of PyTorch and TensorFlow (on the CPU, detached), JAX
  arrays. Memory grows by some kilobytes of sums per image; no map is kept. The order of the images changes no number.

  >>> scores = MultiRaterMetrics()
  >>> masks = np.array([[1, 1], [0, 1]])  # of two pixels, by two raters
  >>> scores.update(np.array([0.9, 0.2]), masks, name="a")  # squared distances .01 .01 .04 .64
  >>> found = scores.compute()
  >>> round(found.number("read_outs.mean_vote.brier"), 4)
  0.175
  >>> found.number("floors.brier")  # votes that differ: m (1 - m) is 0 and 1/4
  0.125
  """

  def __init__(
    self, *, num_bins: int = 15, region: Region | None = None, surface_tolerance: float | None = None
  ) -> None:
    """Starts with no image; the number of raters is that of the first masks.

    Args:
      num_bins: bins of the calibration errors, 1..255.
      region: which pixels count, of those that `update` lets count; all by default.
      surface_tolerance: of the surface Dice, in mm where images have a spacing, else in pixels; None leaves distances
        between outlines out, which take longer than all the rest.

    Raises:
      InputError: a value is out of its range.
    """
    if not 1 <= num_bins <= 255:
      raise InputError(f"num_bins={num_bins!r} must be in [1, 255].")
    if surface_tolerance is not None and not surface_tolerance >= 0:
      raise InputError(f"surface_tolerance={surface_tolerance!r} must be >= 0.")
    self._settings = (num_bins, region or Region(), surface_tolerance)
    self._counter: Counter | None = None
    self._num_raters, self._has_levels = 0, False
    self._names: list[str | None] = []
    self._pictures: gallery.Gallery | None = None

  @property
  def num_images(self) -> int:
    """Images so far."""
    return len(self._names)

  def update(
    self,
    probs: Any,
    rater_masks: Any,
    rater_valid: Any = None,
    *,
    group: str = "",
    name: str | None = None,
    mask: Any = None,
    spacing: Any = None,
    image: Any = None,
    samples: Any = None,
  ) -> None:
    """Counts an image.

    Args:
      probs: [*image, R + 1] probabilities that 0..R raters mark a pixel; or [*image] a probability of the foreground,
        which is read as the share of raters who mark it (``mean_vote``): numbers of the levels and of the majority are
        then not reported. All images of one kind. Counted as float32.
      rater_masks: [*image, R], booleans, or 0 and 1. *image is a picture [H, W], a volume [D, H, W], or any pixels.
      rater_valid: [R], whether the rater answered; all did by default. A rater who did not is missing, whatever its
        mask holds.
      group: the patient, slide or volume that the image belongs to: groups are what is resampled for the intervals,
        and make one case. '' where it belongs to none.
      name: The image's name in per_image.csv and messages; its number by default.
      mask: [*image], whether the pixel counts; all do by default.
      spacing: [image axes] mm between pixels, for the distances between outlines.
      image: [*image] or [*image, channels], what the masks were drawn on: a few images are kept for the pictures of a
        report. Such an image needs a name.
      samples: [samples, *image] probabilities, the members of an ensemble or draws of a model, whose mean `probs` may
        be: adds the numbers of the section ``samples``, in which each counts as a mask.

    Raises:
      InputError: shapes that do not belong together, no probabilities, masks that hold something else than 0 and 1, a
        name that was there before, or another number of raters or kind of map than before. Nothing is counted then.
    """
    where = f"image {name!r}" if name is not None else f"image number {self.num_images + 1}"
    if name is not None and name in self._names:
      raise InputError(f"{where} was counted before: an image counts once.")
    masks = _zeros_and_ones(rater_masks, f"{where}: rater_masks")
    if masks.ndim < 2 or not masks.size:
      raise InputError(f"{where}: rater_masks has shape {masks.shape}, expected [*image, raters], none of them 0.")
    pixels, num_raters = masks.shape[:-1], masks.shape[-1]
    valid, counts = (
      np.ones(want, np.uint8) if x is None else _zeros_and_ones(x, f"{where}: {what}", want)
      for what, x, want in (("rater_valid", rater_valid, (num_raters,)), ("mask", mask, pixels))
    )
    level_probs, has_levels = _level_probs(probs, pixels, num_raters, where)
    counter = self._counter_for(num_raters, has_levels, where)
    batch: dict[str, np.ndarray] = {"rater_masks": masks[None], "rater_valid": valid[None], "mask": counts[None]}
    if spacing is not None:
      batch["spacing"] = _spacing(spacing, len(pixels), where)[None]
    shown = None if image is None else _picture(image, pixels, where, name)
    restricted = self._settings[1].restrict(batch)
    sampled = None if samples is None else _samples(samples, restricted, pixels, where)
    sums = counter.add(level_probs[None], restricted, [name or where], [group], sampled)
    if shown is not None:
      self._pictures = self._pictures or gallery.Gallery(has_levels=has_levels)
      self._pictures.offer({**restricted, "image": shown[None]}, [name or where], level_probs[None], sums)
    self._counter, self._num_raters, self._has_levels = counter, num_raters, has_levels
    self._names.append(name)

  def merge(self, other: "MultiRaterMetrics") -> "MultiRaterMetrics":
    """Adds the images of another one, such as another process's, and returns this one; the other stays as it is.

    Raises:
      InputError: it has other settings, raters or kind of map, or an image of the same name.
    """
    if other is self:
      raise InputError("an accumulator cannot be merged into itself: an image counts once.")
    if other._settings != self._settings:
      raise InputError(f"metrics with settings {other._settings} cannot be merged into those with {self._settings}.")
    if other._counter is None:
      return self
    if twice := {name for name in self._names if name is not None} & set(other._names):
      raise InputError(f"image {sorted(map(str, twice))[0]!r} is in both: an image counts once.")
    self._counter = self._counter_for(other._num_raters, other._has_levels, "the images to be merged")
    self._counter.merge(other._counter)
    self._num_raters, self._has_levels = other._num_raters, other._has_levels
    self._names += other._names
    if other._pictures is not None:
      self._pictures = self._pictures or gallery.Gallery(has_levels=self._has_levels)
      self._pictures.merge(other._pictures)
    return self

  def compute(self, settings: statistics.Settings | None = statistics.Settings()) -> EvalResult:  # noqa: B008
    """Returns every number of the images so far; more may be added afterwards.

    Args:
      settings: of the intervals; None leaves them out.

    Returns:
      The result: `EvalResult.number` and `EvalResult.interval` by dotted path, all of it in `EvalResult.metrics`, and
      files as those of a run with `result.write`.

    Raises:
      InputError: there is no image.
    """
    if self._counter is None:
      raise InputError("there is nothing to score: no image was added with update().")
    state = self._counter.state()
    state["names"] = np.asarray([*zip(self._ids(), self._counter.groups, strict=True)], np.str_)
    scores, ids, groups, votes = scores_of(state, has_levels=self._has_levels)
    numbers: dict[str, Any] = results.all_metrics(scores, None, groups)
    numbers["roi"] = self._settings[1].describe()
    if scores.surface is not None:
      numbers["surface"] = {"tolerance": self._settings[2], "unit": surface.unit(scores.surface)}
    found = EvalResult(numbers, scores, None, ids, groups, self._examples(scores), scores.num_bins, votes)
    if settings is not None:
      numbers["intervals"] = results.intervals(found, settings)
    return found

  def _examples(self, scores: Scores) -> list[tuple[str, gallery.Example]]:
    if self._pictures is None:
      return []
    return gallery.choose(self._pictures.state().tolist(), gallery.middle(scores.sums))

  def _ids(self) -> list[str]:
    """Names, and numbers for those without one; longer where a name is such a number."""
    given = {name for name in self._names if name is not None}
    prefix = "image-"
    while any(name.startswith(prefix) for name in given):
      prefix = f"unnamed-{prefix}"
    return [f"{prefix}{k:06d}" if name is None else name for k, name in enumerate(self._names, start=1)]

  def _counter_for(self, num_raters: int, has_levels: bool, where: str) -> Counter:
    if self._counter is None:
      return Counter(num_raters, self._settings[0], self._settings[2])
    if num_raters != self._num_raters:
      raise InputError(
        f"{where}: has {num_raters} raters, those before {self._num_raters}. A rater who did not answer keeps a place "
        "in rater_masks and is 0 in rater_valid."
      )
    if has_levels != self._has_levels:
      kinds = ("a probability of the foreground", "probabilities of the levels")
      raise InputError(f"{where}: has {kinds[has_levels]}, those before {kinds[self._has_levels]}. Score them apart.")
    return self._counter


def _array(x: Any, what: str) -> np.ndarray:
  try:
    array = np.asarray(x)
  except (TypeError, ValueError, RuntimeError) as error:  # tensors on a GPU, or with a gradient
    way_out = "Of a tensor, give tensor.detach().cpu()."
    raise InputError(f"{what}: cannot be read as an array ({error}). {way_out}") from error
  if array.dtype.kind not in "biuf":
    raise InputError(f"{what}: has type {array.dtype}, expected numbers or booleans.")
  return array


def _zeros_and_ones(x: Any, what: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
  """Returns uint8, 0 and 1."""
  array = _array(x, what)
  if shape is not None and array.shape != shape:
    raise InputError(f"{what} has shape {array.shape}, expected {shape} to belong to rater_masks.")
  wrong = ~((array == 0) | (array == 1))
  if wrong.any():
    value = array[wrong][0]
    missing, labels = "A rater who did not answer is 0 in rater_valid.", "Compare labels with > 0 or == k."
    way_out = missing if np.isnan(value) else labels
    raise InputError(f"{what}: holds {value:g}, expected 0 and 1 (or booleans). {way_out}")
  return array.astype(np.uint8)


def _level_probs(probs: Any, image: tuple[int, ...], num_raters: int, where: str) -> tuple[np.ndarray, bool]:
  """Returns level probabilities [*image, L] float32, and whether they were given."""
  array = _array(probs, f"{where}: probs")
  levels = (*image, num_raters + 1)
  if array.shape not in (image, levels):
    raise InputError(
      f"{where}: probs has shape {array.shape}, expected {image}, a probability of the foreground, or {levels}, those "
      f"of 0 to {num_raters} raters, as rater_masks has {(*image, num_raters)}."
    )
  inside = (array >= -_ROUNDING) & (array <= 1 + _ROUNDING)  # False for NaN
  if not inside.all():
    at = tuple(int(k) for k in np.argwhere(~inside)[0])
    raise InputError(f"{where}: probs{list(at)} is {array[at]:g}, expected a number in [0, 1]. {_WAY_OUT}")
  array = np.clip(array.astype(np.float32), 0.0, 1.0)
  if array.shape == image:
    # The mean vote of these two levels is the probability itself; what else they say is not reported.
    out = np.zeros(levels, np.float32)
    out[..., 0], out[..., -1] = 1 - array, array
    return out, False
  sums = array.sum(-1, dtype=np.float64)
  if (wrong := np.abs(sums - 1) > _SUM_ROUNDING).any():
    at = tuple(int(k) for k in np.argwhere(wrong)[0])
    raise InputError(f"{where}: probs{list(at)} sum to {sums[at]:g} over the levels, expected 1. {_WAY_OUT}")
  return array, True


def _spacing(spacing: Any, num_axes: int, where: str) -> np.ndarray:
  array = _array(spacing, f"{where}: spacing").astype(np.float64)
  if array.shape != (num_axes,) or not (np.isfinite(array) & (array > 0)).all():
    raise InputError(f"{where}: spacing={array.tolist()} must be {num_axes} lengths > 0, in mm along each axis.")
  return array


def _picture(image: Any, pixels: tuple[int, ...], where: str, name: str | None) -> np.ndarray:
  """Returns [*image, C]."""
  array = _array(image, f"{where}: image")
  array = array[..., None] if array.shape == pixels else array
  if array.shape[:-1] != pixels or len(pixels) not in (2, 3):
    raise InputError(
      f"{where}: image has shape {array.shape}, expected {pixels} or ({', '.join(map(str, pixels))}, channels), a "
      "picture or a volume."
    )
  if name is None:
    raise InputError(f"{where}: an image that may be shown needs a name.")
  return array


def _samples(samples: Any, batch: Batch, pixels: tuple[int, ...], where: str) -> SampleScores:
  arrays = [_array(one, f"{where}: samples") for one in samples]
  wrong = [one.shape for one in arrays if one.shape != pixels]
  if wrong or not arrays:
    raise InputError(f"{where}: samples have shape {wrong[0] if wrong else ()}, expected one or more of {pixels}.")
  if not all(((one >= -_ROUNDING) & (one <= 1 + _ROUNDING)).all() for one in arrays):
    raise InputError(f"{where}: samples hold numbers outside [0, 1]. {_WAY_OUT}")
  return image_samples(arrays, *(np.asarray(batch[name])[0] for name in ("rater_masks", "rater_valid", "mask")))
