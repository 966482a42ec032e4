"""Volumes whose truth is known, with a 3-D U-Net: the phantom in 24 x 64 x 64, slices twice as far apart as pixels.

python run_train.py --config=configs/volumes.py --workdir=runs/volumes
python run_train.py --config=configs/volumes.py:two_organs --workdir=runs/two_organs
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`two_organs`: two structures side by side, one network. `loss=`: as config.loss.name."""
  args = common.parse_arg(arg, two_organs=False, loss="rps_bce")
  config: Any = default.get_config()
  config.data.config = "two_organs" if args["two_organs"] else "volumes"
  settings: Any = config.data.builder_args
  settings.depth = placeholder(int)  # slices
  settings.slice_spacing = placeholder(float)  # their distance, in pixels
  config.data.crop_size = (16, 48, 48)
  config.augment.scale = config.augment.brightness = config.augment.contrast = 0.0  # they tell how unsure raters are
  config.model.name = "unet3d"
  config.model.width = 8
  config.model.depth = 3
  config.model.flat_levels = 1  # at the second level a voxel is as long as it is wide
  config.train.batch_size = 4
  config.train.num_steps = 600
  config.train.eval_every_steps = config.train.checkpoint_every_steps = 150
  config.eval.batch_size = 2
  common.set_loss(config, args["loss"])
  return config
