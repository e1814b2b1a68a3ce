"""Nodal analysis of a crossbar: Kirchhoff's current law at every crossing, as one sparse system. Slow, and right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor, from_numpy

from neurosim.hardware.parasitics import Crossbar, Ends, check

_Nodes = NDArray[np.intp]


def nodal_conductance(g: Tensor, wires: Crossbar) -> Tensor:
    r"""Effective conductances of one tile from the Laplacian of its network.

    With known voltages (sources, grounds) and unknown ones (crossings), :math:`L_{uu} v_u = -L_{uk} v_k`; what flows into the grounds is
    :math:`-(L_{gk} v_k + L_{gu} v_u)`.

    Args:
        g: Conductances of one tile, siemens, ≥ 0.
        wires: The wires.

    Shapes:
        g ``(lines, out, in)``; result the same.

    Returns:
        Siemens, in the type of ``g``, computed in float64, without gradient.

    Source:
        C.-W. Ho, A. E. Ruehli, P. A. Brennan, "The modified nodal approach to network analysis", IEEE Trans. Circuits Syst. 22 (1975)
        504–509, without its extension for voltage sources: their nodes are known.
    """
    check(g, wires, "nodal_conductance")
    cells = g.detach().cpu().double().numpy()
    lines, outs, ins = cells.shape
    sources = np.arange(lines * ins).reshape(lines, ins)
    grounds = sources.size + np.arange(outs)
    known = sources.size + grounds.size
    rows = np.broadcast_to(sources[:, None], cells.shape) if wires.r_row_ohm == 0 else known + np.arange(cells.size).reshape(cells.shape)
    first = known if wires.r_row_ohm == 0 else known + cells.size
    columns = (
        np.broadcast_to(grounds[:, None], (outs, ins)) if wires.r_column_ohm == 0 else first + np.arange(outs * ins).reshape(outs, ins)
    )
    total = first if wires.r_column_ohm == 0 else first + outs * ins

    edges = [(rows.ravel(), np.broadcast_to(columns, cells.shape).ravel(), cells.ravel())]
    if wires.r_row_ohm > 0:
        edges += _wire(np.moveaxis(rows, 1, -1), sources, wires.driven, 1 / wires.r_row_ohm)
    if wires.r_column_ohm > 0:
        edges += _wire(columns, grounds, wires.sensed, 1 / wires.r_column_ohm)
    a, b, siemens = (np.concatenate(part) for part in zip(*edges, strict=True))
    laplacian = sparse.coo_array(
        (np.concatenate([siemens, siemens, -siemens, -siemens]), (np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a]))),
        shape=(total, total),
    ).tocsc()

    drive = np.zeros((known, sources.size))
    drive[: sources.size] = np.eye(sources.size)
    into = -(laplacian[grounds][:, :known] @ drive)
    if total > known:
        inner = splu(laplacian[known:][:, known:].tocsc()).solve(-(laplacian[known:][:, :known] @ drive))
        into -= laplacian[grounds][:, known:] @ inner
    return from_numpy(np.ascontiguousarray(into.reshape(outs, lines, ins).swapaxes(0, 1))).to(g.dtype)


def _wire(nodes: _Nodes, end: _Nodes, ends: Ends, siemens: float) -> list[tuple[_Nodes, _Nodes, NDArray[np.float64]]]:
    """Pieces of wire between the nodes of the last axis, and from the connected ends to what stands there."""
    pairs = [(nodes[..., :-1], nodes[..., 1:])]
    if ends in ("first", "both"):
        pairs.append((end, nodes[..., 0]))
    if ends in ("last", "both"):
        pairs.append((nodes[..., -1], end))
    return [(a.ravel(), b.ravel(), np.full(a.size, siemens)) for a, b in pairs]
