import numpy as np
import pytest

from ordseg.report import figures, pictures, prose, text


def curve(*bins):
  """A curve of bins of equal width from (count, mean_prob, mean_label)."""
  count, prob, label = zip(*bins, strict=True)
  edges = np.linspace(0, 1, len(bins) + 1).tolist()
  return {"bin_edges": edges, "count": [*count], "mean_prob": [*prob], "mean_label": [*label]}


def test_sentences_say_what_the_curve_says():
  c = curve((8000, 0.02, 0.01), (1000, 0.31, 0.36), (0, None, None), (1000, 0.68, 0.62), (90, 0.75, 0.1))
  first, second = prose.calibration_sentences(c)
  assert first == (
    "When the map says 68\u00a0%, on average 62\u00a0% of the raters marked the pixel; "
    "when it says 31\u00a0%, 36\u00a0% did."
  )  # the bin at .75 is nearer to no anchor, and holds too little to be quoted
  middle = prose.unsure(c)
  weight = np.array([1000, 1000, 90]) / 2090
  assert middle.share == pytest.approx(2090 / 10090)
  assert middle.gap == pytest.approx(weight @ [0.05, 0.06, 0.65])
  assert middle.bias == pytest.approx(weight @ [-0.05, 0.06, 0.65])
  assert middle.excess == pytest.approx(weight @ [0.05, 0.06, 0.65])
  assert "on 20.7\u00a0% of the pixels" in second and "off by 8.1 percentage points" in second
  assert second.endswith("being too sure: too near to 0 or 1.")


@pytest.mark.parametrize(
  ("low", "high", "words"),
  [
    (0.2, 0.6, "nearly always too high."),
    (0.4, 0.8, "nearly always too low."),
    (0.2, 0.8, "being too cautious: too near to one half."),
    (0.302, 0.698, "points on average."),
  ],
)
def test_sentences_name_the_direction(low, high, words):
  assert prose.calibration_sentences(curve((1000, 0.3, low), (1000, 0.7, high)))[1].endswith(words)


def test_sentences_where_nothing_can_be_said():
  sure = curve((9000, 0.01, 0.01), (9000, 0.99, 0.99))
  assert "No probability near" in prose.calibration_sentences(sure)[0]
  assert "never unsure" in prose.calibration_sentences(sure)[1]
  empty = curve((0, None, None), (0, None, None))
  assert prose.curve_in_words(empty) == "No bin holds a pixel." and prose.ece(empty) is None
  assert len(prose.calibration_sentences(empty)) == 2


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
