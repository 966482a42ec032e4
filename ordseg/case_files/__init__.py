"""Which file of a folder is whose: images, raters' masks, and the probability maps of any tool, paired by case.

`pair` finds maps and masks of the same cases and yields them one case at a time; what is doubtful is refused, what is
odd is listed. `layouts` finds images with masks for training. docs/score.md has the formats and the refusals.
"""

from ordseg.case_files.cases import Names
from ordseg.case_files.options import Options
from ordseg.case_files.pairs import NAMES, Case, Listing, Pairs, pair
from ordseg.case_files.structures import Structure

__all__ = ["NAMES", "Case", "Listing", "Names", "Options", "Pairs", "Structure", "pair"]
