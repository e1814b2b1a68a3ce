"""What every activation answers, whatever it is: the registry, and what its entries are."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from neurosim.activations.cost import Cost, Fold, Operations
from neurosim.activations.parameter import Parameter as Parameter
from neurosim.activations.parameter import Value as Value
from neurosim.checks import whole
from neurosim.errors import ConfigError, nearest
from neurosim.random import stream
from neurosim.registry import Registry

Kind = Literal["curve", "random", "vector", "gate", "units", "scores", "attention", "head", "wrapper"]
Smoothness = Literal["jump", "C0", "C1", "smooth"]  #: discontinuous; continuous; its derivative too; all of them
Bounds = tuple[float | None, float | None]  #: None at an end that lies at an extremum inside, which is searched
Function = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Entry(ABC):
    """One activation of the registry.

    Args:
        name: What configs call it.
        formula: For people.
        kind: ``curve``, element by element; ``random``, the same with draws; ``vector``, mixes the elements of an axis; ``gate``, halves an
            axis; ``units``, with weights of its own; ``scores``, what replaces a softmax over scores; ``attention``, takes queries, keys
            and values; ``head``, turns logits into probabilities; ``wrapper``, holds another activation.
        citation: Names in :data:`neurosim.citations.CITATIONS`.
        hardware: What it asks of analog hardware with signals in −1 … 1.
        speed: Why it takes more than twelve times as long as ReLU on a CPU, as ``benchmarks/activations.py`` measures; empty: it does not.
    """

    name: str
    formula: str
    kind: Kind
    citation: tuple[str, ...]
    hardware: str
    speed: str = field(default="", kw_only=True)

    @abstractmethod
    def __call__(self, **settings: Any) -> nn.Module:
        """A fresh module.

        Raises:
            ConfigError: There is no such setting, or a value is out of its domain.
        """

    def __reduce__(self) -> tuple[Callable[[str], Entry], tuple[str]]:
        """Copies and pickles are the entry itself."""
        return _entry, (self.name,)

    def unknown(self, name: str, valid: Sequence[str]) -> ConfigError:
        """What to raise for a setting that it has not."""
        return ConfigError(f"activation {self.name}: it has no parameter {name!r}{nearest(name, valid) or '; it has none'}")


def _entry(name: str) -> Entry:
    return ACTIVATIONS[name]


ACTIVATIONS: Final[Registry[Entry]] = Registry("activation")


@dataclass(frozen=True, eq=False)
class Curve(Entry):
    """An activation that is a function of one number, with its parameters; facts may depend on them.

    Args:
        function: ``f(x, *parameters)``, pure.
        parameters: In the order in which ``function`` takes them.
        bounds: The range of f over all x; see :data:`Bounds`.
        monotone: Whether f never falls; None, or what gives None: it is looked at.
        smoothness: Of f; for one with a gradient of its own, of the values.
        homogeneous: f(c x) = c f(x) for c > 0.
        zero_preserving: f(0) = 0.
        own_gradient: Whether its gradient is on purpose not the derivative of its values.
        operations: What hardware computes for an element; None: nobody has counted.
        fold: What goes into the layers around; see :data:`neurosim.activations.FOLDS`.
        module: torch's own module for some settings, None for the others.
        rising: Names of parameters each of which must be below the next.
    """

    function: Function
    parameters: Mapping[str, Parameter]
    bounds: Bounds | Callable[..., Bounds]
    monotone: bool | Callable[..., bool | None] | None
    smoothness: Smoothness | Callable[..., Smoothness]
    homogeneous: bool | Callable[..., bool]
    zero_preserving: bool | Callable[..., bool]
    own_gradient: bool
    operations: Operations | Callable[..., Operations] | None
    fold: Callable[..., Fold]
    module: Callable[..., nn.Module | None] | None
    rising: Sequence[str] = ()

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters with their values.

        Raises:
            ConfigError: One is unknown, out of its domain, or not above the one that it must exceed.
        """
        for name in settings:
            if name not in self.parameters:
                raise self.unknown(name, [*self.parameters, "learn", "channels"] if self.parameters else [])
        found = {
            name: one.check(f"activation {self.name}: {name}", settings.get(name, one.default)) for name, one in self.parameters.items()
        }
        values = [found[name] for name in self.rising]
        if any(low >= high for low, high in pairwise(values)):
            raise ConfigError(f"activation {self.name}: {' < '.join(self.rising)} must hold, got {' and '.join(map(str, values))}")
        return found

    def __call__(
        self, *, learn: bool | str | Sequence[str] | None = None, channels: int = 1, seed: int | None = None, **settings: Any
    ) -> nn.Module:
        """A fresh module.

        Args:
            learn: Which parameters are learned, all, none or those named; by default those that the authors learn.
            channels: How many numbers a learned parameter is, one for each place of axis 1; coefficients are shared by all.
            seed: Draws what the authors start at random and ``settings`` do not give, each channel for itself.
            settings: The parameters.

        Raises:
            ConfigError: There is no such setting, or a value is out of its domain.
        """
        known = self.check(settings)
        drawn = [name for name, one in self.parameters.items() if one.drawn and name not in settings and name in self.learned(learn)]
        if seed is not None and not any(one.drawn for one in self.parameters.values()):
            raise self.unknown("seed", [*self.parameters, "learn", "channels"] if self.parameters else [])
        whole(f"activation {self.name}: channels", channels, 1)
        own = self.module(**known) if self.module is not None and learn is None and channels == 1 else None
        made = Activation(self, known, self.learned(learn), channels) if own is None else own
        if seed is not None:
            start = whole(f"activation {self.name}: seed", seed, 0)
            with torch.no_grad():
                for name in drawn:
                    value = made.get_parameter(name)
                    value.copy_(stream(start, f"activation {self.name} {name}").uniform(value.shape, like=value).clamp(min=1e-4))
        return made

    def learned(self, learn: bool | str | Sequence[str] | None) -> tuple[str, ...]:
        """The parameters that ``learn`` names."""
        numbers = {name: one for name, one in self.parameters.items() if not (isinstance(one.default, str) or one.whole or one.fixed)}
        if learn is None:
            return tuple(name for name, one in numbers.items() if one.learned)
        if isinstance(learn, bool):
            return tuple(numbers) if learn else ()
        if not isinstance(learn, str | Sequence):
            raise ConfigError(f"activation {self.name}: learn must be true, false, or names of parameters, got {learn!r:.60}")
        names = [learn] if isinstance(learn, str) else list(learn)
        for name in names:
            if name not in self.parameters:
                raise self.unknown(name, list(numbers))
            if name not in numbers:
                raise ConfigError(f"activation {self.name}: learn must name parameters that can be learned, got {name!r}, which cannot")
        return tuple(name for name in numbers if name in names)


@dataclass(frozen=True, eq=False)
class Layer(Entry):
    """An activation that is more than a function of one number.

    Args:
        make: Its class.
        bounds: Of its outputs, over all inputs; None at an end that depends on what it holds.
        homogeneous, zero_preserving: As for a curve.
        cost: What hardware computes, with default settings; None: nobody has counted.
        fold: As for a curve.
    """

    make: Callable[..., nn.Module]
    bounds: Bounds
    homogeneous: bool
    zero_preserving: bool
    cost: Cost | None
    fold: Fold

    def __call__(self, **settings: Any) -> nn.Module:
        """A fresh module.

        Raises:
            ConfigError: There is no such setting, one is missing, or a value is out of its domain.
        """
        every = inspect.signature(self.make).parameters
        taken = {name: one for name, one in every.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
        for name in settings:
            if name not in taken:
                raise self.unknown(name, list(taken))
        for name, one in taken.items():
            if one.default is one.empty and name not in settings:
                raise ConfigError(f"activation {self.name}: {name} must be given, got nothing")
        return self.make(**settings)


class Activation(nn.Module):
    """A curve of the registry as a module; make it with :func:`activation`.

    Args:
        entry: The curve.
        settings: All its parameters.
        learned: Those that are learned.
        channels: How many numbers a learned one is.

    Shapes:
        Any; with several channels ``(batch, channels, *)``. The result has the shape of the input.
    """

    def __init__(self, entry: Curve, settings: Mapping[str, Any], learned: Sequence[str] = (), channels: int = 1) -> None:
        super().__init__()
        self.entry, self.channels = entry, channels
        self.fixed: dict[str, Any] = {}
        for name, one in entry.parameters.items():
            value = settings[name]
            if name in learned:
                self.register_parameter(name, nn.Parameter(one.raw(value, 1 if isinstance(value, tuple) else channels)))
            elif isinstance(one.default, tuple):
                self.register_buffer(name, torch.tensor(value))
            else:
                self.fixed[name] = value

    def forward(self, x: Tensor) -> Tensor:
        """The activation.

        Raises:
            ConfigError: The input has not as many channels as the module, or does not consist of floating-point numbers.
        """
        values = self._values()
        if self.channels > 1:
            if x.dim() < 2 or x.shape[1] != self.channels:
                raise ConfigError(f"activation {self.entry.name}: axis 1 must have {self.channels} channels, got shape {tuple(x.shape)}")
            across = (self.channels, *(1,) * (x.dim() - 2))
            values = [one.view(across) if isinstance(one, Tensor) and one.shape == (self.channels,) else one for one in values]
        return self.entry.function(x, *values)

    def _values(self) -> list[Any]:
        found = []
        for name, one in self.entry.parameters.items():
            if name in self.fixed:
                found.append(self.fixed[name])
            else:
                raw = getattr(self, name)
                found.append(one.value(raw) if name in self._parameters else raw)
        return found

    def value(self, name: str) -> Any:
        """A parameter as the formula takes it, with its gradient where it is learned, whatever the module keeps of it.

        Raises:
            ConfigError: There is no such parameter.

        >>> unit = ACTIVATIONS["jumprelu"](theta=0.5)
        >>> round(unit.value("theta").item(), 4), round(unit.theta.item(), 4)
        (0.5, -0.6931)
        """
        if name not in self.entry.parameters:
            raise self.entry.unknown(name, list(self.entry.parameters))
        return self._values()[list(self.entry.parameters).index(name)]

    def settings(self) -> dict[str, Any]:
        """The parameters as they are now, as plain numbers."""
        return {
            name: value.tolist() if isinstance(value, Tensor) else value
            for name, value in zip(self.entry.parameters, self._values(), strict=True)
        }

    def extra_repr(self) -> str:
        """For ``print``."""
        shown = [f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value!s:.40}" for name, value in self.settings().items()]
        return ", ".join([self.entry.name, *shown])
