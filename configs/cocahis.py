r"""CoCaHis: colon cancer in frozen sections, 7 raters, 1037 x 1388 (data/cocahis/README.md).

python run_train.py --config=configs/cocahis.py --workdir=runs/cocahis --config.data.manual_dir=/path/to/files
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's."""
  args = common.parse_arg(arg, loss="rps_bce", config="raw")
  config: Any = default.get_config()
  config.data.builder = "cocahis"
  config.data.config = args["config"]
  config.data.builder_args = ConfigDict()
  config.data.crop_size = (256, 256)
  common.set_loss(config, args["loss"])
  config.augment.rotate_degrees = 180.0
  return config
