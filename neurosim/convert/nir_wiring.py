"""What is connected to what in a NIR graph: subgraphs opened, loops closed by a delay, everything checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from neurosim.errors import ConversionError

Edge = tuple[str, str]


class Wiring(NamedTuple):
    """Nodes and edges without subgraphs."""

    nodes: dict[str, Any]  #: all but inputs and outputs
    sources: dict[str, list[str]]  #: what a node sums, by name; the input is ``""``
    outputs: list[str]  #: what the output sums
    delayed: list[Edge]


def wiring(where: str, graph: Any, delayed: Iterable[Edge] | None) -> Wiring:
    """The graph as what each node sums.

    Args:
        where: The function that reads, for messages.
        graph: A ``nir.NIRGraph``.
        delayed: The edges with a delay of one step, where the graph says them; None finds those that lead back to where a loop is entered.

    Raises:
        ConversionError: An edge leads nowhere, there is not exactly one input and one output, a node is not between them, or where the
            delay of a loop lies cannot be told.
    """
    nodes, edges, inputs, outputs = _opened(where, graph, "")
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConversionError(f"{where}: the graph must have one input and one output, got {len(inputs)} and {len(outputs)}")
    (source,), (target,) = inputs, outputs
    _check_between(where, nodes, edges, source, target)
    known = {source: "", target: target}
    inner = [(known.get(a, a), b) for a, b in edges if b != target]
    late = _loops(where, [*nodes], inner) if delayed is None else [edge for edge in delayed]
    for edge in late:
        if edge not in inner:
            raise ConversionError(f"{where}: a delayed edge must be one of the graph, got {' → '.join(edge)}")
    sources = {name: [a for a, b in inner if b == name and (a, b) not in late] for name in nodes}
    found = [known.get(a, a) for a, b in edges if b == target]
    return Wiring(nodes, sources, found, late)


def _opened(where: str, graph: Any, prefix: str) -> tuple[dict[str, Any], list[Edge], list[str], list[str]]:
    """Nodes, edges, inputs and outputs, with the nodes of subgraphs under the names of both."""
    import nir

    nodes: dict[str, Any] = {}
    doors: dict[str, tuple[str, str]] = {}  # of a subgraph: where edges enter, and where they leave
    inputs, outputs, edges = [], [], []
    passing: list[str] = []
    for name, node in graph.nodes.items():
        full = f"{prefix}{name}"
        if isinstance(node, nir.NIRNode) and not isinstance(node.metadata, dict):
            raise ConversionError(f"{where}: {full}: metadata must be a group, got {type(node.metadata).__name__}")
        if isinstance(node, nir.NIRGraph):
            inside, more, ins, outs = _opened(where, node, f"{full}.")
            if len(ins) != 1 or len(outs) != 1:
                raise ConversionError(f"{where}: {full}: a subgraph must have one input and one output, got {len(ins)} and {len(outs)}")
            nodes |= inside
            edges += more
            doors[full] = (ins[0], outs[0])
            passing += [ins[0], outs[0]]
        elif isinstance(node, nir.Input):
            inputs.append(full)
        elif isinstance(node, nir.Output):
            outputs.append(full)
        elif isinstance(node, nir.NIRNode):
            nodes[full] = node
        else:
            raise ConversionError(f"{where}: {full} must be a node of NIR, got {type(node).__name__}")
    for edge in graph.edges:
        a, b = (f"{prefix}{end}" for end in edge)
        ends = {*nodes, *inputs, *outputs, *doors}
        if missing := [end for end in (a, b) if end not in ends]:
            raise ConversionError(f"{where}: both ends of an edge must be nodes of the graph, got {a} → {b}: there is no {missing[0]}")
        edges.append((doors[a][1] if a in doors else a, doors[b][0] if b in doors else b))
    for door in passing:
        before, after = [a for a, b in edges if b == door], [b for a, b in edges if a == door]
        edges = [edge for edge in edges if door not in edge] + [(a, b) for a in before for b in after]
    if len(set(edges)) < len(edges):
        twice = next(edge for edge in edges if edges.count(edge) > 1)
        raise ConversionError(f"{where}: an edge must be there once, got {' → '.join(twice)} twice")
    return nodes, edges, inputs, outputs


def _check_between(where: str, nodes: Mapping[str, Any], edges: list[Edge], source: str, target: str) -> None:
    """Every node gets something from the input, and the output something from it."""
    reached = _reachable(source, edges)
    for name in nodes:
        if name not in reached:
            raise ConversionError(f"{where}: every node must be reached from the input, {name} is not")
        if target not in _reachable(name, edges):
            raise ConversionError(f"{where}: every node must lead to the output, {name} does not")
    if target not in reached or source in reached or any(a == target for a, _ in edges):
        raise ConversionError(f"{where}: edges must lead from the input to the output")


def _reachable(start: str, edges: Iterable[Edge]) -> set[str]:
    """What edges lead to from a node; the node itself only if it lies in a loop."""
    following: dict[str, list[str]] = {}
    for a, b in edges:
        following.setdefault(a, []).append(b)
    found: set[str] = set()
    todo = [start]
    while todo:
        for name in following.get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return found


def _loops(where: str, names: list[str], edges: list[Edge]) -> list[Edge]:
    """The edges that close loops: those back to the one node where a loop is entered."""
    late: list[Edge] = []
    while True:
        after = {name: _reachable(name, edges) for name in names}
        looping = next((name for name in names if name in after[name]), None)
        if looping is None:
            return late
        loop = {name for name in after[looping] if looping in after.get(name, ())}
        entries = [name for name in names if name in loop and any(b == name and a not in loop for a, b in edges)]
        if len(entries) != 1:
            raise ConversionError(
                f"{where}: a loop must be entered at one node, so that the edges back to it are those with a delay of one step; "
                f"the loop of {', '.join(sorted(loop))} is entered at {', '.join(entries)}"
            )
        closing = [(a, b) for a, b in edges if a in loop and b == entries[0]]
        late += closing
        edges = [edge for edge in edges if edge not in closing]
