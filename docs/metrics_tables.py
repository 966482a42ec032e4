"""Writes the tables of docs/metrics.md from what `ordseg.metrics` declares.

python docs/metrics_tables.py
"""

import pathlib
import re

from ordseg.metrics import documentation
from ordseg.metrics.registry import SECTIONS

DOCS = pathlib.Path(__file__).resolve().parent / "metrics.md"


def with_tables(text: str) -> str:
  """Returns the page with its tables anew; each stands between the marks of its section."""
  for section in SECTIONS:
    first, last = f"<!-- {section}: written by docs/metrics_tables.py -->", f"<!-- {section} end -->"
    pattern = re.compile(re.escape(first) + ".*?" + re.escape(last), re.DOTALL)
    if len(pattern.findall(text)) != 1:
      raise SystemExit(f"{DOCS}: expected once: {first} .. {last}")
    table = f"{first}\n{documentation.markdown_table(section)}\n{last}"
    text = pattern.sub(lambda _, table=table: table, text)
  return text


if __name__ == "__main__":
  DOCS.write_text(with_tables(DOCS.read_text()))
