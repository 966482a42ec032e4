"""What a reliability curve says, in words."""

import dataclasses

import numpy as np

from ordseg.reporting.report import figures
from ordseg.reporting.report.terms import percent

# Anchors of the sentence "when the map says 70 %": a filled bin must lie this near to be quoted.
_ANCHORS, _NEAR = (0.7, 0.3), 0.12
UNSURE = (0.1, 0.9)  # probabilities that the text calls unsure


@dataclasses.dataclass(frozen=True)
class Unsure:
  """The map where it is unsure: bins with mean probability in `UNSURE`.

  Attributes:
    share: of all pixels.
    gap: mean over these pixels of |probability - label| per bin.
    bias: the same with its sign; positive where the map says too much.
    excess: the same, positive where the map lies too far from 1/2.
  """

  share: float
  gap: float
  bias: float
  excess: float


def unsure(curve: figures.Curve) -> Unsure | None:
  """Sums up the bins in which the map is unsure; None where there are none."""
  prob, label, count = figures.points(curve)
  inside = (prob >= UNSURE[0]) & (prob <= UNSURE[1])
  if not inside.any():
    return None
  prob, gap = prob[inside], prob[inside] - label[inside]
  weight = count[inside] / count[inside].sum()
  return Unsure(
    share=float(count[inside].sum() / count.sum()),
    gap=float(weight @ np.abs(gap)),
    bias=float(weight @ gap),
    excess=float(weight @ (np.sign(prob - 0.5) * gap)),
  )


def says_and_did(curve: figures.Curve) -> list[tuple[float, float]]:
  """Returns (mean probability, mean label) of the bins with enough pixels nearest to 70 % and 30 %, where near."""
  prob, label, count = figures.points(curve)
  enough = count >= figures.FEW
  prob, label = prob[enough], label[enough]
  found = []
  for anchor in _ANCHORS:
    if prob.size and np.abs(prob - anchor).min() <= _NEAR:
      k = int(np.abs(prob - anchor).argmin())
      found.append((float(prob[k]), float(label[k])))
  return found


def tendency(middle: Unsure) -> str:
  """Names the direction of the gaps: high, low, sure (too near to 0 or 1), cautious (too near to 1/2); '' for none."""
  clear = 0.8 * middle.gap
  if middle.gap < 0.005:
    return ""
  if abs(middle.bias) >= clear:
    return "high" if middle.bias > 0 else "low"
  if abs(middle.excess) >= clear:
    return "sure" if middle.excess > 0 else "cautious"
  return ""


def ece(curve: figures.Curve) -> float | None:
  """Returns the expected calibration error that a curve amounts to; None without pixels."""
  prob, label, count = figures.points(curve)
  return float((count / count.sum()) @ np.abs(prob - label)) if prob.size else None


def curve_in_words(curve: figures.Curve) -> str:
  """Describes a curve for those who cannot see it."""
  prob, label, _ = figures.points(curve)
  if not prob.size:
    return "No bin holds a pixel."
  k = int(np.abs(prob - label).argmax())
  return (
    f"{prob.size} bins hold pixels; the largest gap is at {percent(prob[k])}, where the share is {percent(label[k])}."
  )
