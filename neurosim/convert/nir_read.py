"""NIR graphs as networks."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from neurosim.convert.imports import module_name
from neurosim.convert.nir_conventions import Reading, reading
from neurosim.convert.nir_file import read_graph
from neurosim.convert.nir_layers import node_layer, tensor_of
from neurosim.convert.nir_neurons_read import NEURON_NODES, is_ours, our_neuron, their_neuron
from neurosim.convert.nir_neurons_write import written_here
from neurosim.convert.nir_wiring import Edge, Wiring, wiring
from neurosim.convert.optional import require
from neurosim.errors import ConfigError, ConversionError
from neurosim.nn.graph import INPUT, SpikingGraph
from neurosim.nn.scale import Shift
from neurosim.nn.time import SpikingSequential
from neurosim.ops.neuron_arguments import Reset
from neurosim.surrogate import Surrogate

_WHERE = "from_nir"


def from_nir(
    graph: Any,
    *,
    dt: float | None = None,
    convention: str | None = None,
    reset: Reset | None = None,
    strict: bool | None = None,
    surrogate: Surrogate | str = "arctan",
    dtype: torch.dtype | None = None,
) -> SpikingSequential | SpikingGraph:
    """A graph of the Neuromorphic Intermediate Representation, or an ``.nir`` file, as a network.

    A chain becomes a ``SpikingSequential``, anything else a ``SpikingGraph``; where several edges end, their signals are summed. A loop
    must be entered at one node: the edges back to it have a delay of one step. A bias on the way back acts from the first step on.

    What :func:`to_nir` wrote needs no argument and comes back bit for bit. Of other graphs nobody can tell in which steps they run:
    ``convention`` names the library that wrote it (``"snntorch"``, ``"norse"``, ``"spikingjelly"``), or how the equations are to be solved
    (``"nir"``: exactly, with inputs constant in a step; ``"euler"``).

    Args:
        graph: A ``nir.NIRGraph``, or the path of a file.
        dt: Step of the network, seconds. With ``"norse"`` and ``"spikingjelly"``, that which the graph was written with; with
            ``"snntorch"``, which always writes 1e-4, it only names the unit. Must be left out, or agree, where the graph says it.
        convention: See above; needed where neurons do not say theirs.
        reset: What a spike does to the potential, as in ``LIF``, where NIR's hard reset is not what is meant; ``"snntorch"`` needs it.
        strict: Whether neurons fire above their threshold only, or at it as well; None is as the convention has it.
        surrogate: The surrogate gradient of neurons that do not say theirs.
        dtype: Of weights; None keeps that of the file, if it is one.

    Returns:
        A network that takes ``(time, batch, *)``.

    Raises:
        ConfigError: An argument does not hold, something must be said that the graph leaves open, or nir is not installed.
        ConversionError: The graph or file is broken, ambiguous, or holds what cannot be run.
        OSError: There is no such file.

    Source:
        As for :func:`to_nir`, and ``neurosim/convert/nir_conventions.py`` for what each library means by its numbers.

    >>> import nir, numpy as np
    >>> one = np.ones(2)
    >>> graph = nir.NIRGraph.from_list(nir.Linear(np.eye(2)), nir.LIF(tau=0.02 * one, r=one, v_leak=0 * one, v_threshold=one))
    >>> from_nir(graph, dt=1e-3, convention="nir")
    SpikingSequential(
      (linear): Linear(in_features=2, out_features=2, bias=False)
      (lif): LIF(tau_mem=0.02, dt=0.001, r=1, reset='hard', strict=True)
    )
    """
    require("nir", _WHERE)
    import nir

    if isinstance(graph, str | os.PathLike):
        graph = read_graph(graph, _WHERE)
    if not isinstance(graph, nir.NIRGraph):
        raise ConfigError(f"{_WHERE}: graph must be a nir.NIRGraph or the path of a file, got {type(graph).__name__}")
    said = _delayed_of_ours(graph)
    wired = wiring(_WHERE, graph, said)
    needed = [name for name, node in wired.nodes.items() if type(node).__name__ in NEURON_NODES and not is_ours(node)]
    read = reading(_WHERE, convention, dt, reset, strict, surrogate) if needed else None
    _check_dtypes(wired, dtype)
    modules = {name: _module(name, node, dt, read, dtype) for name, node in wired.nodes.items()}
    shifts = {} if said is not None else _biases_of_loops(wired, modules)
    return _network(wired, modules, shifts)


def _delayed_of_ours(graph: Any) -> list[Edge] | None:
    """The delayed edges, where the graph was written here and says them."""
    if not written_here(graph.metadata):
        return None
    try:
        return [(str(source), str(target)) for source, target in json.loads(graph.metadata["delayed"])]
    except (KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"{_WHERE}: the graph's metadata must be what to_nir writes, got {type(error).__name__}: {error}") from error


def _module(name: str, node: Any, dt: float | None, read: Reading | None, dtype: torch.dtype | None) -> nn.Module:
    where = f"{_WHERE}: {name}"
    if type(node).__name__ not in NEURON_NODES:
        return node_layer(where, node, dtype)
    if is_ours(node):
        return our_neuron(where, node, dt)
    if read is None:
        raise ConversionError(f"{where}: it must say what to_nir writes")
    return their_neuron(where, node, read)


def _check_dtypes(wired: Wiring, dtype: torch.dtype | None) -> None:
    if dtype is not None:
        if getattr(dtype, "is_floating_point", None) is not True:
            raise ConfigError(f"{_WHERE}: dtype must be a floating-point type of torch, got {dtype!r}")
        return
    weights = {name: node.weight for name, node in wired.nodes.items() if hasattr(node, "weight")}
    found = {str(weight.dtype).removeprefix("torch."): name for name, weight in weights.items() if hasattr(weight, "dtype")}
    if len(found) > 1:
        given = ", ".join(f"{kind} ({name})" for kind, name in found.items())
        raise ConfigError(f"{_WHERE}: dtype must be given where weights have several types, got {given}")


def _biases_of_loops(wired: Wiring, modules: dict[str, nn.Module]) -> dict[str, Shift]:
    """Take biases off layers that lead back: a delay withholds their first result; their targets are to have the bias at every step."""
    found: dict[str, Shift] = {}
    for source, target in wired.delayed:
        biased = _biased_on_the_way(wired, modules, source)
        if not biased:
            continue
        layer, node = modules[source], wired.nodes[source]
        leads_on = source in wired.outputs or any(source in others for others in wired.sources.values())
        if biased != [source] or not isinstance(layer, nn.Linear) or leads_on or target in found:
            raise ConversionError(
                f"{_WHERE}: {biased[0]}: a bias on the way back to {target} must be that of a linear layer that leads nowhere else: "
                "a delay would withhold it at the first step"
            )
        found[target] = Shift(tensor_of(f"{_WHERE}: {source}", "bias", node.bias, layer.weight.dtype), learn=True)
        layer.register_parameter("bias", None)
    return found


def _biased_on_the_way(wired: Wiring, modules: dict[str, nn.Module], source: str) -> list[str]:
    """The layers with a bias from the last neurons to a node, and that node itself."""
    found, todo = [], [source]
    while todo:
        name = todo.pop()
        if name and type(wired.nodes[name]).__name__ not in NEURON_NODES:
            bias = getattr(modules[name], "bias", None)
            found += [name] if bias is not None and bool(bias.any()) else []
            todo += wired.sources[name]
    return found


def _network(wired: Wiring, modules: dict[str, nn.Module], shifts: dict[str, Shift]) -> SpikingSequential | SpikingGraph:
    names = _names(modules)
    order = _as_chain(wired)
    if order is not None:
        return SpikingSequential(OrderedDict((names[name], modules[name]) for name in order))
    parts = {names[name]: module for name, module in modules.items()}
    sources = {names[name]: [names.get(source, INPUT) for source in wired.sources[name]] for name in modules}
    for target, shift in shifts.items():
        name = _free(f"{names[target]}_bias", parts)
        parts[name], sources[name], sources[names[target]] = shift, sources[names[target]], [name]
    output = names.get(wired.outputs[0], INPUT)
    if len(wired.outputs) > 1:
        output = _free("sum", parts)
        parts[output], sources[output] = nn.Identity(), [names.get(source, INPUT) for source in wired.outputs]
    try:
        return SpikingGraph(parts, sources, output, delayed=[(names[a], names[b]) for a, b in wired.delayed])
    except ConfigError as error:
        raise ConversionError(f"{_WHERE}: {error}") from error


def _as_chain(wired: Wiring) -> list[str] | None:
    """The nodes in order, if they are one after the other; None if not."""
    if wired.delayed or len(wired.outputs) != 1 or any(len(sources) != 1 for sources in wired.sources.values()):
        return None
    order, name = [], wired.outputs[0]
    while name:
        order.append(name)
        (name,) = wired.sources[name]
    return order[::-1] if len(order) == len(wired.nodes) else None


def _names(modules: dict[str, nn.Module]) -> dict[str, str]:
    """Names of nodes as names of modules: without dots, and each once."""
    found: dict[str, str] = {}
    for name in modules:
        found[name] = _free(module_name(name), found.values())
    return found


def _free(name: str, taken: Any) -> str:
    while name in taken:
        name += "_"
    return name
