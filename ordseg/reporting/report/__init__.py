"""What an evaluation found, for people: report.html, figures, a summary for the terminal.

Everything is read from the files that `evaluate.write` left in a folder; no model runs again.

  ordseg report runs/mine/eval/test      # writes report.html there anew
"""

from ordseg.reporting.report.page import write_report
from ordseg.reporting.report.text import text_summary

__all__ = ["text_summary", "write_report"]
