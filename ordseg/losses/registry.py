"""The registry of losses: each one, with all that is said of it, is declared where it is defined."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ordseg.errors import InputError
from ordseg.heads import Head
from ordseg.ordinal import OrdinalTarget
from ordseg.settings import Registry, Setting, keyword_defaults
from ordseg.types import Array

LossFn = Callable[[Array, OrdinalTarget], Array]
LabelWeights = Callable[[np.ndarray, np.ndarray], np.ndarray]
_Fn = TypeVar("_Fn", bound=Callable[..., Array])


@dataclasses.dataclass(frozen=True)
class LossSpec:
  """What is known of a loss.

  Attributes:
    name: its key in `LOSSES`.
    fn: the loss. Its first argument is log_probs [*b, L]; the others that can be given by position are attributes of
      `OrdinalTarget`; the keyword-only ones are its settings, fields of ``config.loss``. It returns [*b].
    summary: one line for people: the formula, in the words of docs/method.md.
    levels: whether it scores a distribution over levels, so that heads with one probability per pixel are refused.
    proper: whether the true distribution of what it looks at minimises it in expectation.
    for_volumes: False where the loss looks at a pixel's neighbours, which it knows within an image only.
    label_weights: (rater_masks [H, W, R], rater_valid [R]) -> [R + 1] float32, estimated from a whole image before it
      is cropped; it comes back as `OrdinalTarget.label_weights`. None: the loss needs no such estimate.
  """

  name: str
  fn: Callable[..., Array]
  summary: str
  levels: bool = False
  proper: bool = False
  for_volumes: bool = True
  label_weights: LabelWeights | None = None

  @property
  def default_head(self) -> str:
    """The head that it is compared with others on: of a binary loss, that of a binary model, as its name promises."""
    return "softmax" if self.levels else "sigmoid"

  @property
  def target_fields(self) -> tuple[str, ...]:
    """The attributes of `OrdinalTarget` that it is given."""
    parameters = inspect.signature(self.fn).parameters.values()
    return tuple(p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)[1:]

  def bind(self, values: Mapping[str, Any]) -> LossFn:
    """Returns (log_probs, target) -> losses [*b], with settings that `Registry.choose` let pass."""
    fields, settings = self.target_fields, dict(values)

    def loss(log_probs: Array, target: OrdinalTarget) -> Array:
      return self.fn(log_probs, **{name: getattr(target, name) for name in fields}, **settings)

    return loss


LOSSES: Registry[LossSpec] = Registry("config.loss.name")


def register(
  name: str,
  *,
  summary: str,
  levels: bool = False,
  proper: bool = False,
  for_volumes: bool = True,
  label_weights: LabelWeights | None = None,
  **settings: Setting,
) -> Callable[[_Fn], _Fn]:
  """Adds the function it stands above to `LOSSES`.

  Args:
    name: what ``config.loss.name`` calls it.
    summary: see `LossSpec`, as for the next four.
    levels: see `LossSpec`.
    proper: see `LossSpec`.
    for_volumes: see `LossSpec`.
    label_weights: see `LossSpec`.
    **settings: bounds and help of each keyword-only argument, whose defaults stand in the signature; those that another
      loss declared are left out.

  Raises:
    ValueError: an argument has no `Setting`, is declared otherwise by another loss, or is nothing that a target has.

  >>> from ordseg import losses
  >>> from ordseg.settings import Setting
  >>> @losses.register("miss", summary="a constant for every vote", miss_cost=Setting("nats per vote", ge=0))
  ... def miss(log_probs, votes, *, miss_cost=2.0):
  ...   return miss_cost * votes
  >>> losses.LOSSES["miss"].target_fields, losses.LOSSES["miss"].default_head
  (('votes',), 'sigmoid')
  >>> losses.LOSSES.remove("miss")
  """

  def add(fn: _Fn) -> _Fn:
    spec = LossSpec(name, fn, summary, levels, proper, for_volumes, label_weights)
    known = {*(field.name for field in dataclasses.fields(OrdinalTarget)), *dir(OrdinalTarget)}
    if unknown := [field for field in spec.target_fields if field not in known]:
      raise ValueError(f"{name}: {', '.join(unknown)} is nothing that an OrdinalTarget has; settings are keyword-only.")
    LOSSES.add(name, spec, defaults=keyword_defaults(fn), settings=settings)
    return fn

  return add


def get_loss(name: str, head: Head, values: Mapping[str, Any]) -> LossFn:
  """Builds a loss from the fields of ``config.loss``.

  Args:
    name: a key of `LOSSES`.
    head: the head it will be used with.
    values: field -> value. A field the loss does not read must be left at its default.

  Returns:
    (log_probs [*b, L], target of [*b]) -> [*b] float32.

  Raises:
    InputError: unknown loss, a value out of range, a head that does not fit, or a field changed without effect.

  >>> import jax.numpy as jnp
  >>> from ordseg import heads, ordinal
  >>> loss = get_loss("rps", heads.get_head("softmax"), {"divisor": "thresholds"})
  >>> round(float(loss(jnp.log(jnp.asarray([0.3, 0.3, 0.4])), ordinal.encode(jnp.asarray([1, 1])))), 3)
  0.225
  """
  spec = LOSSES.find(name)
  if spec.levels and not head.ordinal:
    raise InputError(
      f"config.loss.name={name!r} scores a distribution over levels, but config.model.head={head.name!r} gives one "
      f"probability per pixel. Use an ordinal head (softmax, coral, ...) or a binary loss (bce_soft, ...)."
    )
  return spec.bind(LOSSES.choose(name, values))


def markdown_table() -> str:
  """Returns the losses as the table that docs/method.md has, in Markdown: those of the levels first.

  >>> [row] = [row for row in markdown_table().splitlines() if row.startswith("| `focal`")]
  >>> row.split(" | ")[2:]
  ['`gamma` = 3.0', 'no |']
  """
  rows = ["| `config.loss.name` | per pixel | settings | proper |", "|---|---|---|---|"]
  for spec in sorted(LOSSES.values(), key=lambda spec: not spec.levels):
    settings = ", ".join(f"`{key}` = {declared.default!r}" for key, declared in LOSSES.settings_of(spec.name).items())
    summary = spec.summary.replace("|", r"\|")
    rows.append(f"| `{spec.name}` | {summary} | {settings} | {'yes' if spec.proper else 'no'} |")
  return "\n".join(rows)
