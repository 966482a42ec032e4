r"""REFUGE-MultiRater: optic disc and cup, 7 ophthalmologists (data/refuge_multirater/README.md).

python run_train.py --config=configs/refuge_multirater.py --workdir=runs/refuge --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("refuge_multirater", "disc_crop")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (256, 256)
