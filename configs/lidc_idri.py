r"""LIDC-IDRI from DICOM and XML, 4 radiologists, crops around nodules in HU (data/lidc_idri/README.md).

python run_train.py --config=configs/lidc_idri.py --workdir=runs/lidc_idri --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("lidc_idri", "raw")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (128, 128)
  config.preprocess.low, config.preprocess.high = -1000.0, 400.0  # HU
  config.augment.rotate_degrees = 180.0
  config.train.num_steps = 4000
  config.train.eval_every_steps = config.train.checkpoint_every_steps = 1000
