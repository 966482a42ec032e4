"""A forest plot: the differences of a comparison with their intervals, a panel per metric."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ordseg.reporting.report import figures

_ROW, _PANEL = 0.38, 3.4  # inches


NONE = (math.nan, math.nan)  # an interval that is unknown


@dataclasses.dataclass(frozen=True)
class Mark:
  """A method's difference from the baseline.

  Attributes:
    method: its name.
    estimate: the difference, NaN if unknown.
    interval: over images or groups.
    corrected: the same, corrected for the number of comparisons; `NONE` draws none.
    seeds: over seeds.
    found: whether the difference counts as found: the mark is filled.
  """

  method: str
  estimate: float
  interval: tuple[float, float]
  corrected: tuple[float, float]
  seeds: tuple[float, float]
  found: bool


def forest(panels: Mapping[str, Sequence[Mark]], caption: str) -> Figure:
  """Draws each method's difference from the baseline.

  Dot and thick bar: the interval over images or groups; thin bar: the same, corrected; thin orange bar beneath: the
  interval over seeds. The dot is filled where the difference was found.

  Args:
    panels: title -> the methods' differences.
    caption: what is shown.
  """
  columns = min(2, len(panels))
  rows = -(-len(panels) // columns)
  height = rows * (1.0 + _ROW * max(map(len, panels.values()))) + 0.3
  figure = Figure(figsize=(0.6 + _PANEL * columns, height), layout="constrained")
  grid = figure.subplots(rows, columns, squeeze=False).ravel()
  for ax, (title, marks) in zip(grid, panels.items(), strict=False):
    _panel(ax, marks, figures.plain(title))
  for ax in grid[len(panels) :]:
    ax.set_visible(False)
  figure.supxlabel(figures.plain(caption), fontsize=9)
  return figure


def _panel(ax: Axes, differences: Sequence[Mark], title: str) -> None:
  ax.axvline(0, color="#9a9a9a", linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
  for k, d in enumerate(differences):
    if math.isnan(d.estimate):
      continue
    bars = (
      (d.interval, 0.0, figures.BLUE, 2.4),
      (d.corrected, 0.0, figures.BLUE, 0.9),
      (d.seeds, 0.22, figures.ORANGE, 1.2),
    )
    for ends, below, color, width in bars:
      if not math.isnan(ends[0]):
        ax.plot(ends, [k + below] * 2, color=color, linewidth=width, solid_capstyle="butt", zorder=3)
    face = None if d.found else "white"
    ax.plot(d.estimate, k, "o", color=figures.BLUE, markersize=6, zorder=4, markerfacecolor=face)
  ax.set_yticks(range(len(differences)), [figures.plain(d.method) for d in differences], fontsize=9)
  ax.set_ylim(len(differences) - 0.5, -0.5)
  ax.set_title(title, fontsize=9, loc="left")
  ax.tick_params(labelsize=8)
  ax.ticklabel_format(axis="x", useOffset=False, scilimits=(-9, 9))
  ax.xaxis.set_major_locator(MaxNLocator(5))
  ax.spines[["top", "right", "left"]].set_visible(False)
  ax.grid(axis="x", color="#ececec", linewidth=0.7)
  ax.set_axisbelow(True)
