"""Values of single units against their formulas, written out with plain numbers; and how often a choice is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from neurosim.activations import SmartMixed, activation, facts
from neurosim.random import stream


def normal(*shape: int, draw: int = 0) -> Tensor:
    return stream(11, "formulas", draw=draw).normal(shape, like=torch.empty(0, dtype=torch.float64))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def phi(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def test_radial_units_are_gaussians_of_the_distance_to_their_centres() -> None:
    unit, x = activation("rbf", inputs=3, units=4, s=0.7).double(), normal(5, 3)
    centres = unit.get_parameter("centres").tolist()
    wanted = [[math.exp(-(math.dist(row, centre) ** 2) / (2 * 0.7**2)) for centre in centres] for row in x.tolist()]
    torch.testing.assert_close(unit(x), torch.tensor(wanted, dtype=torch.float64))


GATES: list[tuple[str, Callable[[float], float]]] = [
    ("sigmoid", sigmoid),
    ("relu", lambda u: max(0.0, u)),
    ("silu", lambda u: u * sigmoid(u)),
    ("gelu", lambda u: u * phi(u)),
    ("identity", lambda u: u),
]


@pytest.mark.parametrize(("gate", "g"), GATES, ids=[name for name, _ in GATES])
@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
def test_the_first_half_of_an_axis_gates_the_second(gate: str, g: Callable[[float], float], both: bool) -> None:
    x = normal(3, 6)
    wanted = [[g(row[at]) * (g(row[at + 3]) if both else row[at + 3]) for at in range(3)] for row in x.tolist()]
    found = activation("glu", gate=gate, both=both)(x)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))
    torch.testing.assert_close(activation("glu", gate=gate, both=both, axis=0)(x.t()), found.t())


def test_glu_is_that_of_torch_with_the_halves_exchanged() -> None:
    x = normal(3, 6)
    torch.testing.assert_close(activation("glu")(x), torch.nn.functional.glu(x.roll(3, -1), -1))


@pytest.mark.parametrize("i", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(("target", "step"), [("gelu", phi), ("silu", sigmoid)])
@pytest.mark.parametrize(("alpha", "s"), [(0.0, 1.0), (0.3, 1.7), (-0.4, 0.6)])
def test_an_interpolation_has_the_weight_i_of_the_smooth_unit(
    i: float, target: str, step: Callable[[float], float], alpha: float, s: float
) -> None:
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    wanted = [(1 - i) * max(alpha * one, one) + i * one * step(s * one) for one in x.tolist()]
    found = facts("interpolated", i=i, alpha=alpha, s=s, target=target)(x)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))
    learned = activation("interpolated", i=i, alpha=alpha, s=s, target=target, learn=True).double()
    torch.testing.assert_close(learned(x), found, rtol=1e-6, atol=1e-6)  # its parameters are float32


def test_scaled_has_one_gain_before_its_curve_and_one_after_it() -> None:
    unit, x = activation("scaled", base="tanh", alpha=1.5, beta=0.25).double(), normal(7)
    torch.testing.assert_close(unit(x), torch.tensor([1.5 * math.tanh(0.25 * one) for one in x.tolist()], dtype=torch.float64))


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_a_choice_is_drawn_with_the_probabilities_of_the_softmax_at_any_temperature(temperature: float) -> None:
    """The largest of logits with Gumbel noise added: P(k) = softmax(logits)ₖ. Three curves differ at −1, so the output tells which."""
    count, logits = 40_000, [1.2, 0.0, -0.7]
    unit = SmartMixed(count, ["relu", "identity", {"kind": "elu"}], temperature=temperature, seed=4)
    with torch.no_grad():
        unit.logits.copy_(torch.tensor(logits).expand(count, 3))
        y = unit(-torch.ones(1, count))[0]
    total = sum(math.exp(one) for one in logits)
    for logit, value in zip(logits, [0.0, -1.0, math.expm1(-1.0)], strict=True):
        p = math.exp(logit) / total
        share = float((y - value).abs().lt(1e-6).double().mean())
        assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / count)
