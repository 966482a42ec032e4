"""The phantom at a size for a laptop: `make quickstart` trains this twice, the second time as the usual baseline.

python run_train.py --config=configs/quickstart.py --workdir=runs/quickstart/ordinal
python run_train.py --config=configs/quickstart.py:baseline --workdir=runs/quickstart/majority_bce
"""

from ml_collections import ConfigDict

from configs import common


@common.overlay(baseline=False)
def get_config(config: ConfigDict, *, baseline: bool) -> None:
  """`baseline`: a sigmoid head with the majority-vote cross-entropy, all else equal."""
  # In these images contrast, blur and size tell how unsure the raters are: augmentation must not change them.
  config.augment.scale = config.augment.brightness = config.augment.contrast = 0.0
  config.train.num_steps = 500
  if baseline:
    common.set_loss(config, "bce_majority")
