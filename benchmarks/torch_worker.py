"""The same U-Net and train step in PyTorch, as a worker that `train_step.py` talks to over pipes. Imports torch only.

Reads one JSON request per line from stdin, ``{"variant": str, "steps": int}``, and answers with one line of JSON,
``{"seconds": [float]}``, one per step. Sleeps in between, so it takes no time from the other side.
"""

import argparse
import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional


def block(inputs: int, channels: int) -> nn.Sequential:
  conv = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
  return nn.Sequential(conv, nn.GroupNorm(min(8, channels), channels), nn.ReLU(inplace=True))


class UNet(nn.Module):
  """The net of ordseg.models.unet, layer by layer; [B, C, H, W], sizes divisible by 2**(depth - 1)."""

  def __init__(self, in_channels: int, num_outputs: int, width: int, depth: int):
    super().__init__()
    widths = [width * 2**level for level in range(depth)]
    inputs = [in_channels, *widths[:-1]]
    self.down = nn.ModuleList(nn.Sequential(block(i, c), block(c, c)) for i, c in zip(inputs, widths, strict=True))
    pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
    self.resize = nn.ModuleList(nn.ConvTranspose2d(deep, c, 2, stride=2) for deep, c in pairs)
    self.up = nn.ModuleList(nn.Sequential(block(2 * c, c), block(c, c)) for _, c in pairs)
    self.output = nn.Conv2d(width, num_outputs, 1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps images [B, C, H, W] to logits [B, K, H, W]."""
    """[B, C, H, W] -> [B, K, H, W]."""
    skips = []
    for level, down in enumerate(self.down):
      x = down(x if level == 0 else functional.max_pool2d(x, 2))
      skips.append(x)
    skips.pop()
    for resize, up in zip(self.resize, self.up, strict=True):
      x = up(torch.cat([skips.pop(), resize(x)], dim=1))
    return self.output(x)


def make_step(args: argparse.Namespace, variant: str):
  """Returns a function that makes one training step and waits for its end; variants: nchw, channels_last, compiled."""
  on_gpu = args.device == "cuda"
  layout = torch.contiguous_format if variant == "nchw" else torch.channels_last
  torch.manual_seed(0)
  net = UNet(args.in_channels, args.num_outputs, args.width, args.depth).to(args.device, memory_format=layout)
  optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
  size = (args.batch_size, args.in_channels, args.size, args.size)
  image = torch.randn(size, device=args.device).contiguous(memory_format=layout)
  label = torch.randint(args.num_outputs, (size[0], *size[2:]), device=args.device)
  forward = torch.compile(net) if variant == "compiled" else net

  def step() -> float:
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(args.device, torch.bfloat16, enabled=args.dtype == "bfloat16"):
      loss = functional.cross_entropy(forward(image).float(), label)
    loss.backward()
    optimizer.step()
    if on_gpu:
      torch.cuda.synchronize()
    return loss.item()

  step.num_params = sum(p.numel() for p in net.parameters())
  return step


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  for name in ("batch_size", "size", "in_channels", "num_outputs", "width", "depth", "threads"):
    parser.add_argument(f"--{name}", type=int, required=True)
  parser.add_argument("--dtype", choices=["float32", "bfloat16"], required=True)
  parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
  parser.add_argument("--variants", nargs="+", required=True)
  args = parser.parse_args()
  if args.threads:
    torch.set_num_threads(args.threads)
  torch.backends.cudnn.benchmark = True
  steps = {variant: make_step(args, variant) for variant in args.variants}
  for step in steps.values():
    step()
  info = {"torch": torch.__version__, "threads": torch.get_num_threads()}
  print(json.dumps({**info, "num_params": steps[args.variants[0]].num_params}), flush=True)
  for line in sys.stdin:
    request = json.loads(line)
    seconds = []
    for _ in range(request["steps"]):
      start = time.perf_counter()
      steps[request["variant"]]()
      seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
  main()
