r"""LIDC-IDRI from DICOM and XML, 4 radiologists, crops around nodules in HU (data/lidc_idri/README.md).

python run_train.py --config=configs/lidc_idri.py --workdir=runs/lidc_idri --config.data.manual_dir=/path/to/files
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's."""
  args = common.parse_arg(arg, loss="rps_bce", config="raw")
  config: Any = default.get_config()
  config.data.builder = "lidc_idri"
  config.data.config = args["config"]
  settings: Any = ConfigDict()
  config.data.builder_args = settings
  settings.crop = placeholder(int)  # pixels a side around a nodule; 0: whole slices
  settings.keep = placeholder(str)  # whole slices that some reader marked, or all
  config.data.crop_size = (128, 128)
  config.preprocess.low, config.preprocess.high = -1000.0, 400.0  # HU
  common.set_loss(config, args["loss"])
  config.augment.rotate_degrees = 180.0
  config.train.num_steps = 4000
  config.train.eval_every_steps = config.train.checkpoint_every_steps = 1000
  return config
