"""Units that mix the elements of an axis, or halve it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neurosim.activations.axis import axis_of
from neurosim.activations.base import Curve
from neurosim.activations.cost import Cost, Operations
from neurosim.activations.declare import layer
from neurosim.activations.facts import activation, facts
from neurosim.checks import number, whole
from neurosim.errors import ConfigError
from neurosim.random import stream


def group_sort(x: Tensor, group: int = 2, axis: int = 1) -> Tensor:
    """The elements of every group of an axis in rising order; groups of 2 are MaxMin.

    Args:
        x: Any shape.
        group: How many neighbours are sorted; divides the axis.
        axis: Which axis.

    Raises:
        ConfigError: The group is none, or does not divide the axis.

    Source:
        C. Anil, J. Lucas, R. Grosse, "Sorting out Lipschitz function approximation", ICML 2019, section 4.1.

    >>> group_sort(torch.tensor([[3.0, 1.0, -2.0, 5.0]]))
    tensor([[ 1.,  3., -2.,  5.]])
    """
    length = x.shape[axis_of("group_sort", x, axis)] if x.dim() else 1
    if length % whole("group_sort.group", group, 1):
        raise ConfigError(f"group_sort: group must divide the {length} elements of axis {axis}, got {group}")
    at = axis % max(x.dim(), 1) + 1
    parts = x.reshape(*x.shape[: at - 1], length // group, group, *x.shape[at:])
    if group == 2:
        first, second = parts.unbind(at)
        return torch.stack([torch.minimum(first, second), torch.maximum(first, second)], at).reshape(x.shape)
    ordered: Tensor = parts.sort(at).values
    return ordered.reshape(x.shape)


@layer(
    "groupsort",
    "the elements of each group, sorted; MaxMin for groups of 2",
    "vector",
    cost=Cost(Operations(comparisons=1)),
    speed="groups of more than 2 are sorted",
    hardware="comparators and no loss of gradient norm: with ‖W‖ ≤ 1 a network of slope 1 exactly",
    cite=("groupsort",),
    homogeneous=True,
    zero_preserving=True,
)
class GroupSort(nn.Module):
    """:func:`group_sort` with its settings.

    Args:
        group: How many neighbours are sorted; divides the axis.
        axis: Which axis; 1 is the channels of a batch.
    """

    def __init__(self, group: int = 2, axis: int = 1) -> None:
        super().__init__()
        self.group, self.axis = whole("GroupSort.group", group, 2), whole("GroupSort.axis", axis, -8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        return group_sort(x, self.group, self.axis)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"group={self.group}, axis={self.axis}"


def poly_norm(x: Tensor, weights: Tensor, bias: Tensor, axis: int = -1, eps: float = 1e-6) -> Tensor:
    r"""Powers of a vector, each brought to a mean square of 1, and summed.

    .. math:: y = \sum_i a_i \frac{x^i}{\sqrt{\mathrm{mean}(x^{2i}) + \varepsilon}} + b

    A vector with numbers above 1 is divided by its largest magnitude first, and ε by its powers: so no power overflows.

    Args:
        x: Any shape.
        weights: a₁, a₂, ….
        bias: b.
        axis: What the mean is over.
        eps: ε, added to mean squares, > 0.

    Source:
        Z. Zhuo et al., "Polynomial composition activations: unleashing the dynamics of large language models", 2024, eq. for PolyNorm.
    """
    axis_of("poly_norm", x, axis)
    wide = x.float() if x.dtype.itemsize < 4 else x
    largest = wide.detach().abs().amax(axis, keepdim=True).clamp(min=1)
    scaled = wide / largest
    total = bias.to(wide.dtype).expand_as(wide)
    power, room = torch.ones_like(wide), torch.full_like(largest, eps)
    for weight in weights.to(wide.dtype).unbind():
        power, room = power * scaled, room / largest / largest
        square = torch.linalg.vector_norm(power, dim=axis, keepdim=True).square() / (wide.shape[axis] if wide.dim() else 1)
        total = torch.addcmul(total, power, weight * torch.rsqrt(square + room))
    return total.to(x.dtype)


@layer(
    "polynorm",
    "Σ aᵢ·xⁱ/RMS(xⁱ) + b",
    "vector",
    cost=Cost(Operations(adds=6, multiplies=7), Operations(adds=3, multiplies=3, divisions=3, square_roots=3)),
    fold="parts",
    speed="a product, a mean square and a sum for each of three powers",
    hardware="powers that stay in range whatever the signal; needs the mean square of every vector at run time",
    cite=("polycom",),
)
class PolyNorm(nn.Module):
    """:func:`poly_norm` with learned weights, one third each, and bias 0.

    Args:
        degree: How many powers.
        axis: What the mean is over.
        eps: Added to mean squares, > 0.
    """

    def __init__(self, degree: int = 3, axis: int = -1, eps: float = 1e-6) -> None:
        super().__init__()
        count = whole("PolyNorm.degree", degree, 1)
        self.axis, self.eps = whole("PolyNorm.axis", axis, -8, 8), number("PolyNorm.eps", eps, gt=0)
        self.weights = nn.Parameter(torch.full((count,), 1 / count))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        return poly_norm(x, self.weights, self.bias, self.axis, self.eps)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"degree={len(self.weights)}, axis={self.axis}, eps={self.eps:g}"


@layer(
    "rbf",
    "e^(−‖x − c‖²/2s²)",
    "units",
    cost=Cost(Operations(adds=2, multiplies=1), Operations(multiplies=1, lookups=1)),
    fold="parts",
    hardware="one resonator a unit, tuned to its own line; replaces a linear layer",
    cite=("rbf",),
    bounds=(0.0, 1.0),
)
class RBF(nn.Module):
    """Radial basis units: each answers to inputs near its centre, which it learns.

    Args:
        inputs: Features of the input.
        units: How many.
        s: Width, > 0.
        seed: Of the centres, which start standard normal.

    Shapes:
        x ``(*, inputs)``; result ``(*, units)``.

    Raises:
        ConfigError: An argument is out of its domain; in its call, the input has other features.
    """

    def __init__(self, inputs: int, units: int, s: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        shape = (whole("RBF.units", units, 1), whole("RBF.inputs", inputs, 1))
        self.s = number("RBF.s", s, gt=0)
        self.centres = nn.Parameter(stream(seed, "rbf centres").normal(shape, like=torch.empty(0)))

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        if x.shape[-1:] != self.centres.shape[-1:]:
            raise ConfigError(f"RBF: the last axis must have {self.centres.shape[-1]} inputs, got shape {tuple(x.shape)}")
        apart = (x.unsqueeze(-2) - self.centres.to(x.dtype)) / self.s
        return torch.exp(-apart.square().sum(-1) / 2)

    def extra_repr(self) -> str:
        """For ``print``."""
        units, inputs = self.centres.shape
        return f"inputs={inputs}, units={units}, s={self.s:g}"


@layer(
    "glu",
    "g(u)·v, (u, v) the halves of an axis; with both: g(u)·g(v)",
    "gate",
    cost=Cost(Operations(multiplies=1, lookups=1)),
    fold="parts",
    hardware="needs an analog multiplier; both with relu is dReLU, about 90 % zeros; keep the width at two thirds for equal cost",
    cite=("glu", "glu_variants", "drelu"),
)
class GatedUnit(nn.Module):
    """A gated linear unit: the first half of an axis gates the second, where torch's ``F.glu`` gates with the second.

    Args:
        gate: What :func:`activation` takes, a curve: ``sigmoid`` is GLU, ``relu`` ReGLU, ``gelu`` GEGLU, ``silu`` SwiGLU, ``identity``
            the bilinear one.
        both: Whether the other half goes through it, too.
        axis: Which axis is halved.

    Shapes:
        Any with an even axis; the result has half of it.
    """

    def __init__(self, gate: Any = "sigmoid", both: bool = False, axis: int = -1) -> None:
        super().__init__()
        if not isinstance(facts(gate).entry, Curve):
            raise ConfigError(f"GatedUnit.gate: must be a function of one number, got {gate!r:.60}")
        self.gate, self.both, self.axis = activation(gate), both, whole("GatedUnit.axis", axis, -8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        if not x.dim() or x.shape[axis_of("GatedUnit", x, self.axis)] % 2:
            raise ConfigError(f"GatedUnit: axis {self.axis} must have an even number of elements, got shape {tuple(x.shape)}")
        first, second = x.chunk(2, self.axis)
        gated: Tensor = self.gate(first)
        return gated * (self.gate(second) if self.both else second)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"both={self.both}, axis={self.axis}"
