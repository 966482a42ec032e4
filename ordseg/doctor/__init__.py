"""A doctor for data: counts what is there, how much the raters agree, and what looks wrong before anyone trains on it.

``python -m ordseg.doctor``; docs/doctor.md.
"""

from ordseg.doctor.survey import Survey, survey
from ordseg.doctor.suspicions import Suspicion, examine

__all__ = ["Survey", "Suspicion", "examine", "survey"]
