import pytest

from ordseg import errors


def test_the_nearest_name_is_offered_only_when_there_is_one():
  assert errors.did_you_mean("alpah", ["alpha", "beta"]) == " Did you mean 'alpha'?"
  assert errors.did_you_mean("zzz", ["alpha"]) == ""


def test_check_choice():
  errors.check_choice("a", ["a", "b"], field="f")
  with pytest.raises(errors.InputError, match=r"f='c' is unknown. Choices: a, b."):
    errors.check_choice("c", ["b", "a"], field="f")


def test_one_line_errors_prints_one_line_and_exits_with_2(capsys):
  class OtherError(Exception):
    pass

  for error in (errors.InputError("first"), OtherError("second")):
    with pytest.raises(SystemExit) as stop, errors.one_line_errors(OtherError):
      raise error
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {error}\n"
  with pytest.raises(KeyError), errors.one_line_errors():
    raise KeyError("a bug keeps its traceback")
