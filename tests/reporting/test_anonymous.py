"""What may leave the machine: no case's or rater's name, no folder, no setting; the key that gives the names back."""

import csv
import re
import stat

import pytest

from ordseg.cli import card as card_program
from ordseg.cli import compare as compare_program
from ordseg.cli import report as program
from ordseg.errors import InputError
from ordseg.reporting.report import anonymous, reading
from tests.helpers import comparisons, evaluations
from tests.reporting.test_card import workdir
from tests.reporting.test_report import Page

RATERS = ["dr-adams", "dr-brown", "dr-clark"]
DATA = {**evaluations.INFO["data"], "raters": RATERS, "settings": {"raters": "dr-adams,dr-brown,dr-clark"}}
SECRETS = [*RATERS, "image-0", "image-1", "secret", "run-of-someone", "/tmp", "dr_adams"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  info = {"data": DATA, "predicted_by": {"workdirs": ["/home/secret/w"]}}
  return evaluations.write(tmp_path_factory.mktemp("runs") / "run-of-someone/eval/test", info=info)


def written(folder):
  """All text that lies in a folder, and the names of its files."""
  files = [path for path in folder.rglob("*") if path.is_file()]
  text = "\n".join(path.read_text() for path in files if path.suffix in (".html", ".md", ".csv", ".tex"))
  return text, {path.relative_to(folder).as_posix() for path in files}


def rows_of(path):
  return list(csv.DictReader(path.open()))


def test_the_report_has_numbers_and_the_key_has_the_names(run, tmp_path, capsys):
  out = tmp_path / "to_send"
  program.main([str(run), "--anonymous", f"--out={out}"])
  said = capsys.readouterr().out
  text, names = written(out)
  assert not [secret for secret in SECRETS if secret in text]
  assert {"rater 1", "rater 2", "rater 3"} <= set(re.findall(r"rater \d", text)) and "left out: --anonymous" in text
  assert "No pictures: they were left out of this report." in text
  assert names == {"report.html"} | {
    f"figures/reliability_{name}.{kind}"
    for name in ("votes", "majority", "raters", "levels")
    for kind in ("png", "pdf")
  }
  key = tmp_path / "to_send_key.csv"
  assert f"key of the names, not to be sent: {key}" in said and stat.S_IMODE(key.stat().st_mode) == 0o600
  assert rows_of(key) == [{"kind": "rater", "number": str(k), "name": RATERS[k - 1]} for k in (1, 2, 3)]
  whole = reading.load(run)
  assert (
    f"{whole.number('read_outs.mean_vote.brier'):.4f}" in text and not Page((out / "report.html").read_text()).wrong
  )
  assert (run / "report.html").exists() == (run / "figures").exists() is False  # nothing beside the evaluation


def test_pictures_are_kept_where_asked_under_numbers_and_go_again(run, tmp_path):
  out, key = tmp_path / "to_send", tmp_path / "kept/key.csv"
  program.main([str(run), "--anonymous", "--pictures", f"--out={out}", f"--key={key}"])
  text, names = written(out)
  assert not [secret for secret in SECRETS if secret in text] and "figures/examples.png" in names
  shown = re.findall(r"<strong>(case \d+)</strong>", text)
  examples = [example.id for example in reading.load_examples(run)]
  key_rows = {f"case {row['number']}": row["name"] for row in rows_of(key) if row["kind"] == "case"}
  assert [key_rows[name] for name in shown] == examples and len(set(shown)) == len(examples) > 3
  before = rows_of(key)
  program.main([str(run), "--anonymous", f"--out={out}", f"--key={key}"])
  assert rows_of(key) == before  # names keep the numbers that were sent
  assert "figures/examples.png" not in written(out)[1]


def test_new_names_get_new_numbers_and_none_twice(tmp_path):
  key = anonymous.key_for(tmp_path / "out")
  first = key.cases(["b", "a"])
  key.write()
  again = anonymous.key_for(tmp_path / "out")
  assert again.cases(["a", "c", "b", "a"]) == [first[1], "case 3", first[0], first[1]] and set(first) == {
    "case 1",
    "case 2",
  }
  orders = {tuple(anonymous.key_for(tmp_path / "x").cases(list("abcdefgh"))) for _ in range(8)}
  assert len(orders) > 1  # the order of the names is not told


def test_the_comparison_has_numbers_for_images_left_out(tmp_path, capsys):
  comparisons.lone_images(evaluations.write(tmp_path / "a/eval/test", info={"data": DATA}))
  names = [f"image-{k:02d}" if k >= 2 else None for k in range(12)]
  evaluations.write_maps(tmp_path / "b", names=names, info={**evaluations.MAPS, "data": DATA})
  arguments = [f"run={tmp_path / 'a'}", f"maps={tmp_path / 'b'}", "--anonymous", f"--out={tmp_path / 'sent'}"]
  compare_program.main([*arguments, "--resamples=100"])
  text, files = written(tmp_path / "sent")
  assert not [secret for secret in SECRETS if secret in text] and "left_out.csv" in files
  assert re.search(r"2 images of run: case [12], case [12]\.", text)
  assert {row["name"] for row in rows_of(tmp_path / "sent_key.csv") if row["kind"] == "case"} == {
    "image-00",
    "image-01",
  }
  assert "key of the names" in capsys.readouterr().out


def test_the_card_names_nobody(tmp_path):
  run = workdir(tmp_path / "run-of-someone")
  evaluations.change(run / "eval/test", "metrics.json", lambda m: m["data"].update(DATA))
  config = (run / "config.json").read_text()
  assert "num_raters" in config
  card_program.main([f"--workdir={run}", "--anonymous", f"--out={tmp_path / 'sent'}"])
  text, _ = written(tmp_path / "sent")
  assert not [secret for secret in SECRETS if secret in text]
  assert "rater 1, rater 2, rater 3" in text and "left out: --anonymous" in text.replace("\\", "")
  assert not (run / "card.md").exists() and len(rows_of(tmp_path / "sent_key.csv")) == 3


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--anonymous"], "--anonymous needs --out"),
    (["--anonymous", "--out={0}/o", "--key={0}/o/key.csv"], "would lie in"),
    (["--key={0}/key.csv"], "--key is for --anonymous"),
    (["--pictures"], "--pictures is for --anonymous"),
    (["--anonymous", "--out={0}/o", "--key={0}/bad.csv"], "no key of names"),
    (["--anonymous", "--out={0}/o", "--key={0}/twice.csv"], "share a number"),
    (["--anonymous", "--out={0}/o", "--key={0}/text.csv"], "cannot be read as a key"),
  ],
)
def test_a_slip_gets_one_line_and_writes_nothing(run, tmp_path, capsys, arguments, message):
  (tmp_path / "bad.csv").write_text("a,b,c\ncase,1,x\n")
  (tmp_path / "twice.csv").write_text("kind,number,name\ncase,1,x\ncase,1,y\n")
  (tmp_path / "text.csv").write_text("kind,number,name\ncase,one,x\n")
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(SystemExit) as stopped:
    program.main([str(run), *(a.format(tmp_path) for a in arguments)])
  error = capsys.readouterr().err
  assert stopped.value.code == 2 and message in error and len(error.splitlines()) == 1
  assert sorted(tmp_path.rglob("*")) == before


def test_what_is_kept_of_an_evaluation_is_listed(run, tmp_path):
  """A field that nobody thought of does not pass."""
  e = reading.load(run)
  e.metrics["notes"] = "dr-adams was late"
  e.metrics["data"]["contact"] = e.metrics["model"]["author"] = "dr-adams"
  kept = anonymous.evaluation(e, anonymous.key_for(tmp_path / "out")).metrics
  assert "dr-adams" not in str(kept) and "/home" not in str(kept)
  assert kept["read_outs"] == e.metrics["read_outs"] and kept["data"]["fingerprint"] == DATA["fingerprint"]


def test_an_empty_key_file_is_refused(tmp_path):
  (tmp_path / "key.csv").write_text("")
  with pytest.raises(InputError, match="cannot be read as a key"):
    anonymous.key_for(tmp_path / "out", tmp_path / "key.csv")
