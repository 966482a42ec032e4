r"""cFOS-positive nuclei, 5 experts, 36 microscope images of 1024 x 1024, through folder_raters, untouched (eLife 2020).

python run_train.py --config=configs/cfos.py --workdir=runs/cfos --config.data.manual_dir=/path/to/train_data/lab-wue1

About 30 CPU minutes; scores in docs/results.md.
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("folder_raters")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  labels = {"raters": "labels", "rater_pattern": "expert_*", "mask_suffix": "_cFOS"}  # labels/est_GT is no rater
  config.data.builder_args.update(**labels, tile_size=512)
  config.data.crop_size = (128, 128)
  # Intensities keep their range: the brightness of a nucleus is what the experts go by.
  config.augment.rotate_degrees = 180.0
  config.train.batch_size = 8
  config.train.num_steps = 3000
  config.train.eval_every_steps = config.train.checkpoint_every_steps = 750
  config.eval.batch_size = 4
