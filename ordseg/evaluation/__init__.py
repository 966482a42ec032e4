"""Maps and masks in, one result out: of a trained run (`evaluator`), or of anybody's arrays (`MultiRaterMetrics`)."""

from ordseg.evaluation.accumulator import MultiRaterMetrics
from ordseg.evaluation.arrays import score
from ordseg.evaluation.result import EvalResult

__all__ = ["EvalResult", "MultiRaterMetrics", "score"]
