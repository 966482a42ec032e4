r"""RIGA: optic disc and cup, 6 ophthalmologists (data/riga/README.md).

python run_train.py --config=configs/riga.py --workdir=runs/riga --config.data.manual_dir=/path/to/files
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's."""
  args = common.parse_arg(arg, loss="rps_bce", config="disc_crop")
  config: Any = default.get_config()
  config.data.builder = "riga"
  config.data.config = args["config"]
  settings: Any = ConfigDict()
  config.data.builder_args = settings
  settings.crop = placeholder(float)  # side as a share of the image's shorter side; 0: whole
  config.data.crop_size = (256, 256)
  common.set_loss(config, args["loss"])
  return config
