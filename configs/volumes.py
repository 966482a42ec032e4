"""Volumes whose truth is known, with a 3-D U-Net: the phantom in 24 x 64 x 64, slices twice as far apart as pixels.

python run_train.py --config=configs/volumes.py --workdir=runs/volumes
python run_train.py --config=configs/volumes.py:two_organs --workdir=runs/two_organs
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay(dataset="volumes", two_organs=False)
def get_config(config: ConfigDict, *, two_organs: bool) -> None:
  """`two_organs`: two structures side by side, one network."""
  if two_organs:
    config.data.config = "two_organs"
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
