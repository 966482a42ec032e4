r"""CURVAS 2024: abdominal CT slice by slice or as volumes, 3 radiologists, 512 x 512 (data/curvas/README.md).

python run_train.py --config=configs/curvas.py --workdir=runs/curvas --config.data.manual_dir=/path/to/files
python run_train.py --config=configs/curvas.py:volumes --workdir=runs/curvas3d --config.data.manual_dir=/path/to/files
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's.

  `volumes`: pancreas, kidney and liver side by side, in 3-D.
  """
  args = common.parse_arg(arg, loss="rps_bce", config="pancreas", volumes=False)
  config: Any = default.get_config()
  config.data.builder = "curvas"
  config.data.config = args["config"]
  settings: Any = ConfigDict()
  config.data.builder_args = settings
  settings.keep = placeholder(str)  # all slices, or those some rater marked
  settings.margin = placeholder(int)  # slices kept beside marked ones
  settings.step = placeholder(int)  # every step-th kept slice
  settings.empty = placeholder(str)  # annotation without the organ: missing rater, or vote
  config.data.crop_size = (256, 256)
  if args["volumes"]:
    _set_volumes(config)
  config.preprocess.low, config.preprocess.high = -160.0, 240.0  # HU
  common.set_loss(config, args["loss"])
  return config


def _set_volumes(config: Any) -> None:
  config.data.config = "volumes"
  settings: Any = ConfigDict()
  config.data.builder_args = settings
  settings.organ = placeholder(str)  # all, or one of pancreas, kidney, liver
  settings.shrink = placeholder(int)  # voxels along each axis that become one
  settings.empty = placeholder(str)  # annotation without the organ: missing rater, or vote
  config.data.crop_size = (48, 128, 128)
  config.model.name = "unet3d"
  config.model.depth = 5
  config.train.batch_size = 2
  config.eval.batch_size = 1
  config.eval.window = 128
  config.eval.window_slices = 48
