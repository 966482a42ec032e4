"""Damages files as disks, transfers and killed programs do."""

import pathlib
import random

KINDS = ("flip", "cut", "zero", "header")
HEADER = 512  # bytes at the start of a file


def content(data: bytes, kind: str, draws: random.Random) -> bytes:
  """Returns the bytes with one bit flipped, the end cut off, a block of zeros, or another byte in the header."""
  if not data:
    return data
  if kind == "flip":
    bit = draws.randrange(8 * len(data))
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]
  if kind == "cut":
    return data[: draws.randrange(len(data))]
  if kind == "header":
    place = draws.randrange(min(HEADER, len(data)))
    return data[:place] + bytes([data[place] ^ draws.randrange(1, 256)]) + data[place + 1 :]
  start = draws.randrange(len(data))
  return data[:start] + bytes(len(data[start : start + 512])) + data[start + 512 :]


def file(path: pathlib.Path, draws: random.Random) -> str:
  """Damages a file in one of `KINDS`, or takes it away; returns what was done."""
  kind = draws.choice((*KINDS, "delete"))
  if kind == "delete":
    path.unlink()
  else:
    path.write_bytes(content(path.read_bytes(), kind, draws))
  return f"{kind} of {path}"
