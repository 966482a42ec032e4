r"""CoCaHis: colon cancer in frozen sections, 7 raters, 1037 x 1388 (data/cocahis/README.md).

python run_train.py --config=configs/cocahis.py --workdir=runs/cocahis --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("cocahis", "raw")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (256, 256)
  config.augment.rotate_degrees = 180.0
