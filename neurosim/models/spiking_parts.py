"""What the spiking models are made of: a product, a norm where one is wanted, and what fires."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from neurosim.activations import ACTIVATIONS, Maker, check_activation
from neurosim.checks import one_of
from neurosim.ei import METHODS
from neurosim.encoding import ENCODERS, Encoder, constant
from neurosim.errors import ConfigError, nearest
from neurosim.initialisers import Init, initialiser, initialize
from neurosim.models.checked import check_all, check_fits, named
from neurosim.models.made import make_neuron, registered
from neurosim.models.spiking_norms import NormName, SpikingNorm, spiking_norm
from neurosim.models.weight_norm import WeightNormName, check_weight_norm, weight_normed
from neurosim.neurons import LIF, Neuron
from neurosim.nn import EIConv2d, EILayer, EILinear, SpikingNetwork, SpikingSequential


def _spike_or_activation(choice: object) -> None:
    where = "activation: must be 'spike' or an activation"
    if isinstance(choice, str) and choice not in (known := ("spike", *ACTIVATIONS)):
        raise ConfigError(f"{where}, got {choice!r}{nearest(choice, known)}")
    try:
        if choice != "spike":
            check_activation(choice)
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).removeprefix('activation: ')}") from None


Layers = Literal["plain", "ei"]
SpikeOrActivation = Annotated[Literal["spike"] | str | dict[str, Any], named("activation", _spike_or_activation)]
Model = TypeVar("Model", bound=nn.Module)

_SWITCHES: Final = ("ei_ratio", "subtractive", "divisive", "prop")


@dataclass(frozen=True)
class Parts:
    """The choices that run through a whole model.

    Args:
        norm: ``none``; ``bn``, over time and batch; ``bn_per_step``; ``tdbn``; ``bntt``; ``tebn``; ``mpbn``, on the membrane;
            ``bn+mpbn``, both; or any module of ``NORMS`` on the currents: its name, or ``kind`` and arguments. See
            :class:`~neurosim.models.spiking_norms.SpikingNorm`.
        neuron: ``kind`` and arguments of an entry of ``NEURONS``; ``mpbn`` needs a ``lif``. Neurons that are connected with each other
            (``rlif``, ``rcuba_lif``) get their ``units`` from the layer.
        time_steps: Of the model; norms with statistics of every step are made for so many.
        bias: Whether products have one; excitatory-inhibitory layers bring their own.
        activation: ``spike``, or in the place of every neuron a digital activation: a name in ``ACTIVATIONS``, or ``kind`` and parameters.
        layers: ``plain`` linear layers and convolutions, or ``ei``, excitatory and inhibitory units.
        ei: Settings of the excitatory-inhibitory layers: ``ei_ratio``, ``subtractive``, ``divisive``, ``prop``, and ``first_weights``, the
            method by which they get them from the first batch, a name in ``neurosim.ei.METHODS``.
        encoder: ``kind`` and arguments of an entry of ``ENCODERS``, which gets its ``steps`` from ``time_steps``; ``null`` shows the input
            as it is at every step.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings. Those that ask for the activation must be told one that
            stands for the neurons, which have no curve; ``lsuv`` measures what layers give of a batch, over all steps.
        weight_norm: Parametrization of the weights of all layers but the last: its name in ``NORMS``, or ``kind`` and arguments.
        maps: Whether there are neurons behind convolutions.

    Raises:
        ConfigError: The choices do not go together.
    """

    norm: NormName
    neuron: Mapping[str, Any]
    time_steps: int
    bias: bool
    activation: SpikeOrActivation = "spike"
    layers: Layers = "plain"
    ei: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] | None = None
    init: Init = "torch"
    weight_norm: WeightNormName = None
    maps: bool = False

    def __post_init__(self) -> None:
        one_of("layers", self.layers, get_args(Layers))
        _spike_or_activation(self.activation)
        check_all(self._check_norm, self._check_layers, self._encoder, self._check_weights)

    def _check_norm(self) -> None:
        """Refuse norms, neurons and activations that do not go together."""
        norm, pattern = self.named_norm, self.pattern
        if norm.membrane is not None:
            if self.activation != "spike":
                raise ConfigError(f"norm: {norm.name!r} normalises membranes and needs activation='spike', got {self.activation!r}")
            if not isinstance(pattern, LIF):
                raise ConfigError(f"norm: {norm.name!r} needs a neuron of kind lif, got {self.neuron['kind']!r}")
            norm.on_membrane(pattern, (1,))
        if self.maps and self.activation == "spike" and hasattr(pattern, "units"):
            raise ConfigError(
                f"neuron: behind convolutions it must be of a kind without dense weights from unit to unit, got {self.neuron['kind']!r}"
            )

    def _check_layers(self) -> None:
        """Refuse settings that these layers do not have."""
        if self.layers == "ei" and self.named_norm.name != "none":
            raise ConfigError(f"layers: 'ei' is there to do without norms, got norm={self.norm!r}")
        if self.layers == "plain" and self.ei:
            raise ConfigError(f"ei: is for layers='ei', got {dict(self.ei)} with layers='plain'")
        known = (*_SWITCHES, "first_weights")
        for name in self.ei:
            if name not in known:
                raise ConfigError(f"ei: excitatory-inhibitory layers have no setting {name!r}{nearest(name, known)}")
        one_of("ei.first_weights", self.ei.get("first_weights", "ei"), tuple(METHODS))

    def _check_weights(self) -> None:
        """Refuse first weights, and norms of weights, that these layers cannot have."""
        if self.layers == "ei" and (self.init != "torch" or self.weight_norm is not None):
            raise ConfigError(
                "layers: 'ei' has weights of its own, whose first ones are ei.first_weights; init and weight_norm must be left out, got "
                f"{self.init!r} and {self.weight_norm!r}"
            )
        chosen = initialiser(self.init)
        digital = self.activation != "spike"
        if chosen.looks_back and not digital and getattr(chosen, "activation", None) is None:
            raise ConfigError(
                "init: must be told an activation in the place of the neurons, which have no curve, such as activation: relu; or take "
                f"lsuv, which measures on a batch what they do; got {self.init!r}"
            )
        try:
            chosen.suits(self.activation if digital else None)
        except ConfigError as error:
            raise ConfigError(f"init: {error}") from None
        if chosen.needs_data and hasattr(self.pattern, "units") and not digital:
            raise ConfigError(
                "init: must not be one that measures on a batch with neurons that are connected with each other, which give nothing at the "
                f"first step, got {self.init!r}"
            )
        check_weight_norm(self.weight_norm, self.activation if digital else "identity", self.init)

    @cached_property
    def named_norm(self) -> SpikingNorm:
        """What ``norm`` names."""
        return spiking_norm(self.norm)

    @cached_property
    def pattern(self) -> Neuron[Any]:
        """A neuron as all layers have them, for one unit where that counts; its weights, if it has any, cost no random numbers."""
        given: object = self.neuron
        units = given.get("units", 1) if isinstance(given, Mapping) else 1
        with torch.random.fork_rng(devices=[]):
            return make_neuron(self.neuron, units)

    @cached_property
    def _activate(self) -> Maker:
        return Maker(self.activation)

    def network(self, body: OrderedDict[str, nn.Module]) -> SpikingNetwork:
        """The model of these layers."""
        return self.weighed(SpikingNetwork(SpikingSequential(body), self.time_steps, self._encoder()))

    def weighed(self, model: Model, scale: float = 1.0) -> Model:
        """The model with its first weights, times a factor, and with their parametrizations."""
        initialize(model, self.init)
        if scale != 1:
            with torch.no_grad():
                for layer in model.modules():
                    if isinstance(layer, nn.Linear | nn.Conv2d):
                        layer.weight.mul_(scale)
        weight_normed(model, self.weight_norm)
        return model

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

    def normed(self, name: str, channels: int, space: tuple[int, ...], depth: int, alpha: float = 1.0) -> dict[str, nn.Module]:
        """The norm of a current under its name, or nothing.

        Args:
            name: Its name.
            channels: Of the current.
            space: Height and width of its maps; empty behind a linear layer.
            depth: Of the layer, from 1.
            alpha: Of tdBN.
        """
        if not self.named_norm.current:
            return {}
        known = {"steps": self.time_steps, "depth": depth, "v_threshold": self._threshold(), "alpha": alpha}
        return {name: self.named_norm.layer(channels, space, **known)}

    def firing(self, channels: int, axes: int) -> nn.Module:
        """What fires, for units with that many axes: 1 behind a linear layer, 3 behind a convolution."""
        if self.activation != "spike":
            return self._activate()
        neuron = make_neuron(self.neuron, channels)
        return self.named_norm.on_membrane(neuron, (channels, *(1,) * (axes - 1))) if isinstance(neuron, LIF) else neuron

    def _switches(self, last: bool) -> dict[str, Any]:
        """What the layers' constructors take; the difference of currents that gives logits has its own halves."""
        return {name: value for name, value in self.ei.items() if name in (("prop", "ei_ratio") if last else _SWITCHES)}

    def _drawn(self, layer: EILayer) -> EILayer:
        layer.first_weights = self.ei.get("first_weights", "ei")
        return layer

    def _threshold(self) -> float:
        found = getattr(self.pattern, "v_threshold", 1.0)
        return float(found) if isinstance(found, int | float) else 1.0

    def _encoder(self) -> Encoder | Callable[[Tensor, int], Tensor]:
        if self.encoder is None:
            return constant
        made = registered("encoder", ENCODERS, self.encoder, {"kind": "rate"}, steps=self.time_steps)
        if not hasattr(made, "steps"):
            raise ConfigError(f"encoder: must make a sequence of a single image, {self.encoder['kind']} takes a sequence")
        return made


def check_parts(arguments: Mapping[str, Any], places: Iterable[tuple[int, tuple[int, ...]]] = (), *, maps: bool = False) -> Parts:
    """Raise for arguments of a model that do not go together, as building it does; see :class:`Parts`.

    Args:
        arguments: Of the model.
        places: Channels of the layers with norms, and height and width of their maps.
        maps: See :class:`Parts`.

    Raises:
        ConfigError: They do not.
    """
    names = [one.name for one in fields(Parts)]
    parts = Parts(**{name: arguments[name] for name in names if name in arguments}, maps=maps)
    around = list(dict.fromkeys(places))

    def fits() -> None:
        for channels, space in around:
            parts.normed("norm", channels, space, depth=1)

    digital = [(channels, len(space)) for channels, space in around if parts.activation != "spike"]
    check_all(fits, lambda: check_fits("activation", parts.activation, digital))
    return parts
