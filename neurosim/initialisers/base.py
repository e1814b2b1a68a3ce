"""What every initialiser is: its settings, and how it gives a layer its first weights; their registry, and what they report."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn

from neurosim.convert.affine import WEIGHTED
from neurosim.convert.report import table
from neurosim.errors import ConfigError, nearest
from neurosim.initialisers.layers import Target
from neurosim.random import Stream
from neurosim.registry import Registry


@dataclass(frozen=True)
class Initialiser(ABC):
    """A way to draw first weights. Its fields are its settings, and are checked as it is made."""

    formula: ClassVar[str]  #: for people
    citation: ClassVar[tuple[str, ...]]  #: names in :data:`neurosim.citations.CITATIONS`
    needs_data: ClassVar[bool] = False  #: whether it is given a batch, on which :meth:`settle` goes on
    looks_back: ClassVar[bool] = False  #: whether it asks what feeds a layer
    kinds: ClassVar[tuple[type[nn.Module], ...]] = WEIGHTED  #: layers that it is for

    @abstractmethod
    def weigh(self, target: Target, source: Stream | None) -> None:
        """Give a layer its first weights, in place.

        Args:
            target: The layer.
            source: Of the random numbers; None: torch's global generator.

        Raises:
            ConfigError: What feeds the layer is not known, or does not suit.
        """

    def suits(self, activation: object) -> None:
        """Raise if it cannot draw weights for a model with that activation.

        Args:
            activation: What :func:`neurosim.activations.activation` takes; None: the model says nothing of it.

        Raises:
            ConfigError: It cannot.
        """
        return

    def settle(self, model: nn.Module, found: Sequence[Target], inputs: Sequence[Tensor]) -> dict[str, Scaling]:
        """Go on after every layer was given weights, with a batch where it ``needs_data``; what the batch did, by path."""
        return {}

    @classmethod
    def summary(cls) -> str:
        """First line of its docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]

    @classmethod
    def origin(cls) -> str:
        """The section ``Source`` of its docstring."""
        found = re.search(r"^Source:\n((?: {4}.*\n?|\n)+)", inspect.getdoc(cls) or "", re.MULTILINE)
        return " ".join(found[1].split()) if found else ""


INITIALISERS: Final[Registry[type[Initialiser]]] = Registry("initialiser")


def initialiser(choice: object, **settings: Any) -> Initialiser:
    """An initialiser with its settings.

    Args:
        choice: A name in :data:`INITIALISERS`, or a mapping with the name as ``kind`` and settings beside it, as a config has it.
        settings: More of them.

    Raises:
        ConfigError: There is no such initialiser or setting, or a value is out of its domain.

    >>> initialiser("orthogonal", gain=2.0)
    Orthogonal(gain=2.0)
    >>> initialiser("orthogonal", gian=2.0)
    Traceback (most recent call last):
    neurosim.errors.ConfigError: initialiser orthogonal: it has no setting 'gian'; did you mean 'gain'?
    """
    given = dict(choice) if isinstance(choice, Mapping) else {"kind": choice}
    given |= settings
    name = given.pop("kind", None)
    if not isinstance(name, str):
        raise ConfigError(f"initialiser: must be a name, or a mapping with the name as kind and settings beside it, got {choice!r:.60}")
    entry = INITIALISERS[name]
    known = [one.name for one in fields(entry)]
    for setting in given:
        if setting not in known:
            raise ConfigError(f"initialiser {name}: it has no setting {setting!r}{nearest(str(setting), known) or '; it has none'}")
    return entry(**given)


def name_of(one: Initialiser) -> str:
    """Its name in the registry."""
    return next(name for name in INITIALISERS if INITIALISERS[name] is type(one))


@dataclass(frozen=True)
class Scaling:
    """What a batch made of a layer.

    Args:
        before: Variance of what the layer gave at first.
        after: And at last.
        steps: How often its weights were rescaled.
        factor: What they were multiplied by in all.
        reached: Whether ``after`` is what it should be.
    """

    before: float
    after: float
    steps: int
    factor: float
    reached: bool


@dataclass(frozen=True)
class LayerInit:
    """One layer.

    Args:
        path: Its name in the model.
        type: Its class.
        fed_by: What feeds it, for people; empty where nobody asked, or where it is not known.
        std: Root of the mean square of its weights.
        bias_std: That of its bias; 0 without.
        scaling: What a batch made of it; None without.
    """

    path: str
    type: str
    fed_by: str
    std: float
    bias_std: float
    scaling: Scaling | None = None


@dataclass(frozen=True)
class Initialisation:
    """The report that :func:`neurosim.initialize` leaves at ``model.initialisation``; ``print`` shows it as a table.

    Args:
        name: Of the initialiser.
        layers: One entry for every layer that was given weights.
    """

    name: str
    layers: tuple[LayerInit, ...]

    @property
    def missed(self) -> tuple[str, ...]:
        """Layers whose variance on the batch is not what it should be."""
        return tuple(one.path or one.type for one in self.layers if one.scaling is not None and not one.scaling.reached)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        scaled = any(one.scaling is not None for one in self.layers)
        head = ("layer", "type", "fed by", "std of weights", "of bias", *(("variance", "after", "steps") if scaled else ()))
        rows = [
            (
                *(one.path or "(model)", one.type, one.fed_by, f"{one.std:.4g}", f"{one.bias_std:.4g}"),
                *(_shown(one.scaling) if scaled else ()),
            )
            for one in self.layers
        ]
        return "\n".join([f"{self.name}: {len(self.layers)} layers", *table(head, rows)])


def _shown(scaling: Scaling | None) -> tuple[str, str, str]:
    if scaling is None:
        return "", "", ""
    return f"{scaling.before:.4g}", f"{scaling.after:.4g}{'' if scaling.reached else ' (missed)'}", str(scaling.steps)


def described(target: Target, scaling: Scaling | None) -> LayerInit:
    """A layer as it is now."""
    layer = target.layer
    known = "" if target.source == "unknown" else target.source
    fed_by = known if target.activation is None else type(target.activation).__name__
    with torch.no_grad():
        std = float(layer.weight.double().square().mean().sqrt())
        bias_std = 0.0 if layer.bias is None else float(layer.bias.double().square().mean().sqrt())
    return LayerInit(target.path, type(layer).__name__, fed_by, std, bias_std, scaling)
