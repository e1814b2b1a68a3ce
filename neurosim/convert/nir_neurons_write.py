"""Neurons as nodes of NIR: the equations' parameters as NIR's, everything else as metadata, to the bit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurosim.errors import ConversionError
from neurosim.neurons import IF, LI, LIF, CubaLIF
from neurosim.neurons.parameters import arriving

WRITER: Final = "neurosim"
Units = tuple[int, ...]


def written_here(metadata: Mapping[str, Any]) -> bool:
    """Whether a node or a graph says of itself that it was written by this library; a file may say anything, of any type."""
    writer = metadata.get("writer")
    return isinstance(writer, str) and writer == WRITER


def lost(neuron: LIF | CubaLIF | LI | IF) -> list[str]:
    """What of a neuron no field of NIR says, so that other readers do something else."""
    if isinstance(neuron, LI):
        return []
    found = [] if neuron.reset == "hard" else [f"reset={neuron.reset!r} (others will reset to v_reset)"]
    if bool((torch.as_tensor(neuron.sign) < 0).any()):
        found.append("sign=-1 (others will fire above the threshold)")
    start = "v_start" if isinstance(neuron, IF) else "v_leak"
    if _endless(neuron) and not _is_zero(getattr(neuron, start)):
        found.append(f"{start} without a leak, where it starts (others will start at 0)")
    found += [name for name in ("input_noise", "membrane_noise") if getattr(neuron, name)]
    return found


def neuron_node(where: str, neuron: LIF | CubaLIF | LI | IF, units: Units) -> Any:
    """The node of a neuron whose inputs have that shape.

    Raises:
        ConversionError: Its time constants are partly infinite.
    """
    import nir

    tensors: dict[str, tuple[list[int], str]] = {}

    def field(name: str) -> NDArray[np.floating]:
        return _field(where, neuron, name, units, tensors)

    metadata: dict[str, Any] = {"writer": WRITER, "neuron": type(neuron).__name__, "dt": neuron.dt, "step": "exponential"}
    metadata["gain"] = "unit" if neuron.r is None else "r"
    if isinstance(neuron, CubaLIF):
        metadata["gain_in"] = "unit" if neuron.w_in is None else "w_in"
    if not isinstance(neuron, LI):
        metadata |= {
            "reset": neuron.reset,
            "comparison": ">" if neuron.strict else ">=",
            "surrogate": neuron.surrogate.name,
            "surrogate_parameters": np.array(neuron.surrogate.parameters, np.float64),
            "detach_reset": neuron.detach_reset,
            "sign": field("sign"),
            "input_noise": neuron.input_noise,
            "membrane_noise": neuron.membrane_noise,
        }
        if neuron.reset_by is not None:
            metadata["reset_by"] = field("reset_by")
    metadata["learn"] = ",".join(neuron.learn)
    node: Any
    if _endless(neuron) and not isinstance(neuron, CubaLIF):
        node = _without_leak(neuron, units, field, metadata)
    elif isinstance(neuron, LI):
        node = nir.LI(tau=field("tau_mem"), r=field("r"), v_leak=field("v_leak"))
    else:
        shared = {name: field(name) for name in ("r", "v_leak", "v_threshold", "v_reset")}
        if isinstance(neuron, CubaLIF):
            node = nir.CubaLIF(tau_mem=field("tau_mem"), tau_syn=field("tau_syn"), w_in=field("w_in"), **shared)
        else:
            node = nir.LIF(tau=field("tau_mem"), **shared)
    metadata["tensors"] = json.dumps(tensors)
    node.metadata = metadata
    return node


def _without_leak(neuron: LIF | LI | IF, units: Units, field: Any, metadata: dict[str, Any]) -> Any:
    """An infinite time constant: NIR's IF and I, in which an input counts dt times r."""
    import nir

    if isinstance(neuron, IF):
        metadata["v_start"] = field("v_start")
        return nir.IF(r=field("r"), v_threshold=field("v_threshold"), v_reset=field("v_reset"))
    r = np.full(units, 1 / neuron.dt)
    metadata["v_leak"] = field("v_leak")
    if isinstance(neuron, LI):
        return nir.I(r=r)
    return nir.IF(r=r, v_threshold=field("v_threshold"), v_reset=field("v_reset"))


def _field(where: str, neuron: Any, name: str, units: Units, tensors: dict[str, tuple[list[int], str]]) -> NDArray[np.floating]:
    """A parameter for every unit; what was a tensor is noted with its shape and type."""
    value = getattr(neuron, name)
    if name in ("tau_mem", "tau_syn"):
        kept = getattr(neuron, f"log_{name}", None)
        value = value if kept is None else kept.detach().double().exp()  # in double precision, its logarithm is the one that was kept
        if not bool(torch.as_tensor(value).isfinite().all()):
            raise ConversionError(f"{where}: NIR's time constants must be finite, got {name} with infinite ones")
        if kept is not None:
            tensors[name] = (list(kept.shape), str(kept.dtype).removeprefix("torch."))
    elif value is None and isinstance(neuron, IF):
        value = 1 / neuron.dt
    elif value is None:
        tau = neuron.tau_syn if name == "w_in" else neuron.tau_mem
        value = 1 / arriving(neuron.dt, tau if isinstance(tau, float) else tau.detach().double())
    elif isinstance(value, Tensor):
        tensors[name] = (list(value.shape), str(value.dtype).removeprefix("torch."))
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.float64(value)
    try:
        return np.ascontiguousarray(np.broadcast_to(array, units))
    except ValueError as error:
        raise ConversionError(f"{where}: {name} must broadcast to the units {units}, got shape {array.shape}") from error


def _endless(neuron: LIF | CubaLIF | LI | IF) -> bool:
    return isinstance(neuron, IF) or (isinstance(neuron.tau_mem, float) and neuron.tau_mem == math.inf)


def _is_zero(value: float | Tensor) -> bool:
    return not bool(torch.as_tensor(value).count_nonzero())
