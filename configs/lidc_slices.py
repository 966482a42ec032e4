r"""LIDC-IDRI slices, 4 radiologists, 128 x 128 CT crops around nodules (data/lidc_slices/README.md).

python run_train.py --config=configs/lidc_slices.py --workdir=runs/lidc \
  --config.data.manual_dir=/path/to/LIDC-IDRI-slices

About 40 CPU minutes on 200 patients, training and evaluation; scores in docs/results.md.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head."""
  args = common.parse_arg(arg, loss="rps_bce")
  config: Any = default.get_config()
  config.data.builder = "lidc_slices"
  config.data.config = "vote"
  config.data.builder_args = ConfigDict()
  config.data.crop_size = (128, 128)  # whole: the nodule is in the middle, which tells it from its neighbours
  config.augment.rotate_degrees = 180.0
  common.set_loss(config, args["loss"])
  config.train.batch_size = 8
  config.train.num_steps = 4000
  config.train.eval_every_steps = 1000
  config.train.checkpoint_every_steps = 1000
  return config
