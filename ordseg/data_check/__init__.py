"""A doctor for data: counts what is there, how much the raters agree, and what looks wrong before anyone trains on it.

``ordseg check``; docs/doctor.md.
"""

from ordseg.data_check.finding import Finding
from ordseg.data_check.rules import examine
from ordseg.data_check.surveying import Survey, survey, surveys

__all__ = ["Finding", "Survey", "examine", "survey", "surveys"]
