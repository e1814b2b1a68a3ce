"""The figures of what acts on weights, and of procedures on models that are there."""

from __future__ import annotations

import copy
import math
from typing import Any, Final

import torch
from catalogue_axes import BLUE, GREEN, GREY, ORANGE, descend, draw, linear, numbered, plot, size
from catalogue_figures import Plot, Points
from torch import Tensor, nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.norms import BatchNorm, LayerNorm, NormLoss, Residual, unit_weights

_ROWS, _INPUTS, _WIDTH, _DEPTH = 12, 24, 32, 24
_DRIFTS: Final = torch.logspace(-0.301, 0.301, 21, dtype=torch.float64).tolist()  # ½ to 2


# --- weights ---------------------------------------------------------------------------------------------------------------------------


def _uneven(rows: int = _ROWS, inputs: int = _INPUTS) -> nn.Linear:
    """A layer whose rows have lengths from 0.2 to 5, and a mean."""
    layer = linear(rows, inputs, "uneven")
    with torch.no_grad():
        layer.weight.add_(0.5 / math.sqrt(inputs)).mul_(torch.logspace(-0.7, 0.7, rows, dtype=torch.float64)[:, None])
    return layer


def _parametrized(name: str, layer: nn.Linear) -> Any:
    parametrize.register_parametrization(layer, "weight", ns.NORMS[name].example())
    return layer.double()


def _values(values: Tensor) -> Points:
    return numbered(values.detach().flatten().tolist(), 1)


def rows_and_values(name: str) -> list[Plot]:
    """Lengths of rows and singular values, before and after."""
    before, after = _uneven().weight, _parametrized(name, _uneven()).weight
    lengths = {"V": (GREY, _values(before.norm(dim=1))), "W": (BLUE, _values(after.norm(dim=1)))}
    values = {"V": (GREY, _values(torch.linalg.svdvals(before))), "W": (BLUE, _values(torch.linalg.svdvals(after)))}
    return [plot(lengths, "row; upwards: its length", logy=True), plot(values, "upwards: singular values", logy=True)]


def lengths_and_paths(name: str) -> list[Plot]:
    """Lengths of rows before and after a step that turns all of them alike, and paths of descent in the plane of two weights."""
    made = _parametrized(name, _uneven())
    lengths = {"as it was": (GREY, _values(_uneven().weight.norm(dim=1)))}
    with torch.no_grad():
        made.parametrizations.weight.original0.fill_(1.0)
    lengths["with all lengths set to 1"] = (BLUE, _values(made.weight.norm(dim=1)))
    target, paths = torch.tensor([[1.0, 1.0]], dtype=torch.float64), {}
    for at, start in enumerate(([-1.5, 0.6], [-0.4, -1.6], [1.8, -0.9])):
        for label, colour in (("plain", GREY), (name, BLUE)):
            layer = linear(1, 2, "plane")
            layer.weight.data.copy_(torch.tensor([start], dtype=torch.float64))
            layer = _parametrized(name, layer) if label == name else layer
            path = []

            def loss(layer: nn.Linear = layer, path: Points = path) -> Tensor:
                w = layer.weight
                path.append((float(w[0, 0].detach()), float(w[0, 1].detach())))
                return (w - target).square().sum() / 2

            descend(loss, layer.parameters(), 0.05, 150)
            paths[label if at == 0 else f" {label} {at}"] = (colour, path)
    return [plot(lengths, "row; upwards: its length", logy=True), plot(paths, "first weight; upwards: the second one")]


def gradients_over_depth(_: str) -> list[Plot]:
    """Sizes of gradients and of outputs along a chain of layers, batch norms and tanh."""
    sides: list[dict[str, Any]] = [{}, {}]
    for label, power, colour in (("weights drawn freely", None, GREY), ("k = 0", 0.0, GREEN), ("k = ½", 0.5, BLUE), ("k = 1", 1.0, ORANGE)):
        parts: list[nn.Module] = []
        for at in range(_DEPTH):
            parts += [nn.Sequential(linear(_WIDTH, _WIDTH, f"{at}"), BatchNorm(_WIDTH), nn.Tanh())]
        chain = nn.Sequential(*parts).double()
        if power is not None:
            ns.NORMS["shaped_batch"](chain, power)
        signals = [draw(64, _WIDTH, name="stream").requires_grad_()]
        for part in chain:
            signals.append(part(signals[-1]))
        slopes = torch.autograd.grad(signals[-1], signals, draw(64, _WIDTH, name="gradient"))
        for side, found in zip(sides, (slopes, signals), strict=True):
            side[label] = (colour, [(float(at), size(one)) for at, one in enumerate(found)])
    words = ("size of the gradient", "size of the outputs")
    return [plot(side, f"layer; upwards: {word}", logy=True) for side, word in zip(sides, words, strict=True)]


def penalty_and_lengths(_: str) -> list[Plot]:
    """The penalty of one row against its length, and lengths while it is descended."""
    curves: dict[str, list[Any]] = {"½ λ ‖w‖²": [GREY, [], True], "penalty": [BLUE, []], "its slope": [ORANGE, []]}
    for at in range(61):
        layer = linear(1, 4, "row")
        with torch.no_grad():
            layer.weight.mul_(at / 20 / layer.weight.norm())
            direction = linear(1, 4, "row").weight / linear(1, 4, "row").weight.norm()
        penalty = NormLoss(1.0)(layer)
        (slope,) = torch.autograd.grad(penalty, layer.weight)
        found = (float(layer.weight.detach().square().sum()) / 2, float(penalty.detach()), float((slope * direction).sum().detach()))
        for curve, value in zip(curves.values(), found, strict=True):
            curve[1].append((at / 20, value))
    steps: dict[str, Any] = {}
    for label, colour in (("weight decay", GREY), ("norm loss", BLUE)):
        layer, lengths = _uneven(8), []

        def loss(layer: nn.Linear = layer, label: str = label, lengths: list[list[float]] = lengths) -> Tensor:
            lengths.append(layer.weight.detach().norm(dim=1).tolist())
            return NormLoss(1.0)(layer) if label == "norm loss" else layer.weight.square().sum() / 2

        descend(loss, layer.parameters(), 0.05, 41)
        for at, row in enumerate(zip(*lengths, strict=True)):
            steps[label if at == 0 else f" {label} {at}"] = (colour, list(enumerate(row)))
    given = {label: (colour, points, *dashed) for label, (colour, points, *dashed) in curves.items()}
    return [plot(given, "length of a row"), plot(steps, "steps of descent; upwards: lengths of rows", logy=True)]


def lengths_in_training(_: str) -> list[Plot]:
    """Lengths of rows before and after, and in steps at random with and without the procedure after each."""
    lengths = {
        "before": (GREY, _values(_uneven().weight.norm(dim=1))),
        "after": (BLUE, _values(unit_weights(_uneven()).weight.norm(dim=1))),
    }
    steps: dict[str, Any] = {}
    for label, colour in (("steps alone", GREY), ("with unit_weights", BLUE)):
        layer, found = unit_weights(linear(4, _INPUTS, "even")), []
        for at in range(40):
            found.append(layer.weight.detach().norm(dim=1).tolist())
            with torch.no_grad():
                layer.weight.add_(0.05 * draw(4, _INPUTS, name=f"step {at}"))
            if label != "steps alone":
                unit_weights(layer)
        for at, row in enumerate(zip(*found, strict=True)):
            steps[label if at == 0 else f" {label} {at}"] = (colour, list(enumerate(row)))
    return [plot(lengths, "row; upwards: its length", logy=True), plot(steps, "steps at random; upwards: lengths of rows")]


# --- procedures ------------------------------------------------------------------------------------------------------------------------


def _data(count: int = 512, name: str = "data") -> Tensor:
    return draw(count, _WIDTH, name=name)


def _model() -> nn.Module:
    """Two layers with batch norms, which know their data, and a third."""
    parts: list[nn.Module] = []
    for at in range(2):
        parts += [linear(_WIDTH, _WIDTH, f"layer {at}"), BatchNorm(_WIDTH), nn.ReLU()]
    model = nn.Sequential(*parts, linear(10, _WIDTH, "last")).double()
    return ns.recalibrate(model, _data()).eval()


def _drifted(model: nn.Module, gain: float) -> nn.Module:
    """All weights but the last times a gain."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for module in list(other.modules())[:-1]:
            if isinstance(module, nn.Linear):
                module.weight.mul_(gain)
    return other


@torch.no_grad()
def _error(model: nn.Module, x: Tensor, batch: int = 512) -> float:
    """Of the outputs of a drifted model, relative to what it gave before."""
    given = torch.cat([model(part) for part in x.split(batch)])
    expected = _model()(x)
    return size(given - expected) / size(expected)


def mixed_statistics(_: str) -> list[Plot]:
    """Errors of outputs under a drift of gains, and against α for two sizes of batches."""
    x, model = _data(name="test"), _model()

    def error(gain: float, alpha: float, batch: int) -> float:
        drifted = _drifted(model, gain)
        with ns.batch_statistics(drifted, alpha):
            return _error(drifted, x, batch)

    drifts = {
        f"α = {alpha:g}": (colour, [(gain, error(gain, alpha, 256)) for gain in _DRIFTS])
        for alpha, colour in ((1.0, GREY), (0.9, BLUE), (0.5, ORANGE), (0.0, GREEN))
    }
    shares = [at / 20 for at in range(21)]
    sizes = {
        f"batches of {batch}": (colour, [(alpha, error(1.5, alpha, batch)) for alpha in shares])
        for batch, colour in ((256, BLUE), (16, ORANGE), (4, GREEN))
    }
    words = "upwards: relative error"
    return [plot(drifts, f"gain of the weights; {words}"), plot(sizes, f"α, at a gain of 1.5; {words}")]


def recalibrated(_: str) -> list[Plot]:
    """Errors of outputs under a drift of gains, and against the number of samples for the statistics."""
    x, model = _data(name="test"), _model()

    def error(gain: float, count: int) -> float:
        drifted = _drifted(model, gain)
        return _error(ns.recalibrate(drifted, _data(name="calibration")[:count]).eval() if count else drifted, x)

    drifts = {
        label: (colour, [(gain, error(gain, count)) for gain in _DRIFTS])
        for label, colour, count in (("as trained", GREY, 0), ("recalibrated", BLUE, 512))
    }
    counts = [2**at for at in range(2, 10)]
    samples = {
        "as trained": (GREY, [(float(count), error(1.5, 0)) for count in (4, 512)]),
        "recalibrated": (BLUE, [(float(count), error(1.5, count)) for count in counts]),
    }
    return [
        plot(drifts, "gain of the weights; upwards: relative error"),
        plot(samples, "samples, at a gain of 1.5; upwards: relative error", logx=True, logy=True),
    ]


def frozen(_: str) -> list[Plot]:
    """What a norm gives of larger and smaller inputs, live and frozen, and the error of a model with more and more frozen norms."""
    x = _data(name="test")
    norm = nn.Sequential(LayerNorm(_WIDTH)).double()
    fixed = ns.freeze_statistics(norm, 0, _data()).eval()
    gains = torch.logspace(-1, 1, 21, dtype=torch.float64).tolist()
    levels = {
        label: (colour, [(gain, size(one(gain * x))) for gain in gains])
        for label, colour, one in (("live", GREY, norm), ("frozen", BLUE, fixed))
    }
    blocks = [
        Residual(nn.Sequential(linear(_WIDTH, _WIDTH, f"{at} in", 1.4), nn.ReLU(), linear(_WIDTH, _WIDTH, f"{at} out")), _WIDTH)
        for at in range(8)
    ]
    model = nn.Sequential(*blocks).double().eval()
    expected = model(x)
    errors = [(0.0, 0.0)]
    for count in range(1, 9):
        given = ns.freeze_statistics(model, {f"{at}.*": 0 for at in range(count)}, _data()).eval()(x)
        errors.append((float(count), size(given - expected) / size(expected)))
    return [
        plot(levels, "size of the inputs; upwards: of the outputs", logx=True, logy=True),
        plot({"no training in between": (BLUE, errors)}, "frozen norms of 8; upwards: relative error"),
    ]
