"""The few images whose maps an evaluation keeps for pictures: the worst, the best and some typical ones."""

import dataclasses
import json
import zlib
from collections.abc import Sequence

import numpy as np

from ordseg import metrics, ordinal
from ordseg.metrics import ImageSums
from ordseg.types import Batch

READ_OUT = "mean_vote"  # shown, and ranked by the Dice of its mask against the majority vote
NUM_EXAMPLES = 3  # of each kind
_SAMPLE_SIZE = 24  # images among which typical ones are looked for
_MAX_SIDE = 1024  # pixels; larger maps are thinned out


@dataclasses.dataclass(frozen=True)
class Example:
  """Maps of one image, float32 but for the tails.

  Attributes:
    id: of the image.
    scores: dice, mr_ece and brier of the `mean_vote` read-out.
    image: [h, w, C] as the network saw it.
    mean_vote: [h, w], share of the raters who answered.
    prob: [h, w], the read-out.
    tails: [h, w, n] uint8: 255 times the probability that at least 1, 2, .. n raters mark the pixel, of the n who
      answered. The nested masks are where it is 128 or more, which is where the probability is 1/2 or more. None where
      the map says nothing of levels.
  """

  id: str
  scores: dict[str, float]
  image: np.ndarray
  mean_vote: np.ndarray
  prob: np.ndarray
  tails: np.ndarray | None

  @property
  def dice(self) -> float:
    """The score that ranks."""
    return self.scores["dice"]

  @property
  def ticket(self) -> int:
    """A number drawn by the id alone, whatever the order and the process."""
    return zlib.crc32(self.id.encode())


class Gallery:
  """Keeps what may be among the worst, the best or the sample, and nothing else."""

  def __init__(self, *, has_levels: bool = True) -> None:
    self._kept: list[Example] = []
    self._has_levels = has_levels

  def offer(self, batch: Batch, ids: Sequence[str], level_probs: np.ndarray, sums: ImageSums) -> None:
    """Looks at a batch; only images in which a majority marked something can be ranked."""
    scores = metrics.image_metrics(sums, READ_OUT)
    for k in np.flatnonzero(sums.label_area(5) > 0).tolist():
      own = {name: float(scores[name][k]) for name in ("dice", "mr_ece", "brier")}
      example = _example(batch, ids[k], level_probs, k, own)
      example = example if self._has_levels else dataclasses.replace(example, tails=None)
      self._kept = _worth_keeping([*self._kept, example])

  def merge(self, other: "Gallery") -> None:
    """Takes over what another one kept."""
    self._kept = _worth_keeping([*self._kept, *other._kept])

  def state(self) -> np.ndarray:
    """Returns what was kept, as an array of objects that processes can concatenate."""
    out = np.empty(len(self._kept), object)
    out[:] = self._kept
    return out


def middle(sums: ImageSums) -> float:
  """Returns the Dice of a typical image, for `choose`."""
  marked = sums.label_area(5) > 0
  return float(np.median(metrics.image_metrics(sums, READ_OUT)["dice"][marked])) if marked.any() else 0.0


def _ranked(examples: list[Example]) -> list[Example]:
  return sorted(examples, key=lambda e: (e.dice, e.id))


def _sample(examples: list[Example]) -> list[Example]:
  return sorted(examples, key=lambda e: (e.ticket, e.id))[:_SAMPLE_SIZE]


def _worth_keeping(examples: list[Example]) -> list[Example]:
  ranked = _ranked(examples)
  kept = {id(e): e for e in (*ranked[:NUM_EXAMPLES], *ranked[-NUM_EXAMPLES:], *_sample(examples))}
  return list(kept.values())


def choose(examples: list[Example], middle: float) -> list[tuple[str, Example]]:
  """Returns (kind, example), worst, typical and best, no image twice.

  Args:
    examples: what the galleries of all processes kept.
    middle: the Dice of a typical image.
  """
  ranked = _ranked(examples)
  worst = ranked[:NUM_EXAMPLES]
  best = ranked[NUM_EXAMPLES:][: -NUM_EXAMPLES - 1 : -1]
  taken = {id(e) for e in (*worst, *best)}
  rest = [e for e in _sample(examples) if id(e) not in taken]
  typical = sorted(rest, key=lambda e: (abs(e.dice - middle), e.id))[:NUM_EXAMPLES]
  return [(kind, e) for kind, group in (("worst", worst), ("typical", typical), ("best", best)) for e in group]


def _example(batch: Batch, name: str, level_probs: np.ndarray, k: int, scores: dict[str, float]) -> Example:
  masks, valid = np.asarray(batch["rater_masks"][k]), np.asarray(batch["rater_valid"][k]) != 0
  thin = _visible(masks)
  return Example(
    id=name,
    scores=scores,
    image=np.array(batch["image"][k][thin], np.float32),
    mean_vote=(masks[thin][..., valid] != 0).mean(-1, dtype=np.float32),
    prob=ordinal.read_out(level_probs[k][thin], READ_OUT).astype(np.float32),
    tails=_tails(level_probs[k][thin], int(valid.sum())),
  )


def _visible(masks: np.ndarray) -> tuple[int | slice, ...]:
  """Returns the index of what is shown of [H, W, R], thinned out, or of the slice of [D, H, W, R] with most votes."""
  stride = -(-max(masks.shape[-3:-1]) // _MAX_SIDE)
  plane = (slice(None, None, stride), slice(None, None, stride))
  return plane if masks.ndim == 3 else (int(np.argmax(masks.sum(axis=(1, 2, 3), dtype=np.int64))), *plane)


def _tails(level_probs: np.ndarray, num_valid: int) -> np.ndarray:
  """[h, w, L] of the whole panel -> [h, w, n], of the raters who answered; see `Example.tails`."""
  thinned = level_probs @ ordinal.thinning_matrices(level_probs.shape[-1] - 1)[num_valid].astype(np.float32)
  tails = np.cumsum(thinned[..., :0:-1], -1)[..., ::-1][..., :num_valid]
  return np.round(255 * np.clip(tails, 0, 1)).astype(np.uint8)


def arrays(examples: list[tuple[str, Example]]) -> dict[str, np.ndarray]:
  """Returns the content of examples.npz: image_<k>, mean_vote_<k>, prob_<k>, tails_<k> and ``meta``.

  ``meta`` is JSON text: a list of {k, id, kind, dice, mr_ece, brier}.
  """
  out: dict[str, np.ndarray] = {}
  meta = []
  for k, (kind, example) in enumerate(examples):
    out |= {f"image_{k}": example.image, f"mean_vote_{k}": example.mean_vote}
    out |= {f"prob_{k}": example.prob}
    out |= {} if example.tails is None else {f"tails_{k}": example.tails}
    meta.append({"k": k, "id": example.id, "kind": kind, **example.scores})
  return {**out, "meta": np.asarray(json.dumps(meta))}
