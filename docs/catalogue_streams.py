"""The figures of norms around branches and layers: the stream of a deep network with and without them, and what a layer gives."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from catalogue_axes import BLUE, GAINS, GREEN, GREY, ORANGE, descend, draw, linear, numbered, plot, size
from catalogue_figures import Line, Plot, Points
from torch import nn

import neurosim as ns
from neurosim.norms import (
    FixupBranch,
    HypersphereResidual,
    MessageNorm,
    NormedAttention,
    NormFreeBranch,
    Residual,
    ScaledBranch,
    ScaleDistributionDecoupling,
    expected_variances,
)

_WIDTH, _BLOCKS = 32, 24


def _branch(at: int, gain: float = 1.0) -> nn.Sequential:
    """Two layers with a ReLU between them that keep the size of what comes in, times a gain."""
    return nn.Sequential(linear(_WIDTH, _WIDTH, f"{at} in"), nn.ReLU(), linear(_WIDTH, _WIDTH, f"{at} out", gain * math.sqrt(2)))


def _stack(wrap: Callable[[nn.Sequential, int], nn.Module], gain: float = 1.0) -> list[nn.Module]:
    return [wrap(_branch(at, gain), at).double() for at in range(_BLOCKS)]


def _plain(branch: nn.Sequential, at: int) -> nn.Module:
    return ScaledBranch(branch, 1.0, learn=False)


def _along(blocks: Sequence[nn.Module]) -> tuple[Points, Points]:
    """Sizes of the stream, and of the gradients that reach it from the end."""
    streams = [draw(64, _WIDTH, name="stream").requires_grad_()]
    for block in blocks:
        streams.append(block(streams[-1]))
    slopes = torch.autograd.grad(streams[-1], streams, draw(64, _WIDTH, name="gradient"))
    return numbered(map(size, streams)), numbered(map(size, slopes))


# --- blocks of residual networks -------------------------------------------------------------------------------------------------------


def _streams(stacks: Mapping[str, Sequence[nn.Module]]) -> list[Plot]:
    """The last one is dashed, for it often lies on another."""
    plots = []
    found = [_along(blocks) for blocks in stacks.values()]
    for at, words in enumerate(("size of the stream", "size of the gradient")):
        lines: dict[str, tuple[str, Points] | tuple[str, Points, bool]] = {}
        for label, colour, both in zip(stacks, (GREY, BLUE, ORANGE, GREEN), found, strict=False):
            lines[label] = (colour, both[at], True) if len(lines) == len(stacks) - 1 else (colour, both[at])
        plots.append(plot(lines, f"block; upwards: {words}", logy=True))
    return plots


def placements(_: str) -> list[Plot]:
    places = {place: _stack(lambda f, at, place=place: Residual(f, _WIDTH, "rms", place)) for place in ("pre", "post", "peri")}
    return _streams({"x + f(x)": _stack(_plain), **places})


def hypersphere(_: str) -> list[Plot]:
    slow, fast = (_stack(lambda f, at, rate=rate: HypersphereResidual(f, _WIDTH, rate)) for rate in (0.05, 0.5))
    return _streams({"x + f(x)": _stack(_plain), "α = 0.05": slow, "α = 0.5": fast})


def message(_: str) -> list[Plot]:
    def wrap(branch: nn.Module, at: int) -> nn.Module:
        return MessageNorm(branch, 0.3)

    plain = {"x + f(x)": _stack(_plain), "x + ¼ f(x)": _stack(_plain, 0.25)}
    return _streams({**plain, "message, f": _stack(wrap), "message, ¼ f": _stack(wrap, 0.25)})


def norm_free(_: str) -> list[Plot]:
    variances = expected_variances([_BLOCKS], alpha=0.5)
    free = _stack(lambda f, at: NormFreeBranch(f, variances[at], alpha=0.5, gain=None))
    stream, slope = _streams({"x + f(x)": _stack(_plain), "norm_free, α = ½": free})
    expected = Line("expected", ORANGE, [(at, math.log10(one) / 2) for at, one in enumerate(variances)])
    return [stream._replace(lines=[*stream.lines, expected]), slope]


def fixup(_: str) -> list[Plot]:
    return _starts({"x + f(x)": _plain, "fixup": lambda f, count: FixupBranch(f, count)})


def skip_init(_: str) -> list[Plot]:
    return _starts(
        {
            "a = 1": _plain,
            "a = 0, learned": lambda f, count: ScaledBranch(f),
            "1/√L": lambda f, count: ScaledBranch(f, count**-0.5, learn=False),
            "1/L": lambda f, count: ScaledBranch(f, 1 / count, learn=False),
        }
    )


def _starts(made: Mapping[str, Callable[[nn.Sequential, int], nn.Module]]) -> list[Plot]:
    """The stream before training, and by how much a first step changes the outputs of networks of more and more blocks."""
    stream = _streams({label: [one(_branch(at), _BLOCKS).double() for at in range(_BLOCKS)] for label, one in made.items()})[0]
    changes = {}
    for (label, one), colour in zip(made.items(), (GREY, BLUE, ORANGE, GREEN), strict=False):
        depths = (1, 2, 4, 8, 16, 32)
        changes[label] = (colour, [(float(n), _change([one(_branch(at), n).double() for at in range(n)])) for n in depths])
    return [stream, plot(changes, "blocks L; upwards: change by a first step", logx=True, logy=True)]


def _change(blocks: list[nn.Module], rate: float = 1e-9) -> float:
    """By a small step of gradient descent on a linear loss, divided by the rate."""
    model, x = nn.Sequential(*blocks), draw(64, _WIDTH, name="stream")
    before = model(x).detach()
    descend(lambda: (model(x) * draw(64, _WIDTH, name="gradient")).mean(), model.parameters(), rate, 1)
    return size(model(x) - before) / rate


# --- layers ----------------------------------------------------------------------------------------------------------------------------


def attention(_: str) -> list[Plot]:
    sides: list[dict[str, Any]] = [{}, {}]
    for label, normed, colour in (("no norms", "none", GREY), ("of q and k", "qk", ORANGE), ("of q, k and v", "qkv", BLUE)):
        made = NormedAttention(_WIDTH, 4, normed=normed, bias=False).double()
        for at, layer in enumerate((made.query, made.key, made.value, made.out)):
            layer.weight.data.copy_(linear(_WIDTH, _WIDTH, f"attention {at}").weight.data)
        ends = []
        for gain in GAINS:
            x = (gain * draw(8, 10, _WIDTH, name="places")).requires_grad_()
            y = made(x)
            ends.append((size(y), size(torch.autograd.grad(y, x, draw(8, 10, _WIDTH, name="gradient"))[0])))
        for side, values in zip(sides, zip(*ends, strict=True), strict=True):
            side[label] = (colour, list(zip(GAINS, values, strict=True)))
    return [
        plot(sides[0], "size of the inputs; upwards: of the outputs", logx=True, logy=True),
        plot(sides[1], "size of the inputs; upwards: of their gradient", logx=True, logy=True),
    ]


def excitatory(_: str) -> list[Plot]:
    x = draw(64, _WIDTH, name="rates").abs()
    layer, plain = ns.NORMS["ei"](_WIDTH, _WIDTH), linear(_WIDTH, _WIDTH, "linear")
    ns.ei.initialize(layer, x.float(), seed=0)
    layer = layer.double().eval()
    levels = {
        "linear layer": (GREY, [(gain, size(plain(gain * x))) for gain in GAINS]),
        "ei": (BLUE, [(gain, size(layer(gain * x))) for gain in GAINS]),
    }
    along = torch.linspace(0, 8, 41, dtype=torch.float64)
    swept = x[:1].repeat(41, 1)
    swept[:, 0] = along
    y = layer(swept).detach()
    units = {f" {at}": (BLUE if at == 0 else GREY, list(zip(along.tolist(), y[:, at].tolist(), strict=True))) for at in range(5, -1, -1)}
    return [plot(levels, "size of the inputs; upwards: of the outputs", logx=True, logy=True), plot(units, "one input; upwards: outputs")]


def membranes(_: str) -> list[Plot]:
    neuron = ns.LIF(2e-3, 1e-3)
    bare, normed = copy.deepcopy(neuron), ns.NORMS["mpbn"](neuron, _WIDTH).double()
    x = 1.5 * draw(8, 32, _WIDTH, name="drive")
    with torch.no_grad():
        for _at in range(30):
            normed(x)
    rates: list[dict[str, Any]] = [{}, {}]
    offsets = torch.linspace(-2, 2, 21, dtype=torch.float64).tolist()
    for label, neurons, colour in (("LIF", bare, GREY), ("in training", normed, ORANGE), ("in evaluation", normed, BLUE)):
        with torch.no_grad():
            for side, values, drive in (
                (rates[0], GAINS, lambda value: value * x),
                (rates[1], offsets, lambda value: x + value),
            ):
                one = copy.deepcopy(neurons).train(label == "in training")
                side[label] = (colour, [(value, float(one(drive(value)).mean())) for value in values])
    words = "upwards: share of spikes"
    return [plot(rates[0], f"gain of the input; {words}", logx=True), plot(rates[1], f"offset of the input; {words}")]


def decoupled(_: str) -> list[Plot]:
    x = draw(64, _WIDTH, name="stream")
    sides: list[dict[str, Any]] = [{}, {}]
    for label, colour in (("linear layer", GREY), ("sdd", BLUE)):
        for gain in GAINS:
            layer = linear(_WIDTH, _WIDTH, "linear", gain)
            y = (ScaleDistributionDecoupling(layer) if label == "sdd" else layer)(x)
            slope = torch.autograd.grad(y, layer.weight, draw(64, _WIDTH, name="gradient"))[0]
            for side, value in zip(sides, (size(y), size(slope)), strict=True):
                side.setdefault(label, (colour, []))[1].append((gain, value))
    words = ("outputs", "gradient of the weights")
    return [
        plot(side, f"gain of all weights; upwards: size of the {of}", logx=True, logy=True) for side, of in zip(sides, words, strict=True)
    ]
