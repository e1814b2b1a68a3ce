"""Where the interferometers of a mesh are: columns of Clements and Reck, and which heaters lie side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from neurosim.checks import one_of, whole

Layout = Literal["clements", "reck"]
LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)


class Column(NamedTuple):
    """Interferometers that light passes at the same time, one below the other."""

    first: int  #: upper port of the uppermost one
    size: int  #: how many; they join ports ``first`` and ``first + 1``, ``first + 2`` and ``first + 3``, …
    at: int  #: number of the uppermost one in the mesh: they are numbered column by column, from the top

    @property
    def ports(self) -> slice:
        """The ports that pass one of them."""
        return slice(self.first, self.first + 2 * self.size)

    @property
    def numbers(self) -> slice:
        """Their numbers."""
        return slice(self.at, self.at + self.size)


class Nulling(NamedTuple):
    """One step of a decomposition: an interferometer that makes one element of the matrix zero."""

    right: bool  #: whether it acts on columns ``port`` and ``port + 1``, from the right; else on these rows, from the left
    port: int  #: upper port
    line: int  #: the row (from the right) or column (from the left) of the element
    number: int  #: of the interferometer in the mesh


def interferometers(ports: int) -> int:
    """How many a unitary of that many ports takes, in either layout: N (N − 1) / 2."""
    return ports * (ports - 1) // 2


def mesh_columns(layout: Layout, ports: int) -> list[Column]:
    """The columns of a mesh, in the order in which light passes them.

    Args:
        layout: ``clements``: a rectangle of N columns, in which all paths are about equally long. ``reck``: a triangle of 2N − 3 columns.
        ports: N ≥ 2.

    Raises:
        ConfigError: No such layout, or fewer than two ports.

    Source:
        W. R. Clements, P. C. Humphreys, B. J. Metcalf, W. S. Kolthammer, I. A. Walmsley, "Optimal design for universal multiport
        interferometers", Optica 3 (2016) 1460–1465, Fig. 1; M. Reck, A. Zeilinger, H. J. Bernstein, P. Bertani, "Experimental realization
        of any discrete unitary operator", Phys. Rev. Lett. 73 (1994) 58–61.

    >>> [(column.first, column.size) for column in mesh_columns("clements", 4)]
    [(0, 2), (1, 1), (0, 2), (1, 1)]
    >>> [(column.first, column.size) for column in mesh_columns("reck", 4)]
    [(0, 1), (1, 1), (0, 2), (1, 1), (0, 1)]
    """
    one_of("mesh layout", layout, LAYOUTS)
    n = whole("mesh ports", ports, 2)
    columns: list[Column] = []
    for number in range(n if layout == "clements" else 2 * n - 3):
        first = number % 2
        last = n - 2 if layout == "clements" else number - 2 * max(0, number - n + 2)
        count = (last - first) // 2 + 1
        if count:  # a Clements mesh of two ports has a single column
            columns.append(Column(first, count, columns[-1].numbers.stop if columns else 0))
    return columns


def nulling_order(layout: Layout, ports: int) -> Iterator[Nulling]:
    """The steps that make a unitary diagonal, in order.

    Args:
        layout, ports: See :func:`mesh_columns`.

    Source:
        Clements et al. 2016, Box 1 (alternate diagonals from the right and from the left); Reck et al. 1994 (all from the right).
    """
    columns = mesh_columns(layout, ports)

    def step(right: bool, port: int, line: int, column: int) -> Nulling:
        first, _, at = columns[column]
        return Nulling(right, port, line, at + (port - first) // 2)

    for diagonal in range(ports - 1):
        for j in range(diagonal + 1 if layout == "clements" else ports - 1 - diagonal):
            if layout == "reck":
                yield step(True, j, ports - 1 - diagonal, 2 * diagonal + j)
            elif diagonal % 2 == 0:
                yield step(True, diagonal - j, ports - 1 - j, j)
            else:
                yield step(False, ports - 2 - diagonal + j, j, ports - 1 - j)


def heater_neighbours(layout: Layout, ports: int) -> Tensor:
    """Which heaters warm which.

    Heaters sit on the upper arm: φ before the first coupler, θ between the two; the output phases stand behind the last column. Two
    heaters are neighbours if they stand in the same column of heaters next to each other, or in adjacent ones and at most one port apart.

    Args:
        layout, ports: See :func:`mesh_columns`.

    Returns:
        int64 ``(N², 8)``: for every heater, in the order θ, φ, output phases, the numbers of its neighbours, filled up with N².
    """
    columns = mesh_columns(layout, ports)
    m, width = interferometers(ports), 2 * len(columns)
    x = torch.empty(ports * ports, dtype=torch.int64)
    y = torch.empty_like(x)
    for number, column in enumerate(columns):
        rows = torch.arange(column.first, column.ports.stop, 2)
        for start, place in ((0, 2 * number + 1), (m, 2 * number)):
            x[start + column.at : start + column.numbers.stop] = place
            y[start + column.at : start + column.numbers.stop] = rows
    x[2 * m :], y[2 * m :] = width, torch.arange(ports)
    grid = torch.full((width + 3, ports + 4), ports * ports)  # with a margin, so that every heater has all places around it
    grid[x + 1, y + 2] = torch.arange(ports * ports)
    beside = [grid[x + 1 + dx, y + 2 + dy] for dx in (-1, 1) for dy in (-1, 0, 1)]
    apart = torch.where(x == width, 1, 2)  # interferometers have two ports each
    return torch.stack([*beside, *(grid[x + 1, y + 2 + sign * apart] for sign in (-1, 1))], -1)
