r"""Gleason 2019: prostate cancer, up to 6 pathologists, cores cut into tiles (data/gleason2019/README.md).

python run_train.py --config=configs/gleason2019.py --workdir=runs/gleason2019 --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("gleason2019", "cancer")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (256, 256)
  config.augment.rotate_degrees = 180.0
