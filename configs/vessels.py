r"""Retinal vessels of DRIVE, STARE or CHASE_DB1, 2 observers (data/vessels/README.md).

python run_train.py --config=configs/vessels.py --workdir=runs/vessels --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("vessels", "drive")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (128, 128)
  config.augment.rotate_degrees = 180.0
