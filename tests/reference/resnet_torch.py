"""ResNet, FPN and U-Net decoder from torch.nn, as the papers and torchvision define them; needs PyTorch.

The encoder's modules bear torchvision's names, so its `state_dict` is one of torchvision's. The decoders are functions
of this project's parameters and torch.nn.functional; they take images whose sides are multiples of 32.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class BasicBlock(nn.Module):
  expansion = 1

  def __init__(self, inputs, channels, stride):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(channels)
    self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(channels)
    self.downsample = make_downsample(inputs, channels, stride)

  def forward(self, x):
    y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
    return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
  expansion = 4

  def __init__(self, inputs, channels, stride):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(channels)
    self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(channels)
    self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
    self.bn3 = nn.BatchNorm2d(4 * channels)
    self.downsample = make_downsample(inputs, 4 * channels, stride)

  def forward(self, x):
    y = functional.relu(self.bn1(self.conv1(x)))
    y = functional.relu(self.bn2(self.conv2(y)))
    return functional.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


def make_downsample(inputs, outputs, stride):
  if stride == 1 and inputs == outputs:
    return None
  return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


PLANS = {
  "resnet18": (BasicBlock, (2, 2, 2, 2)),
  "resnet34": (BasicBlock, (3, 4, 6, 3)),
  "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


class ResNet(nn.Module):
  def __init__(self, name, channels=3):
    super().__init__()
    block, counts = PLANS[name]
    self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    self.bn1 = nn.BatchNorm2d(64)
    self.maxpool = nn.MaxPool2d(3, 2, 1)
    inputs = 64
    for stage, count in enumerate(counts):
      blocks = []
      for number in range(count):
        blocks.append(block(inputs, 64 * 2**stage, 2 if stage and not number else 1))
        inputs = 64 * 2**stage * block.expansion
      setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
    self.fc = nn.Linear(inputs, 1000)

  def forward(self, x):
    """[B, C, H, W] -> features of strides 2, 4, 8, 16, 32."""
    features = [functional.relu(self.bn1(self.conv1(x)))]
    x = self.maxpool(features[0])
    for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
      x = stage(x)
      features.append(x)
    return features


def load(name, weights):
  """The network in evaluation mode with the given weights, name -> numpy array; they must be all it has."""
  model = ResNet(name, weights["conv1.weight"].shape[1])
  model.load_state_dict({key: torch.tensor(np.asarray(value)) for key, value in weights.items()}, strict=True)
  return model.eval()


def to_torch(x):
  return torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)


def to_numpy(x):
  return x.detach().permute(0, 2, 3, 1).numpy()


def conv_block(x, params):
  """3x3 convolution, group norm of 8 groups, ReLU."""
  x = functional.conv2d(x, kernel(params), padding=1)
  return functional.relu(functional.group_norm(x, 8, vector(params, "scale"), vector(params, "bias"), 1e-5))


def kernel(params):
  taps = np.asarray(params["kernel"])
  return torch.tensor(taps.reshape((1, 1) * (taps.ndim == 2) + taps.shape).transpose(3, 2, 0, 1).copy())


def vector(params, name):
  return torch.tensor(np.asarray(params[name]))


def double(x):
  return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def fpn(params, features):
  """Logits [B, K, H, W] of `ordseg.models.ResNetFPN` without dropout."""
  pyramid, above = {}, None
  for level in (3, 2, 1, 0):
    lateral = params[f"lateral{level}"]
    here = functional.conv2d(features[level + 1], kernel(lateral), vector(lateral, "bias"))
    above = here if above is None else here + functional.interpolate(above, scale_factor=2, mode="nearest")
    pyramid[level] = above
  merged = conv_block(pyramid[0], params["branch0_block0"])
  for level in (1, 2, 3):
    x = pyramid[level]
    for block in range(level):
      x = double(conv_block(x, params[f"branch{level}_block{block}"]))
    merged = merged + x
  return double(double(functional.conv2d(merged, kernel(params["output"]), vector(params["output"], "bias"))))


def unet(params, features):
  """Logits [B, K, H, W] of `ordseg.models.ResNetUNet` with two blocks per level, without dropout."""
  x = features[4]
  for level in (4, 3, 2, 1, 0):
    resize = params[f"up{level}_resize"]
    taps = np.asarray(resize["kernel"]).reshape(x.shape[1], 2, 2, -1).transpose(0, 3, 1, 2).copy()
    x = functional.conv_transpose2d(x, torch.tensor(taps), vector(resize, "bias"), stride=2)
    if level:
      x = torch.cat([features[level - 1], x], dim=1)
    for block in (0, 1):
      x = conv_block(x, params[f"up{level}_block{block}"])
  return functional.conv2d(x, kernel(params["output"]), vector(params["output"], "bias"))
