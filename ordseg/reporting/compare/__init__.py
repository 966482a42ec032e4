"""Runs on the same images compared: paired differences, their uncertainty, and what may be concluded.

  ordseg compare runs/baseline runs/ours --out=runs/compared
  ordseg compare bce=runs/bce0,runs/bce1 ours=runs/ours0,runs/ours1 --metric=levels.rps --out=runs/compared

`runs` finds and checks evaluations, `differences` does the statistics, `writing` writes them down.
docs/statistics.md says what the numbers mean.
"""
