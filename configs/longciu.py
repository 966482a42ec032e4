r"""LongCIU: lung opacities in CT, 3 raters, 512 x 512 (data/longciu/README.md).

python run_train.py --config=configs/longciu.py --workdir=runs/longciu --config.data.manual_dir=/path/to/files

Without manual_dir the files are downloaded (their terms are printed first).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's."""
  args = common.parse_arg(arg, loss="rps_bce", config="any")
  config: Any = default.get_config()
  config.data.builder = "longciu"
  config.data.config = args["config"]
  config.data.builder_args = ConfigDict()
  config.data.crop_size = (256, 256)
  config.preprocess.low, config.preprocess.high = -1024.0, 600.0  # HU
  common.set_loss(config, args["loss"])
  return config
