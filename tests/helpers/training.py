"""A training small enough for tests: 16 x 16 images, a network of a few hundred parameters, three raters."""

import numpy as np

from configs import default
from ordseg import config as ordseg_config
from ordseg.training import loop

NUM_RATERS = 3


def tiny_config(**changes):
  """The default config at test size; `changes` are section__field=value."""
  config = default.get_config()
  config.data.crop_size = (16, 16)
  config.model.width = 4
  config.model.depth = 2
  config.model.blocks_per_level = 1
  config.train.batch_size = 8
  config.train.num_steps = 6
  config.train.log_every_steps = 2
  config.train.eval_every_steps = 4
  config.train.checkpoint_every_steps = 2
  config.optim.warmup_steps = 2
  config.optim.learning_rate = 1e-2
  config.eval.batch_size = 4
  for path, value in changes.items():
    section, field = path.split("__")
    config[section][field] = value
  return config


def tiny(**changes):
  """The same, resolved."""
  return ordseg_config.resolve(tiny_config(**changes))


class TinySource:
  """Examples whose valid pixels differ: small images are padded to the crop, and raters are missing here and there.

  Every fifth example has no rater at all, so the devices' shares of a batch differ in weight. A `size` makes all
  images as large: evaluation compiles for each size.
  """

  def __init__(self, num_examples=13, seed=0, num_raters=NUM_RATERS, size=None):
    draws = np.random.default_rng(seed)
    self.examples = [self._draw(draws, i, num_raters, size) for i in range(num_examples)]

  def _draw(self, draws, i, num_raters, size):
    size = size or int(draws.integers(5, 25))
    truth = draws.random((size, size, 1)) < np.linspace(0.1, 0.9, size)[:, None, None]
    valid = draws.random(num_raters) < 0.7
    return {
      "id": f"example{i}".encode(),
      "group": f"group{i // 2}".encode(),
      "image": np.clip(255 * (truth + draws.normal(0, 0.3, truth.shape)), 0, 255).astype(np.uint8),
      "rater_masks": (truth ^ (draws.random((size, size, num_raters)) < 0.15)).astype(np.uint8),
      "rater_valid": valid & (i % 5 != 4),
      "spacing": np.ones(2, np.float32),
    }

  def __len__(self):
    return len(self.examples)

  def __getitem__(self, index):
    return self.examples[index]


def validation_source():
  return TinySource(5, seed=1, size=12)


DATA_INFO = {"builder": "tiny", "version": "1.0.0", "fingerprint": "0" * 64}


def train_tiny(workdir, config):
  """Trains on the tiny source."""
  return loop.train(
    config if isinstance(config, ordseg_config.Config) else ordseg_config.resolve(config),
    train_source=TinySource(),
    validation_source=validation_source(),
    workdir=workdir,
    data_info=DATA_INFO,
  )


def small_run(workdir):
  """Trains a few steps with dropout into `workdir`, which it returns."""
  config = tiny(model__dropout=0.2)
  info = {"builder": "tiny", "version": "1", "fingerprint": "0" * 64, "settings": {}, "licence": "none"}
  loop.train(
    config, train_source=TinySource(), validation_source=TinySource(4, seed=1, size=16), workdir=workdir, data_info=info
  )
  return workdir
