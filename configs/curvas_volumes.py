r"""CURVAS 2024 in 3-D: pancreas, kidney and liver side by side, 3 radiologists (docs/volumes.md).

python run_train.py --config=configs/curvas_volumes.py --workdir=runs/curvas3d --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("curvas", "volumes")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (48, 128, 128)
  config.preprocess.low, config.preprocess.high = -160.0, 240.0  # HU
  config.model.name = "unet3d"
  config.model.depth = 5
  config.train.batch_size = 2
  config.eval.batch_size = 1
  config.eval.window = 128
  config.eval.window_slices = 48
