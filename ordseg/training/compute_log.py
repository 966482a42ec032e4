"""compute.json: how long a run has trained and on what, for its model card."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax

from ordseg import records
from ordseg.errors import InputError
from ordseg.training import parallel
from ordseg.types import Params

FILE = "compute.json"
_SESSION = {"seconds", "platform", "device", "num_devices"}


class ComputeLog:
  """Keeps one entry per start of the program, those of starts that were killed included, up to their last row.

  The file holds ``num_parameters`` and ``sessions``, a list of {first_step, last_step, seconds, platform, device,
  num_devices, num_processes}. Seconds are of the wall clock, compilation and validation included.
  """

  def __init__(
    self, workdir: pathlib.Path, *, step: int, parameters: Params, clock: Callable[[], float] = time.monotonic
  ):
    """Starts an entry; writes nothing yet.

    Args:
      workdir: folder of the run.
      step: where the training stands.
      parameters: of the network, to be counted.
      clock: seconds.
    """
    self._path, self._clock, self._start = workdir / FILE, clock, clock()
    self._size = sum(int(p.size) for p in jax.tree.leaves(parameters))
    self._earlier = read(workdir).get("sessions", [])
    device = jax.devices()[0]
    self._session = {
      "first_step": step,
      "last_step": step,
      "seconds": 0.0,
      "platform": device.platform,
      "device": device.device_kind,
      "num_devices": jax.device_count(),
      "num_processes": parallel.process_count(),
    }

  def write(self, step: int) -> None:
    """Brings the file up to date."""
    self._session |= {"last_step": step, "seconds": round(self._clock() - self._start, 3)}
    records.write_json(self._path, {"num_parameters": self._size, "sessions": [*self._earlier, dict(self._session)]})


def read(workdir: pathlib.Path) -> dict[str, Any]:
  """Reads compute.json; {} where there is none.

  Raises:
    InputError: it is damaged.
  """
  path, way_out = workdir / FILE, "No result depends on it: delete it, and the model card will say 'not recorded'."
  if not path.exists():
    return {}
  content = records.read_json(path, way_out)
  sessions = content.get("sessions", [])
  if not (isinstance(sessions, list) and all(isinstance(s, dict) and s.keys() >= _SESSION for s in sessions)):
    raise InputError(f"{path} is damaged: its sessions are no list of what was recorded. {way_out}")
  return content
