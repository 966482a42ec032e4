r"""Retinal vessels of DRIVE, STARE or CHASE_DB1, 2 observers (data/vessels/README.md).

python run_train.py --config=configs/vessels.py --workdir=runs/vessels --config.data.manual_dir=/path/to/files
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's."""
  args = common.parse_arg(arg, loss="rps_bce", config="drive")
  config: Any = default.get_config()
  config.data.builder = "vessels"
  config.data.config = args["config"]
  config.data.builder_args = ConfigDict()
  config.data.crop_size = (128, 128)
  common.set_loss(config, args["loss"])
  config.augment.rotate_degrees = 180.0
  return config
