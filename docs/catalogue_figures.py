"""The figures of the catalogue as small SVG: curves with their slopes, and what noise makes of those."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import neurosim as ns
from neurosim.activations.catalogue import Panel, noisy_slopes
from neurosim.activations.moments import values_and_slopes
from neurosim.catalogue import Levels, levels_of_norm, panel_of_norm
from neurosim.plot.style import COLOURS, GREY, INK

Points = list[tuple[float, float]]
_HEIGHT, _TOP, _BOTTOM = 260, 30, 34
_BLUE, _ORANGE, _GREEN = COLOURS[:3]
_DRAWS, _SIGMA = 201, 0.2
_LINE = torch.linspace(-4, 4, 161, dtype=torch.float64)


class Line(NamedTuple):
    """A line, or with ``below`` a band."""

    label: str
    colour: str
    points: Points
    dashed: bool = False
    below: Points | None = None


class Plot(NamedTuple):
    """One pair of axes; ``x`` and ``y`` are the ends of what it shows, ``ticks`` the places of the labels with their texts."""

    x: tuple[float, float]
    y: tuple[float, float]
    ticks: tuple[Sequence[tuple[float, str]], Sequence[tuple[float, str]]]
    xlabel: str
    lines: Sequence[Line]


def svg(plots: Sequence[Plot], title: str, width: int = 400) -> str:
    """Plots side by side, equal for equal numbers."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width * len(plots)} {_HEIGHT}" font-family="sans-serif" font-size="11" '
        f'fill="{INK}" role="img"><title>{title}</title><rect width="100%" height="100%" fill="#fff"/>'
    ]
    parts += [_axes(plot, at * width, width) for at, plot in enumerate(plots)]
    return "".join([*parts, "</svg>\n"])


def _axes(plot: Plot, left: int, width: int) -> str:
    x0, x1, y0, y1 = left + 36, left + width - 12, _HEIGHT - _BOTTOM, _TOP

    def across(x: float) -> float:
        return x0 + (x - plot.x[0]) / (plot.x[1] - plot.x[0]) * (x1 - x0)

    def up(y: float) -> float:
        return y0 + (y - plot.y[0]) / (plot.y[1] - plot.y[0]) * (y1 - y0)

    def path(points: Points) -> str:
        return " ".join(f"{_short(x)} {_short(y)}" for x, y in _thinned([(across(x), up(y)) for x, y in points]))

    parts = []
    for at, text in plot.ticks[0]:
        x = _short(across(at))
        parts.append(f'<path d="M{x} {y0}V{y1}" stroke="{GREY if at == 0 else "#d8dee4"}" stroke-width=".7"/>')
        parts.append(f'<text x="{x}" y="{y0 + 14}" text-anchor="middle">{text}</text>')
    for at, text in plot.ticks[1]:
        y = _short(up(at))
        parts.append(f'<path d="M{x0} {y}H{x1}" stroke="{GREY if at == 0 else "#d8dee4"}" stroke-width=".7"/>')
        parts.append(f'<text x="{x0 - 5}" y="{_short(up(at) + 4)}" text-anchor="end">{text}</text>')
    parts.append(f'<text x="{_short((x0 + x1) / 2)}" y="{y0 + 29}" text-anchor="middle">{plot.xlabel}</text>')
    legend, inside = float(x0), f"{x0} {y1} {x1 - x0} {y0 - y1}"
    box = 'x="{}" y="{}" width="{}" height="{}"'.format(*inside.split())
    shapes, names = [], []
    for line in plot.lines:
        if line.below is not None:
            shapes.append(f'<path d="M{path(line.points)} {path(line.below[::-1])}Z" fill="{line.colour}" fill-opacity=".25"/>')
            sample = f'<rect x="{_short(legend)}" y="11" width="16" height="8" fill="{line.colour}" fill-opacity=".25"/>'
        else:
            dash = ' stroke-dasharray="5 3"' if line.dashed else ""
            style = f'fill="none" stroke="{line.colour}" stroke-width="1.8"{dash}'
            shapes.append(f'<path d="M{path(line.points)}" {style}/>')
            sample = f'<path d="M{_short(legend)} 15h16" {style}/>'
        if line.label:
            names += [sample, f'<text x="{_short(legend + 20)}" y="19">{line.label}</text>']
            legend += 34 + 5.9 * len(line.label)
    cut = f'<svg {box} viewBox="{inside}">{"".join(shapes)}</svg>'  # what lies outside is not drawn
    return "".join([*parts, cut, *names])


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _thinned(points: Points, most: float = 0.15) -> Points:
    """The points without those that lie on the line between what is kept; the farthest one that does not is kept, again and again."""
    if len(points) < 3:
        return points
    (x0, y0), (x1, y1) = points[0], points[-1]
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    away = [abs((x1 - x0) * (y0 - y) - (x0 - x) * (y1 - y0)) / length for x, y in points[1:-1]]
    at = max(range(len(away)), key=away.__getitem__) + 1
    if away[at - 1] <= most:
        return [points[0], points[-1]]
    return _thinned(points[: at + 1], most)[:-1] + _thinned(points[at:], most)


def _numbers(*ends: int) -> list[tuple[float, str]]:
    return [(float(one), str(one).replace("-", "−")) for one in range(*ends)]


def _frame(lines: Sequence[Line], xlabel: str = "input") -> Plot:
    """Axes for a curve: what lies far above and below is cut off."""
    y = [one for line in lines for _, one in line.points]
    low, high = max(math.floor(min(y) - 0.05), -3), min(math.ceil(max(y) + 0.05), 4)
    return Plot((-4, 4), (low, high), (_numbers(-4, 5, 2), _numbers(low, high + 1)), xlabel, lines)


def _lines(panel: Panel) -> list[Line]:
    def points(y: list[float]) -> Points:
        return list(zip(panel.x, y, strict=True))

    mean = [(low + high) / 2 for low, high in zip(panel.low, panel.high, strict=True)]
    return [
        Line("", _ORANGE, points(panel.low), below=points(panel.high)),
        Line("slope", _ORANGE, points(panel.slope)),
        Line("slope under noise", _GREEN, points(mean), dashed=True),
        Line("output", _BLUE, points(panel.y)),
    ]


def of_activation(name: str) -> str:
    """The figure of an activation."""
    kind = ns.ACTIVATIONS[name].kind
    if kind == "curve":
        return svg([_frame(_lines(noisy_slopes(name, ns.activations.facts(name), _LINE, _SIGMA)))], name)
    if kind == "wrapper":
        return svg([_frame(_lines(noisy_slopes(name, ns.ACTIVATIONS[name]().double().eval(), _LINE, _SIGMA)))], name)
    return svg([_frame(_drawn(name) if kind == "random" else _swept(name), "one input" if kind != "random" else "input")], name)


def _drawn(name: str) -> list[Line]:
    """Mean and standard deviation of the outputs over many draws, in training."""
    module = ns.ACTIVATIONS[name](**{"units": len(_LINE)} if name == "smart_mixed" else {}).double()
    with torch.no_grad():
        y = torch.stack([module(_LINE[None])[0] for _ in range(_DRAWS)])
    mean, spread = y.mean(0), y.std(0, correction=0)
    low, middle, high = (list(zip(_LINE.tolist(), one.tolist(), strict=True)) for one in (mean - spread, mean, mean + spread))
    return [Line("standard deviation", _BLUE, low, below=high), Line("mean output", _BLUE, middle)]


def _swept(name: str) -> list[Line]:
    """All outputs, and the slope of the first, while one input moves and the others stand still."""
    given, settings = _INPUTS[name]
    module: Callable[..., Tensor] = ns.ACTIVATIONS[name](**settings).double()

    def outputs(s: Tensor) -> Tensor:
        return module(*given(s)).reshape(len(s), -1)

    y = outputs(_LINE).detach()
    slope = values_and_slopes(lambda s: outputs(s)[:, 0], _LINE)[1]
    x = _LINE.tolist()
    others = [Line("" if at else "other outputs", GREY, list(zip(x, y[:, at + 1].tolist(), strict=True))) for at in range(y.shape[1] - 1)]
    first = [
        Line("slope", _ORANGE, list(zip(x, slope.tolist(), strict=True))),
        Line("output", _BLUE, list(zip(x, y[:, 0].tolist(), strict=True))),
    ]
    return [*others, *first]


def _beside(*others: float) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The input that moves, and those beside it."""
    return lambda s: (torch.cat([s[:, None], s.new_tensor(others).expand(len(s), -1)], 1),)


def _queries(s: Tensor) -> tuple[Tensor, ...]:
    """A query that moves between two keys and leaves a third alone; the outputs are the weights."""
    keys = s.new_tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]).expand(len(s), 3, 2)
    query = torch.stack([s, torch.full_like(s, 0.5)], 1)[:, None]
    return query, keys, torch.eye(3, dtype=s.dtype).expand(len(s), 3, 3)


#: what the entries that mix several inputs are given, and their settings
_INPUTS: dict[str, tuple[Callable[[Tensor], tuple[Tensor, ...]], dict[str, Any]]] = {
    "groupsort": (_beside(1.0, -1.0, 2.0), {"group": 4}),
    "top_k": (_beside(1.0, -1.0, 2.0), {"share": 0.25}),
    "statistical_top_k": (_beside(1.0, -1.0, 2.0), {"share": 0.25}),
    "polynorm": (_beside(1.0, -0.5, 0.3), {}),
    "tridiagonal_slopes": (_beside(0.5, -0.5, 0.8), {}),
    "rbf": (_beside(), {"inputs": 1, "units": 5}),
    "glu": (_beside(-1.0, 1.0, 1.5), {}),
    "relu_scores": (_beside(1.0, 0.5, -1.0), {}),
    "reluformer_scores": (_beside(1.0, 0.5, -1.0), {}),
    "sigmoid_scores": (_beside(1.0, 0.5, -1.0), {}),
    "rela": (_queries, {}),
    "gaussian_attention": (_queries, {}),
    "sdm": (lambda s: (*_beside(1.0, -0.5)(s), torch.full_like(s, 1.5), torch.full_like(s, 0.7)), {}),
}


def of_norm(name: str) -> str:
    """The figure of a norm: one output against its input, and the size of all outputs against that of all inputs."""
    return svg(
        [
            _frame(_lines(panel_of_norm(ns.NORMS[name], _SIGMA)), "one input, the others as they are"),
            _levels(levels_of_norm(ns.NORMS[name])),
        ],
        name,
    )


def _levels(levels: Levels) -> Plot:
    def points(y: list[float]) -> Points:
        return [(math.log10(2 * x), math.log10(max(one, 1e-9))) for x, one in zip(levels.gain, y, strict=True)]

    ends = [(float(at), f"10{'⁻' * (at < 0)}{'⁰¹²³'[abs(at)]}") for at in range(-2, 4)]
    lines = [Line("in evaluation", _BLUE, points(levels.evaluation)), Line("in training", _ORANGE, points(levels.training), dashed=True)]
    return Plot((-2, 2.5), (-2, 3), (ends[:5], ends), "size of all inputs (their root mean square); upwards: of the outputs", lines)
