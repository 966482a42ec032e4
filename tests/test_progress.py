import pytest

from ordseg.progress import Progress, format_duration


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (None, "?"),
    (float("nan"), "?"),
    (0, "0 s"),
    (0.2, "1 s"),
    (59.5, "1 min 00 s"),
    (3599, "59 min 59 s"),
    (7620, "2 h 07 min"),
    (277200, "3 d 05 h"),
  ],
)
def test_durations(seconds, text):
  assert format_duration(seconds) == text


def test_lines_come_now_and_then_with_the_time_left():
  now, lines = [0.0], []
  progress = Progress("test", "images", 200, seconds=10, say=lines.append, clock=lambda: now[0])
  for second, done in ((5.0, 20), (20.0, 50), (29.0, 80), (31.0, 100), (90.0, 200)):
    now[0] = second
    progress(done)
  assert lines == ["test: 50/200 images | ETA 1 min 00 s", "test: 100/200 images | ETA 31 s"]


def test_the_number_of_pieces_may_come_with_the_call(capsys):
  times = iter([0.0, 3.0])
  progress = Progress("", "windows", seconds=0, clock=lambda: next(times))
  progress(0, 4)  # nothing is known of the speed yet
  progress(1, 4)
  assert capsys.readouterr().out == "1/4 windows | ETA 9 s\n"
