r"""QUBIQ: seven tasks on four organs, 3 to 7 raters (data/qubiq/README.md).

python run_train.py --config=configs/qubiq.py --workdir=runs/qubiq --config.data.manual_dir=/path/to/files
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's."""
  args = common.parse_arg(arg, loss="rps_bce", config="brain_growth")
  config: Any = default.get_config()
  config.data.builder = "qubiq"
  config.data.config = args["config"]
  config.data.builder_args = ConfigDict()
  config.data.crop_size = (128, 128)
  config.preprocess.intensity, config.preprocess.low, config.preprocess.high = "percentile", 0.5, 99.5
  common.set_loss(config, args["loss"])
  return config
