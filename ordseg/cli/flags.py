"""The whole command line: what `ordseg` can do and every flag of it. Imports no JAX, so that --help is quick."""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ordseg.cli.parsing import Parser, Switch, count, names, positive

Flags = Callable[[Parser], None]


@dataclasses.dataclass(frozen=True)
class Command:
  """A sub-command; its program is the module of ordseg/cli with its name.

  Attributes:
    summary: one line for the list of all.
    text: the rest of its --help: examples, exit status.
    flags: declares them.
    extras: of the package, that it needs.
    free: beginnings of arguments that are the program's own to read.
  """

  summary: str
  text: str
  flags: Flags
  extras: tuple[str, ...]
  free: tuple[str, ...] = ()


def parser(name: str, prog: str | None = None) -> Parser:
  """Returns the command line of one sub-command; `prog` is how it was called, ``ordseg <name>`` by default."""
  command, prog = COMMANDS[name], prog or f"ordseg {name}"
  out = Parser(prog=prog, description=f"{command.summary}\n\n{command.text.format(prog=prog)}", free=command.free)
  command.flags(out)
  return out


def parse(name: str, argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
  """Returns the flags' values; exits with status 0 for --help, with 2 and one line where something is wrong."""
  return parser(name, prog).parse(argv)


# What several sub-commands have, once.


def _workdir(p: Parser) -> None:
  p.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of a run, such as runs/mine")


def _workdirs(p: Parser) -> None:
  p.add_argument(
    "--workdir", required=True, type=names, help="folder of a trained run; several, with commas, are an ensemble"
  )


def _step(p: Parser) -> None:
  p.add_argument("--step", default="best", help="checkpoint: a step, best (by config.train.best_metric) or last")


def _split(p: Parser, default: str, text: str) -> None:
  p.add_argument("--split", default=default, help=text)


def _averaging(p: Parser) -> None:
  p.add_argument("--flips", action=Switch, help="average over the mirror images")
  p.add_argument("--dropout_samples", type=count, default=0, help="average over this many passes with dropout")


def _recalibration(p: Parser) -> None:
  p.add_argument(
    "--recalibration", default="", help="method that ordseg recalibrate fitted, or its file; by default none"
  )


def _data_places(p: Parser) -> None:
  p.add_argument("--data_dir", help="where built data sets live now; by default where the run's config.json says")
  p.add_argument("--manual_dir", help="where the raw files are now; by default where the run's config.json says")


def _anonymous(p: Parser, *, pictures: bool = False) -> None:
  text = "numbers for the names of cases and raters, in what is written to --out; no settings, no command"
  p.add_argument("--anonymous", action=Switch, help=text)
  text = "key file of the numbers; by default <out>_key.csv beside --out; what it holds already is kept"
  p.add_argument("--key", type=pathlib.Path, help=text)
  if pictures:
    p.add_argument("--pictures", action=Switch, help="keep the pictures in an anonymous report")


# The sub-commands.


def _train(p: Parser) -> None:
  p.add_argument("--config", required=True, help="config file, with an argument after a colon where it takes one")
  p.add_argument("--workdir", required=True, help="folder of this run; made if missing, continued if it holds a run")
  p.add_argument("--config.SECTION.FIELD", metavar="VALUE", dest="_", help="changes one field; repeat")


def _evaluate(p: Parser) -> None:
  _workdirs(p)
  _split(p, "test", "split to evaluate; TFDS slices such as test[:10%%] work")
  _step(p)
  _averaging(p)
  _recalibration(p)
  _data_places(p)


def _predict(p: Parser) -> None:
  _workdirs(p)
  p.add_argument("--input", required=True, help="file, folder, DICOM series folder, or pattern in quotes")
  p.add_argument("--output", required=True, type=pathlib.Path, help="folder for maps, overlays and summary.csv")
  _step(p)
  kinds = "mean_vote, majority, mask, entropy, disagreement, at_least_1 .. at_least_R"
  p.add_argument("--maps", default="mean_vote,majority,mask", help=f"all, or some of {kinds}")
  p.add_argument("--precision", default="float32", choices=("float32", "uint16"), help="of TIFF and NIfTI maps")
  p.add_argument("--dicom", action=Switch, help="DICOM images: segmentation objects and captures as well")
  p.add_argument("--allow_gaps", action=Switch, help="predict DICOM series that lack slices, too")
  p.add_argument("--no_overlay", action=Switch, help="draw no pictures")
  p.add_argument("--window", type=count, default=512, help="pixels a side; larger images are cut; 0: never")
  p.add_argument("--window_slices", type=count, default=64, help="slices of a volume at once, for 3-D networks; 0: all")
  p.add_argument("--overlap", type=float, default=0.25, help="share of a window that the next covers again, in [0, 1)")
  p.add_argument("--batch_size", type=positive, default=4, help="windows at once")
  _averaging(p)
  _recalibration(p)


def _check(p: Parser) -> None:
  p.add_argument("--builder", required=True, help="a folder of data/, such as folder_raters or lidc_slices")
  p.add_argument("--config", default="", help="the builder's config, by name; by default its first")
  p.add_argument("--data_dir", default="", help="where built data sets live; by default TFDS's own place")
  p.add_argument("--manual_dir", default="", help="folder with your files; by default none")
  p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the builder; repeat")
  p.add_argument("--limit", type=count, default=0, help="at most this many images of each split; 0: all")
  p.add_argument("--out", type=pathlib.Path, default=pathlib.Path("doctor"), help="folder for doctor.html")


def _compare(p: Parser) -> None:
  text = "a run's folder or an evaluation's, of a run or of maps; several after one name are seeds of one method"
  p.add_argument("methods", nargs="+", metavar="[NAME=]W[,W...]", help=text)
  _split(p, "test", "evaluation to take of a run's folder")
  p.add_argument("--baseline", help="method that the others are compared with; by default the first")
  text = "path in metrics.json, such as levels.rps; may be repeated or hold commas; by default MR-ECE, Dice, Brier, RPS"
  p.add_argument("--metric", action="append", type=names, help=text)
  p.add_argument("--resamples", type=int, default=10_000, help="number of bootstrap and permutation samples")
  p.add_argument("--confidence", type=float, default=0.95, help="of the intervals, in (0, 1)")
  p.add_argument("--interval", choices=("percentile", "bca"), default="percentile", help="kind of bootstrap interval")
  p.add_argument("--seed", type=int, default=0, help="of the resamples")
  text = "what is resampled; by default groups, such as patients, where there are any"
  p.add_argument("--group_by", choices=("image", "group"), help=text)
  p.add_argument("--out", required=True, help="folder for compare.md, .csv, .tex, .png, .pdf and reliability.*")
  _anonymous(p)


def _recalibrate(p: Parser) -> None:
  _workdirs(p)
  methods = "temperature, bias, vector, cutpoints, cutpoints_slope, beta, isotonic"
  p.add_argument("--method", required=True, help=f"auto (the best by cross-validation), or one of {methods}")
  p.add_argument("--read_out", default="mean_vote", help="by which a map is judged: mean_vote or majority")
  p.add_argument("--always", action=Switch, help="keep the map even if it is no better than none")
  p.add_argument("--loss", default="nll", help="what the fit makes small: nll or rps")
  _split(p, "validation", "split to fit on; TFDS slices such as validation[:50%%] work")
  _step(p)
  text = "pixels drawn of each image; 0: a million from all together"
  p.add_argument("--pixels_per_image", type=int, default=0, help=text)
  p.add_argument("--seed", type=int, default=0, help="of the draw of pixels")
  _averaging(p)
  _data_places(p)


def _report(p: Parser) -> None:
  p.add_argument("eval_dirs", nargs="+", metavar="EVAL_DIR", help="folder such as runs/mine/eval/test")
  p.add_argument("--out", type=pathlib.Path, help="folder to write to; by default that of the evaluation")
  _anonymous(p, pictures=True)


def _card(p: Parser) -> None:
  text = "folder of a run, such as runs/mine, or of an evaluation of maps"
  p.add_argument("--workdir", required=True, type=pathlib.Path, help=text)
  _split(p, "test", "the evaluation: a folder of <workdir>/eval")
  p.add_argument("--out", type=pathlib.Path, help="folder to write to; by default the workdir")
  text = "text file; by default what that section of the card says already"
  p.add_argument("--intended_use", type=pathlib.Path, help=text)
  text = "average power of all devices together, in watts; adds an estimate of the energy; by default none is made"
  p.add_argument("--power_watts", type=float, help=text)
  _anonymous(p)


def _declared(p: Parser, section: type[Any], aliases: Mapping[str, str]) -> None:
  """Adds a flag for each field of a dataclass of `settings.field`s."""
  from ordseg import settings

  for one in dataclasses.fields(section):
    setting = settings.setting_of(one)
    assert setting is not None
    names = [f"--{one.name}", *([aliases[one.name]] if one.name in aliases else [])]
    text = setting.help.replace("%", "%%")
    if isinstance(one.default, bool):
      p.add_argument(*names, action=Switch, help=text)
    else:
      text = text if one.default != "" else f"{text}; by default none"
      p.add_argument(*names, type=type(one.default), default=one.default, choices=setting.words or None, help=text)


def _score(p: Parser) -> None:
  from ordseg.case_files.options import Options  # imports NumPy, which other sub-commands' --help does without

  text = "folder of probability maps; several, with commas, are the members of an ensemble"
  p.add_argument("--maps", required=True, type=names, help=text)
  text = "folder of the raters' masks, in a layout of docs/own_data.md, or nnU-Net's raw data set"
  p.add_argument("--masks", required=True, type=pathlib.Path, help=text)
  p.add_argument("--out", required=True, type=pathlib.Path, help="folder for metrics.json, per_image.csv and the rest")
  text = "folder of the images, for pictures in the report, where --masks has none; by default none"
  p.add_argument("--images", type=pathlib.Path, help=text)
  text = "folder of masks of the pixels that count, named as the cases; by default all pixels count"
  p.add_argument("--region", type=pathlib.Path, help=text)
  _declared(p, Options, {"classes": "--class"})
  p.add_argument("--layout", default="auto", help="of the masks: auto, raters, cases, bids, manifest, nnunet or masks")
  p.add_argument("--raters", default="raters", help="name of the folder of the raters' folders in --masks")
  p.add_argument("--rater_pattern", default="*", help="which folders or files are raters, as a shell pattern")
  p.add_argument("--mask_prefix", default="", help="what a mask's name has before the case's; by default none")
  p.add_argument("--mask_suffix", default="", help="what it has after it; by default none")
  p.add_argument("--image_suffix", default="", help="what an image's name has after the case's; by default none")
  p.add_argument("--image_pattern", default="", help="which files are images, a shell pattern; by default the layout's")
  p.add_argument("--label", default="", help="layout bids: which structure; by default the one there is")
  p.add_argument("--manifest", default="manifest.csv", help="layout manifest: name of the table")
  p.add_argument("--num_bins", type=positive, default=15, help="bins of the calibration errors, at most 255")
  text = "pixels that count: image, or union_dilated (near what any rater marked, which depends on the labels)"
  p.add_argument("--roi", default="image", choices=("image", "union_dilated"), help=text)
  p.add_argument("--roi_margin", type=positive, default=16, help="how near, in pixels")
  text = "of the surface Dice, in mm where files have a spacing, else in pixels; by default outlines are not measured"
  p.add_argument("--surface_tolerance", type=float, help=text)


def _export(p: Parser) -> None:
  _workdir(p)
  p.add_argument("--out", required=True, type=pathlib.Path, help="folder for the model and metadata.json")
  p.add_argument("--format", default="jax", choices=("jax", "onnx"), help="of the file")
  _step(p)
  text = (
    "pixels of the ONNX model's images: height,width, by default 256,256; depth,height,width, by default 32,128,128"
  )
  p.add_argument("--size", default="", help=text)
  _recalibration(p)


COMMANDS = {
  "train": Command(
    "Train a segmentation network on the masks of several raters.",
    """{prog} --config=configs/quickstart.py --workdir=runs/mine
{prog} --config=configs/quickstart.py --workdir=runs/mine --config.loss.alpha=0.5 --config.seed=1
{prog} --config=configs/quickstart.py:baseline --workdir=runs/baseline

configs/default.py lists every field with its unit and allowed values. A run continues where its workdir stands; the
workdir then holds config.json, checkpoints/, train_metrics.jsonl and TensorBoard events. Next: ordseg evaluate.""",
    _train,
    ("train", "images", "data"),
    free=("--config.", "--noconfig."),
  ),
  "evaluate": Command(
    "Evaluate a run: metrics.json, per_image.csv, report.html and figures in <workdir>/eval/<split>.",
    """{prog} --workdir=runs/mine --split=test
{prog} --workdir=runs/mine --split=validation --step=last
{prog} --workdir=runs/seed0,runs/seed1,runs/seed2 --flips
{prog} --workdir=runs/mine --recalibration=temperature

The config, the data set and the preprocessing come from the workdir. Where the data have moved since the training,
say so with --data_dir or --manual_dir.""",
    _evaluate,
    ("train", "images", "data", "report"),
  ),
  "score": Command(
    "Score probability maps that any tool wrote against the masks of several raters.",
    """{prog} --maps=predictions/ --masks=mydata/ --out=scores/nnunet
{prog} --maps=fold0/,fold1/ --masks=mydata/ --out=scores/ensemble --group_regex='(p[0-9]+)_'
{prog} --maps=predictions/ --masks=nnUNet_raw/Dataset701 --class=lesion --missing=skip --out=scores/lesion

Maps of nnU-Net, MONAI and others: npz, NIfTI, PNG, TIFF, DICOM segmentations. What is doubtful is refused in one line,
what is odd is listed (docs/score.md). --out is an evaluation with its report.html, and ordseg compare takes it beside
others and runs. Several classes go to folders of their own in --out. Exit status: 0 scored, 2 something is wrong and
nothing was written.""",
    _score,
    ("images", "report"),
  ),
  "predict": Command(
    "Predict images of your own: maps of how many raters would mark each pixel.",
    """{prog} --workdir=runs/mine --input=scans/ --output=maps/

Exit status: 0 all files done; 1 some failed (summary.csv says which and why), the others are done; 2 the command
itself is wrong, or the output folder cannot be written to (any more); 130 stopped by Ctrl-C, summary.csv has what was
done.""",
    _predict,
    ("train", "images"),
  ),
  "check": Command(
    "Look for what is wrong in a data set before anyone trains on it.",
    """{prog} --builder=folder_raters --manual_dir=mydata

Counts, agreement of the raters, and what looks wrong. Exit status: 0 nothing looks wrong, 1 something does, 2 the
command itself is wrong or the data cannot be read.""",
    _check,
    ("train", "images", "data", "report"),
  ),
  "compare": Command(
    "Compare runs on the same images: paired differences, intervals, tests.",
    """{prog} runs/baseline runs/ours --out=runs/compared
{prog} bce=runs/bce0,runs/bce1 ours=runs/ours0,runs/ours1 --metric=levels.rps --out=runs/compared""",
    _compare,
    ("train", "report"),
  ),
  "recalibrate": Command(
    "Fit a recalibration map to the votes of a validation split, kept beside the checkpoint.",
    """{prog} --workdir=runs/mine --method=temperature
{prog} --workdir=runs/mine --method=vector --loss=rps
{prog} --workdir=runs/mine --method=auto       # the best of all, or none
ordseg evaluate --workdir=runs/mine --recalibration=temperature

A map is kept if it beats the predictions as they are on images it was not fitted on, by the read-out in use. Several
workdirs, --flips and --dropout_samples fit the map for what these predict together (docs/recalibration.md).""",
    _recalibrate,
    ("train", "images", "data"),
  ),
  "report": Command(
    "Write the report of one evaluation anew.",
    "{prog} runs/mine/eval/test\n{prog} runs/mine/eval/test --anonymous --out=to_send",
    _report,
    ("report",),
  ),
  "card": Command(
    "Write the model card of a trained and evaluated run, as Markdown and HTML.",
    "{prog} --workdir=runs/mine",
    _card,
    ("train", "report"),
  ),
  "export": Command(
    "Export a run as one file that runs without this package: a JAX artefact, or ONNX.",
    """{prog} --workdir=runs/mine --format=jax --out=exported/
{prog} --workdir=runs/mine --format=onnx --size=256,256 --out=exported/

Both map prepared images [B, H, W, C] float32 to the probabilities of 0..R votes [B, H, W, R + 1]; metadata.json beside
them says how images are prepared and what the outputs mean (docs/export.md).""",
    _export,
    ("train", "images"),
  ),
}
