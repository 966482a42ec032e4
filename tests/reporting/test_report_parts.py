import numpy as np
import pytest

from ordseg.reporting.report import figures, pictures, prose, text


def curve(*bins):
  """A curve of bins of equal width from (count, mean_prob, mean_label)."""
  count, prob, label = zip(*bins, strict=True)
  edges = np.linspace(0, 1, len(bins) + 1).tolist()
  return {"bin_edges": edges, "count": [*count], "mean_prob": [*prob], "mean_label": [*label]}


def test_the_curve_is_summed_up():
  c = curve((8000, 0.02, 0.01), (1000, 0.31, 0.36), (0, None, None), (1000, 0.68, 0.62), (90, 0.75, 0.1))
  # The bin at .75 is nearer to no anchor, and holds too little to be quoted.
  assert prose.says_and_did(c) == [(0.68, 0.62), (0.31, 0.36)]
  middle = prose.unsure(c)
  weight = np.array([1000, 1000, 90]) / 2090
  assert middle.share == pytest.approx(2090 / 10090)
  assert middle.gap == pytest.approx(weight @ [0.05, 0.06, 0.65])
  assert middle.bias == pytest.approx(weight @ [-0.05, 0.06, 0.65])
  assert middle.excess == pytest.approx(weight @ [0.05, 0.06, 0.65])
  assert prose.tendency(middle) == "sure"


@pytest.mark.parametrize(
  ("low", "high", "direction"), [(0.2, 0.6, "high"), (0.4, 0.8, "low"), (0.2, 0.8, "cautious"), (0.302, 0.698, "")]
)
def test_the_direction_is_named(low, high, direction):
  assert prose.tendency(prose.unsure(curve((1000, 0.3, low), (1000, 0.7, high)))) == direction


def test_where_nothing_can_be_said():
  sure, empty = curve((9000, 0.01, 0.01), (9000, 0.99, 0.99)), curve((0, None, None), (0, None, None))
  for c in (sure, empty):
    assert prose.unsure(c) is None and prose.says_and_did(c) == []
  assert prose.curve_in_words(empty) == "No bin holds a pixel." and prose.ece(empty) is None


def test_bins_without_pixels_are_absent_and_few_are_hollow():
  figure = figures.reliability(
    [figures.Series(curve((9000, 0.1, 0.1), (0, None, None), (20, 0.8, 0.6)), "x", figures.BLUE)],
    x_label="p",
    y_label="y",
    count_label="n",
  )
  full, hollow = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
  assert full.get_xydata().tolist() == [[0.1, 0.1]] and full.get_markerfacecolor() == figures.BLUE
  assert hollow.get_xydata().tolist() == [[0.8, 0.6]] and hollow.get_markerfacecolor() == "white"
  assert figure.axes[1].get_yscale() == "log"


def test_pictures_keep_values_and_large_maps_are_averaged():
  assert pictures.shrink(np.ones((320, 10)))[1] == 1
  values = np.arange(641 * 3, dtype=np.float32).reshape(641, 3)
  small, f = pictures.shrink(values)
  assert f == 3 and small.shape == (214, 1)
  assert small[0, 0] == values[:3].mean()
  grey = figures.display_image(np.array([[[-1.0], [0.0]], [[1.0], [np.nan]]]))
  assert grey.tolist() == [[0, 128], [255, 0]] and grey.dtype == np.uint8
  assert figures.display_image(np.full((2, 2, 1), 5.0)).max() == 0  # a flat image divides by nothing
  assert figures.display_image(np.zeros((2, 2, 3))).shape == (2, 2, 3)


def test_tables():
  table = text.text_table(["", "a\nb", "c"], [["x", "1", "22"], ["long", "-", "3"]])
  assert table == "      a\n      b   c\n----  -  --\nx     1  22\nlong  -   3"
  assert text.escaped("a|b*_`<\\\n") == "a\\|b\\*\\_\\`&lt;\\\\ "
