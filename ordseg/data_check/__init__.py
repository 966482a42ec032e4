"""A doctor for data: counts what is there, how much the raters agree, and what looks wrong before anyone trains on it.

``ordseg check``; docs/doctor.md.
"""

from ordseg.data_check.survey import Survey, survey, surveys
from ordseg.data_check.suspicion import Suspicion
from ordseg.data_check.suspicions import examine

__all__ = ["Survey", "Suspicion", "examine", "survey", "surveys"]
