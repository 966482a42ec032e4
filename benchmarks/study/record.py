"""A cell's record: an npz file of at most 20 kB from which every table can be made again.

What is compared between methods is kept per patient: proper scores in float32, the rest rounded to what matters. Gaps
of the reliability bins (said minus true) are exact over all patients, and per patient, where they serve the intervals
alone, in the finest unit with which the file stays small: a quarter of a pixel to 64. Members are compressed with LZMA;
numpy reads them.
"""

import dataclasses
import io
import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.study import sums as counting
from benchmarks.study.sums import Sums
from ordseg import files
from ordseg.errors import InputError

MAX_BYTES = 20_000
_UNITS = [2.0**k for k in range(-2, 7)]  # pixels; gaps and counts per patient are integers of one of these
_PAIRS = 4  # that of what is counted in pairs of pixel and rater is so many times as large
_WORDS = ("head", "patients", "scores", "dices", "areas", "gaps", "counts", "pooled", "said", "auc", "curve")


@dataclasses.dataclass(frozen=True)
class Record:
  """What a cell left. Read-outs (axis O), bins K and columns as in `sums.Sums`.

  Attributes:
    head: what was done: cell, digest, config, versions, data, seconds, pooled AUC, curve steps, validation scores.
    patients: [I] names, sorted.
    scores: [I, len(SCORES)] float64.
    dices: [I, len(DICES)] float64.
    areas: [I, len(AREAS)] int64.
    gaps: [O, K, I] float64, sum of the probability minus sum of the label; in the file rounded, see above.
    counts: [2, K, I] float64, pairs by bin of mean_vote and of majority_votes; likewise.
    pooled: [O, K, 3] float64, over patients and exact: pixels or pairs, said, true.
    said: [2, 2 + R, I] float64: pixels of the background and of the core, and the gap of each level; rounded as gaps.
    auc: [2, I] float64, of majority and of mean_vote; NaN without both classes.
    curve: [T, 2, I] float64, rps and vote_nll at the earlier steps.
  """

  head: Mapping[str, Any]
  patients: tuple[str, ...]
  scores: np.ndarray
  dices: np.ndarray
  areas: np.ndarray
  gaps: np.ndarray
  counts: np.ndarray
  pooled: np.ndarray
  said: np.ndarray
  auc: np.ndarray
  curve: np.ndarray


def from_sums(head: Mapping[str, Any], patients: list[str], last: Sums, curve: list[Sums]) -> Record:
  """Makes the record of a cell from the sums of its last step and of the earlier ones."""
  L = (last.said.shape[-1] - 1) // 2
  said = np.concatenate([last.said[..., :1], last.said[..., 1 : 1 + L] - last.said[..., 1 + L :]], axis=-1)
  pooled_said = last.said.sum(0)
  return Record(
    head={
      **head,
      "auc": {
        name: _number(x) for name, x in zip(("majority", "mean_vote"), counting.auc(last.cells.sum(0)), strict=True)
      },
      "said": {name: pooled_said[k].tolist() for k, name in enumerate(("background", "core"))},
      "curve_pooled": [_curve_summary(sums) for sums in curve],
    },
    patients=tuple(patients),
    scores=np.concatenate([_rounded(last.scores[:, :2], 24), _rounded(last.scores[:, 2:], 14)], axis=1),
    dices=_rounded(last.dices, 11),
    areas=last.areas.astype(np.int64),
    gaps=np.moveaxis(last.bins[..., 1] - last.bins[..., 2], 0, -1),
    counts=np.moveaxis(last.bins[:, :2, :, 0], 0, -1),
    pooled=last.bins.sum(0),
    said=np.moveaxis(said, 0, -1),
    auc=_rounded(counting.auc(last.cells).T[[0, 1]], 11),
    curve=np.stack([_rounded(sums.scores[:, :2].T, 14) for sums in curve])
    if curve
    else np.zeros((0, 2, len(patients))),
  )


def _number(x: float) -> float | None:
  return None if np.isnan(x) else float(x)


def _curve_summary(sums: Sums) -> dict[str, Any]:
  """Totals at an earlier step: scores, dices, and the signed gaps of each read-out's bins, in pixels."""
  bins = sums.bins.sum(0)
  return {
    "scores": [float(f"{x:.7g}") for x in sums.scores.sum(0)],
    "dices": [round(float(x), 3) for x in sums.dices.sum(0)],
    "gaps": [[round(float(gap), 1) for gap in row] for row in bins[..., 1] - bins[..., 2]],
  }


def _unit_of_gaps(num: int, unit: float) -> np.ndarray:
  """[O, 1, 1]: `VOTES` are counted in pairs."""
  return np.where(np.arange(num) < len(counting.VOTES), _PAIRS * unit, unit)[:, None, None]


def _rounded(x: np.ndarray, bits: int) -> np.ndarray:
  """Rounds to `bits` bits of mantissa, as float64."""
  mantissa, exponent = np.frexp(x)
  return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)


# --- The file ---------------------------------------------------------------------------------------------------------


def write(record: Record, path: pathlib.Path) -> int:
  """Writes a record, which appears whole or not at all; returns its size in bytes.

  Raises:
    ValueError: it would be larger than `MAX_BYTES` with the coarsest unit.
  """
  contents = (_packed(record, unit) for unit in _UNITS)
  content = next((content for content in contents if len(content) <= MAX_BYTES), None)
  if content is None:
    raise ValueError(f"{path.name} would have more than {MAX_BYTES} bytes.")
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_bytes(path, content)
  return len(content)


def _packed(record: Record, unit: float) -> bytes:
  """The file with gaps and counts per patient rounded to multiples of `unit`."""
  head = json.dumps({**record.head, "unit": unit}, sort_keys=True, separators=(",", ":"))
  arrays = {
    "head": np.frombuffer(head.encode(), np.uint8),
    "patients": np.frombuffer("\n".join(record.patients).encode(), np.uint8),
    "scores": _planes(record.scores.T.astype(np.float32)),
    "dices": _planes(record.dices.T.astype(np.float32)),
    "areas": _planes(record.areas.T.astype(np.int32)),
    "gaps": _planes(np.rint(record.gaps / _unit_of_gaps(len(record.gaps), unit)).astype(np.int32)),
    "counts": _planes(np.rint(record.counts / (_PAIRS * unit)).astype(np.int32)),
    "pooled": record.pooled,
    "said": _planes(np.rint(record.said / unit).astype(np.int32)),
    "auc": _planes(record.auc.astype(np.float32)),
    "curve": _planes(record.curve.astype(np.float32)),
  }
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w", compression=zipfile.ZIP_LZMA) as file:
    for name, array in arrays.items():
      content = io.BytesIO()
      np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0))
      file.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content.getvalue(), zipfile.ZIP_LZMA)
  return out.getvalue()


def _planes(x: np.ndarray) -> np.ndarray:
  """[..] of 4 bytes -> [4, ..] uint8, most significant first, integers by zigzag: equal bytes come together."""
  if x.dtype == np.int32:
    x = (x.astype(np.int64) << 1) ^ (x.astype(np.int64) >> 63)
    x = x.astype(np.uint32)
  big = np.ascontiguousarray(x.astype(x.dtype.newbyteorder(">"))).view(np.uint8).reshape(*x.shape, 4)
  return np.moveaxis(big, -1, 0)


def _unplaned(planes: np.ndarray, kind: str) -> np.ndarray:
  big = np.ascontiguousarray(np.moveaxis(planes, 0, -1))
  if kind == "float":
    return big.view(">f4")[..., 0].astype(np.float64)
  coded = big.view(">u4")[..., 0].astype(np.int64)
  return (coded >> 1) ^ -(coded & 1)


def read(path: pathlib.Path) -> Record:
  """Reads a record back.

  Raises:
    InputError: the file is missing or damaged.
  """
  try:
    with np.load(path) as file:
      raw = {name: file[name] for name in _WORDS}
    head = json.loads(raw["head"].tobytes())
    patients = tuple(raw["patients"].tobytes().decode().split("\n"))
    ints = {name: _unplaned(raw[name], "int") for name in ("areas", "gaps", "counts", "said")}
    floats = {name: _unplaned(raw[name], "float") for name in ("scores", "dices", "auc", "curve")}
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise InputError(f"{path} is no whole record of a cell: {error}. Remove it; the study makes it again.") from error
  return Record(
    head=head,
    patients=patients,
    scores=floats["scores"].T,
    dices=floats["dices"].T,
    areas=ints["areas"].T,
    gaps=ints["gaps"] * _unit_of_gaps(len(ints["gaps"]), head["unit"]),
    counts=ints["counts"] * _PAIRS * float(head["unit"]),
    pooled=raw["pooled"],
    said=ints["said"] * float(head["unit"]),
    auc=floats["auc"],
    curve=floats["curve"],
  )


# --- What the raters said: the same for every method, kept once per fold --------------------------------------------


def write_panel(patients: list[str], sums: Sums, path: pathlib.Path) -> None:
  """Writes the patients' panel sums and levels, or holds them against those that are there.

  Raises:
    InputError: others are there: the data are not those of the earlier cells.
  """
  found = np.concatenate([sums.panel, sums.levels], axis=1)
  text = "".join(
    f"{patient}\t" + "\t".join(f"{x:.10g}" for x in row) + "\n" for patient, row in zip(patients, found, strict=True)
  )
  head = "\t".join(["patient", *counting.PANEL, *(f"level_{k}" for k in range(sums.levels.shape[1]))]) + "\n"
  if path.exists():
    if path.read_text() != head + text:
      raise InputError(f"{path}: the raters' masks here are not those of the earlier cells of this fold.")
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_text(path, head + text)


def read_panel(path: pathlib.Path) -> tuple[list[str], dict[str, np.ndarray]]:
  """Reads the panel of a fold: patients, and column -> [I] float64.

  Raises:
    InputError: the file is missing or damaged.
  """
  try:
    head, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    values = np.asarray([[float(x) for x in row[1:]] for row in rows]).reshape(len(rows), len(head) - 1)
  except (OSError, ValueError) as error:
    raise InputError(f"{path} is no panel of a fold: {error}.") from error
  return [row[0] for row in rows], dict(zip(head[1:], values.T, strict=True))
