"""The sections of the config: every field once, with its type, default, allowed values and help."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ml_collections import ConfigDict  # pyright: ignore[reportMissingTypeStubs]

from ordseg import heads, losses, models
from ordseg.errors import InputError, did_you_mean
from ordseg.metrics import region
from ordseg.settings import Registry, Setting, field, setting_of


class Section:
  """Base of the sections: frozen dataclasses that check themselves when they are made.

  Raises:
    InputError: a value that may not be, or fields that do not fit each other; from the constructor.
  """

  path: ClassVar[str]

  def __post_init__(self) -> None:
    for name, (default, setting) in declared_in(type(self)).items():
      setting.validate(getattr(self, name), default, path=f"{self.path}.{name}")
    self._check()

  def _check(self) -> None:
    """Checks what one field alone does not show."""

  def to_dict(self) -> dict[str, Any]:
    """Returns field -> value."""
    return {declared.name: getattr(self, declared.name) for declared in dataclasses.fields(self)}  # pyright: ignore[reportArgumentType]


def declared_in(section: type) -> dict[str, tuple[Any, Setting]]:
  """Returns field -> (default, setting) of what a section itself declares."""
  settings = {declared.name: (declared.default, setting_of(declared)) for declared in dataclasses.fields(section)}
  return {name: (default, setting) for name, (default, setting) in settings.items() if setting is not None}


def _crop_size(value: tuple[object, ...]) -> str:
  is_right = len(value) in (2, 3) and all(type(n) is int and 0 < n <= 65536 for n in value)
  return "" if is_right else "two integers in [1, 65536] (H, W), or three (D, H, W) for volumes"


def _window(pixels: int) -> str:
  return "" if pixels == 0 or pixels >= 16 else "0 or >= 16"


@dataclasses.dataclass(frozen=True)
class Data(Section):
  """Which examples, and how they are read. `builder_args` is open: its fields are those of the builder's own config."""

  path: ClassVar[str] = "config.data"

  builder: str = field("rater_phantom", help="a folder of data/ (data/README.md lists them)")
  config: str = field("default", help="the builder's own config, by name; '' is its first")
  builder_args: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
  data_dir: str = field("", help="where built data sets live; '': $TFDS_DATA_DIR, else ~/tensorflow_datasets")
  manual_dir: str = field("", help="folder with the files you downloaded yourself, for builders that need it")
  train_split: str = field("train", help="a split of the data set, or a slice of one such as train[:10%]")
  validation_split: str = field("validation", help="chooses the best checkpoint")
  raters: str = field("all", help="whom training sees: all; random: one per image, drawn anew; or numbers: 0,2")
  crop_size: tuple[int, ...] = field(
    (64, 64),
    check=_crop_size,
    help="pixels (H, W), or (D, H, W) of volumes; smaller examples are padded, masked",
  )
  num_threads: int = field(2, ge=0, le=1024, help="threads that read and augment, per process")
  prefetch_batches: int = field(2, ge=1, le=1024, help="batches kept ready on the device")

  def _check(self) -> None:
    if not isinstance(self.builder_args, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
      raise InputError(f"config.data.builder_args={self.builder_args!r} must be a section with fields.")


@dataclasses.dataclass(frozen=True)
class Preprocess(Section):
  """From stored intensities to what the network sees; see `preprocess.fit`."""

  path: ClassVar[str] = "config.preprocess"

  intensity: str = field(
    "range",
    choices=("range", "percentile", "zscore"),
    help="range: [low, high] -> [-1, 1]; percentile: same, of the image; zscore: mean 0, standard deviation 1",
  )
  low: float = field(0.0, help="intensity, or percentile")
  high: float = field(255.0, help="intensity, or percentile")

  def _check(self) -> None:
    if self.intensity == "zscore":
      return
    given = f"config.preprocess.low={self.low:g} and high={self.high:g}"
    if not self.low < self.high:
      raise InputError(f"{given} must be finite, with low < high.")
    if self.intensity == "percentile" and not 0 <= self.low < self.high <= 100:
      raise InputError(f"{given} are percentiles with intensity='percentile' and must lie in [0, 100].")


@dataclasses.dataclass(frozen=True)
class Augment(Section):
  """Maxima of the random changes; each example draws its own. 0 is off."""

  path: ClassVar[str] = "config.augment"

  enabled: bool = field(True, help="False: examples are only cropped")
  flip: bool = field(True, help="left-right and up-down, each with probability 1/2")
  rotate_degrees: float = field(15.0, ge=0, le=180, help="degrees")
  scale: float = field(0.1, ge=0, help="relative: size times a factor in [1 / 1.1, 1.1]")
  elastic_alpha: float = field(0.0, ge=0, help="pixels, standard deviation of the displacement; at most elastic_sigma")
  elastic_sigma: float = field(8.0, ge=0, help="pixels, its smoothness")
  brightness: float = field(0.1, ge=0, help="added; the prepared image spans about [-1, 1]")
  contrast: float = field(0.1, ge=0, le=1, help="relative")
  gamma: float = field(0.0, ge=0, help="exponent in [1 / (1 + gamma), 1 + gamma]")
  noise: float = field(0.0, ge=0, help="standard deviation, on the prepared image")

  def _check(self) -> None:
    if self.elastic_alpha > self.elastic_sigma:
      raise InputError(
        f"config.augment.elastic_alpha={self.elastic_alpha!r} must be <= elastic_sigma={self.elastic_sigma!r}: "
        "larger displacements fold the image onto itself."
      )


@dataclasses.dataclass(frozen=True)
class Chosen(Section, Mapping[str, Any]):
  """A section that names something registered, with the settings of all that is registered.

  Each setting is an attribute and an item, as the declared fields are; `settings` holds the settings alone.
  """

  name: str
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])

  @classmethod
  def registry(cls) -> Registry[Any]:
    """Returns what `name` can name."""
    raise NotImplementedError

  def __post_init__(self) -> None:
    union = {key: declared.default for key, declared in self.registry().settings().items()}
    self.registry().choose(self.name, self.settings)
    object.__setattr__(self, "settings", union | dict(self.settings))
    super().__post_init__()

  def to_dict(self) -> dict[str, Any]:
    """Returns field -> value, the settings among them."""
    return {**{name: getattr(self, name) for name in declared_in(type(self))}, **self.settings}

  def __getattr__(self, name: str) -> Any:
    settings = self.__dict__.get("settings", {})
    if name not in settings:
      raise AttributeError(f"{self.path} has no field {name!r}.{did_you_mean(name, settings)}")
    return settings[name]

  def __getitem__(self, name: str) -> Any:
    return self.to_dict()[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self.to_dict())

  def __len__(self) -> int:
    return len(self.to_dict())


@dataclasses.dataclass(frozen=True)
class Model(Chosen):
  """The network and its head."""

  path: ClassVar[str] = "config.model"

  name: str = field("unet", choices=lambda: models.NETWORKS, help="the network; docs/configs.md compares them")
  head: str = field("softmax", choices=lambda: heads.HEADS, help="sigmoid is for the binary losses")

  @classmethod
  def registry(cls) -> Registry[Any]:
    """Returns the networks."""
    return models.NETWORKS

  def _check(self) -> None:
    models.check(self)


@dataclasses.dataclass(frozen=True)
class Loss(Chosen):
  """The loss. A setting that the chosen one does not read must stay at its default."""

  path: ClassVar[str] = "config.loss"

  name: str = field("rps_bce", choices=lambda: losses.LOSSES, help="docs/method.md, section 4, compares them")

  @classmethod
  def registry(cls) -> Registry[Any]:
    """Returns the losses."""
    return losses.LOSSES


@dataclasses.dataclass(frozen=True)
class Optim(Section):
  """The optimiser and its learning rate; see `optim.get_tx`."""

  path: ClassVar[str] = "config.optim"

  name: str = field("adamw", choices=("adamw", "sgd"), help="the optimiser")
  learning_rate: float = field(2e-3, gt=0, help="peak")
  schedule: str = field("cosine", choices=("constant", "cosine"), help="after a linear warm-up")
  warmup_steps: int = field(50, ge=0, help="steps")
  final_lr_fraction: float = field(0.0, ge=0, le=1, help="cosine: final over peak learning rate")
  weight_decay: float = field(1e-4, ge=0, help="decoupled; not on biases and norm scales")
  b1: float = field(0.9, ge=0, lt=1, help="adamw: decay of the first moment; sgd: momentum")
  b2: float = field(0.999, ge=0, lt=1, help="adamw: decay of the second moment")
  clip_norm: float = field(1.0, ge=0, help="global norm of the gradient; 0 is off")
  ema_decay: float = field(0.0, ge=0, lt=1, help="decay of the averaged weights used for evaluation; 0 is off")


@dataclasses.dataclass(frozen=True)
class Train(Section):
  """How long, and what is kept."""

  path: ClassVar[str] = "config.train"

  batch_size: int = field(16, ge=1, le=2**20, help="examples per step over all devices and processes")
  num_steps: int = field(1000, gt=0, help="steps in all; a finished run may be lengthened")
  log_every_steps: int = field(20, gt=0, help="one line, one row of train_metrics.jsonl")
  eval_every_steps: int = field(250, gt=0, help="on the validation split")
  checkpoint_every_steps: int = field(250, gt=0, help="besides the one after each evaluation")
  keep_last: int = field(2, gt=0, help="checkpoints")
  keep_best: int = field(1, ge=0, help="further checkpoints, by best_metric")
  best_metric: str = field("read_outs.mean_vote.brier", help="a path in metrics.json")
  best_mode: str = field("min", choices=("min", "max"), help="which of two values is better")


@dataclasses.dataclass(frozen=True)
class Eval(Section):
  """How images are predicted and judged."""

  path: ClassVar[str] = "config.eval"

  batch_size: int = field(16, ge=1, le=2**20, help="images of equal size at once, over the devices of one process")
  window: int = field(
    0,
    check=_window,
    help="pixels: larger images are predicted in overlapping windows of this side; 0: whole",
  )
  window_slices: int = field(0, ge=0, help="the same for the slices of volumes; 0: all of them")
  overlap: float = field(0.25, ge=0, lt=1, help="share of a window that the next one covers again")
  num_bins: int = field(15, ge=1, le=10**6, help="bins of the calibration errors, of equal width and of equal mass")
  roi: str = field(
    "image",
    choices=region.KINDS,
    help="pixels that count: image; union_dilated: roi_margin around what any rater marked",
  )
  roi_margin: int = field(16, ge=1, help="pixels")
  surface: bool = field(
    False, help="distances between outlines (Hausdorff 95 %, surface Dice); slower than all the rest"
  )
  surface_tolerance: float = field(2.0, ge=0, help="of the surface Dice: mm where the spacing is known, else pixels")


@dataclasses.dataclass(frozen=True)
class Parallel(Section):
  """Several processes; see `parallel.setup`."""

  path: ClassVar[str] = "config.parallel"

  distributed: bool = field(False, help="True: connect processes even where no cluster is detected")
  connect_seconds: float = field(300.0, ge=1, le=86400, help="seconds to wait until all processes are there")
  heartbeat_seconds: float = field(
    100.0, ge=10, le=86400, help="seconds without a sign of life, then a process counts as lost"
  )


@dataclasses.dataclass(frozen=True)
class Config(Section):
  """A whole config."""

  path: ClassVar[str] = "config"

  seed: int = field(0, ge=0, lt=2**32, help="initialisation, order of examples, augmentation, dropout")
  data: Data = dataclasses.field(default_factory=Data)
  preprocess: Preprocess = dataclasses.field(default_factory=Preprocess)
  augment: Augment = dataclasses.field(default_factory=Augment)
  model: Model = dataclasses.field(default_factory=Model)
  loss: Loss = dataclasses.field(default_factory=Loss)
  optim: Optim = dataclasses.field(default_factory=Optim)
  train: Train = dataclasses.field(default_factory=Train)
  eval: Eval = dataclasses.field(default_factory=Eval)
  parallel: Parallel = dataclasses.field(default_factory=Parallel)

  def _check(self) -> None:
    losses.get_loss(self.loss.name, heads.get_head(self.model.head), dict(self.loss.settings))

  def to_dict(self) -> dict[str, Any]:
    """Returns nested dicts, as `resolve` takes them."""
    return {name: value.to_dict() if isinstance(value, Section) else value for name, value in super().to_dict().items()}

  def to_config_dict(self) -> ConfigDict:
    """Returns what config files change and the command line after them."""
    return ConfigDict(self.to_dict())


SECTIONS: tuple[type[Section], ...] = (Data, Preprocess, Augment, Model, Loss, Optim, Train, Eval, Parallel)
