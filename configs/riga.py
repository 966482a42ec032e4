r"""RIGA: optic disc and cup, 6 ophthalmologists (data/riga/README.md).

python run_train.py --config=configs/riga.py --workdir=runs/riga --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("riga", "disc_crop")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (256, 256)
