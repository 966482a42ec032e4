r"""PAPILA: optic disc and cup, 2 experts (data/papila/README.md).

python run_train.py --config=configs/papila.py --workdir=runs/papila --config.data.manual_dir=/path/to/files

Without manual_dir the files are downloaded (their terms are printed first).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, default


def get_config(arg: str | None = None) -> ConfigDict:
  """`loss=`: as config.loss.name; the binary losses take the sigmoid head. `config=`: the builder's."""
  args = common.parse_arg(arg, loss="rps_bce", config="disc")
  config: Any = default.get_config()
  config.data.builder = "papila"
  config.data.config = args["config"]
  config.data.builder_args = ConfigDict()
  config.data.crop_size = (256, 256)
  common.set_loss(config, args["loss"])
  return config
