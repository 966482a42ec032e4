"""What the networks with a ResNet encoder share: its fields in the config, its layer, the norm that fits it."""

from collections.abc import Callable, Mapping

from ordseg.errors import InputError
from ordseg.models import network, pretrained, resnet
from ordseg.models.network import Module, Segmenter
from ordseg.settings import field
from ordseg.types import Array

ENCODER = "encoder"
_STRIDE = 32


class ResNetSegmenter(Segmenter):
  """A network whose features are those of a `resnet.ResNetEncoder`. Norm `none` does not fit it.

  Attributes:
    encoder: a key of `resnet.ENCODERS`.
    encoder_weights: the file the encoder's parameters will come from, or ''; see `resnet.encoder_norm`.
  """

  encoder: str = field("resnet18", help="resnet_*: resnet18, resnet34, resnet50", choices=tuple(resnet.ENCODERS))
  encoder_weights: str = field(
    "",
    help="resnet_*: .safetensors or .pth state dict of torchvision or timm; '' is random",
    check=pretrained.expected_suffix,
  )

  def features(self, x: Array) -> list[Array]:
    """Returns the encoder's features at strides 2, 4, 8, 16 and 32; to be called inside `__call__`."""
    norm = resnet.encoder_norm(self.norm, self.encoder_weights)
    return resnet.ResNetEncoder(self.encoder, norm, self.dtype, name=ENCODER)(x)


def register(name: str, summary: str) -> Callable[[Module], Module]:
  """Returns `network.register` for networks of this kind."""

  def check(own: Mapping[str, object]) -> None:
    if own["norm"] == "none":
      raise InputError(
        f"config.model.norm='none' does not fit config.model.name={name!r}: without a norm the sums of its residual"
        " blocks grow with depth. Use 'group' or 'instance'."
      )

  def multiples(own: Mapping[str, object]) -> tuple[int, int]:
    del own
    return (_STRIDE, _STRIDE)

  return network.register(
    name,
    summary=summary,
    size_multiples=multiples,
    encoder=ENCODER,
    check=check,
  )
