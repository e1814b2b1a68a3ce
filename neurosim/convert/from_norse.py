r"""Networks of norse as networks of this library.

With κ = dt · ``tau_mem_inv``, norse's membrane goes from v to :math:`v + \kappa (v_{leak} - v + j)`: a decay of 1 − κ and, with ``r=1``, a
gain of κ and a bias of κ v_leak, whose time constant here is :math:`-\Delta t / \ln(1 - \kappa)`, not the one that norse is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.convert.accelerate_rules import Plan, Refusal
from neurosim.convert.equivalence import Part, Source
from neurosim.convert.imports import Drive, as_it_is, imported, in_order, is_plain_sequential, refuse, refusing, stateless, stepwise, whole
from neurosim.convert.optional import require
from neurosim.convert.time_constants import number_or_tensor, tau_of
from neurosim.neurons import LI, LIF, CubaLIF
from neurosim.nn.graph import SpikingGraph
from neurosim.nn.time import SpikingSequential

_WHERE = "from_norse"


def from_norse(
    *layers: nn.Module,
    input_shape: Sequence[int] | None = None,
    time_steps: int = 32,
    batch: int = 4,
    seed: int = 0,
    drive: Tensor | None = None,
) -> SpikingSequential:
    """A chain of norse layers as a network of this library, compared with its source.

    ``LIF`` and ``LIFCell`` become ``CubaLIF``, ``LIFBoxCell``, ``IAF`` and ``IAFCell`` become ``LIF``, ``LI`` and ``LICell`` two ``LI`` in
    a row, ``LIBoxCell`` becomes ``LI``; ``LIFRecurrent`` and ``LIFRecurrentCell`` a loop. Steps are those of the layers' own ``dt``. Sums
    are taken in another order than norse's: membranes agree to rounding, spikes but for ties.

    Args:
        layers: A model (``SequentialState``, ``nn.Sequential`` or one layer), or layers in order; it is left as it is. Layers without
            state may stand in a ``Lift``.
        input_shape, time_steps, batch, seed, drive: As for :func:`from_snntorch`.

    Returns:
        A network that takes ``(time, batch, *)`` from rest, with the report, an :class:`Exchange`, at ``network.exchange``.

    Raises:
        ConfigError: An argument does not hold, or norse is not installed.
        ConversionError: A layer has no exact counterpart, or does not do here what it does there.

    Source:
        norse 1.1.0, ``torch/functional/lif.py``, ``lif_box.py``, ``leaky_integrator.py``, ``iaf.py``.
    """
    release = require("norse.torch", _WHERE)
    from norse.torch.module.sequential import SequentialState

    found = in_order(_WHERE, layers, lambda module: is_plain_sequential(module) or type(module) is SequentialState)
    with_time = {_takes_sequences(layer) for _, layer in found} - {None}
    if len(with_time) > 1:
        raise refuse(_WHERE, *found[0], "some neurons take a sequence (LIF, …) and some a step (LIFCell, …)")
    parts = [_part(path, layer, True in with_time) for path, layer in found]
    return imported(_WHERE, f"norse {release}", parts, Drive(input_shape, time_steps, batch, seed, drive))


def _takes_sequences(layer: nn.Module) -> bool | None:
    """Whether a neuron runs over sequences; None for layers without state."""
    from norse.torch.module.snn import SNN, SNNCell, SNNRecurrent, SNNRecurrentCell

    return True if isinstance(layer, SNN | SNNRecurrent) else False if isinstance(layer, SNNCell | SNNRecurrentCell) else None


def _part(path: str, layer: Any, sequences: bool) -> Part:
    from norse.torch.module.lift import Lift

    takes = _takes_sequences(layer)
    if takes is not None:
        with refusing(_WHERE, path, layer):
            ours, words, fires = _neuron(path, layer)
        return Part(path, layer, ours, _source(layer, takes), words, fires)
    if isinstance(layer, Lift):
        if layer.is_stateful:
            raise refuse(_WHERE, path, layer, "the lifted layer has a state")
        return Part(path, layer, stateless(_WHERE, path, layer.lifted_module), stepwise(layer.lifted_module), "lifted over time")
    if not sequences:
        return Part(path, layer, stateless(_WHERE, path, layer), stepwise(layer), as_it_is(layer))
    return Part(path, layer, _seen_with_time(path, layer), whole(layer), "as it is")


def _seen_with_time(path: str, layer: nn.Module) -> nn.Module:
    """A layer that norse calls on ``(time, batch, *)``, for ``(samples, *)``."""
    if isinstance(layer, nn.Linear | nn.Dropout | nn.Identity) or type(layer).__module__ == "torch.nn.modules.activation":
        return stateless(_WHERE, path, layer)
    if isinstance(layer, nn.Flatten) and layer.start_dim >= 2 and (layer.end_dim == -1 or layer.end_dim >= 2):
        return nn.Flatten(layer.start_dim - 1, layer.end_dim if layer.end_dim == -1 else layer.end_dim - 1)
    raise refuse(_WHERE, path, layer, "norse calls it on (time, batch, *), so it must be lifted: Lift(layer)")


def _neuron(path: str, layer: Any) -> tuple[nn.Module, str, bool]:
    """What stands for a neuron, under which convention, and whether it fires."""
    from norse.torch.module.iaf import IAF, IAFCell
    from norse.torch.module.leaky_integrator import LI as TheirLI
    from norse.torch.module.leaky_integrator import LICell
    from norse.torch.module.leaky_integrator_box import LIBoxCell
    from norse.torch.module.lif import LIFRecurrent, LIFRecurrentCell

    from neurosim.convert.accelerate_norse import judge

    p, dt, kind = layer.p, float(layer.dt), type(layer)
    if kind in (TheirLI, LICell, LIBoxCell):
        membrane = LI(_tau(path, "tau_mem_inv", p.tau_mem_inv, dt), dt, v_leak=number_or_tensor(p.v_leak), r=1.0)
        if kind is LIBoxCell:
            return membrane, "leaky integrator", False
        return SpikingSequential(LI(_tau(path, "tau_syn_inv", p.tau_syn_inv, dt), dt), membrane), "a synapse, then the membrane", False
    if kind in (IAF, IAFCell):
        settings, words = _by_surrogate(path, layer)
        return LIF(float("inf"), dt, v_leak=number_or_tensor(p.v_reset), **settings), f"no leak; {words}", True
    if kind in (LIFRecurrent, LIFRecurrentCell):
        settings, words = _by_surrogate(path, layer)
        fire = _with_current(path, layer, {**settings, "detach_reset": True})
        modules = {"weights": _linear(layer.input_weights), "fire": fire, "recurrent": _linear(layer.recurrent_weights)}
        graph = SpikingGraph(
            modules, {"weights": ["input"], "fire": ["weights"], "recurrent": ["fire"]}, "fire", delayed=[("recurrent", "fire")]
        )
        note = "" if layer.autapses is True else "; weights of a neuron to itself, 0 here, are free to be learned"
        return graph, f"{words}; its spikes come back one step later{note}", True
    plan = judge(layer)
    if not isinstance(plan, Plan):
        raise refuse(_WHERE, path, layer, plan.reason if plan is not None else "it is no neuron that is known")
    rule = plan.convention
    settings = {
        **_firing(p),
        "reset": rule.reset,
        "detach_reset": rule.detach_reset,
        "surrogate": rule.surrogate if rule.differentiable else "arctan",
    }
    words = f"{rule.words}{'' if rule.differentiable else ', arctan here'}"
    if hasattr(p, "tau_syn_inv"):
        return _with_current(path, layer, settings), words, True
    return LIF(_tau(path, "tau_mem_inv", p.tau_mem_inv, dt), dt, v_leak=number_or_tensor(p.v_leak), r=1.0, **settings), words, True


def _with_current(path: str, layer: Any, settings: dict[str, Any]) -> CubaLIF:
    p, dt = layer.p, float(layer.dt)
    tau_mem, tau_syn = _tau(path, "tau_mem_inv", p.tau_mem_inv, dt), _tau(path, "tau_syn_inv", p.tau_syn_inv, dt)
    return CubaLIF(tau_mem, tau_syn, dt, v_leak=number_or_tensor(p.v_leak), r=1.0, **settings)


def _by_surrogate(path: str, layer: Any) -> tuple[dict[str, Any], str]:
    """Settings of a neuron that resets to a value, from its parameters."""
    from neurosim.convert.accelerate_norse import surrogate_of

    shape = surrogate_of(layer.p) if layer.p.method != "adjoint" else Refusal('method="adjoint": it has a gradient of its own')
    if isinstance(shape, Refusal):
        raise refuse(_WHERE, path, layer, shape.reason)
    no_gradient = layer.p.method == "heaviside"
    words = f"reset to v_reset, at once; fires above the threshold{'; no gradient, arctan here' if no_gradient else ''}"
    return {**_firing(layer.p), "reset": "hard", "detach_reset": False, "surrogate": "arctan" if no_gradient else shape}, words


def _firing(p: Any) -> dict[str, Any]:
    return {"v_threshold": number_or_tensor(p.v_th), "v_reset": number_or_tensor(p.v_reset), "strict": True}


def _tau(path: str, name: str, rate: Any, dt: float) -> float | Tensor:
    """From an inverse time constant of norse: 1 − κ is what is left after a step, with κ as norse rounds it."""
    share = torch.as_tensor(dt * rate).detach().double()
    return tau_of(f"{_WHERE}: {path}: 1 − dt · {name}", 1 - share, dt)


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone())
    return layer


def _source(layer: Any, sequences: bool) -> Source:
    """The layer of norse, step by step from rest; it keeps no state, but makes parameters require a gradient when it starts."""
    flags = [(value, value.requires_grad) for value in layer.p if isinstance(value, Tensor) and value.is_leaf]

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        state = None
        spikes, membranes = [], []
        for step in x.unbind(0):
            out, state = layer(step[None] if sequences else step, state)
            spikes.append(out[0] if sequences else out)
            membranes.append(torch.broadcast_to(state.v, spikes[-1].shape))
        for value, required in flags:
            value.requires_grad_(required)
        return torch.stack(spikes), torch.stack(membranes)

    return run
