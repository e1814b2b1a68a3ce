"""What the figures of the catalogue share that are drawn of models: axes that fit, and layers and data that are always the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import torch
from catalogue_figures import Line, Plot, Points
from torch import Tensor, nn

import neurosim as ns
from neurosim.plot.style import COLOURS
from neurosim.plot.style import GREY as GREY

BLUE, ORANGE, GREEN = COLOURS[:3]
GAINS: Final = torch.logspace(-1, 1, 25, dtype=torch.float64).tolist()
Series = Mapping[str, tuple[str, Points] | tuple[str, Points, bool]]  #: colour, points, and whether it is dashed, by label


def plot(series: Series, xlabel: str, *, logx: bool = False, logy: bool = False) -> Plot:
    """Lines by their labels, which begin with a blank where there is none to be; axes as wide as they are."""
    lines = []
    for label, (colour, points, *dashed) in series.items():
        moved = [(math.log10(x) if logx else x, math.log10(max(y, 1e-12)) if logy else y) for x, y in points]
        lines.append(Line(label.strip() if not label.startswith(" ") else "", colour, moved, bool(dashed)))
    (x, across), (y, up) = (_axis([point[at] for line in lines for point in line.points], log) for at, log in enumerate((logx, logy)))
    return Plot(x, y, (across, up), xlabel, lines)


def _axis(values: Sequence[float], log: bool) -> tuple[tuple[float, float], list[tuple[float, str]]]:
    low, high = min(values), max(values)
    if log:
        spare = max(0.06 * (high - low), (1.2 - high + low) / 2)
        low, high = low - spare, high + spare
        step = 1 + int(high - low) // 8
        return (low, high), [(float(at), _power(at)) for at in range(math.ceil(low), math.floor(high) + 1, step)]
    span = max(high - low, 1e-6)
    size = 10.0 ** math.floor(math.log10(span / 5))
    step = next(size * factor for factor in (1.0, 2.0, 5.0, 10.0) if span / (size * factor) <= 6)
    bottom, top = math.floor(low / step + 0.02), math.ceil(high / step - 0.02)
    ticks = [(at * step, f"{at * step:.6g}".replace("-", "−")) for at in range(bottom, top + 1)]
    return (bottom * step, top * step), ticks


def _power(at: int) -> str:
    return "10" + str(at).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def numbered(values: Iterable[float], first: int = 0) -> Points:
    """Values over their numbers."""
    return [(float(at), float(value)) for at, value in enumerate(values, first)]


def size(x: Tensor) -> float:
    """Root mean square."""
    return float(x.detach().square().mean().sqrt())


def draw(*shape: int, name: str) -> Tensor:
    """Normal numbers, the same at every call."""
    return ns.random.stream(0, "catalogue of norms", name).normal(shape, like=torch.empty(0, dtype=torch.float64))


def linear(outputs: int, inputs: int, name: str, gain: float = 1.0) -> nn.Linear:
    """A layer that keeps the size of its inputs, times a gain; without a bias."""
    layer = nn.Linear(inputs, outputs, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(draw(outputs, inputs, name=name) * gain / math.sqrt(inputs))
    return layer


def descend(loss: Callable[[], Tensor], values: Iterable[Tensor], rate: float, steps: int) -> None:
    """Gradient descent."""
    given = list(values)
    for _ in range(steps):
        slopes = torch.autograd.grad(loss(), given)
        with torch.no_grad():
            for value, slope in zip(given, slopes, strict=True):
                value -= rate * slope
