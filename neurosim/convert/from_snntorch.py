"""Networks of snnTorch as networks of this library."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.convert.equivalence import Part, Source
from neurosim.convert.imports import Drive, as_it_is, copied, imported, in_order, is_plain_sequential, refuse, refusing, stateless, stepwise
from neurosim.convert.time_constants import number_or_tensor, seconds, tau_of
from neurosim.neurons import LIF, CubaLIF
from neurosim.nn.graph import SpikingGraph
from neurosim.nn.scale import Scale, Shift
from neurosim.nn.time import SpikingSequential

_WHERE = "from_snntorch"


def from_snntorch(
    *layers: nn.Module,
    dt: float = 1e-3,
    input_shape: Sequence[int] | None = None,
    time_steps: int = 32,
    batch: int = 4,
    seed: int = 0,
    drive: Tensor | None = None,
) -> SpikingSequential:
    r"""A chain of snnTorch layers as a network of this library, compared with its source.

    ``Leaky`` becomes ``LIF`` with :math:`\tau = -\Delta t/\ln\beta`, ``Synaptic`` becomes ``CubaLIF``, ``RLeaky`` and ``RSynaptic`` a loop;
    each keeps its reset, its surrogate gradient and what it learns. Spikes and membranes of ``Leaky`` and ``Synaptic`` are equal bit for
    bit; in loops, sums are taken in another order. Time constants per unit are kept in double precision for that.

    Args:
        layers: A model, ``nn.Sequential`` or one layer, or the layers of a model in the order in which it calls them. It is left as it is.
        dt: Length of a step, seconds: snnTorch has none, so it only names the unit of the time constants.
        input_shape: Shape of one sample, without time and batch; needed where the first layer does not tell.
        time_steps, batch, seed: Of the random drive that both networks run on.
        drive: ``(time, batch, *)`` instead of a random one.

    Returns:
        A network that takes ``(time, batch, *)`` from rest, with the report, an :class:`Exchange`, at ``network.exchange``.

    Raises:
        ConfigError: An argument does not hold.
        ConversionError: A layer has no exact counterpart, or does not do here what it does there.

    Source:
        snnTorch 1.0.0, ``_neurons/leaky.py``, ``synaptic.py``, ``rleaky.py``, ``rsynaptic.py``.

    >>> import snntorch
    >>> net = from_snntorch(nn.Linear(4, 8), snntorch.Leaky(beta=0.9), nn.Linear(8, 2), snntorch.Leaky(beta=0.5))
    >>> net.exchange.differing, net.exchange.deviation
    (0, 0.0)
    """
    dt = seconds(_WHERE, dt)
    parts = [_part(path, layer, dt) for path, layer in in_order(_WHERE, layers, is_plain_sequential)]
    return imported(_WHERE, f"snnTorch {version('snntorch')}", parts, Drive(input_shape, time_steps, batch, seed, drive))


def _part(path: str, layer: nn.Module, dt: float) -> Part:
    from snntorch import SpikingNeuron

    if not isinstance(layer, SpikingNeuron):
        return Part(path, layer, stateless(_WHERE, path, layer), stepwise(layer), as_it_is(layer))
    with refusing(_WHERE, path, layer):
        ours, words = _neuron(path, layer, dt)
    return Part(path, layer, ours, _source(layer), words, fires=True)


def _neuron(path: str, layer: Any, dt: float) -> tuple[nn.Module, str]:
    """What stands for a neuron, and under which convention."""
    import snntorch as snn

    from neurosim.convert.accelerate_rules import Refusal
    from neurosim.convert.accelerate_snntorch import convention_of

    found = convention_of(layer, known=(snn.Leaky, snn.Synaptic, snn.RLeaky, snn.RSynaptic))
    if isinstance(found, Refusal):
        raise refuse(_WHERE, path, layer, found.reason)
    rule, note = found
    if rule.reset == "hard" and bool((layer.threshold < 0).any()):
        raise refuse(_WHERE, path, layer, 'reset_mechanism="zero" with reset_delay=False and a threshold below 0')
    with_current = isinstance(layer, snn.Synaptic | snn.RSynaptic)
    learned = {"tau_mem": layer.beta, "v_threshold": layer.threshold, **({"tau_syn": layer.alpha} if with_current else {})}
    settings: dict[str, Any] = {
        "v_threshold": _kept(layer.threshold),
        "reset": rule.reset,
        "strict": True,
        "detach_reset": rule.detach_reset,
        "surrogate": rule.surrogate if rule.differentiable else "arctan",
        "learn": [name for name, value in learned.items() if isinstance(value, nn.Parameter)],
    }
    tau_mem = tau_of(f"{_WHERE}: {path}: beta", layer.beta.detach().clamp(0, 1), dt)
    if with_current:
        tau_syn = tau_of(f"{_WHERE}: {path}: alpha", layer.alpha.detach().clamp(0, 1), dt)
        fire: nn.Module = CubaLIF(tau_mem, tau_syn, dt, **settings)
    else:
        fire = LIF(tau_mem, dt, **settings)
    words = "; ".join(filter(None, [rule.words, "arctan here" * (not rule.differentiable), note]))
    ours = _scaled(fire, layer.graded_spikes_factor)
    if isinstance(layer, snn.RLeaky | snn.RSynaptic):
        return _loop(path, layer, ours), f"{words}; its spikes come back one step later; sums in another order"
    return ours, words


def _kept(value: Tensor) -> float | Tensor:
    """A threshold as it is: in its own precision if per unit or learned."""
    return value if isinstance(value, nn.Parameter) or value.numel() > 1 else number_or_tensor(value)


def _scaled(fire: nn.Module, factor: Tensor) -> nn.Module:
    """With graded spikes, their size as a layer of its own."""
    if not isinstance(factor, nn.Parameter) and factor.numel() == 1 and factor == 1:
        return fire
    return SpikingSequential(fire, Scale(factor, learn=isinstance(factor, nn.Parameter)))


def _loop(path: str, layer: Any, fire: nn.Module) -> SpikingGraph:
    """A neuron whose spikes come back; a bias on that way acts from the first step on, so it is added to the input."""
    modules: dict[str, nn.Module] = {"fire": fire}
    sources = {"fire": ["input"], "recurrent": ["fire"]}
    if isinstance(layer.recurrent, nn.Linear | nn.Conv2d):
        back = copied(layer.recurrent)
        if back.bias is not None:
            bias = back.bias.detach()
            learned = back.bias.requires_grad
            modules["bias"] = Shift(bias if isinstance(back, nn.Linear) else bias[:, None, None], learn=learned)
            sources |= {"bias": ["input"], "fire": ["bias"]}
            back.bias = None
        modules["recurrent"] = back
    elif type(layer.recurrent).__name__ == "RecurrentOneToOne":
        weight = layer.recurrent.V
        modules["recurrent"] = Scale(weight, learn=isinstance(weight, nn.Parameter) and weight.requires_grad)
    else:
        raise refuse(_WHERE, path, layer, f"its recurrent connection, {type(layer.recurrent).__name__}, was replaced")
    return SpikingGraph(modules, sources, "fire", delayed=[("recurrent", "fire")])


def _source(layer: Any) -> Source:
    """The layer of snnTorch, step by step from rest."""
    source = copied(layer).eval()

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        source.reset_mem()
        state: tuple[Tensor, ...] = ()
        spikes, membranes = [], []
        for step in x.unbind(0):
            out = source(step) if source.init_hidden or not state else source(step, *state)
            spikes.append(out[0] if isinstance(out, tuple) else out)
            state = () if source.init_hidden else out if type(source).__name__ in ("RLeaky", "RSynaptic") else out[1:]
            membranes.append(source.mem)
        return torch.stack(spikes), torch.stack(membranes)

    return run
