r"""Crossbars whose wires have resistance: what a tile of conductances really multiplies with.

A crossbar has a row wire for every input and a column wire for every output; a cell of conductance :math:`G_{ij}` joins column i and row j.
Rows are driven by ideal voltage sources, columns end in virtual grounds, and every crossing is one piece of wire away from the next, the
first one from its source or ground. The network is linear: whatever the wires do, the currents are :math:`I = A\,V`, with an *effective*
conductance A per cell. Four ways to it, from the quickest on:

==================================== ===============================================================================================
:func:`fast_conductance`             two sweeps over the tile; within 1 % of full scale while :func:`parasitics_valid`
:func:`exact_conductance`            all of A by elimination of one column after the other; any load; differentiable
:func:`relaxed_currents`             I for given V, line by line until the currents stand still: large tiles, few inputs
:func:`neurosim.hardware.nodal.nodal_conductance`   Kirchhoff's equations of all nodes at once: the reference the others are tested with
==================================== ===============================================================================================

How far the quick one holds depends on one number, the *load*: to first order, the largest share of its voltage that a cell loses
(:func:`parasitic_load`). In a square tile of n × n cells of conductance G, with one piece of wire of R between neighbours and one end of
every wire connected, it is close to :math:`R\,G\,n^2`.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError, RunError

__all__ = [
    "LOAD_LIMIT",
    "Crossbar",
    "Ends",
    "exact_conductance",
    "fast_conductance",
    "parasitic_load",
    "parasitics_valid",
    "relaxed_currents",
]

Ends = Literal["first", "last", "both"]

#: the largest load at which :func:`fast_conductance` is within 1 % of full scale, for any inputs
LOAD_LIMIT: Final = 0.4


class Crossbar(NamedTuple):
    """The wires of a tile.

    Args:
        r_row_ohm: Resistance of a row wire from one column to the next, and from its source to the first, ohm, ≥ 0.
        r_column_ohm: Likewise of a column wire, ohm, ≥ 0.
        driven: Where row wires have their sources: beside the first column, the last, or both.
        sensed: Where column wires have their grounds: beside the first row, the last, or both (their currents are summed).
    """

    r_row_ohm: float
    r_column_ohm: float
    driven: Ends = "first"
    sensed: Ends = "last"


def check(g: Tensor, wires: Crossbar, where: str) -> None:
    """Refuse what is no crossbar."""
    if g.dim() < 3 or not g.is_floating_point():
        raise ConfigError(f"{where}: conductances must be floating point with axes (…, lines, out, in), got {g.dtype}, {tuple(g.shape)}")
    for name in ("r_row_ohm", "r_column_ohm"):
        if not 0 <= getattr(wires, name) < float("inf"):
            raise ConfigError(f"{where}: {name} must be ≥ 0 and finite, got {getattr(wires, name)}")
    for name in ("driven", "sensed"):
        if getattr(wires, name) not in ("first", "last", "both"):
            raise ConfigError(f"{where}: {name} must be first, last or both, got {getattr(wires, name)!r}")


def lost_share(g: Tensor, wires: Crossbar) -> Tensor:
    r"""First-order share of its voltage that each cell loses in the wires.

    .. math:: p_{ij} = R_r \sum_{i'} K_{ii'} G_{i'j} + R_c \sum_{j'} K_{jj'} G_{ij'}

    with :math:`K_{ii'}` the number of pieces of wire that the paths of two cells share (one end connected), or
    :math:`\min(i, i')\,(n + 1 - \max(i, i'))/(n + 1)`, counted from 1 (both ends).

    Args:
        g: Conductances, siemens, ≥ 0; cells on the same axis ``lines`` have row wires of their own and share column wires.
        wires: The wires.

    Shapes:
        g ``(…, lines, out, in)``; result the same.
    """
    row = _drop(g, wires.r_row_ohm, wires.driven, -2)
    return row + _drop(g.sum(-3, keepdim=True), wires.r_column_ohm, wires.sensed, -1)


def fast_conductance(g: Tensor, wires: Crossbar) -> Tensor:
    r"""Effective conductances to second order in the resistance of each wire.

    .. math:: A = \frac{G}{1 + (1 + p)\,p'}, \qquad p = p[G], \quad p' = p\!\left[\frac{G}{1 + p}\right]

    with the lost share :math:`p[\cdot]` of :func:`lost_share`. A cell that is served by a share h of its voltage obeys
    :math:`h = 1 - p[G h]`; the formula is its first iterate from :math:`1/(1+p)`, written such that it stays positive at any load. It is
    exact to first order, where the effective conductances do not depend on the inputs cell by cell.

    Args:
        g: Conductances, siemens, ≥ 0.
        wires: The wires.

    Shapes:
        g ``(…, lines, out, in)``; result the same. Cells on the axis ``lines`` share column wires: 1 for an ordinary crossbar.

    Returns:
        Siemens, in the type of ``g``; differentiable.

    Source:
        First order: Kirchhoff's laws with the cells as current sources; that the sum over a column turns into a factor of each cell is
        reciprocity. The second sweep is ours; its error is measured in ``docs/parasitics.md``.

    >>> fast_conductance(torch.full((1, 2, 2), 1e-5), Crossbar(10.0, 10.0)) * 1e6
    tensor([[[9.9950, 9.9960],
             [9.9940, 9.9950]]])
    """
    check(g, wires, "fast_conductance")
    p = lost_share(g, wires)
    return g / (1 + (1 + p) * lost_share(g / (1 + p), wires))


def parasitic_load(g: Tensor, wires: Crossbar) -> Tensor:
    """The largest first-order share of voltage that any cell of a tile loses: how much its wires matter.

    Shapes:
        g ``(…, lines, out, in)``; result ``(…)``.

    >>> parasitic_load(torch.full((1, 64, 64), 2.5e-5), Crossbar(1.0, 1.0)).item() < LOAD_LIMIT
    True
    """
    check(g, wires, "parasitic_load")
    return lost_share(g, wires).amax((-3, -2, -1))


def parasitics_valid(g: Tensor, wires: Crossbar) -> Tensor:
    r"""Whether :func:`fast_conductance` of a tile is within 1 % of full scale.

    Full scale is the current of a column whose n cells, those of all lines, have the largest conductance of the tile, at the largest input;
    the error is the worst of all inputs: :math:`\max_i \sum_j |A_{ij} - A^\ast_{ij}| \le 0.01\,n \max G`. The limit is measured, not
    proved: over many patterns, shapes and ends, and by gradient ascent on the error, none reached 1 %.

    Shapes:
        g ``(…, lines, out, in)``; result ``(…)``, bool.
    """
    return parasitic_load(g, wires) <= LOAD_LIMIT


def exact_conductance(g: Tensor, wires: Crossbar) -> Tensor:
    r"""Effective conductances without approximation.

    From the far end of the rows on, the columns passed so far act on the rows as a matrix of admittances Y. Column i, a ladder by itself,
    adds :math:`S_i = G_i - G_i T_i G_i` with :math:`T_i = (L / R_c + G_i)^{-1}`, and the piece of row wire before it turns the sum into

    .. math:: Y_i = (Y_{i+1} + S_i)\,X_i, \qquad X_i = (1 + R_r (Y_{i+1} + S_i))^{-1},

    where :math:`X_i` is how the voltages behind that piece follow from those before it, and its products give all currents.

    Args:
        g: Conductances, siemens, ≥ 0.
        wires: The wires.

    Shapes:
        g ``(…, lines, out, in)``; result the same. All leading axes are solved together.

    Returns:
        Siemens, in the type of ``g``, computed in float64; differentiable. The cost grows as out · (lines · in)³.
    """
    check(g, wires, "exact_conductance")
    lines, outs, ins = g.shape[-3:]
    if g.numel() == 0:
        return g.clone()
    cells = g.double().transpose(-3, -2)  # (…, out, lines, in)
    unit = torch.eye(lines * ins, dtype=torch.float64, device=g.device)
    ladder = wires.r_column_ohm * cells.sum(-2)
    inverse = wires.r_column_ohm * torch.linalg.inv(_laplacian(ins, wires.sensed, g.device) + torch.diag_embed(ladder))
    r, order = wires.r_row_ohm, range(outs) if wires.driven == "last" else range(outs - 1, -1, -1)
    both = wires.driven == "both" and r > 0
    behind = (unit / r if both else torch.zeros_like(unit)).expand(*g.shape[:-3], -1, -1)
    fed = behind  #: current that the sources at the far end push towards the near one, per volt
    seen = unit.new_zeros(*g.shape[:-3], 0, lines * ins)  #: currents of the columns passed, per volt in front of them
    added = seen  #: and per volt of the far sources
    for i in order:
        one = cells[..., i, :, :].flatten(-2)
        both_sides = one.unsqueeze(-1) * inverse[..., i, :, :].repeat(*[1] * (g.dim() - 3), lines, lines) * one.unsqueeze(-2)
        column = torch.diag_embed(one) - both_sides
        admittance = behind + column
        passed = torch.linalg.inv(unit + r * admittance)
        seen = torch.cat([seen, column.sum(-2, keepdim=True)], -2) @ passed
        if both:
            added = torch.cat([added, torch.zeros_like(seen[..., :1, :])], -2) + r * seen @ fed
            fed = passed @ fed
        behind = admittance @ passed
    result = seen + added if both else seen
    result = result if wires.driven == "last" else result.flip(-2)
    return result.reshape(*result.shape[:-1], lines, ins).transpose(-3, -2).to(g.dtype)


def relaxed_currents(g: Tensor, voltages: Tensor, wires: Crossbar, *, tolerance: float = 1e-9, max_sweeps: int = 10_000) -> Tensor:
    r"""Currents of the columns for given voltages of the rows, by relaxation of whole lines.

    Row wires are solved exactly with the column wires held, then column wires with the rows held, in turns (block Gauss–Seidel: the
    equations are symmetric and positive definite, so it converges from anywhere). Each solve is one tridiagonal elimination per line.

    Args:
        g: Conductances, siemens, ≥ 0.
        voltages: Of the row sources, volt.
        wires: The wires.
        tolerance: Largest error of a current that is left, as a share of the largest current, estimated from the last two changes.
        max_sweeps: Turns after which to give up.

    Shapes:
        g ``(…, lines, out, in)``; voltages ``(…, inputs, lines, in)``; result ``(…, inputs, out)``.

    Returns:
        Ampere, in the type of ``g``, computed in float64, without gradient.

    Raises:
        RunError: It has not converged in ``max_sweeps``.

    Source:
        Line relaxation: R. S. Varga, "Matrix Iterative Analysis" (1962), on block iterative methods.

    >>> relaxed_currents(torch.full((1, 2, 2), 1e-5), torch.ones(1, 1, 2), Crossbar(0.0, 0.0))
    tensor([[2.0000e-05, 2.0000e-05]])
    """
    check(g, wires, "relaxed_currents")
    if voltages.shape[-1] != g.shape[-1] or voltages.shape[-2] != g.shape[-3]:
        raise ConfigError(f"relaxed_currents: voltages must end in (lines, in) of {tuple(g.shape)}, got {tuple(voltages.shape)}")
    with torch.no_grad():
        cells = g.double().unsqueeze(-4)  # (…, 1, lines, out, in)
        source = voltages.double().unsqueeze(-2)
        rows = _Ladder(wires.r_row_ohm * cells, wires.driven, -2)
        columns = _Ladder(wires.r_column_ohm * cells.sum(-3), wires.sensed, -1)
        ideal = cells * source
        current, change = ideal.sum((-3, -1)), None
        below = torch.zeros_like(ideal[..., 0, :, :])
        for _ in range(max_sweeps):
            # along a row the deviation d = V − U obeys (L/R + G) d = G (V − W)
            above = source - rows.solve(wires.r_row_ohm * cells * (source - below.unsqueeze(-3)))
            below = columns.solve(wires.r_column_ohm * (cells * above).sum(-3))
            fresh = (cells * (above - below.unsqueeze(-3))).sum((-3, -1))
            last, change = change, float((fresh - current).abs().amax()) if fresh.numel() else 0.0
            current = fresh
            scale = tolerance * float(current.abs().amax()) if current.numel() else 0.0
            if change == 0 or (last is not None and change < last and change * change / (last - change) <= scale):
                return current.to(g.dtype)
    raise RunError(f"relaxed_currents: currents still change by {change:.3g} A after {max_sweeps} sweeps: the wires carry too much")


class _Ladder:
    """Tridiagonal systems (L + a) x = b along one axis, a ≥ 0 on the diagonal; eliminated once for any number of right-hand sides."""

    def __init__(self, a: Tensor, ends: Ends, dim: int) -> None:
        self.dim = dim
        n = a.shape[dim]
        diagonal = a + torch.diagonal(_laplacian(n, ends, a.device)).reshape((-1,) + (1,) * (-1 - dim))
        self.inverse: list[Tensor] = []
        for one in diagonal.unbind(dim):
            self.inverse.append(1 / (one - self.inverse[-1] if self.inverse else one))

    def solve(self, b: Tensor) -> Tensor:
        """x, in the shape of b."""
        forward: list[Tensor] = []
        for one, inverse in zip(b.unbind(self.dim), self.inverse, strict=True):
            forward.append((one + forward[-1] if forward else one) * inverse)
        back: list[Tensor] = []
        for one, inverse in zip(reversed(forward), reversed(self.inverse), strict=True):
            back.append(one + inverse * back[-1] if back else one)
        return torch.stack(back[::-1], self.dim)


def _laplacian(n: int, ends: Ends, device: torch.device) -> Tensor:
    """Of n nodes in a row, each one unit of wire from the next, with a connected end or two."""
    diagonal = torch.full((n,), 2.0, dtype=torch.float64, device=device)
    if ends != "both":
        diagonal[-1 if ends == "first" else 0] -= 1
    beside = torch.ones(max(n - 1, 0), dtype=torch.float64, device=device)
    return torch.diag(diagonal) - torch.diag(beside, 1) - torch.diag(beside, -1)


def _drop(current: Tensor, r: float, ends: Ends, dim: int) -> Tensor:
    """Voltage lost along wires into whose crossings these currents flow: from the ends, the first being that of index 0."""
    if ends == "last":
        return _drop(current.flip(dim), r, "first", dim).flip(dim)
    beyond = current.flip(dim).cumsum(dim).flip(dim)  # what each piece of wire carries
    lost = r * beyond.cumsum(dim)
    if ends == "first" or current.shape[dim] == 0:
        return lost
    n = current.shape[dim]
    place = torch.arange(1, n + 1, dtype=current.dtype, device=current.device).reshape((-1,) + (1,) * (-1 - dim))
    return lost - place / (n + 1) * lost.narrow(dim, n - 1, 1)  # the second end pulls its own side back to nothing
