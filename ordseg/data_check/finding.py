"""What the rules of the doctor give."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
  """Something to look at.

  Attributes:
    weight: the larger, the worse; in [0, 100].
    what: one line.
    images: numbers of images that show it, the clearest first.
    raters: columns it is about; empty for all.
    structure: number of the class whose masks it is about.
  """

  weight: float
  what: str
  images: tuple[int, ...] = ()
  raters: tuple[int, ...] = ()
  structure: int = 0
