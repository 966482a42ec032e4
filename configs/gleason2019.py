r"""Gleason 2019: prostate cancer, up to 6 pathologists, cores cut into tiles (data/gleason2019/README.md).

python run_train.py --config=configs/gleason2019.py --workdir=runs/gleason2019 --config.data.manual_dir=/path/to/files
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's."""
  args = common.parse_arg(arg, loss="rps_bce", config="cancer")
  config: Any = default.get_config()
  config.data.builder = "gleason2019"
  config.data.config = args["config"]
  settings: Any = ConfigDict()
  config.data.builder_args = settings
  settings.positive = placeholder(str)  # class values that count as marked: "3,4,5"
  settings.tile_size = placeholder(int)  # pixels; 0 keeps cores whole
  config.data.crop_size = (256, 256)
  common.set_loss(config, args["loss"])
  config.augment.rotate_degrees = 180.0
  return config
