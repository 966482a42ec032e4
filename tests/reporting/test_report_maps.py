"""Report, summary and card of maps that were scored without a run: no levels, no majority, no config."""

import html
import json
import re

import numpy as np
import pytest

from ordseg import records
from ordseg.cli import card as card_program
from ordseg.cli import report as program
from ordseg.errors import InputError
from ordseg.evaluation import MultiRaterMetrics, evaluator
from ordseg.reporting import card, report
from ordseg.reporting.report import answer, noise, page, reading, terms
from tests.helpers import evaluations
from tests.reporting.test_report import Page


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
  folder = evaluations.write_maps(tmp_path_factory.mktemp("scored") / "maps", group="p{}")
  report.write_report(folder)
  return folder


@pytest.fixture(scope="module")
def shown(maps):
  return Page((maps / "report.html").read_text())


def test_the_page_says_once_why_there_are_no_levels(maps, shown):
  assert not shown.wrong
  assert shown.text.count("one probability per pixel") == 1 and terms.NO_LEVELS in shown.text
  for absent in ("RPS (", "Level ECE", "At least j of", "How many raters must agree", "whole distribution", "GED, NCC"):
    assert absent not in shown.text
  heads = re.findall(r'<th scope="col" class="number">([^<]*)</th>', (maps / "report.html").read_text())
  assert "Mean vote" in heads and "Majority" not in heads
  assert not any(attrs.get("id") == "slider" for attrs in shown.all("div"))


def test_the_numbers_are_those_of_the_one_map_and_none_is_filled(maps, shown):
  e = reading.load(maps)
  assert not e.has_levels and e.read_outs == ("mean_vote",) and not e.of_run
  assert page.level_rows(e) == [] and all(len(cells) == 1 for _, rows in page.score_groups(e) for _, cells in rows)
  cells = [cell for _, rows in page.score_groups(e) for _, (cell,) in rows]
  known = [m for group in terms.READ_OUT_GROUPS for m in group.metrics if e.number(f"read_outs.mean_vote.{m.key}")]
  assert sum(not cell.missing for cell in cells) == len(known) > 10
  own = e.metrics["read_outs"]["mean_vote"]["dice_rater_mean"]
  (people,) = [fact for fact in answer.facts(e) if fact.title == "Overlap with one rater's outline"]
  assert people.value.startswith(f"{own:.2f}")
  dice = next(model for m, _, model in page.left_out_rows(e) if m.key == "dice")
  assert dice.text == f"{own:.{len(dice.text) - 2}f}"
  assert {row.read_out for row in noise.rows(e)} == {"mean vote"}
  assert len(page.reliability_figures(e, maps / "figures")) == 1 and page.bin_rows(
    e.curves["read_outs"]["mean_vote"]["pooled"]
  )


def test_every_number_stands_between_floor_and_ceiling(maps, shown):
  """The Brier score of a constant map is that of the prevalence; no map is below the spread of the votes."""
  e = reading.load(maps)
  first, own, *raters, _, last = page.reference_rows(e)
  _, masks, _ = evaluations.blobs(12, 3, 0)
  share = masks.mean()
  assert first[4] == f"{share * (1 - share):.4f}" and own[4] == f"{e.number('read_outs.mean_vote.brier'):.4f}"
  assert last[4] == f"{(masks.mean(-1) * (1 - masks.mean(-1))).mean():.4f}"
  assert [row[0] for row in raters] == [f"rater {k}, against the others" for k in (1, 2, 3)]
  assert float(first[4]) > float(own[4]) > float(last[4]) and own[0] == "these maps"
  assert "Between floor and ceiling" in shown.text and first[4] in shown.text


def test_nothing_of_a_run_is_claimed(maps, shown):
  assert "probability maps nnunet" in shown.text and "unknown" not in shown.text
  assert "To repeat this evaluation" not in shown.text and "config of the training" not in shown.text
  assert "predictions" in shown.text and "/home/someone" not in shown.text  # of a folder its name
  assert "blobs: 12 images, 3 raters" in shown.text and "split" not in terms.subject(reading.load(maps))
  assert "No pictures: none were kept." in shown.text
  assert {f.name for f in (maps / "figures").iterdir()} == {
    f"reliability_{name}.{kind}" for name in ("votes", "raters") for kind in ("png", "pdf")
  }


def test_the_summary_has_one_column_and_no_levels(maps):
  text = report.text_summary(maps)
  assert "RPS" not in text and "majority\n" not in text.split("---")[0] and max(map(len, text.splitlines())) <= 100
  assert " ".join(text.split()).count(terms.NO_LEVELS) == 1
  assert f"{reading.load(maps).number('read_outs.mean_vote.brier'):.4f}" in text


def test_pictures_without_images_have_no_input_and_no_outlines(maps, tmp_path):
  """Whatever levels an archive may hold: there are none."""
  folder = evaluations.write_maps(tmp_path / "maps")
  entry = {"k": 0, "id": "image-03", "kind": "worst", "dice": 0.5, "mr_ece": 0.1, "brier": 0.2}
  arrays = {f"{name}_0": np.full((20, 24), value, np.float32) for name, value in (("mean_vote", 1 / 3), ("prob", 0.25))}
  arrays |= {"tails_0": np.zeros((20, 24, 3), np.uint8), "meta": np.asarray(json.dumps([entry]))}
  (folder / "examples.npz").write_bytes(records.npz_bytes(arrays))
  evaluations.sign(folder)
  report.write_report(folder)
  found = Page((folder / "report.html").read_text())
  captions = [word.strip() for word in found.words if word.strip() in ("input", "share of raters", "probability")]
  assert "image-03" in found.text and captions == ["share of raters", "probability"] and not found.wrong
  assert "earlier version" not in found.text and (folder / "figures/examples.png").is_file()


@pytest.mark.parametrize(
  ("file", "edit", "lacks"),
  [
    ("metrics.json", lambda m: m["read_outs"].pop("majority"), "'read_outs.majority'"),
    ("metrics.json", lambda m: (m.pop("levels"), m["read_outs"].pop("majority")), "'read_outs.majority'"),
    ("curves.json", lambda c: c["read_outs"].pop("majority"), "'read_outs.majority.pooled'"),
  ],
)
def test_a_damaged_evaluation_of_a_run_is_not_taken_for_one_without_levels(tmp_path, file, edit, lacks):
  folder = evaluations.write(tmp_path / "eval/test")
  evaluations.change(folder, file, edit)
  with pytest.raises(InputError, match=f"{file} lacks {lacks}"):
    reading.load(folder)


def test_scores_with_levels_and_no_run_have_their_levels(tmp_path):
  """Level probabilities of another tool: all tables, and still no config."""
  _, masks, levels = evaluations.blobs(4, 3, 0)
  scores = MultiRaterMetrics()
  for k in range(4):
    scores.update(levels[k], masks[k])
  evaluator.write(scores.compute(), tmp_path / "maps", evaluations.MAPS)
  report.write_report(tmp_path / "maps")
  text = Page((tmp_path / "maps/report.html").read_text()).text
  assert "At least j of 3 raters" in text and "one probability per pixel" not in text and "To repeat" not in text


def test_the_card_has_maps_in_place_of_model_and_training(maps, tmp_path, capsys):
  card_program.main([f"--workdir={maps}", f"--out={tmp_path / 'out'}"])
  assert capsys.readouterr().out.startswith(f"model card: {tmp_path / 'out'}/card.md")
  markdown, source = ((tmp_path / "out" / f"card.{kind}").read_text() for kind in ("md", "html"))
  heads = re.findall(r"^## (.*)$", markdown, flags=re.M)
  assert heads == ["How sure one may be", "Intended use", "Limits", "Data", "Maps", "Evaluation", "Versions"]
  plain = re.sub(r"\\(.)", r"\1", markdown)
  assert "probability maps nnunet on blobs" in plain and "step" not in plain and terms.NO_LEVELS in plain
  assert "| Dice (higher is better) | mean vote |" in plain
  assert f"{reading.load(maps).number('read_outs.mean_vote.brier'):.4f}" in plain
  assert not Page(source).wrong and "Training" not in html.unescape(source)
  assert "/home/someone" not in plain + source
  with pytest.raises(InputError, match="leave --power_watts out"):
    card.write_card(maps, power_watts=5.0)


def test_the_program_writes_the_report_anew_and_elsewhere(maps, tmp_path, capsys):
  before = (maps / "report.html").read_bytes()
  program.main([str(maps), f"--out={tmp_path / 'elsewhere'}"])
  assert f"report: {tmp_path / 'elsewhere/report.html'}" in capsys.readouterr().out
  assert (tmp_path / "elsewhere/report.html").read_bytes() == before
  with pytest.raises(SystemExit):
    program.main([str(maps), f"--out={maps}"])
  assert "holds an evaluation" in capsys.readouterr().err
