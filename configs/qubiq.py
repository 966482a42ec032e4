r"""QUBIQ: seven tasks on four organs, 3 to 7 raters (data/qubiq/README.md).

python run_train.py --config=configs/qubiq.py --workdir=runs/qubiq --config.data.manual_dir=/path/to/files
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay("qubiq", "brain_growth")
def get_config(config: ConfigDict) -> None:
  """`loss=`, `config=`: see `common.overlay`."""
  config.data.crop_size = (128, 128)
  config.preprocess.intensity, config.preprocess.low, config.preprocess.high = "percentile", 0.5, 99.5
