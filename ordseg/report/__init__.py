"""What an evaluation found, for people: report.html, figures, a summary for the terminal, comparisons of runs.

Everything is read from the files that `evaluate.write` left in a folder; no model runs again.

  python -m ordseg.report runs/mine/eval/test                                        # writes report.html there anew
  python -m ordseg.report runs/a/eval/test runs/b/eval/test --out=runs/compared      # compares runs
"""

from ordseg.report.compare import Comparison, compare_table, write_comparison
from ordseg.report.page import write_report
from ordseg.report.text import text_summary

__all__ = ["Comparison", "compare_table", "text_summary", "write_comparison", "write_report"]
