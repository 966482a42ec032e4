"""The model card of a run: what it learnt from, how, how well, for what, and for what not.

  ordseg card --workdir=runs/mine

Everything is read from the files of the run and of one of its evaluations. What a file does not hold is
"not recorded"; nothing is guessed. Written are card.md, card.html and card_figures/.
"""

from ordseg.reporting.card.writing import write_card

__all__ = ["write_card"]
