r"""Your own folder: images and one mask file per rater (docs/own_data.md).

python run_train.py --config=configs/folder_raters.py --workdir=runs/mine --config.data.manual_dir=/path/to/folder

Large images: --config.data.builder_args.tile_size=512. Time and memory follow from your images.
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head."""
  args = common.parse_arg(arg, loss="rps_bce")
  config: Any = default.get_config()
  config.data.builder = "folder_raters"
  config.data.config = ""
  settings: Any = ConfigDict()
  config.data.builder_args = settings  # meanings: data/folder_raters/README.md
  files = ("layout", "images", "raters", "manifest", "label", "dataset", "rater_names")
  names = ("rater_pattern", "image_pattern", "image_suffix", "mask_prefix", "mask_suffix")
  for field in (*files, *names, "marked", "group_regex", "shares", "unrated", "slice_axis", "keep"):
    settings[field] = placeholder(str)
  for field in ("split_seed", "tile_size", "num_channels"):
    settings[field] = placeholder(int)
  settings.spacing = placeholder(float)  # mm per pixel
  config.data.crop_size = (128, 128)
  config.preprocess.intensity = "percentile"  # any scanner, any bit depth
  config.preprocess.low = 0.5
  config.preprocess.high = 99.5
  config.augment.rotate_degrees = 180.0
  common.set_loss(config, args["loss"])
  config.eval.batch_size = 4
  return config
