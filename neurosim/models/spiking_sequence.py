"""Spiking network for sequences of events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.initialisers import Init, takes_data
from neurosim.models.base import MODELS, layer_sizes
from neurosim.models.spiking_norms import NormName
from neurosim.models.spiking_parts import Parts, SpikeOrActivation, check_parts
from neurosim.models.weight_norm import WeightNormName
from neurosim.neurons import LI, Neuron, Recurrent
from neurosim.nn import Readout, SequenceNetwork, SpikingSequential


def _check(arguments: Mapping[str, Any]) -> None:
    _check_choices(arguments["activation"], arguments["init"], arguments["recurrent"], arguments["weight_scale"])
    parts = check_parts(arguments, [(features, ()) for features in arguments["sizes"][1:-1]])
    _integrators(parts, arguments["recurrent"], arguments["readout_tau_mem"])


def _check_choices(activation: object, init: object, recurrent: bool, weight_scale: float) -> None:
    if activation != "spike":
        raise ConfigError(
            f"activation: must be 'spike': between the layers of this network there are neurons and no activations, got {activation!r}"
        )
    if takes_data(init) and recurrent:
        raise ConfigError(f"init: must not be one that measures on a batch with recurrent neurons, silent at the first step, got {init!r}")
    if takes_data(init) and weight_scale != 1:
        raise ConfigError(f"weight_scale: must be 1 where init scales weights on a batch, got {weight_scale}")


@MODELS.register("spiking_sequence", check=_check)
def spiking_sequence(
    sizes: Annotated[list[PositiveInt], Field(min_length=2)],
    neuron: Mapping[str, Any],
    recurrent: bool = False,
    readout: Readout = "max",
    readout_tau_mem: PositiveFloat | None = None,
    norm: NormName = "none",
    time_steps: PositiveInt = 100,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    bias: bool = False,
    weight_scale: PositiveFloat = 1.0,
    activation: SpikeOrActivation = "spike",
    init: Init = "torch",
    weight_norm: WeightNormName = None,
) -> SequenceNetwork:
    """Linear layers ``fc1``, ``fc2``, … with neurons between them and leaky integrators at the end, on samples that are sequences.

    The integrators have the time constants of the neurons. If those have synapses, so have they: a first integrator, ``synapse``, before
    the second, ``readout``.

    Args:
        sizes: Units from the input to the classes.
        neuron: ``kind`` and arguments of an entry of ``NEURONS``; its ``dt`` is that of the data.
        recurrent: Whether the neurons of a layer are connected with each other, by a layer ``connection``.
        readout: Which of the integrators' potentials over time are the logits: the largest, their mean, or the last.
        readout_tau_mem: Membrane time constant of the integrators, seconds; by default that of the neurons.
        norm: Of the currents from one layer to the next; see :class:`~neurosim.models.spiking_parts.Parts`. Those on membranes, ``mpbn``
            and ``bn+mpbn``, are for layers that are not recurrent.
        time_steps: Of the sequences; only norms with statistics of every step, ``bntt`` and ``tebn``, are made for so many.
        dropout: Probability after every neuron.
        bias: Whether the layers have biases; the last has one anyway.
        weight_scale: Factor on the first weights, recurrent ones too. Torch's are uniform in ±1/√inputs; integrators add up what they get
            over their time constants, and the longer these are in steps, the smaller weights should be.
        activation: ``spike``: there are neurons, and nothing else in their place.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings, with an activation for the neurons where they need one.
        weight_norm: Parametrization of the weights of all layers but the last and of connections within a layer: its name in ``NORMS``, or
            ``kind`` and its arguments; null: none.

    Shapes:
        x ``(batch, time, *)`` with ``sizes[0]`` elements a step; result ``(batch, sizes[-1])``.

    Raises:
        ConfigError: The choices do not go together.

    Source:
        B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, "The Heidelberg spiking data sets for the systematic evaluation of spiking neural
        networks", IEEE Trans. Neural Netw. Learn. Syst. 33 (2022) 2744-2757.

    >>> model = spiking_sequence([700, 128, 20], {"kind": "cuba_lif", "tau_mem": 20e-3, "tau_syn": 10e-3, "dt": 1e-3})
    >>> list(dict(model.body.named_children()))
    ['flatten', 'fc1', 'fire1', 'fc2', 'synapse', 'readout']
    """
    _check_choices(activation, init, recurrent, weight_scale)
    parts = Parts(norm, neuron, time_steps, bias, init=init, weight_norm=weight_norm)
    dt, tau_syn, tau_mem = _integrators(parts, recurrent, readout_tau_mem)
    body: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    last = len(layer_sizes("spiking_sequence", sizes)) - 1
    for at in range(1, last):
        body[f"fc{at}"] = parts.linear(sizes[at - 1], sizes[at])
        body |= parts.normed(f"norm{at}", sizes[at], (), depth=at)
        fire = parts.firing(sizes[at], axes=1)
        body[f"fire{at}"] = Recurrent(fire, nn.Linear(sizes[at], sizes[at], bias=False)) if recurrent and isinstance(fire, Neuron) else fire
        if dropout:
            body[f"drop{at}"] = nn.Dropout(dropout)
    body[f"fc{last}"] = parts.linear(sizes[last - 1], sizes[last], last=True)
    if tau_syn is not None:
        body["synapse"] = LI(tau_syn, dt)
    body["readout"] = LI(tau_mem, dt)
    return parts.weighed(SequenceNetwork(SpikingSequential(body), readout), weight_scale)


def _integrators(parts: Parts, recurrent: bool, readout_tau_mem: float | None) -> tuple[float, float | None, float]:
    """Step and time constants of the readout, of its synapse if it has one and of its membrane."""
    neuron, kind = parts.pattern, parts.neuron["kind"]
    if recurrent and (isinstance(neuron, Recurrent) or parts.named_norm.membrane is not None):
        raise ConfigError(
            f"recurrent: must be false for neurons that are so already, and for norms on membranes, got {kind} and norm={parts.norm!r}"
        )
    tau_mem = readout_tau_mem or _seconds(neuron, "tau_mem")
    if tau_mem is None:
        raise ConfigError(f"readout_tau_mem: must be given where the neurons do not share one tau_mem, got neurons of kind {kind}")
    return neuron.dt, _seconds(neuron, "tau_syn"), tau_mem


def _seconds(neuron: Neuron[Any], name: str) -> float | None:
    """A time constant of a neuron, if it has one that is a number."""
    found = getattr(neuron, name, None)
    if isinstance(found, Tensor):
        return float(found.detach()) if found.numel() == 1 else None
    return found
