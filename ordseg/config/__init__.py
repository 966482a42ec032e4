"""The config: every field once, with its type, default, allowed values and help; resolved once into a typed object.

A program takes the `ConfigDict` of a config file and of ``--config.a.b=c`` and resolves it. What comes out is frozen
and right as a whole: nothing below checks a field again or has a default of its own. The sections `model` and `loss`
have the fields that the registered networks and losses declare, at the time of asking.
"""

from ordseg.config.listing import describe, table
from ordseg.config.resolving import resolve, resolve_record
from ordseg.config.sections import (
  SECTIONS,
  Augment,
  Chosen,
  Config,
  Data,
  Eval,
  Loss,
  Model,
  Optim,
  Parallel,
  Preprocess,
  Section,
  Train,
)

__all__ = [
  "SECTIONS",
  "Augment",
  "Chosen",
  "Config",
  "Data",
  "Eval",
  "Loss",
  "Model",
  "Optim",
  "Parallel",
  "Preprocess",
  "Section",
  "Train",
  "describe",
  "resolve",
  "resolve_record",
  "table",
]
