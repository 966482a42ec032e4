"""Figures, drawn with matplotlib's objects: no pyplot, no global state, white ground, colours safe for everybody."""

import dataclasses
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ordseg import files
from ordseg.reporting.report.reading import Example

Curve = Mapping[str, Any]  # bin_edges, count, mean_prob, mean_label, as in curves.json

# Okabe and Ito (2008): distinct under every common form of colour blindness.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
_CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, "black")
_MARKERS, _DASHES = "osD^vPX", ("-", "--", "-.", ":")
_GREY, _INK = "#9a9a9a", "#222222"

# Bins with fewer pixels (pooled: votes) than this are drawn hollow: they are few objects' edges, and jump about.
FEW = 500

PROB_COLORS = "viridis"  # 0 to 1
DIFFERENCE_COLORS = "RdBu_r"  # -1 to 1, white at 0
_DPI = 200


@dataclasses.dataclass(frozen=True)
class Series:
  """One curve with its looks; `faint` is for what stands in the background."""

  curve: Curve
  label: str
  color: str
  marker: str = "o"
  dash: str = "-"
  faint: bool = False


def points(curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns mean_prob, mean_label and count of the bins that hold something, [filled bins] each."""
  rows = zip(curve["mean_prob"], curve["mean_label"], curve["count"], strict=True)
  filled = [row for row in rows if row[2] and row[0] is not None and row[1] is not None]
  table = np.asarray(filled, np.float64).reshape(-1, 3)
  return table[:, 0], table[:, 1], table[:, 2]


def save(figure: Figure, stem: pathlib.Path) -> bytes:
  """Writes `stem`.png and `stem`.pdf, each replaced at once; returns the PNG. The same figure gives the same bytes."""
  stem.parent.mkdir(parents=True, exist_ok=True)
  rendered = {"png": _rendered(figure, "png")}
  figure.set_layout_engine("none")  # once is enough
  rendered["pdf"] = _rendered(figure, "pdf")
  for kind, content in rendered.items():
    files.write_bytes(stem.with_name(f"{stem.name}.{kind}"), content)
  return rendered["png"]


def _rendered(figure: Figure, kind: str) -> bytes:
  out = io.BytesIO()
  undated: dict[str, Any] = {"Software": None} if kind == "png" else {"CreationDate": None}
  figure.savefig(out, format=kind, dpi=_DPI, facecolor="white", metadata=undated)
  return out.getvalue()


def reliability(series: Sequence[Series], *, x_label: str, y_label: str, count_label: str) -> Figure:
  """Draws a reliability diagram with the counts of its bins beneath, on a logarithmic axis.

  Args:
    series: the curves; their bins must be the same.
    x_label: what the probability is.
    y_label: what it is compared with.
    count_label: what the bins count.
  """
  figure = Figure(figsize=(4.1, 4.75))
  top, bottom = _axes(figure, 0.72, 1.55, 3.1, 3.1), _axes(figure, 0.72, 0.5, 3.1, 0.85)
  for s in series:
    _draw(top, s, size=5)
    _draw_counts(bottom, s)
  _frame(top, y_label)
  top.legend(loc="upper left", fontsize=9, frameon=False)
  top.tick_params(labelbottom=False)
  bottom.set_xlim(top.get_xlim())
  bottom.xaxis.set_major_formatter(_percent())
  if any(max(s.curve["count"]) for s in series):
    bottom.set_yscale("log")
    bottom.set_ylim(bottom=0.8)
  bottom.set_ylabel(count_label, fontsize=9)
  bottom.set_xlabel(x_label, fontsize=9)
  bottom.tick_params(labelsize=9)
  _tidy(bottom)
  return figure


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
  """Adds axes at a place in inches. Automatic layouts take longer than drawing does."""
  w, h = figure.get_size_inches()
  return figure.add_axes((left / w, bottom / h, width / w, height / h))


# Panels of `multiples`: inches of a panel with its labels, and of the margins on the left and at the bottom.
_PANEL, _LEFT, _BOTTOM = 2.0, 0.3, 0.3


def multiples(curves: Sequence[Curve], titles: Sequence[str], *, x_label: str, y_label: str) -> Figure:
  """Draws each curve in a panel of its own, the others in grey behind it, four panels a row."""
  columns, rows = _shape(len(curves))
  figure = Figure(figsize=(_LEFT + _PANEL * columns, _BOTTOM + _PANEL * rows))
  for k, title in enumerate(titles):
    left, bottom = _LEFT + _PANEL * (k % columns), _BOTTOM + _PANEL * (rows - 1 - k // columns)
    _draw_multiple(_axes(figure, left + 0.5, bottom + 0.37, 1.26, 1.26), curves, k, title)
  width, height = figure.get_size_inches()
  figure.text(0.5, 0.08 / height, x_label, ha="center", va="bottom", fontsize=9)
  figure.text(0.08 / width, 0.5, y_label, ha="left", va="center", rotation="vertical", fontsize=9)
  return figure


def panel_boxes(num_curves: int) -> list[tuple[int, int, int, int]]:
  """Returns where the panels of `multiples` lie in its PNG: left, top, right, bottom in pixels."""
  side = round(_PANEL * _DPI)
  columns, _ = _shape(num_curves)
  corners = [(round(_LEFT * _DPI) + side * (k % columns), side * (k // columns)) for k in range(num_curves)]
  return [(x, y, x + side, y + side) for x, y in corners]


def _shape(num_curves: int) -> tuple[int, int]:
  columns = min(num_curves, 4)
  return columns, -(-num_curves // columns)


def overlay(all_curves: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure:
  """Draws the reliability of several runs in two panels: mean vote against votes, majority against the majority.

  A run without a majority read-out is in the first alone; without any the second is left out.

  Args:
    all_curves: contents of curves.json, one per run.
    names: of the runs.
  """
  rows_of_legend = -(-len(names) // 2)
  figure = Figure(figsize=(7.2, 3.5 + 0.22 * rows_of_legend), layout="constrained")
  panels = (
    ("mean_vote", "pooled", "mean vote", "share of raters who marked it"),
    ("majority", "majority", "majority", "how often the majority marked it"),
  )
  panels = [panel for panel in panels if any(panel[0] in curves["read_outs"] for curves in all_curves)]
  axes = figure.subplots(1, len(panels), squeeze=False)[0]
  for ax, (read_out, target, name, y_label) in zip(axes, panels, strict=True):
    for k, (curves, label) in enumerate(zip(all_curves, names, strict=True)):
      if read_out not in curves["read_outs"]:
        continue
      _draw(ax, Series(curves["read_outs"][read_out][target], plain(label), *_looks(k)), size=4)
    _frame(ax, y_label)
    ax.set_xlabel(f"probability ({name})", fontsize=9)
  handles, labels = figure.axes[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
  return figure


def plain(text: str) -> str:
  """Keeps matplotlib from reading "$" as mathematics and a leading "_" as "leave it out of the legend"."""
  return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def _looks(k: int) -> tuple[str, str, str]:
  return _CYCLE[k % len(_CYCLE)], _MARKERS[k % len(_MARKERS)], _DASHES[k // len(_CYCLE) % len(_DASHES)]


def _draw_multiple(ax: Axes, curves: Sequence[Curve], chosen: int, title: str) -> None:
  for k, curve in enumerate(curves):
    if k != chosen:
      prob, label, _ = points(curve)
      ax.plot(prob, label, color="#d0d0d0", linewidth=0.8)
  _draw(ax, Series(curves[chosen], title, BLUE), size=3.5)
  _frame(ax, "")
  ax.set_title(plain(title), fontsize=9, color=_INK)
  ax.set_xticks([0, 0.5, 1])
  ax.set_yticks([0, 0.5, 1])


def _draw(ax: Axes, s: Series, *, size: float) -> None:
  prob, label, count = points(s.curve)
  width, alpha = (1.1, 0.75) if s.faint else (1.7, 1.0)
  looks: dict[str, Any] = {"color": s.color, "marker": s.marker, "markersize": size * (0.75 if s.faint else 1.0)}
  ax.plot(prob, label, s.dash, color=s.color, linewidth=width, alpha=alpha, zorder=2 + (not s.faint))
  few = count < FEW
  ax.plot(prob[~few], label[~few], linestyle="none", alpha=alpha, zorder=4, **looks)
  ax.plot(prob[few], label[few], linestyle="none", alpha=alpha, zorder=4, markerfacecolor="white", **looks)
  ax.plot([], [], s.dash, label=s.label, linewidth=width, alpha=alpha, **looks)  # the legend's entry


def _draw_counts(ax: Axes, s: Series) -> None:
  edges = np.asarray(s.curve["bin_edges"], np.float64)
  count = np.asarray(s.curve["count"], np.float64)
  if not s.faint:
    ax.bar(edges[:-1], count, np.diff(edges), align="edge", color=s.color, alpha=0.35)
  ax.stairs(np.where(count > 0, count, np.nan), edges, color=s.color, linestyle=s.dash, linewidth=1.2)


def _frame(ax: Axes, y_label: str) -> None:
  ax.plot([0, 1], [0, 1], color=_GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
  ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
  ax.set_ylabel(y_label, fontsize=9)
  ax.tick_params(labelsize=9)
  for axis in (ax.xaxis, ax.yaxis):
    axis.set_major_formatter(_percent())
  _tidy(ax)


def _percent() -> PercentFormatter:
  return PercentFormatter(1.0, decimals=0, symbol="\u00a0%")


def _tidy(ax: Axes) -> None:
  ax.spines[["top", "right"]].set_visible(False)
  ax.grid(color="#ececec", linewidth=0.7)
  ax.set_axisbelow(True)


def gallery(examples: Sequence[Example]) -> Figure:
  """Draws one row per example: input, votes, probability and their difference, with the scales of the colours."""
  heads = ("input", "share of raters", "probability", "probability \u2212 raters")
  rows = len(examples)
  figure = Figure(figsize=(7.2, 1.75 * rows + 0.6), layout="constrained")
  grid = figure.add_gridspec(rows + 1, 4, height_ratios=[1.0] * rows + [0.05])
  maps = difference = None
  for k, example in enumerate(examples):
    axes = [figure.add_subplot(grid[k, column]) for column in range(4)]
    if example.image is not None:
      axes[0].imshow(display_image(example.image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes[1].imshow(example.mean_vote, cmap=PROB_COLORS, vmin=0, vmax=1, interpolation="nearest")
    maps = axes[2].imshow(example.prob, cmap=PROB_COLORS, vmin=0, vmax=1, interpolation="nearest")
    gap = example.prob - example.mean_vote
    difference = axes[3].imshow(gap, cmap=DIFFERENCE_COLORS, vmin=-1, vmax=1, interpolation="nearest")
    dice = example.scores["dice"]
    axes[0].set_ylabel(plain(example.kind) + ("" if dice is None else f"\nDice {dice:.3f}"), fontsize=9)
    for ax, head in zip(axes, heads, strict=True):
      ax.set(xticks=[], yticks=[])
      ax.set_title(head if k == 0 else "", fontsize=9)
  for mappable, cell, ticks, form in (
    (maps, grid[rows, 1:3], [0, 0.5, 1], _percent()),
    (difference, grid[rows, 3], [-1, 0, 1], None),
  ):
    if mappable is not None:
      bar = figure.colorbar(mappable, cax=figure.add_subplot(cell), orientation="horizontal", ticks=ticks, format=form)
      bar.ax.tick_params(labelsize=9)
  return figure


def display_image(image: np.ndarray) -> np.ndarray:
  """Returns an image for the eye, uint8: [H, W] grey, or [H, W, 3] where it has three channels.

  The contrast is stretched from the smallest to the largest finite value of the channels shown; of other numbers of
  channels the first is shown.
  """
  shown = np.asarray(image, np.float64)
  shown = shown if shown.shape[-1] == 3 else shown[..., 0]
  known = np.isfinite(shown)
  low, high = (shown[known].min(), shown[known].max()) if known.any() else (0.0, 0.0)
  scaled = (np.where(known, shown, low) - low) / (high - low or 1.0)
  return np.round(255 * scaled).astype(np.uint8)
