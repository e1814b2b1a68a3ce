r"""Networks of SpikingJelly as networks of this library.

============================ ======================================================= ================================================
node                         h                                                       here
============================ ======================================================= ================================================
``IFNode``                   v + x                                                   ``LIF(inf)``
``LIFNode``, ``decay_input`` v + (x − (v − v_r)) / τ                                 ``LIF``, a = 1 − 1/τ, ``r=1``, ``v_leak`` = v_r
``LIFNode`` without          v − (v − v_r) / τ + x                                   ``LIF``, a = 1 − 1/τ, ``v_leak`` = v_r
``ParametricLIFNode``        as ``LIFNode`` with 1/τ = sig(w)                        the same, with a learned ``tau_mem``
``CUBALIFNode``              d_v v + i, with i = d_c i + x                           ``CubaLIF``, a = d_v, α = d_c
============================ ======================================================= ================================================

All fire at h ≥ θ and reset at once: to v_r, or, where ``v_reset`` is None (v_r is then 0), by θ. Their τ counts steps, not seconds.

Source:
    SpikingJelly 2.0.0, ``activation_based/functional/neuron.py``, ``activation_based/surrogate.py``.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import torch
from torch import Tensor, nn

from neurosim.convert.accelerate_rules import agrees, as_number, spelled
from neurosim.convert.equivalence import Part, Source
from neurosim.convert.imports import (
    Drive,
    as_it_is,
    copied,
    imported,
    in_order,
    is_plain_sequential,
    refuse,
    refusing,
    stateless,
    stepwise,
    whole,
)
from neurosim.convert.time_constants import seconds, tau_of
from neurosim.errors import ConfigError
from neurosim.neurons import LIF, CubaLIF
from neurosim.nn.time import SpikingSequential
from neurosim.surrogate import Surrogate, surrogate

_WHERE = "from_spikingjelly"
_NEURONS: Final = ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode")

#: layers of theirs that are the layer of torch under the same name, run on every step
_AS_IN_TORCH: Final = frozenset(
    [f"{kind}{n}d" for kind in ("Conv", "ConvTranspose", "BatchNorm", "MaxPool", "AvgPool", "AdaptiveAvgPool") for n in (1, 2, 3)]
    + ["Linear", "Flatten", "GroupNorm", "Upsample"]
)


def _gaussian(alpha: float) -> Surrogate:
    return surrogate("gaussian", sigma=1 / (math.sqrt(2) * alpha))


_FORMULAS: Final[Mapping[str, Any]] = {
    "Sigmoid": lambda alpha: surrogate("logistic", alpha=alpha),
    "ATan": lambda alpha: surrogate("arctan", alpha=alpha),
    "SuperSpike": lambda alpha: surrogate("sj_superspike", alpha=alpha),
    "PiecewiseQuadratic": lambda alpha: surrogate("triangle", height=alpha, width=1 / alpha),
    "Rect": lambda alpha: surrogate("rectangle", height=alpha, width=1 / alpha),
    "Erf": _gaussian,
}


def from_spikingjelly(
    *layers: nn.Module,
    dt: float = 1e-3,
    input_shape: Sequence[int] | None = None,
    time_steps: int = 32,
    batch: int = 4,
    seed: int = 0,
    drive: Tensor | None = None,
) -> SpikingSequential:
    """A chain of SpikingJelly layers, in either step mode, as a network of this library, compared with its source.

    ``IFNode``, ``LIFNode`` and ``ParametricLIFNode`` become ``LIF``, ``CUBALIFNode`` becomes ``CubaLIF``; layers of SpikingJelly that wrap
    one of torch become that. Sums are taken in another order: membranes agree to rounding, spikes but for ties. A learned τ is learned as
    its logarithm here.

    Args:
        layers: A model, ``nn.Sequential`` or one layer, or layers in order; it is left as it is.
        dt: Length of a step, seconds: SpikingJelly counts in steps.
        input_shape, time_steps, batch, seed, drive: As for :func:`from_snntorch`.

    Returns:
        A network that takes ``(time, batch, *)`` from rest, with the report, an :class:`Exchange`, at ``network.exchange``.

    Raises:
        ConfigError: An argument does not hold.
        ConversionError: A layer has no exact counterpart, or does not do here what it does there.

    Source:
        SpikingJelly 2.0.0, as the text of this module says.
    """
    found = in_order(_WHERE, layers, is_plain_sequential)
    modes = {layer.step_mode for _, layer in found if _name(layer) in _NEURONS}
    if len(modes) > 1:
        raise refuse(_WHERE, *found[0], "some neurons have step_mode 's', some 'm'")
    dt = seconds(_WHERE, dt)
    parts = [_part(path, layer, dt, "m" in modes) for path, layer in found]
    library = "SpikingJelly"
    with contextlib.suppress(PackageNotFoundError):
        library += f" {version('spikingjelly')}"
    return imported(_WHERE, library, parts, Drive(input_shape, time_steps, batch, seed, drive))


def _name(module: nn.Module) -> str:
    """The class of a module of SpikingJelly; an empty string for others. The library need not be installed here."""
    kind = type(module)
    return kind.__qualname__ if kind.__module__.startswith("spikingjelly.activation_based.") else ""


def _part(path: str, layer: Any, dt: float, sequences: bool) -> Part:
    name = _name(layer)
    if name in _NEURONS:
        with refusing(_WHERE, path, layer):
            neuron, words = _neuron(path, layer, dt)
        return Part(path, layer, neuron, _source(layer), words, fires=True)
    if name == "Dropout":
        return Part(path, layer, nn.Dropout(layer.p), _folded(layer), "a new mask at every step; theirs is one for all steps")
    if name in _AS_IN_TORCH:
        return Part(path, layer, _of_torch(layer), _folded(layer), "as in torch")
    if name == "SeqToANNContainer":
        inside = [(f"{path}.{one}", child) for one, child in layer.named_children()]
        ours = nn.Sequential(*(_of_torch(child) if _name(child) in _AS_IN_TORCH else stateless(_WHERE, at, child) for at, child in inside))
        return Part(path, layer, ours, whole(layer), "on all steps at once")
    if name:
        raise refuse(_WHERE, path, layer, f"of SpikingJelly's layers, {', '.join(_NEURONS)} and those that wrap one of torch are known")
    if sequences and isinstance(layer, nn.Flatten):
        raise refuse(_WHERE, path, layer, "it would be called on (time, batch, *); SpikingJelly's own Flatten does what is meant")
    return Part(path, layer, stateless(_WHERE, path, layer), whole(layer) if sequences else stepwise(layer), as_it_is(layer))


def _neuron(path: str, layer: Any, dt: float) -> tuple[nn.Module, str]:
    """What stands for a neuron, and under which convention."""
    name = _name(layer)
    shape = _surrogate(layer.surrogate_function)
    if isinstance(shape, str):
        raise refuse(_WHERE, path, layer, shape)
    soft = layer.v_reset is None
    rest = 0.0 if soft else float(layer.v_reset)
    settings: dict[str, Any] = {
        "v_threshold": float(layer.v_threshold),
        "v_reset": rest,
        "reset": "soft" if soft else "hard",
        "detach_reset": bool(layer.detach_reset),
        "surrogate": shape,
    }
    words = f"reset {'by the threshold' if soft else 'to v_reset'}, at once; fires at the threshold; gradient {spelled(shape)}"
    if name == "CUBALIFNode":
        if rest:
            raise refuse(_WHERE, path, layer, "v_reset other than 0: its membrane starts there but decays to 0")
        tau_mem, tau_syn = (tau_of(f"{_WHERE}: {path}: {one}", float(getattr(layer, one)), dt) for one in ("v_decay", "c_decay"))
        return CubaLIF(tau_mem, tau_syn, dt, **settings), words
    if name == "IFNode":
        return LIF(math.inf, dt, v_leak=rest, **settings), f"no leak; {words}"
    learned = name == "ParametricLIFNode"
    share = layer.w.detach().double().sigmoid() if learned else torch.tensor(1 / float(layer.tau), dtype=torch.float64)
    tau = tau_of(f"{_WHERE}: {path}: 1 − 1/tau", 1 - share, dt)
    r = 1.0 if layer.decay_input else None
    if learned:
        settings["learn"] = ["tau_mem"]
        words += "; 1/tau, a sigmoid of what is learned there, is learned as log tau"
    return LIF(tau, dt, v_leak=rest, r=r, **settings), f"input {'decays' if layer.decay_input else 'counts once'}; {words}"


def _surrogate(function: Any) -> Surrogate | str:
    """Our formula for a surrogate of theirs, or why there is none."""
    name = type(function).__name__
    if not getattr(function, "spiking", False):
        return f"its surrogate, {name}, has spiking=False: the neuron gives no spikes"
    alpha = as_number(getattr(function, "alpha", None))
    if name not in _FORMULAS or alpha is None:
        return f"its surrogate, {name}, is none of {', '.join(_FORMULAS)}"
    try:
        shape: Surrogate = _FORMULAS[name](alpha)
    except (ConfigError, ZeroDivisionError):
        return f"its surrogate, {name}, has alpha={alpha:g}, which must be > 0"
    return shape if agrees(function, shape, strict=False) else f"its surrogate, {name}, is not what it was in SpikingJelly 2.0.0"


def _of_torch(layer: nn.Module) -> nn.Module:
    """A copy as the layer of torch that it wraps."""
    base = next(kind for kind in type(layer).__mro__ if kind.__module__.startswith("torch.nn."))
    plain: nn.Module = copied(layer)
    plain.__class__ = base
    for name in [name for name in vars(plain) if "step_mode" in name]:
        del plain.__dict__[name]
    return plain


def _folded(layer: Any) -> Source:
    """A layer of SpikingJelly as it is run there: step by step, or on the whole sequence."""
    return whole(layer) if layer.step_mode == "m" else stepwise(layer)


def _source(layer: Any) -> Source:
    """A neuron of SpikingJelly from rest, in its own step mode."""
    source = copied(layer).eval()
    sequences = source.step_mode == "m"
    source.store_v_seq = sequences

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        source.reset()
        if sequences:
            return source(x), source.v_seq
        spikes, membranes = [], []
        for step in x.unbind(0):
            spikes.append(source(step))
            membranes.append(source.v)
        return torch.stack(spikes), torch.stack(membranes)

    return run
