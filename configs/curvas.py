r"""CURVAS 2024: abdominal CT slice by slice, 3 radiologists, 512 x 512 (data/curvas/README.md).

python run_train.py --config=configs/curvas.py --workdir=runs/curvas --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("curvas", "pancreas")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (256, 256)
  config.preprocess.low, config.preprocess.high = -160.0, 240.0  # HU
