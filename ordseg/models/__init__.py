"""Networks, and the `LevelModel` that makes one predict how many raters would mark each pixel.

Adding a network is one module here with a class that `network.register` decorates, and its line below.
"""

# In the order in which users see them.
# isort: off
from ordseg.models import unet, unet3d, resnet_fpn, resnet_unet  # noqa: F401

# isort: on
from ordseg.models.level_model import LevelModel, build, read_encoder, set_output_bias
from ordseg.models.network import (
  DTYPES,
  NETWORKS,
  Network,
  Segmenter,
  check,
  get_model,
  num_axes,
  register,
  size_multiples,
)

__all__ = [
  "DTYPES",
  "NETWORKS",
  "LevelModel",
  "Network",
  "Segmenter",
  "build",
  "check",
  "get_model",
  "num_axes",
  "read_encoder",
  "register",
  "set_output_bias",
  "size_multiples",
]
