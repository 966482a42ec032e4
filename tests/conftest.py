"""Settings of the whole suite. They go through the environment, so that programs started by tests have them too."""

import os
import pathlib

# Compiled programs are kept between runs of the suite: most of its time would otherwise go into compiling.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parent.parent / ".jax_cache"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUM_CPU_DEVICES"] = "4"  # so that what is said of several devices is tested in this process
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")

from absl import flags

from ordseg.training import xla_guard

xla_guard.guard()  # as programs do before they touch a device
flags.FLAGS.mark_as_parsed()
