r"""LongCIU: lung opacities in CT, 3 raters, 512 x 512 (data/longciu/README.md).

python run_train.py --config=configs/longciu.py --workdir=runs/longciu --config.data.manual_dir=/path/to/files

Without manual_dir the files are downloaded (their terms are printed first).
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("longciu", "any")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (256, 256)
  config.preprocess.low, config.preprocess.high = -1024.0, 600.0  # HU
