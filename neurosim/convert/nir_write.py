"""Networks as NIR graphs."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from neurosim.convert.nir_file import write_graph
from neurosim.convert.nir_layers import layer_node
from neurosim.convert.nir_neurons_write import WRITER, Units, lost, neuron_node
from neurosim.convert.optional import require
from neurosim.ei import check
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons import IF, LI, LIF, CubaLIF, Recurrent
from neurosim.neurons.recurrent_lif import LinearToOthers
from neurosim.nn.graph import INPUT, SpikingGraph
from neurosim.nn.scale import Shift
from neurosim.nn.spiking import SequenceNetwork, SpikingNetwork
from neurosim.nn.time import SpikingResidual, SpikingSequential, TimeFold, step_through
from neurosim.nn.wrappers import unwrapped

_WHERE = "to_nir"


def to_nir(
    model: nn.Module, path: str | os.PathLike[str] | None = None, *, input_shape: Sequence[int] | None = None, lossy: bool = False
) -> Any:
    """A spiking network as a graph of the Neuromorphic Intermediate Representation, and as an ``.nir`` file.

    ``SpikingSequential``, ``SpikingResidual``, ``SpikingGraph`` and ``nn.Sequential`` become nodes and edges, a ``Recurrent`` becomes a
    loop. ``LIF``, ``CubaLIF``, ``LI``, ``IF``, ``Linear``, ``Conv1d``, ``Conv2d``, ``AvgPool2d`` and ``Flatten`` become what they are
    called there (without leak, ``LIF`` and ``LI`` become ``IF`` and ``I``; with ``divisor_override=1``, ``AvgPool2d`` becomes
    ``SumPool2d``). ``Dropout`` and ``Identity`` are left out. Of a ``SpikingNetwork`` or ``SequenceNetwork``, its body is written: how an
    input becomes a sequence, and a sequence an answer, is not part of a graph.

    NIR's neurons have no step, no reset but a hard one, and fire above their threshold. What ours have besides stands in the metadata of
    every neuron: ``dt``, ``step`` (``exponential``), ``gain``, ``reset``, ``comparison``, ``surrogate`` and more, from which
    :func:`from_nir` makes the same network again, bit for bit. Other readers see the fields only.

    Args:
        model: A network of these; of a compiled or data-parallel one, what is inside is written.
        path: Where to write the file, atomically; None writes none.
        input_shape: Shape of one sample, without time and batch; needed where the first layer does not tell.
        lossy: Write also what no field of NIR says (resets other than hard, noise, folded signs): other readers will run another network.

    Returns:
        The ``nir.NIRGraph``.

    Raises:
        ConfigError: An argument does not hold, or nir is not installed.
        ConversionError: A layer has no counterpart, excitatory-inhibitory layers have weights below 0, neurons have different steps, or
            something would be lost.
        OSError: The file cannot be written.

    Source:
        J. E. Pedersen et al., "Neuromorphic intermediate representation: A unified instruction set for interoperable brain-inspired
        computing", Nature Communications 15:8122 (2024), doi:10.1038/s41467-024-52259-9.

    >>> net = SpikingSequential(nn.Linear(3, 2), LIF(20e-3, 1e-3, reset="hard"))
    >>> to_nir(net).edges
    [('input', '0'), ('0', '1'), ('1', 'output')]
    """
    require("nir", _WHERE)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{_WHERE}: model must be a torch.nn.Module, got {type(model).__name__}")
    model = unwrapped(model)
    check(model, where=_WHERE, error=ConversionError)
    graph = _Writer(lossy).graph(model, _shape_of_a_sample(model, input_shape))
    if path is not None:
        write_graph(path, graph)
    return graph


class _Writer:
    """Collects the nodes and edges of a network."""

    def __init__(self, lossy: bool) -> None:
        self.lossy = lossy
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.late: list[tuple[str, str]] = []  # named by the module that is the source, until all are written
        self.steps: dict[float, str] = {}
        self.lost: list[str] = []

    def graph(self, model: nn.Module, shape: Units) -> Any:
        """The whole network."""
        import nir

        self.nodes[INPUT] = nir.Input(input_type={"input": _sizes(shape)})
        last, shape = self.add("", model, [INPUT], shape)
        if self.lost and not self.lossy:
            what = "NIR must be able to say what every neuron does; lossy=True writes it as metadata, got"
            raise ConversionError("\n".join([f"to_nir: {what}", *self.lost]))
        if len(self.steps) > 1:
            given = ", ".join(f"{dt:g} ({path})" for dt, path in self.steps.items())
            raise ConversionError(f"to_nir: all neurons must have one dt, got {given}")
        output = "output"
        while output in self.nodes:
            output += "_"
        self.nodes[output] = nir.Output(output_type={"output": _sizes(shape)})
        self.edges += [(source, output) for source in last]
        if len(set(self.edges)) < len(self.edges):
            twice = next(edge for edge in self.edges if self.edges.count(edge) > 1)
            raise ConversionError(f"to_nir: NIR has one edge between two nodes, the network has {' → '.join(twice)} twice")
        said: dict[str, Any] = {"writer": WRITER, "delayed": json.dumps(self.late)}
        for dt in self.steps:
            said["dt"] = dt
        grouped = any(getattr(node, "groups", 1) != 1 for node in self.nodes.values())
        try:
            return nir.NIRGraph(self.nodes, self.edges, metadata=said, type_check=not grouped)  # nir's check takes groups for one
        except ValueError as error:
            raise ConversionError(f"to_nir: nir refuses the graph: {error}") from error

    def add(self, path: str, module: nn.Module, sources: list[str], shape: Units) -> tuple[list[str], Units]:
        """A module's nodes; the names of what gives its result, to be summed, and that result's shape."""
        if isinstance(module, SpikingSequential) or type(module) is nn.Sequential:
            for name, child in module.named_children():
                sources, shape = self.add(_join(path, name), child, sources, shape)
            return sources, shape
        if isinstance(module, SpikingNetwork | SequenceNetwork):
            return self.add(_join(path, "body"), module.body, sources, shape)
        if isinstance(module, TimeFold):
            return self.add(_join(path, "module"), module.module, sources, shape)
        if isinstance(module, SpikingResidual):
            left, after = self.add(_join(path, "body"), module.body, sources, shape)
            right = sources if module.shortcut is None else self.add(_join(path, "shortcut"), module.shortcut, sources, shape)[0]
            return [*left, *right], after
        if isinstance(module, SpikingGraph):
            return self._add_graph(path, module, sources, shape)
        if isinstance(module, Recurrent):
            return self._add_loop(path, module, sources, shape)
        if isinstance(module, nn.Dropout | nn.Identity):
            return sources, shape
        return self._add_node(path or "model", module, sources, shape)

    def _add_graph(self, path: str, module: SpikingGraph, sources: list[str], shape: Units) -> tuple[list[str], Units]:
        given: dict[str, tuple[list[str], Units]] = {INPUT: (sources, shape)}
        entered: dict[str, list[str]] = {}
        for name in module.order:
            before = [node for source in module.sources[name] for node in given[source][0]]
            known = set(self.nodes)
            given[name] = self.add(_join(path, name), module.get_submodule(name), before, given[module.sources[name][0]][1])
            entered[name] = [new for new in self.nodes if new not in known][:1]
        for source, target in module.delayed:
            if len(entered[target]) != 1 or any(a != b for a, b in zip(given[source][0], given[source][0][:1], strict=False)):
                raise ConversionError(f"to_nir: {_join(path, target)}: a delayed edge must lead from one node to one node")
            edge = given[source][0][0], entered[target][0]
            self.edges.append(edge)
            self.late.append(edge)
        return given[module.output]

    def _add_loop(self, path: str, module: Recurrent, sources: list[str], shape: Units) -> tuple[list[str], Units]:
        """A neuron that hears itself. A bias among its units acts from the first step on: it is added to the input."""
        back = copy.deepcopy(module.connection)
        if not isinstance(back, nn.Linear):
            raise ConversionError(f"{_WHERE}: {path or 'model'}: only linear connections can be written, got {type(back).__name__}")
        if type(back) is LinearToOthers:
            weight = back.weight.detach().clone().fill_diagonal_(0)
            back = nn.Linear(back.in_features, back.out_features, bias=False, device="meta")
            back.weight = nn.Parameter(weight)
        if back.bias is not None:
            sources, _ = self.add(_join(path, "bias"), Shift(back.bias), sources, shape)
            back.register_parameter("bias", None)
        fired, after = self.add(_join(path, "neuron"), module.neuron, sources, shape)
        (returned,), _ = self.add(_join(path, "connection"), back, fired, after)
        self.edges.append((returned, fired[0]))
        self.late.append((returned, fired[0]))
        return fired, after

    def _add_node(self, path: str, module: nn.Module, sources: list[str], shape: Units) -> tuple[list[str], Units]:
        name = path.replace("/", "_")
        while name in self.nodes or name == "output":
            name += "_"
        where = f"{_WHERE}: {path}"
        if type(module) in (LIF, CubaLIF, LI, IF):
            neuron: Any = module
            self.nodes[name] = neuron_node(where, neuron, shape)
            self.steps.setdefault(neuron.dt, path)
            self.lost += [f"  {path} ({type(module).__name__}): {what}" for what in lost(neuron)]
            after = shape
        else:
            self.nodes[name] = layer_node(where, module, shape)
            after = _after(where, module, shape)
        self.edges += [(source, name) for source in sources]
        return [name], after


def _after(where: str, module: nn.Module, shape: Units) -> Units:
    """The shape of a sample after a layer."""
    parameter = next(module.parameters(), None)
    like = torch.empty(0) if parameter is None else parameter
    try:
        with torch.no_grad():
            result, _ = step_through(module, like.new_zeros((1, 1, *shape)), None, None, where)
    except Exception as error:  # whatever torch raises of a shape that a layer does not take
        got = f"{type(error).__name__}: {error}"
        raise ConversionError(f"{where} ({type(module).__name__}) must take samples of shape {shape}, got {got}") from error
    return tuple(result.shape[2:])


def _shape_of_a_sample(model: nn.Module, given: Sequence[int] | None) -> Units:
    if given is None:
        first = next((module for module in model.modules() if not list(module.children())), model)
        if not isinstance(first, nn.Linear):
            raise ConfigError(f"{_WHERE}: input_shape must be given, the shape of one sample: the first layer does not tell it")
        return (first.in_features,)
    shape = tuple(given)
    if not shape or any(type(size) is not int or size < 1 for size in shape):
        raise ConfigError(f"{_WHERE}: input_shape must be integers > 0, got {given!r:.60}")
    return shape


def _sizes(shape: Units) -> Any:
    import numpy as np

    return np.array(shape, np.int64)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
