r"""LIDC-IDRI slices, 4 radiologists, 128 x 128 CT crops around nodules (data/lidc_slices/README.md).

python run_train.py --config=configs/lidc_slices.py --workdir=runs/lidc \
  --config.data.manual_dir=/path/to/LIDC-IDRI-slices

About 40 CPU minutes on 200 patients, training and evaluation; scores in docs/results.md.
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("lidc_slices", "vote")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (128, 128)  # whole: the nodule is in the middle, which tells it from its neighbours
  config.augment.rotate_degrees = 180.0
  config.train.batch_size = 8
  config.train.num_steps = 4000
  config.train.eval_every_steps = config.train.checkpoint_every_steps = 1000
