"""The config as ordseg declares it: trains the paper's hybrid loss on rater_phantom, a benchmark whose truth is known.

  python run_train.py --config=configs/default.py --workdir=runs/default
  python -m configs.default     # every field with its default, its allowed values and its meaning

On the command line any field can be changed: ``--config.loss.alpha=0.5 --config.train.num_steps=200``.
"""

import pathlib
import sys

from ml_collections import ConfigDict

from ordseg.config import Config, table


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the default config; takes no argument."""
  if arg:
    raise ValueError(f"configs/default.py takes no argument, got ':{arg}'. Use --config.<section>.<field>=<value>.")
  return Config().to_config_dict()


def _write(page: pathlib.Path) -> None:
  before, _, rest = page.read_text().partition("<!-- fields: written by make docs-tables -->")
  after = rest.partition("<!-- fields end -->")[2]
  page.write_text(f"{before}<!-- fields: written by make docs-tables -->\n{table()}\n<!-- fields end -->{after}")


if __name__ == "__main__":
  if "--write" in sys.argv[1:]:
    _write(pathlib.Path(__file__).parent.parent / "docs" / "configs.md")
  else:
    print(table())
