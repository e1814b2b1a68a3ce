"""A trainable matrix activation: neighbours that add to each other by steps of their own values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurosim.activations.axis import axis_of
from neurosim.activations.cost import Cost, Operations
from neurosim.activations.declare import layer
from neurosim.activations.learned import interval_of, times_step
from neurosim.checks import whole
from neurosim.errors import ConfigError


def tridiagonal_slopes(x: Tensor, diagonal: Tensor, above: Tensor, below: Tensor, axis: int = -1) -> Tensor:
    r"""A matrix of three diagonals, whose entries are step functions of the input, times the input.

    .. math:: y_i = \gamma(x_{i-1})\,x_{i-1} + \alpha(x_i)\,x_i + \beta(x_{i+1})\,x_{i+1}

    Entries of column i are functions of x_i: α on the diagonal, β above it, γ below it, each constant on J equal intervals of −1 … 1, of
    which those at the ends go on. The gradient takes the steps as they are. With β = γ = 0 it is ``step_slopes``.

    Args:
        x: Any shape with at least one axis.
        diagonal: α on the intervals: ``(J,)`` for all units alike, or ``(units, J)``, a row for each column of the matrix.
        above, below: β and γ, of the same shape.
        axis: That of the vectors.

    Raises:
        ConfigError: There is no such axis, or the steps do not go together or with it.

    Source:
        Z. Liu, S. Cao, Y. Li, L. Zikatanov, "Neural networks with trainable matrix activation functions", 2021.

    >>> steps = torch.tensor([0.0, 1.0])
    >>> tridiagonal_slopes(torch.tensor([-1.0, 2.0, 3.0]), steps, 0 * steps, 10 * steps)
    tensor([ 0.,  2., 23.])
    """
    length = x.shape[axis_of("tridiagonal_slopes", x, axis)] if x.dim() else 1
    shapes = {tuple(one.shape) for one in (diagonal, above, below)}
    if len(shapes) != 1 or diagonal.dim() not in (1, 2) or (diagonal.dim() == 2 and len(diagonal) != length):
        told = ", ".join(str(one) for one in sorted(shapes))
        raise ConfigError(f"tridiagonal_slopes: steps must be (J,) or ({length}, J), all three alike, got {told}")
    vectors = x.movedim(axis, -1) if x.dim() else x
    place = interval_of(vectors, diagonal.shape[-1])
    if diagonal.dim() == 2:
        place = place + diagonal.shape[-1] * torch.arange(length, device=x.device, dtype=place.dtype)
    y, up, down = (times_step(vectors, one.to(x.dtype), place) for one in (diagonal, above, below))
    if length > 1:
        y[..., :-1] += up[..., 1:]
        y[..., 1:] += down[..., :-1]
    return y.movedim(-1, axis) if x.dim() else y


@layer(
    "tridiagonal_slopes",
    "γ(xᵢ₋₁)xᵢ₋₁ + α(xᵢ)xᵢ + β(xᵢ₊₁)xᵢ₊₁, with steps α, β, γ",
    "vector",
    zero_preserving=True,
    cost=Cost(Operations(adds=3, multiplies=4, lookups=3, comparisons=2)),
    speed="three look-ups and products for every element, and sums with both neighbours",
    hardware="step_slopes with a line to each neighbour: multiplexers and scales; starts as ReLU",
    cite=("tmaf",),
)
class TridiagonalSlopes(nn.Module):
    """:func:`tridiagonal_slopes` with learned steps; it starts as ReLU.

    Args:
        intervals: J ≥ 2.
        units: How many units have steps of their own, all of the axis; None: one set of steps for all.
        axis: That of the vectors; 1 is the channels of a batch.

    Shapes:
        Any with that axis; the result has the shape of the input.
    """

    def __init__(self, intervals: int = 8, units: int | None = None, axis: int = 1) -> None:
        super().__init__()
        count, name = whole("TridiagonalSlopes.intervals", intervals, 2), "TridiagonalSlopes"
        self.axis = whole(f"{name}.axis", axis, -8, 8)
        start = (torch.arange(count) >= count / 2).to(torch.get_default_dtype())
        rows = start if units is None else start.repeat(whole(f"{name}.units", units, 1), 1)
        self.diagonal = nn.Parameter(rows.clone())
        self.above, self.below = nn.Parameter(torch.zeros_like(rows)), nn.Parameter(torch.zeros_like(rows))

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        return tridiagonal_slopes(x, self.diagonal, self.above, self.below, self.axis)

    def extra_repr(self) -> str:
        """For ``print``."""
        shown = f", units={len(self.diagonal)}" if self.diagonal.dim() == 2 else ""
        return f"intervals={self.diagonal.shape[-1]}{shown}, axis={self.axis}"
