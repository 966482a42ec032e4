"""Records that say when they are damaged: JSON files that carry a digest of their content, NumPy archives, evaluations.

An evaluation is one thing: its metrics.json lists the SHA-256 of the files beside it under ``evaluation.files``, and
whoever reads one of them holds it against that (`member`).
"""

import hashlib
import importlib.metadata
import io
import json
import math
import pathlib
import platform
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

import ordseg
from ordseg import files
from ordseg.errors import InputError

DIGEST = "sha256"  # the field of a JSON record
METRICS = "metrics.json"  # of an evaluation
EVALUATION = "evaluation"  # the field of metrics.json, and of what carries its id
_PACKAGES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "grain",
  "numpy",
  "opencv-python-headless",
  "tensorflow-datasets",
)


def jsonable(value: object) -> Any:
  """Returns `value` for strict readers of JSON: NaN and infinity as None, numpy's numbers and arrays as Python's."""
  if isinstance(value, np.generic | np.ndarray):
    value = value.tolist()
  if isinstance(value, Mapping):
    return {str(k): jsonable(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [jsonable(v) for v in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def leaves(tree: Mapping[str, object], prefix: str = "") -> dict[str, Any]:
  """Returns what is in nested dicts by dotted path: ``{"levels": {"rps": 0.1}}`` as ``{"levels.rps": 0.1}``."""
  out: dict[str, Any] = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      out.update(leaves(value, f"{prefix}{name}."))
    else:
      out[f"{prefix}{name}"] = value
  return out


def numbers(tree: Mapping[str, object]) -> dict[str, float]:
  """`leaves` that are numbers; truth values, text, lists and None are left out."""
  kinds = int | float | np.integer | np.floating
  return {path: float(x) for path, x in leaves(tree).items() if isinstance(x, kinds) and not isinstance(x, bool)}


def at(tree: object, path: str) -> Any:
  """Returns what is at a dotted path of nested dicts, such as ``levels.rps``; None where nothing is."""
  for name in path.split("."):
    tree = tree.get(name) if isinstance(tree, Mapping) else None
  return tree


def digest(value: object) -> str:
  """Returns the SHA-256 of what JSON holds, whatever its order and spaces; 64 hexadecimal digits."""
  text = json.dumps(value, sort_keys=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()


def json_text(value: Mapping[str, object]) -> str:
  """Returns a JSON record as text, its digest in the last field."""
  content = {name: entry for name, entry in jsonable(value).items() if name != DIGEST}
  return json.dumps({**content, DIGEST: digest(content)}, indent=2, allow_nan=False) + "\n"


def write_json(path: pathlib.Path, value: Mapping[str, object]) -> None:
  """Writes a JSON record so that a reader, or a crash, meets the old one or the new one and nothing between."""
  files.write_text(path, json_text(value))


def read_json(path: pathlib.Path, way_out: str = "") -> dict[str, Any]:
  """Reads a JSON record; one without a digest, of an earlier version or by hand, as it is.

  Args:
    path: of the file, which must be there.
    way_out: a sentence that ends the error.

  Returns:
    Its content without the digest.

  Raises:
    InputError: damaged, or changed since it was written.
  """
  return parse_json(read_bytes(path), path, way_out)


def read_bytes(path: pathlib.Path) -> bytes:
  """Reads a file; raises InputError where the system refuses."""
  try:
    return path.read_bytes()
  except OSError as error:
    raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def parse_json(content: bytes, path: pathlib.Path, way_out: str = "") -> dict[str, Any]:
  """`read_json` of the content of a file."""
  ending = f" {way_out}" if way_out else ""
  try:
    value = json.loads(content.decode("utf-8"))
  except (ValueError, RecursionError) as error:
    raise InputError(f"{path} is damaged: {error}.{ending}") from error
  if not isinstance(value, dict):
    raise InputError(f"{path} is damaged: expected an object, found {type(value).__name__}.{ending}")
  unknown = DIGEST not in value and _is_digest(next(reversed(value.values()), None))  # its name is damaged
  stored = value.pop(DIGEST, None)
  if unknown or (stored is not None and stored != digest(value)):
    raise InputError(
      f"{path} is damaged: its content is not what was written (field {DIGEST}); if you changed it on purpose, remove "
      f"that field.{ending}"
    )
  return value


def _is_digest(value: object) -> bool:
  return isinstance(value, str) and len(value) == 64


def parse_npz(content: bytes, path: pathlib.Path, way_out: str = "") -> dict[str, np.ndarray]:
  """Reads the arrays of a NumPy archive, whose checksums are verified first.

  Raises:
    InputError: damaged.
  """
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      if broken := archive.testzip():
        raise ValueError(f"the checksum of {broken} is wrong")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:  # of damaged headers, zipfile, zlib and numpy raise a dozen types
    ending = f" {way_out}" if way_out else ""
    raise InputError(f"{path} is damaged: {' '.join(str(error).split())}.{ending}") from error


def read_npz(path: pathlib.Path, way_out: str = "") -> dict[str, np.ndarray]:
  """`parse_npz` of a file."""
  return parse_npz(read_bytes(path), path, way_out)


def npz_bytes(arrays: Mapping[str, Any]) -> bytes:
  """Returns a compressed NumPy archive."""
  out = io.BytesIO()
  np.savez_compressed(out, **arrays)
  return out.getvalue()


def again(folder: pathlib.Path, split: object = None) -> str:
  """Returns the sentence that says how to make an evaluation anew; `split` is that of its metrics.json, if known."""
  whole = folder if folder.parent.name == "eval" else folder.resolve()
  run = whole.parent.parent if whole.parent.name == "eval" else "<run>"
  maps = "" if whole.parent.name == "eval" else f"; of maps, ordseg score --out={folder}"
  return f"Evaluate again: python run_eval.py --workdir={run} --split={split or folder.name}{maps}"


def evaluation_files(evaluation: str, contents: Mapping[str, bytes]) -> dict[str, Any]:
  """Returns the field ``evaluation`` of metrics.json.

  Args:
    evaluation: its id.
    contents: file name -> content, of all that programs read beside metrics.json.
  """
  return {"id": evaluation, "files": {name: hashlib.sha256(x).hexdigest() for name, x in contents.items()}}


def evaluation_of(metrics: Mapping[str, Any], path: pathlib.Path) -> tuple[str, dict[str, str]] | None:
  """Returns id and digests of files from the content of metrics.json; None for one of an earlier version."""
  about = metrics.get(EVALUATION)
  if about is None:
    return None
  listed = about.get("files") if isinstance(about, Mapping) else None
  if not isinstance(listed, dict) or not isinstance(about.get("id"), str):
    raise InputError(f"{path} is damaged: its field {EVALUATION} is no record of an evaluation. {again(path.parent)}")
  return about["id"], listed


def member(folder: pathlib.Path, name: str, metrics: Mapping[str, object] | None = None) -> bytes:
  """Reads a file of an evaluation.

  Evaluations of earlier versions list no files. Theirs are read as they are, unless the file itself says that it is of
  another evaluation; what they have in common is compared by those who read several (`report.reading`).

  Args:
    folder: of the evaluation.
    name: of the file.
    metrics: content of its metrics.json; read if None.

  Raises:
    InputError: the file is missing, damaged, or of another evaluation.
  """
  path = folder / name
  metrics = read_json(existing(folder, METRICS), again(folder)) if metrics is None else metrics
  content = read_bytes(existing(folder, name))
  known, way_out = evaluation_of(metrics, folder / METRICS), again(folder, metrics.get("split"))
  theirs = _carried_id(name, content)
  if known is None:
    if theirs:
      raise InputError(f"{path} is of the evaluation {theirs}, {METRICS} beside it of an earlier one. {way_out}")
    return content
  own, listed = known
  if hashlib.sha256(content).hexdigest() == listed.get(name):
    return content
  if theirs not in ("", own):
    raise InputError(f"{path} is of the evaluation {theirs}, {METRICS} beside it of {own}. {way_out}")
  raise InputError(
    f"{path} is damaged, was changed, or is of another evaluation than {METRICS} beside it, {own}. {way_out}"
  )


def existing(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the path of a file of an evaluation; raises InputError where it is missing."""
  path = folder / name
  if not folder.is_dir():
    files.sweep(folder.parent)  # a killed program may have put it aside
  if not path.is_file():
    raise InputError(f"{folder} holds no evaluation: there is no {name}. {again(folder)}")
  return path


def _carried_id(name: str, content: bytes) -> str:
  """Returns the id of the evaluation that a file says it is of; '' where it says nothing, or is damaged."""
  try:
    if name.endswith(".json"):
      found = parse_json(content, pathlib.Path(name)).get(EVALUATION)
    elif name.endswith(".npz"):
      with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        found = str(arrays[EVALUATION]) if EVALUATION in arrays else ""
    else:
      found = ""
  except Exception:  # damaged, which whoever asked finds out by the digest
    return ""
  return found if isinstance(found, str) else ""


def versions() -> dict[str, str]:
  """Returns the versions of ordseg, Python and the packages that results depend on."""
  found = {"ordseg": ordseg.__version__, "python": platform.python_version()}
  for name in _PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = "not installed"
  return found
