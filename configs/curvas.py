r"""CURVAS 2024: abdominal CT slice by slice, 3 radiologists, 512 x 512 (data/curvas/README.md).

python run_train.py --config=configs/curvas.py --workdir=runs/curvas --config.data.manual_dir=/path/to/files
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's."""
  args = common.parse_arg(arg, loss="rps_bce", config="pancreas")
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
  config.preprocess.low, config.preprocess.high = -160.0, 240.0  # HU
  common.set_loss(config, args["loss"])
  return config
