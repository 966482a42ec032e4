"""The layout of a CSV file that names each image and its masks, wherever they lie."""

import codecs
import csv
import dataclasses
import io
import os
import pathlib
import re
import urllib.parse
from collections.abc import Iterator

from ordseg import image_io
from ordseg.case_files.cases import Case, Names, listing, named
from ordseg.errors import InputError, raise_all

_SPLIT_NAMES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
_SPLIT_NAMES |= {"val": "validation", "dev": "validation", "test": "test", "testing": "test"}
_OWN_COLUMNS = ("image", "id", "group", "split")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # C:\ and \\server\share


def find(root: pathlib.Path, names: Names, left_out: list[pathlib.Path]) -> Iterator[Case]:
  """Lists what the rows name; relative paths start at the folder of the CSV file."""
  del left_out  # a list names what it wants
  path = named(root, names.manifest)
  if not path.is_file():
    raise InputError(f"{path}: there is no such manifest. {root} holds {listing(root)}.")
  columns, rows = _table(path)
  raters = [name for name in columns if name not in _OWN_COLUMNS]
  if "image" not in columns or not raters or len(set(columns)) < len(columns) or "" in columns:
    raise InputError(
      f"{path}: expected the columns image and one per rater (and id, group, split where wanted), "
      f"found {', '.join(map(repr, columns)) or 'none'}."
    )
  cases, problems = [], []
  for line, cells in rows:
    try:
      cases.append(_case(path, line, columns, cells, raters))
    except InputError as error:
      problems.append(str(error))
  raise_all(problems, f"lines of {path} cannot be used")
  yield from _named(cases)


def _named(cases: list[Case]) -> list[Case]:
  """Names the cases without an id: by the file, or by its path where files in several folders are named alike."""
  stems = [case.key or image_io.plain(image_io.stem(case.image)) for case in cases]
  if len(set(stems)) < len(stems) and not any(case.key for case in cases):
    images = [pathlib.Path(os.path.abspath(case.image)) for case in cases]  # noqa: PTH100 (resolve follows links)
    root = os.path.commonpath([image.parent for image in images])
    below = [image.with_name(image_io.stem(image)).relative_to(root).as_posix() for image in images]
    stems = [image_io.plain(name) for name in below]
  return [dataclasses.replace(case, key=key) for case, key in zip(cases, stems, strict=True)]


def _table(path: pathlib.Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
  """Returns the columns and (line, cells); commas, semicolons (Excel in much of Europe) or tabs, whichever is there."""
  content = path.read_bytes()
  utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # "Unicode text" of Excel
  try:
    text = content.decode("utf-16" if utf16 else "utf-8-sig")
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r"sep=(.)\s*", first, re.I)
    body, skipped = (rest, 1) if declared else (text, 0)
    head = body.partition("\n")[0]
    delimiter = declared[1] if declared else max(",;\t", key=lambda mark: (head.count(mark), mark == ","))
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    rows = [(reader.line_num + skipped, cells) for cells in reader if any(cell.strip() for cell in cells)]
  except (csv.Error, UnicodeError) as error:
    raise InputError(f"{path}: is no CSV file in UTF-8 ({error}).") from error
  while rows and not any(cells[-1].strip() for _, cells in rows):  # what a spreadsheet leaves at the right
    rows = [(line, cells[:-1]) for line, cells in rows]
  columns = [image_io.plain(name.strip()) for name in rows[0][1]] if rows else []
  return [name.lower() if name.lower() in _OWN_COLUMNS else name for name in columns], rows[1:]


def _case(path: pathlib.Path, line: int, columns: list[str], cells: list[str], raters: list[str]) -> Case:
  where = f"{path}, line {line}"
  if len(cells) != len(columns):
    raise InputError(f"{where}: expected {len(columns)} cells, as in the first line, found {len(cells)}.")
  row = {column: _unquoted(cell) for column, cell in zip(columns, cells, strict=True)}
  image = _listed(path.parent, row["image"], where, "image")
  masks = {rater: _listed(path.parent, row[rater], where, rater) for rater in raters if row[rater]}
  split = row.get("split", "").lower()
  if split and split not in _SPLIT_NAMES:
    raise InputError(f"{where}: split {split!r} is unknown; expected train, validation or test, or nothing.")
  key, group = image_io.plain(row.get("id", "")), image_io.plain(row.get("group", ""))
  return Case(key, image, masks, group, _SPLIT_NAMES.get(split, ""))


def _unquoted(cell: str) -> str:
  text = cell.strip()
  return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _listed(folder: pathlib.Path, name: str, where: str, column: str) -> pathlib.Path:
  """Returns the file that a cell names: relative or absolute, with ~, as a file:// address, with / or \\."""
  if not name:
    raise InputError(f"{where}: the column {column!r} is empty.")
  if name.lower().startswith("file://"):
    name = urllib.parse.unquote(urllib.parse.urlsplit(name).path)
  try:
    written = folder / pathlib.Path(name).expanduser()
  except RuntimeError as error:  # ~somebody who is not known here
    raise InputError(f"{where}: the column {column!r} names {name}: {error}") from error
  for path in (written, folder / name.replace("\\", "/")):
    found = path if path.exists() else _other_form(path)
    if found is not None or image_io.folder_and_series(path)[1]:
      return found or path
  hint = " It is a path of Windows: write it relative to the manifest." if _WINDOWS.match(name) else ""
  raise InputError(f"{where}: the column {column!r} names {written}, which is not there.{hint}")


def _other_form(path: pathlib.Path) -> pathlib.Path | None:
  """Returns the file of the same name in another Unicode form: macOS and a spreadsheet write ``ä`` differently."""
  here = pathlib.Path(path.anchor or ".")
  for part in path.parts[1:] if path.anchor else path.parts:
    there = here / part
    if part not in (".", "..") and not there.exists():
      there = named(here, part)
      if not there.exists():
        return None
    here = there
  return here
