import pytest

from ordseg import validate


def test_the_nearest_name_is_offered_only_when_there_is_one():
  assert validate.did_you_mean("alpah", ["alpha", "beta"]) == " Did you mean 'alpha'?"
  assert validate.did_you_mean("zzz", ["alpha"]) == ""


def test_check_choice():
  validate.check_choice("a", ["a", "b"], field="f")
  with pytest.raises(validate.InputError, match=r"f='c' is unknown. Choices: a, b."):
    validate.check_choice("c", ["b", "a"], field="f")


def test_one_line_errors_prints_one_line_and_exits_with_2(capsys):
  class OtherError(Exception):
    pass

  for error in (validate.InputError("first"), OtherError("second")):
    with pytest.raises(SystemExit) as stop, validate.one_line_errors(OtherError):
      raise error
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {error}\n"
  with pytest.raises(KeyError), validate.one_line_errors():
    raise KeyError("a bug keeps its traceback")
