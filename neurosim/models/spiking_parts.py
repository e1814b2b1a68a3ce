"""What the spiking models are made of: a product, a norm where one is wanted, and what fires."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from torch import nn

from neurosim.checks import one_of
from neurosim.ei import METHODS
from neurosim.errors import ConfigError, nearest
from neurosim.models.base import ACTIVATIONS, Activation, activation_layer
from neurosim.neurons import LIF, NEURONS, Neuron
from neurosim.nn import MPBN, EIConv2d, EILayer, EILinear
from neurosim.norms import BatchNormOverTime, BatchNormThroughTime, TemporalEffectiveBatchNorm, ThresholdDependentBatchNorm

NormName = Literal["none", "bn", "bn_per_step", "tdbn", "bntt", "tebn", "mpbn", "bn+mpbn"]
Layers = Literal["plain", "ei"]
SpikeOrActivation = Literal["spike"] | Activation

NEURON: Mapping[str, Any] = {"kind": "lif", "tau_mem": 2e-3, "dt": 1e-3}  #: what fires if nothing else is asked for


_SWITCHES: Final = ("ei_ratio", "subtractive", "divisive", "prop")


@dataclass(frozen=True)
class Parts:
    """The choices that run through a whole model.

    Args:
        norm: ``none``; ``bn``, over time and batch; ``bn_per_step``; ``tdbn``; ``bntt``; ``tebn``; ``mpbn``, on the membrane;
            ``bn+mpbn``, both.
        neuron: ``kind`` and arguments of an entry of ``NEURONS``; ``mpbn`` needs a ``lif``.
        activation: ``spike``, or a digital activation in the place of every neuron.
        layers: ``plain`` linear layers and convolutions, or ``ei``, excitatory and inhibitory units.
        ei: Settings of the excitatory-inhibitory layers: ``ei_ratio``, ``subtractive``, ``divisive``, ``prop``, and ``first_weights``, the
            method by which they get them from the first batch, a name in ``neurosim.ei.METHODS``.
        time_steps: Of the model; norms with statistics of every step are made for so many.
        bias: Whether products have one; excitatory-inhibitory layers bring their own.

    Raises:
        ConfigError: The choices do not go together.
    """

    norm: NormName
    neuron: Mapping[str, Any]
    activation: SpikeOrActivation
    layers: Layers
    ei: Mapping[str, Any]
    time_steps: int
    bias: bool

    def __post_init__(self) -> None:
        one_of("norm", self.norm, get_args(NormName))
        one_of("layers", self.layers, get_args(Layers))
        one_of("activation", self.activation, ("spike", *ACTIVATIONS))
        if self.activation != "spike" and "mpbn" in self.norm:
            raise ConfigError(f"norm: {self.norm!r} normalises membranes and needs activation='spike', got {self.activation!r}")
        if "mpbn" in self.norm and not isinstance(make_neuron(self.neuron), LIF):
            raise ConfigError(f"norm: {self.norm!r} needs a neuron of kind lif, got {self.neuron.get('kind')!r}")
        if self.layers == "ei" and self.norm != "none":
            raise ConfigError(f"layers: 'ei' is there to do without norms, got norm={self.norm!r}")
        if self.layers == "plain" and self.ei:
            raise ConfigError(f"ei: is for layers='ei', got {dict(self.ei)} with layers='plain'")
        known = (*_SWITCHES, "first_weights")
        for name in self.ei:
            if name not in known:
                raise ConfigError(f"ei: excitatory-inhibitory layers have no setting {name!r}{nearest(name, known)}")
        one_of("ei.first_weights", self.ei.get("first_weights", "ei"), tuple(METHODS))

    def linear(self, inputs: int, outputs: int, *, last: bool = False) -> nn.Module:
        """A fully connected product; the last one of a model gives logits."""
        if self.layers == "ei":
            return self._drawn(EILinear(inputs, outputs, output=last, **self._switches(last)))
        return nn.Linear(inputs, outputs, bias=self.bias or last)

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
        """A convolution that keeps the size of its maps at stride 1."""
        if self.layers == "ei":
            return self._drawn(EIConv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, **self._switches(last=False)))
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=self.bias)

    def normed(self, name: str, channels: int, alpha: float = 1.0) -> dict[str, nn.Module]:
        """The norm of a current under its name, or nothing; ``alpha`` is that of tdBN."""
        make: dict[str, Callable[[], nn.Module]] = {
            "bn": lambda: BatchNormOverTime(channels),
            "bn+mpbn": lambda: BatchNormOverTime(channels),
            "bn_per_step": lambda: BatchNormOverTime(channels, "per_step"),
            "tdbn": lambda: ThresholdDependentBatchNorm(channels, self._threshold(), alpha),
            "bntt": lambda: BatchNormThroughTime(channels, self.time_steps),
            "tebn": lambda: TemporalEffectiveBatchNorm(channels, self.time_steps),
        }
        return {name: make[self.norm]()} if self.norm in make else {}

    def firing(self, channels: int, axes: int) -> nn.Module:
        """What fires, for units with that many axes: 1 behind a linear layer, 3 behind a convolution."""
        if self.activation != "spike":
            return activation_layer(self.activation)
        neuron = make_neuron(self.neuron)
        if "mpbn" in self.norm and isinstance(neuron, LIF):
            return MPBN(neuron, (channels, *(1,) * (axes - 1)))
        return neuron

    def _switches(self, last: bool) -> dict[str, Any]:
        """What the layers' constructors take; the difference of currents that gives logits has its own halves."""
        return {name: value for name, value in self.ei.items() if name in (("prop", "ei_ratio") if last else _SWITCHES)}

    def _drawn(self, layer: EILayer) -> EILayer:
        layer.first_weights = self.ei.get("first_weights", "ei")
        return layer

    def _threshold(self) -> float:
        found = getattr(make_neuron(self.neuron), "v_threshold", 1.0)
        return float(found) if isinstance(found, int | float) else 1.0


def make_neuron(given: Mapping[str, Any]) -> Neuron[Any]:
    """A neuron from ``{"kind": name, **arguments}``.

    Raises:
        ConfigError: There is no such neuron or argument, or a value is out of its domain.

    >>> make_neuron({"kind": "lif", "tau_mem": 5e-3, "dt": 1e-3})
    LIF(tau_mem=0.005, dt=0.001)
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"neuron: must be a mapping such as {dict(NEURON)}, got {given!r:.60}")
    arguments = copy.deepcopy(dict(given))
    kind = arguments.pop("kind", None)
    if kind is None:
        raise ConfigError(f"neuron: must say its kind{nearest('', NEURONS)}, got {dict(given)}")
    made = NEURONS[kind]
    signature = inspect.signature(made)
    for name in arguments:
        if name not in signature.parameters:
            raise ConfigError(f"neuron: {kind} has no argument {name!r}{nearest(name, signature.parameters)}")
    missing = [name for name, one in signature.parameters.items() if one.default is one.empty and name not in arguments]
    if missing:
        raise ConfigError(f"neuron: {kind} must be given {', '.join(missing)}, got {dict(given)}")
    neuron: Neuron[Any] = made(**arguments)
    return neuron
