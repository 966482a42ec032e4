r"""Your own folder: images and one mask file per rater (docs/own_data.md).

python run_train.py --config=configs/folder_raters.py --workdir=runs/mine --config.data.manual_dir=/path/to/folder

Large images: --config.data.builder_args.tile_size=512. Time and memory follow from your images.
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("folder_raters")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (128, 128)
  config.preprocess.intensity = "percentile"  # any scanner, any bit depth
  config.preprocess.low, config.preprocess.high = 0.5, 99.5
  config.augment.rotate_degrees = 180.0
  config.eval.batch_size = 4
