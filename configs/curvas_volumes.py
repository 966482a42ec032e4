r"""CURVAS 2024 in 3-D: pancreas, kidney and liver side by side, 3 radiologists (docs/volumes.md).

python run_train.py --config=configs/curvas_volumes.py --workdir=runs/curvas3d --config.data.manual_dir=/path/to/files
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head."""
  args = common.parse_arg(arg, loss="rps_bce")
  config: Any = default.get_config()
  config.data.builder = "curvas"
  config.data.config = "volumes"
  settings: Any = ConfigDict()
  config.data.builder_args = settings
  settings.organ = placeholder(str)  # all, or one of pancreas, kidney, liver
  settings.shrink = placeholder(int)  # voxels along each axis that become one
  settings.empty = placeholder(str)  # annotation without the organ: missing rater, or vote
  config.data.crop_size = (48, 128, 128)
  config.preprocess.low, config.preprocess.high = -160.0, 240.0  # HU
  config.model.name = "unet3d"
  config.model.depth = 5
  config.train.batch_size = 2
  config.eval.batch_size = 1
  config.eval.window = 128
  config.eval.window_slices = 48
  common.set_loss(config, args["loss"])
  return config
