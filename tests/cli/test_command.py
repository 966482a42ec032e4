"""`ordseg`: its help, its slips and its other names. What the programs do is tested where they are."""

import argparse
import subprocess
import sys

import pytest

from ordseg.cli import flags, main
from ordseg.cli.parsing import Switch
from ordseg.errors import extras

NAMES = list(flags.COMMANDS)
LIGHT = """
import runpy, sys
sys.argv = {argv!r}
try:
  runpy.run_module("ordseg", run_name="__main__")
except SystemExit as stop:
  assert not stop.code
print("jax" in sys.modules or "numpy" in sys.modules)
"""


def stopped(argv, capsys):
  with pytest.raises(SystemExit) as stop:
    main.main(argv)
  return stop.value.code, capsys.readouterr()


@pytest.mark.parametrize("name", NAMES)
def test_help_says_every_flag_and_its_default(name, capsys):
  code, said = stopped([name, "--help"], capsys)
  assert code == 0 and not said.err and "`" not in said.out
  words = " ".join(said.out.split())
  assert flags.COMMANDS[name].summary in words
  for action in flags.parser(name)._actions:
    if not action.option_strings or isinstance(action, argparse._HelpAction) or action.dest == "_":
      continue
    assert action.option_strings[0] in words and action.help
    if action.required or isinstance(action, Switch):
      continue
    if action.default in (None, "", []):
      says_it = "by default" in action.help or "repeat" in action.help
    else:
      says_it = f"(default: {action.default})" in words
    assert says_it, f"{action.option_strings[0]} does not say its default"


def test_the_overview_names_every_sub_command_and_its_program(capsys):
  main.main([])
  overview = capsys.readouterr().out
  assert all(f"\n  {name} " in overview for name in NAMES)
  main.main(["--version"])
  assert capsys.readouterr().out.startswith("ordseg 0.")


@pytest.mark.parametrize("argv", [["ordseg", "--help"], ["ordseg", "predict", "--help"], ["ordseg", "train", "--help"]])
def test_help_imports_neither_jax_nor_numpy(argv):
  text = LIGHT.format(argv=argv)
  done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
  assert done.stdout.endswith("False\n")


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["predcit"], "ordseg predcit: there is no such sub-command. Did you mean 'predict'?"),
    (["predict", "--wrkdir=x"], "unknown flag --wrkdir. Did you mean '--workdir'?"),
    (["predict", "--work=x"], "unknown flag --work. Did you mean '--workdir'?"),
    (["card"], "the following arguments are required: --workdir"),
    (["export", "--workdir=a", "--out=b", "--format=onx"], "invalid choice: 'onx' (choose from"),
    (["predict", "--workdir=a", "--input=b", "--output=c", "--window=-1"], "'-1' must be an integer >= 0"),
    (["predict", "--workdir=a", "--input=b", "--output=c", "--flips=maybe"], "--flips=maybe must be true or false"),
    (["evaluate", "--workdir=,"], "needs a name"),
    (["evaluate", "--workdir=a", "b"], "unrecognized arguments: b"),
    (["train", "--workdir=a", "--confg=b"], "unknown flag --confg. Did you mean '--config'?"),
  ],
)
def test_a_slip_is_one_line_and_status_2(argv, message, capsys):
  code, said = stopped(argv, capsys)
  assert code == 2 and said.out == ""
  assert message in said.err and len(said.err.splitlines()) == 1 and said.err.startswith("error: ")


def test_flags_are_read_as_people_write_them():
  args = flags.parse("evaluate", ["--workdir", "a, b", "--data-dir=d", "--flips"])
  assert args.workdir == ["a", "b"] and args.data_dir == "d" and args.flips is True and args.dropout_samples == 0
  for text, want in (("--flips=true", True), ("--flips=False", False), ("--noflips", False)):
    assert flags.parse("evaluate", ["--workdir=a", text]).flips is want
  assert flags.parse("compare", ["a", "b", "--out=c", "--group-by=image"]).group_by == "image"
  assert flags.parse("compare", ["a", "--out=c", "--metric=x,y", "--metric=z"]).metric == [["x", "y"], ["z"]]


def test_changes_of_the_config_are_left_to_it():
  argv = ["--config.loss.alpha", "-0.5", "--config=c.py:x", "--config.model.flag", "--workdir", "w", "--noconfig.b"]
  args = flags.parse("train", argv)
  assert (args.config, args.workdir) == ("c.py:x", "w")
  assert args.rest == ["--config.loss.alpha", "-0.5", "--config.model.flag", "--noconfig.b"]


def test_words_and_defaults_are_those_of_the_library():
  from ordseg import recalibration, statistics
  from ordseg.image_io import writing
  from ordseg.prediction import export, maps
  from ordseg.reporting.compare import differences

  def action(name, flag):
    return flags.parser(name)._option_string_actions[flag]

  assert action("predict", "--precision").choices == writing.PRECISIONS
  assert action("predict", "--maps").default == ",".join(maps.ALWAYS)
  assert action("export", "--format").choices == export.FORMATS
  assert action("compare", "--interval").choices == statistics.METHODS
  assert action("compare", "--group_by").choices == statistics.UNITS
  default = statistics.Settings()
  given = [action("compare", flag).default for flag in ("--resamples", "--confidence", "--interval", "--seed")]
  assert given == [default.num_resamples, default.confidence, default.method, default.seed]
  assert action("recalibrate", "--method").help.endswith(", ".join(recalibration.METHODS))
  assert len(differences.DEFAULT_METRICS) == 4  # as --metric says


@pytest.mark.slow  # imports every program in a process of its own
@pytest.mark.parametrize("name", NAMES)
def test_a_program_imports_only_what_its_extras_bring(name):
  text = f"import sys, ordseg.cli.{name}; print(*{{m.split('.')[0] for m in sys.modules}})"
  done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
  loaded = done.stdout.split()
  table, brought = extras.table(), set()
  for extra in flags.COMMANDS[name].extras:
    brought |= set(table[extra])
  for module in ("grain", "optax", "orbax", "ml_collections", "cv2", "tensorboardX", "PIL", "matplotlib", "jinja2"):
    package = extras.canonical(module)
    assert module not in loaded or package in brought, f"ordseg {name} imports {module}"


@pytest.mark.parametrize(
  ("alias", "name"),
  [(name, name) for name in ("predict", "compare", "recalibrate", "report", "card", "export")] + [("doctor", "check")],
)
def test_the_names_from_before_there_was_one_command(alias, name):
  done = subprocess.run([sys.executable, "-m", f"ordseg.{alias}", "--help"], capture_output=True, text=True, check=True)
  assert done.stdout.startswith(f"usage: ordseg {name} ") and done.stderr == ""


def test_what_libraries_warn_of_stays_off_the_screen():
  body = "from ordseg.cli import main; import logging; main.quiet_libraries()\n"
  body += "for level in ('warning', 'error'): getattr(logging.getLogger('tensorboardX.x2num'), level)(level)"
  done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True)
  assert "error" in done.stderr and "warning" not in done.stderr
