r"""PAPILA: optic disc and cup, 2 experts (data/papila/README.md).

python run_train.py --config=configs/papila.py --workdir=runs/papila --config.data.manual_dir=/path/to/files

Without manual_dir the files are downloaded (their terms are printed first).
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("papila", "disc")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (256, 256)
