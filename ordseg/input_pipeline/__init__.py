"""From a random-access source of examples to batches of numpy arrays: training, evaluation, and the way to the device.

A source has `len` and `[index]`, safe to call from several threads, and yields dicts of the example schema: 'id',
'group', 'image' [H, W, C], 'rater_masks' [H, W, R] in {0, 1}, 'rater_valid' [R]. What breaks the schema raises
InputError with the example's id.
"""

from ordseg.input_pipeline.evaluation import EvalBatch, eval_batches, level_counts
from ordseg.input_pipeline.examples import Source
from ordseg.input_pipeline.prefetching import Prefetcher, prefetch
from ordseg.input_pipeline.training import TrainBatches, train_iterator

__all__ = [
  "EvalBatch",
  "Prefetcher",
  "Source",
  "TrainBatches",
  "eval_batches",
  "level_counts",
  "prefetch",
  "train_iterator",
]
