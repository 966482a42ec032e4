r"""cFOS-positive nuclei, 5 experts, 36 microscope images of 1024 x 1024, through folder_raters, untouched (eLife 2020).

python run_train.py --config=configs/cfos.py --workdir=runs/cfos --config.data.manual_dir=/path/to/train_data/lab-wue1

About 30 CPU minutes; scores in docs/results.md.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import folder_raters


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head."""
  config: Any = folder_raters.get_config(arg)
  settings = config.data.builder_args
  settings.raters = "labels"
  settings.rater_pattern = "expert_*"  # labels/est_GT is no rater
  settings.mask_suffix = "_cFOS"
  settings.tile_size = 512
  config.data.crop_size = (128, 128)
  config.preprocess.intensity = "range"  # the brightness of a nucleus is what the experts go by
  config.preprocess.low = 0.0
  config.preprocess.high = 255.0
  config.train.batch_size = 8
  config.train.num_steps = 3000
  config.train.eval_every_steps = 750
  config.train.checkpoint_every_steps = 750
  return config
