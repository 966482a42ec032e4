"""Registers the metrics, in the order of metrics.json."""

from ordseg.metrics import agreement, histogram, levels, masks, nested, outlines, references, samples, top_label, votes
from ordseg.metrics.registry import register

_ORDER = (
  *(votes.METRICS, references.METRICS, masks.METRICS, histogram.METRICS, top_label.METRICS, outlines.METRICS),
  *(levels.METRICS, nested.METRICS, samples.METRICS),
  *(votes.FLOORS, references.CONSTANT),
  *(agreement.METRICS, agreement.LEAVE_ONE_OUT, references.LEAVE_ONE_OUT, references.EACH),
)
for _metrics in _ORDER:
  for _metric in _metrics:
    register(_metric)
