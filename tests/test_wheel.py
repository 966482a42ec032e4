"""What users install: built, checked and tried outside the repository (also ``make wheel``)."""

import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests import wheel

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.timeout(1800)
@pytest.mark.slow  # downloads what the wheel needs into an environment of its own
def test_the_wheel_works_outside_the_repository(tmp_path):
  pytest.importorskip("build")
  subprocess.run([sys.executable, "-m", "build", "--quiet", "--outdir", tmp_path, ROOT], check=True)
  (built,) = tmp_path.glob("*.whl")
  names = zipfile.ZipFile(built).namelist()
  assert not [name for name in names if not name.startswith("ordseg")]
  wanted = ("ordseg/py.typed", "ordseg/cli/aliases/predict.py", "ordseg/reporting/templates/report.html")
  assert set(wanted) <= set(names)
  (source,) = tmp_path.glob("*.tar.gz")
  with tarfile.open(source) as archive:
    assert any(name.endswith("/ordseg/cli/main.py") for name in archive.getnames())
  wheel.main(str(built))
