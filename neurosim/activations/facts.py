"""An activation by its name or from a model, and what is true of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import torch
from pydantic import BeforeValidator
from torch import Tensor, nn

from neurosim.activations.base import ACTIVATIONS, Activation, Curve, Entry, Layer, Smoothness
from neurosim.activations.cost import Fold, Operations
from neurosim.activations.moments import Moments, gradient_noise, moments_of
from neurosim.errors import ConfigError

IN_MODELS: Final = ("curve", "random", "vector", "wrapper")  #: kinds that can stand in any place
_ORDER: Final = ("jump", "C0", "C1", "smooth")
_REACH, _POINTS, _FAR = 40.0, 40_001, 1e8  #: where an extremum is searched, and where limits are read


def activation(choice: object, **settings: Any) -> nn.Module:
    """A fresh module.

    Args:
        choice: A name in :data:`ACTIVATIONS`, or a mapping with the name as ``kind`` and parameters beside it, as a config has it.
        settings: Parameters.

    Raises:
        ConfigError: There is no such activation or parameter, or a value is out of its domain.

    >>> activation("relu"), activation({"kind": "smelu", "b": 0.5})
    (ReLU(), Activation(smelu, b=0.5))
    >>> activation("smelu", beta=0.5)
    Traceback (most recent call last):
    neurosim.errors.ConfigError: activation smelu: it has no parameter 'beta'; valid: 'b', 'channels', 'learn'
    """
    name, known = read_choice(choice, settings)
    known.pop("shared", None)
    return ACTIVATIONS[name](**known)


def read_choice(choice: object, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name in a choice, and the settings beside it; an error where it is neither a name nor a mapping with one."""
    given = {"kind": choice} if not isinstance(choice, Mapping) else dict(choice)
    given |= settings
    name = given.pop("kind", None)
    if not isinstance(name, str):
        raise ConfigError(f"activation: must be a name, or a mapping with the name as kind and parameters beside it, got {choice!r:.60}")
    if not isinstance(given.get("shared", False), bool):
        raise ConfigError(f"activation {name}: shared must be true or false, got {given['shared']!r:.60}")
    return name, given


def check_activation(choice: object) -> object:
    """The choice, if an activation can be made of it that takes a tensor and keeps its shape.

    Raises:
        ConfigError: It cannot.
    """
    name, _ = read_choice(choice, {})
    if ACTIVATIONS[name].kind not in IN_MODELS:
        raise ConfigError(f"activation {name}: must keep the shape of its input, got one of kind {ACTIVATIONS[name].kind!r}")
    activation(choice)
    return choice


def _in_config(choice: object) -> object:
    try:
        return check_activation(choice)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("activation: ")) from None


#: what a model takes: a name, or a mapping with ``kind`` and parameters
Choice = Annotated[str | dict[str, Any], BeforeValidator(_in_config)]


@dataclass(frozen=True)
class Facts:
    """What is true of an activation with its parameters as they are; make it with :func:`facts`.

    Args:
        entry: Of the registry.
        settings: Its parameters; those of several channels are lists.
    """

    entry: Entry
    settings: Mapping[str, Any]

    @property
    def citation(self) -> tuple[str, ...]:
        """Names in :data:`neurosim.citations.CITATIONS`."""
        return self.entry.citation

    def __call__(self, x: Tensor) -> Tensor:
        """The values of a curve.

        Raises:
            ConfigError: It is no curve, or ``x`` does not consist of floating-point numbers.
        """
        return self.curve.function(x, *self._variants()[0])

    @property
    def curve(self) -> Curve:
        """The entry as a curve.

        Raises:
            ConfigError: It is none.
        """
        if not isinstance(self.entry, Curve):
            raise ConfigError(f"activation {self.entry.name}: it is no function of one number (its kind is {self.entry.kind!r})")
        return self.entry

    def bounds(self) -> tuple[float, float]:
        """The range of its values over all inputs; of a layer, what holds whatever its parts."""
        if isinstance(self.entry, Layer):
            low, high = self.entry.bounds
            return (-math.inf if low is None else low), (math.inf if high is None else high)
        found = [self._bounds(values) for values in self._variants()]
        return min(low for low, _ in found), max(high for _, high in found)

    @property
    def monotone(self) -> bool:
        """Whether it never falls."""
        return isinstance(self.entry, Curve) and all(self._monotone(values) for values in self._variants())

    @property
    def smoothness(self) -> Smoothness:
        """``jump``, ``C0``, ``C1`` or ``smooth``."""
        found: list[Smoothness] = [_told(self.curve.smoothness, values) for values in self._variants()]
        return min(found, key=_ORDER.index)

    @property
    def homogeneous(self) -> bool:
        """f(c x) = c f(x) for every c > 0."""
        return self._holds("homogeneous")

    @property
    def zero_preserving(self) -> bool:
        """f(0) = 0."""
        return self._holds("zero_preserving")

    @property
    def operations(self) -> Operations | None:
        """What hardware computes for an element, with the parameters of the first channel; None where nobody has counted."""
        if isinstance(self.entry, Layer):
            return self.entry.cost.per_element if self.entry.cost is not None else None
        found: Operations | None = _told(self.curve.operations, self._variants()[0])
        return found

    @property
    def fold(self) -> Fold:
        """What of it goes into the layers around; see :data:`neurosim.activations.FOLDS`. Of several channels, what all of them have."""
        if isinstance(self.entry, Layer):
            return self.entry.fold
        found = {self.curve.fold(*values) for values in self._variants()}
        return found.pop() if len(found) == 1 else "scale" if found == {"all", "scale"} else "none"

    def moments(self, variance: float = 1.0) -> Moments:
        """Under Gaussian inputs of mean 0; see :class:`Moments`. With several channels, the mean over them."""
        found = [moments_of(self._function(values), variance) for values in self._variants()]
        return Moments(*(sum(column) / len(found) for column in zip(*found, strict=True)))

    def gradient_noise(self, sigma: float, at: float | None = None, variance: float = 1.0) -> float:
        """See :func:`neurosim.activations.moments.gradient_noise`."""
        found = [gradient_noise(self._function(values), sigma, at, variance) for values in self._variants()]
        return sum(found) / len(found)

    def _function(self, values: list[Any]) -> Any:
        return lambda x: self.curve.function(x, *values)

    def _holds(self, name: str) -> bool:
        told = getattr(self.entry, name)
        return all(bool(_told(told, values)) for values in self._variants())

    def _variants(self) -> list[list[Any]]:
        """The parameters as the formula takes them, once for every channel."""
        if not isinstance(self.entry, Curve):
            return [[]]
        several = [name for name, one in self.entry.parameters.items() if isinstance(one.default, float) and _is_list(self.settings[name])]
        count = max((len(self.settings[name]) for name in several), default=1)
        return [
            [self.settings[name][at] if name in several else self.settings[name] for name in self.entry.parameters] for at in range(count)
        ]

    def _monotone(self, values: list[Any]) -> bool:
        told = _told(self.curve.monotone, values)
        if told is not None:
            return bool(told)
        y = self._function(values)(_everywhere())
        return bool((y.diff() >= -1e-12 * (1 + y[1:].abs())).all())

    def _bounds(self, values: list[Any]) -> tuple[float, float]:
        low, high = _told(self.curve.bounds, values)
        return (-self._largest(values, -1) if low is None else low), (self._largest(values, 1) if high is None else high)

    def _largest(self, values: list[Any], sign: int) -> float:
        """The supremum of ``sign`` times the curve: on a grid, then between the neighbours of the best point there."""
        x = _everywhere()
        best = -math.inf
        for _ in range(2):
            y = sign * self._function(values)(x).detach()
            best, at = max(best, float(y.max())), int(y.argmax())
            left, right = float(x[max(at - 1, 0)]), float(x[min(at + 1, len(x) - 1)])
            x = torch.linspace(left, right, _POINTS, dtype=torch.float64)
        return best


def _everywhere() -> Tensor:
    """A grid, and points far beyond it, rising."""
    far = torch.logspace(math.log10(_REACH), math.log10(_FAR), 200, dtype=torch.float64)[1:]
    return torch.cat([-far.flip(0), torch.linspace(-_REACH, _REACH, _POINTS, dtype=torch.float64), far])


def facts(what: object, **settings: Any) -> Facts:
    """What is true of an activation.

    Args:
        what: What :func:`activation` takes, or a module: one of the registry, torch's own included.
        settings: Parameters, for a name.

    Raises:
        ConfigError: The registry does not know it.

    >>> facts("gelu").monotone, facts("gelu").smoothness, round(facts("gelu").bounds()[0], 4)
    (False, 'smooth', -0.17)
    >>> round(facts("relu").moments().second, 4)
    0.5
    """
    if not isinstance(what, nn.Module):
        name, known = read_choice(what, settings)
        module = activation(what, **settings)
        entry = ACTIVATIONS[name]
        if not isinstance(entry, Curve) or isinstance(module, Activation):
            return _of(module, entry)
        if "seed" in known:
            return _of(module, entry)
        return Facts(entry, entry.check({key: value for key, value in known.items() if key in entry.parameters}))
    found = identify(what)
    if found is None:
        raise ConfigError(f"activation: no entry of the registry makes a {type(what).__name__}")
    return _of(what, found)


def _of(module: nn.Module, entry: Entry) -> Facts:
    if isinstance(module, Activation):
        return Facts(entry, module.settings())
    if isinstance(entry, Curve):
        kept = {name: getattr(module, "weight" if name == "init" else name, one.default) for name, one in entry.parameters.items()}
        return Facts(entry, {name: _plain(value) if isinstance(value, Tensor) else value for name, value in kept.items()})
    return Facts(entry, {})


def identify(module: nn.Module) -> Entry | None:
    """The entry that makes modules of this class, or None."""
    if isinstance(module, Activation):
        return module.entry
    for name in ACTIVATIONS:
        entry = ACTIVATIONS[name]
        if isinstance(entry, Layer):
            if type(module) is entry.make:
                return entry
        elif isinstance(entry, Curve) and entry.module is not None:
            made = type(entry.module(**entry.check({})))
            if type(module) in (made, getattr(made, "of_torch", made)):
                return entry
    return None


def _told(fact: Any, values: list[Any]) -> Any:
    return fact(*values) if callable(fact) else fact


def _plain(value: Tensor) -> Any:
    return value.item() if value.numel() == 1 else value.flatten().tolist()


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)
