"""Nodes of NIR as neurons: those of this library as they were, those of others by the convention that is given."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurosim.convert.nir_conventions import Array, Reading, compact, leak, synapse
from neurosim.convert.nir_neurons_write import neuron_node, written_here
from neurosim.errors import ConversionError, NeurosimError
from neurosim.neurons import IF, LI, LIF, CubaLIF
from neurosim.nn.scale import Scale
from neurosim.nn.time import SpikingSequential
from neurosim.surrogate import surrogate as by_name

_KINDS: Mapping[str, type[LIF] | type[CubaLIF] | type[LI] | type[IF]] = {"LIF": LIF, "CubaLIF": CubaLIF, "LI": LI, "IF": IF}


def is_ours(node: Any) -> bool:
    """Whether a node says of itself that it was written here."""
    return written_here(node.metadata) and "neuron" in node.metadata


def our_neuron(where: str, node: Any, dt: float | None) -> nn.Module:
    """A neuron as it was written.

    Raises:
        ConversionError: What it says does not fit together, or not with the step that is asked for.
    """
    said = node.metadata
    try:
        if dt is not None and dt != float(said["dt"]):
            raise ConversionError(f"{where}: dt must be left out or be that of the graph, {float(said['dt']):g}, got {dt:g}")
        return _as_written(where, node, said)
    except NeurosimError as error:
        raise error if isinstance(error, ConversionError) else ConversionError(f"{where}: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        got = f"{type(error).__name__}: {error}"
        raise ConversionError(
            f"{where}: its metadata must be what to_nir writes, got {got}; without 'writer' a convention reads it"
        ) from error


def _as_written(where: str, node: Any, said: Mapping[str, Any]) -> nn.Module:
    kind = _KINDS[said["neuron"]]
    tensors = json.loads(said["tensors"])
    if said["step"] != "exponential":
        raise ConversionError(f"{where}: its steps must be 'exponential', got {said['step']!r}")

    def value(name: str, source: Any) -> float | Tensor:
        found = _restored(np.asarray(source), tensors.get(name))
        if isinstance(found, float) or name.startswith("tau_"):  # the logarithm of a time constant is taken in double precision
            return found
        return found.to(_dtype(tensors[name]))

    tau = getattr(node, "tau", getattr(node, "tau_mem", None))
    times: dict[str, float | Tensor] = {}
    if kind is IF:
        settings: dict[str, Any] = {"v_start": value("v_start", said["v_start"])}
    else:
        times["tau_mem"] = math.inf if tau is None else value("tau_mem", tau)
        settings = {"v_leak": value("v_leak", said["v_leak"] if tau is None else node.v_leak)}
    settings["r"] = None if said["gain"] == "unit" else value("r", node.r)
    if kind is CubaLIF:
        times["tau_syn"] = value("tau_syn", node.tau_syn)
        settings["w_in"] = None if said["gain_in"] == "unit" else value("w_in", node.w_in)
    if kind is not LI:
        settings |= {
            "v_threshold": value("v_threshold", node.v_threshold),
            "v_reset": value("v_reset", node.v_reset),
            "sign": value("sign", said["sign"]),
            "reset": str(said["reset"]),
            "strict": {">": True, ">=": False}[said["comparison"]],
            "detach_reset": bool(said["detach_reset"]),
            "surrogate": by_name(said["surrogate"])._replace(parameters=tuple(map(float, said["surrogate_parameters"]))),
            "input_noise": float(said["input_noise"]),
            "membrane_noise": float(said["membrane_noise"]),
        }
        if "reset_by" in said:
            settings["reset_by"] = value("reset_by", said["reset_by"])
    learn = tuple(filter(None, str(said["learn"]).split(",")))
    narrowed: dict[str, Any] = {name: kept.to(_dtype(tensors[name])) if isinstance(kept, Tensor) else kept for name, kept in times.items()}
    neuron = kind(**narrowed, dt=float(said["dt"]), learn=learn, **settings)
    with torch.no_grad():
        for name, kept in times.items():
            if isinstance(kept, Tensor):  # what is kept of a time constant is its logarithm
                getattr(neuron, f"log_{name}").copy_(kept.log())
    _check(where, node, neuron)
    return neuron


def _restored(array: Array, noted: Any) -> float | Tensor:
    """A parameter from its value for every unit: the tensor it was, or the number."""
    if noted is None:
        return float(array.flat[0])
    shape = tuple(noted[0])
    full = (1,) * (array.ndim - len(shape)) + shape
    first = array[tuple(slice(0, 1) if size == 1 else slice(None) for size in full)].reshape(shape)
    return torch.from_numpy(np.array(first))


def _dtype(noted: Any) -> torch.dtype:
    return {"float32": torch.float32, "float64": torch.float64}[noted[1]]


def _check(where: str, node: Any, neuron: Any) -> None:
    """Raise if writing the neuron would give something else than was read: fields or metadata were changed."""
    again = neuron_node(where, neuron, node.r.shape)
    for name in _FIELDS[type(node).__name__]:
        if type(again) is not type(node) or not np.allclose(getattr(again, name), getattr(node, name), rtol=1e-6, atol=0):
            raise ConversionError(f"{where}: {name} must be what its metadata says, and is not; without 'writer' a convention reads it")


def their_neuron(where: str, node: Any, read: Reading) -> nn.Module:
    """A neuron that another library wrote, by its convention.

    Raises:
        ConversionError: Its numbers do not fit the convention, or the neuron is not known.
    """
    fields = {name: _floating(where, name, getattr(node, name)) for name in _FIELDS.get(type(node).__name__, ())}
    try:
        return _READERS[type(node).__name__](where, fields, read)
    except KeyError:
        raise ConversionError(f"{where}: {type(node).__name__} is no neuron that is known; known: {', '.join(_READERS)}") from None
    except NeurosimError as error:
        raise error if isinstance(error, ConversionError) else ConversionError(f"{where}: {error}") from error


def _firing(fields: Mapping[str, Array], read: Reading) -> dict[str, Any]:
    return {
        "v_threshold": compact(fields["v_threshold"]),
        "v_reset": compact(fields["v_reset"]),
        "reset": read.reset,
        "strict": read.strict,
        "surrogate": read.surrogate,
    }


def _lif(where: str, fields: Mapping[str, Array], read: Reading) -> nn.Module:
    tau, r = leak(where, fields["tau"], fields["r"], read)
    return LIF(tau, read.dt, r=r, v_leak=compact(fields["v_leak"]), **_firing(fields, read))


def _cuba_lif(where: str, fields: Mapping[str, Array], read: Reading) -> nn.Module:
    (tau_mem, r), (tau_syn, w_in) = _both(where, fields, read)
    return CubaLIF(tau_mem, tau_syn, read.dt, w_in=w_in, r=r, v_leak=compact(fields["v_leak"]), **_firing(fields, read))


def _li(where: str, fields: Mapping[str, Array], read: Reading) -> nn.Module:
    tau, r = leak(where, fields["tau"], fields["r"], read)
    return LI(tau, read.dt, r=r, v_leak=compact(fields["v_leak"]))


def _cuba_li(where: str, fields: Mapping[str, Array], read: Reading) -> nn.Module:
    (tau_mem, r), (tau_syn, w_in) = _both(where, fields, read)
    membrane = LI(tau_mem, read.dt, r=r, v_leak=compact(fields["v_leak"]))
    return SpikingSequential(OrderedDict(synapse=LI(tau_syn, read.dt, r=w_in), membrane=membrane))


def _both(where: str, fields: Mapping[str, Array], read: Reading) -> tuple[Any, Any]:
    return leak(where, fields["tau_mem"], fields["r"], read), synapse(where, fields["tau_syn"], fields["w_in"], read)


def _if(where: str, fields: Mapping[str, Array], read: Reading) -> nn.Module:
    return IF(read.dt, r=_charge(fields["r"], read), **_firing(fields, read))


def _i(where: str, fields: Mapping[str, Array], read: Reading) -> nn.Module:
    r = _charge(fields["r"], read)
    membrane = LI(math.inf, read.dt)
    if r is None:
        return membrane
    return SpikingSequential(OrderedDict(gain=Scale(r.float() * read.dt if isinstance(r, Tensor) else r * read.dt), membrane=membrane))


def _charge(r: Array, read: Reading) -> float | Tensor | None:
    """What an input adds in a second, of a neuron without leak; None where it adds itself in a step. Some writers count in steps."""
    gain = r.astype(np.float64) * (1 if read.convention.per_step else read.dt)
    if np.allclose(gain, 1, rtol=0, atol=4 * float(np.finfo(r.dtype).eps)):
        return None
    return compact(gain / read.dt)


def _floating(where: str, name: str, value: Any) -> Array:
    """A field as an array of floating-point numbers; writers leave tensors and integers in graphs."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype.kind != "f" or not array.size or bool(np.isnan(array).any()):
        raise ConversionError(f"{where}: {name} must be numbers, got {array.dtype} of shape {array.shape}")
    return array if array.dtype.itemsize >= 4 else array.astype(np.float32)


_FIELDS: Mapping[str, tuple[str, ...]] = {
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_mem", "tau_syn", "r", "v_leak", "w_in"),
    "IF": ("r", "v_threshold", "v_reset"),
    "I": ("r",),
}
_READERS: Mapping[str, Callable[[str, Mapping[str, Array], Reading], nn.Module]] = {
    "LIF": _lif,
    "CubaLIF": _cuba_lif,
    "LI": _li,
    "CubaLI": _cuba_li,
    "IF": _if,
    "I": _i,
}
NEURON_NODES = frozenset(_READERS)
