"""What the docs ask a reader to type exists: programs, flags, config fields, targets of make, files, Python names."""

import ast
import doctest
import importlib
import re
import shlex

import pytest
from absl import flags
from ml_collections import config_flags

import data
from configs import default
from ordseg.cli import config_files
from ordseg.cli import flags as cli_flags
from tests.docs.pages import PAGES, ROOT, Block, blocks, name, prose

SCRIPTS = {"run_train.py": "train", "run_eval.py": "evaluate"}
ALIASES = {"doctor": "check"}
PROGRAMS = ("python", "ordseg", "ordseg-predict", "make")


def commands(text: str) -> list[list[str]]:
  """Returns the words of each command of a block that calls python, ordseg, make or pytest, wrappers left out.

  >>> commands("X=1 srun python a.py --b='c d' # e" + chr(10) + "f --command='cd g && make h'")
  [['python', 'a.py', '--b=c d'], ['make', 'h']]
  """
  found, lines = [], re.sub(r"\\\n\s*", " ", text).splitlines()
  for line, after in zip(lines, [*lines[1:], ""], strict=True):
    if not re.search(r"\b(python|ordseg|make) ", line) or after.startswith("error:"):  # shown because it is refused
      continue
    lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    words = list(lexer)
    for word in words:
      if re.search(r" (python|make) ", word):  # a command within a command
        found += commands(word.partition("=")[2] or word)
    ends = [i for i, word in enumerate(words) if word in ("&&", "|", ";", ">", "&")] + [len(words)]
    for start, word in enumerate(words):
      if word in PROGRAMS and (start == 0 or words[start - 1] != "cd"):
        found.append(words[start : next(end for end in ends if end > start)])
  return found


COMMANDS = [(block, words) for block in blocks() if block.language in ("", "bash") for words in commands(block.text)]


def ids(value):
  return name(value.page) if isinstance(value, Block) else " ".join(value)[:60]


def test_there_are_commands():
  programs = {words[1] for _, words in COMMANDS if words[0] == "python"}
  assert {*SCRIPTS, "-m", "benchmarks/coverage.py"} <= programs
  assert {"make"} < {words[0] for _, words in COMMANDS}


@pytest.mark.parametrize(("block", "words"), [c for c in COMMANDS if c[1][0] == "make"], ids=ids)
def test_targets_of_make_exist(block, words):
  targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
  for word in words[1:]:
    assert word in targets or "=" in word, f"{name(block.page)}: make {word}"


@pytest.mark.parametrize(("block", "words"), [c for c in COMMANDS if c[1][0] != "make"], ids=ids)
def test_programs_take_these_arguments(block, words):
  program, argv = program_of(words)
  parser = parser_of(program)
  if parser is None:
    assert flags_of(argv) <= flags_in(program), f"{name(block.page)}: {' '.join(words)}"
    return
  try:
    parser.parse(argv)
  except SystemExit as stop:
    assert not stop.code, f"{name(block.page)}: {' '.join(words)}"


def program_of(words: list[str]) -> tuple[str, list[str]]:
  """Returns a sub-command of ordseg, or the file of another program, and the arguments."""
  if words[0] == "ordseg-predict":
    return "predict", words[1:]
  if words[0] == "ordseg":
    return words[1], words[2:]
  if (script := words[1].rpartition("/")[2]) in SCRIPTS:
    return SCRIPTS[script], words[2:]
  if words[1] == "-m" and words[2].startswith("ordseg."):
    command = words[2].partition(".")[2]
    return ALIASES.get(command, command), words[3:]
  if words[1] == "-m":
    path = words[2].replace(".", "/")
    return (f"{path}/__main__.py" if (ROOT / path).is_dir() else f"{path}.py"), words[3:]
  return words[1], words[2:]


def flags_of(argv: list[str]) -> set[str]:
  return {word.partition("=")[0] for word in argv if word.startswith("--") and not word.startswith("--config.")}


def flags_in(path: str) -> set[str]:
  """Returns the flags that a program declares, from its source; of `ordseg` itself these two."""
  if path.startswith("-"):  # ordseg --help, python -c
    return {"--help", "--version"}
  strings = (node.value for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.Constant))
  return {text for text in strings if isinstance(text, str) and re.fullmatch(r"--[a-z_]+", text)}


def parser_of(program: str):
  """Returns the parser of a sub-command; None for other programs."""
  if program.endswith(".py") or program.startswith("-"):
    return None
  return cli_flags.parser(program)


WITH_CONFIG = [c for c in COMMANDS if any(word.startswith("--config=configs/") for word in c[1])]


@pytest.mark.parametrize(("block", "words"), WITH_CONFIG, ids=ids)
def test_configs_have_these_fields(block, words, monkeypatch):
  monkeypatch.chdir(ROOT)
  rest, settings = config_files.split_builder_args([word for word in words if word.startswith("--config")])
  values, argv = flags.FlagValues(), ["", *rest]
  config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
  values(argv)  # raises where the file, its argument, a field or the type of a value is not right
  section = values.config.data
  data.read_settings(section.builder, settings, config_name=section.config)  # raises where the builder has no such


MENTIONED = sorted({(page, text) for page in PAGES for text in re.findall(r"`([^`\n]+)`", prose(page))})


INLINE = [(page, words) for page, text in MENTIONED if text.startswith(PROGRAMS) for words in commands(text)]


@pytest.mark.parametrize(("page", "words"), [c for c in INLINE if c[1][0] != "make"], ids=str)
def test_flags_in_the_text_exist(page, words):
  program, argv = program_of(words)
  parser = parser_of(program)
  known = flags_in(program) if parser is None else set(parser._option_string_actions)
  assert flags_of(argv) <= known, f"{name(page)}: {' '.join(words)}"


def mentioned(pattern: str):
  return [(page, match[1]) for page, text in MENTIONED if (match := re.match(pattern, text))]


@pytest.mark.parametrize(("page", "path"), mentioned(r"(?:--)?config\.((?:\w+\.)+\w+)"), ids=str)
def test_fields_in_the_text_exist(page, path):
  found = default.get_config()
  for key in path.split("."):
    if found is None or key not in found:
      assert path.startswith("data.builder_args."), f"{name(page)}: config.{path}"
      break
    found = found[key]


FILES = mentioned(r"((?:ordseg|data|docs|configs|benchmarks|tests)/[\w./-]*)$")


@pytest.mark.parametrize(("page", "path"), FILES, ids=str)
def test_files_in_the_text_exist(page, path):
  assert (ROOT / path).exists(), f"{name(page)}: {path}"


@pytest.mark.parametrize(("page", "dotted"), mentioned(r"(ordseg(?:\.[A-Za-z_]+)+)(?:\(.*\))?$"), ids=str)
def test_names_in_the_text_exist(page, dotted):
  parts, found = dotted.split("."), importlib.import_module("ordseg")
  for i, part in enumerate(parts[1:], start=2):
    if not hasattr(found, part):
      importlib.import_module(".".join(parts[:i]))
    found = getattr(found, part)


@pytest.mark.parametrize("block", [b for b in blocks() if b.language == "python"], ids=lambda b: name(b.page))
def test_python_compiles(block):
  compile(block.text, name(block.page), "exec")


@pytest.mark.parametrize("block", [b for b in blocks() if b.language == "pycon"], ids=lambda b: name(b.page))
def test_python_prints_what_stands_there(block, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  test = doctest.DocTestParser().get_doctest(block.text, {}, name(block.page), str(block.page), 0)
  result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test)
  assert result.attempted and not result.failed
