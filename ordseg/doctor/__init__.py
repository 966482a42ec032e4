"""A doctor for data: counts what is there, how much the raters agree, and what looks wrong before anyone trains on it.

``python -m ordseg.doctor``; docs/doctor.md.
"""

from ordseg.doctor.survey import Survey, survey, surveys
from ordseg.doctor.suspicion import Suspicion
from ordseg.doctor.suspicions import examine

__all__ = ["Survey", "Suspicion", "examine", "survey", "surveys"]
