r"""Chaksu: optic disc and cup, 5 experts, three cameras (data/chaksu/README.md).

python run_train.py --config=configs/chaksu.py --workdir=runs/chaksu --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("chaksu", "disc_crop")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (256, 256)
