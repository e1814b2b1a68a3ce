"""Surrogate gradients: their shape, their area, what odd numbers give, and how one is added."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.surrogate import SURROGATES, Formula, Surrogate, surrogate

OURS = ("arctan", "clamped_tanh", "fast_sigmoid", "gaussian", "logistic", "rectangle", "sj_superspike", "triangle")


def test_these_formulas_are_there_and_numbered_without_gaps() -> None:
    assert set(OURS) <= set(SURROGATES)
    assert sorted(SURROGATES[name].code for name in OURS) == list(range(len(OURS)))  # type: ignore[type-var]  # none of ours is None


#: what the spike is the limit of: a step from 0 to the area, whose slope is the formula
STEPS: dict[str, tuple[dict[str, float], Callable[[Tensor], Tensor]]] = {
    "arctan": ({"alpha": 3.0, "scale": 2.0}, lambda z: 2 / math.pi * torch.atan(math.pi / 2 * 3 * z)),
    "fast_sigmoid": ({"slope": 5.0, "scale": 3.0}, lambda z: 3 * z / (1 + 5 * z.abs())),
    "sj_superspike": ({"alpha": 2.0}, lambda z: 2 * z / (1 + z.abs())),
    "logistic": ({"alpha": 3.0, "scale": 2.0}, lambda z: 2 * torch.sigmoid(3 * z)),
    "triangle": ({"height": 2.0, "width": 0.5}, lambda z: (c := z.clamp(-0.5, 0.5)) * 2 * (1 - c.abs())),
    "rectangle": ({"height": 2.0, "width": 0.5}, lambda z: 2 * z.clamp(-0.25, 0.25)),
    "gaussian": ({"sigma": 0.7, "scale": 2.0}, lambda z: 2 * torch.special.ndtr(z / 0.7)),
    "clamped_tanh": ({"temperature": 3.0, "width": 2.0}, lambda z: torch.tanh(1.5 * z.clamp(-1, 1)) / (2 * math.tanh(1.5))),
}


@pytest.mark.parametrize("name", OURS)
def test_the_formula_is_the_slope_of_its_smooth_step(name: str) -> None:
    parameters, step = STEPS[name]
    z = torch.linspace(-2.013, 2.017, 700, dtype=torch.float64)  # not at 0, where some have a kink
    h = 1e-6
    slope = (step(z + h) - step(z - h)) / (2 * h)
    torch.testing.assert_close(surrogate(name, **parameters).gradient(z), slope, rtol=1e-6, atol=1e-8)


def test_mpbn_fires_from_half_the_threshold_with_the_slope_of_its_published_code() -> None:
    m = torch.linspace(-0.5, 1.5, 41, dtype=torch.float64, requires_grad=True)
    y = torch.tanh(3 * (m.clamp(0, 1) - 0.5)) / (2 * math.tanh(1.5))  # threshold 1, temperature 3, as in its spike layer
    (expected,) = torch.autograd.grad(y.sum(), m)
    torch.testing.assert_close(surrogate("clamped_tanh").gradient(m.detach() - 0.5), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OURS)
def test_far_from_the_threshold_there_is_no_gradient_and_no_overflow(name: str, dtype: torch.dtype) -> None:
    far = torch.tensor([math.inf, -math.inf, 1e30, -1e30], dtype=dtype)
    assert surrogate(name).gradient(far).abs().max() < 1e-25


@pytest.mark.parametrize("name", OURS)
def test_nan_gives_nan_but_where_the_formula_is_a_window_of_one_height(name: str) -> None:
    found = surrogate(name).gradient(torch.tensor([math.nan])).item()
    assert found == 0 if name == "rectangle" else math.isnan(found)


@pytest.mark.parametrize("name", OURS)
def test_the_gradient_is_even_in_distance(name: str) -> None:
    z = torch.linspace(0, 3, 301)
    assert torch.equal(surrogate(name).gradient(z), surrogate(name).gradient(-z))


def test_parameters_are_named_and_the_others_keep_their_defaults() -> None:
    assert surrogate("triangle", width=0.5) == Surrogate("triangle", (1.0, 0.5))
    assert surrogate("arctan") == Surrogate("arctan", (2.0, 1.0))


def test_a_surrogate_can_be_compared_used_as_a_key_and_pickled() -> None:
    one = surrogate("logistic", alpha=2)
    assert {one: 1}[pickle.loads(pickle.dumps(one))] == 1


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("arctna", {}, "no surrogate is named 'arctna'; did you mean 'arctan'"),
        ("arctan", {"alhpa": 1.0}, "surrogate arctan: it has no parameter 'alhpa'; did you mean 'alpha'"),
        ("arctan", {"alpha": 0.0}, "surrogate arctan: alpha must be a finite number > 0, got 0.0"),
        ("triangle", {"width": math.inf}, "width must be a finite number > 0, got inf"),
        ("triangle", {"width": True}, "width must be a finite number > 0, got True"),
    ],
)
def test_what_does_not_hold_is_refused(name: str, parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        surrogate(name, **parameters)


@pytest.fixture
def leak() -> Iterator[str]:
    """A formula of the user's own, whose parameter may be 0."""
    name = "test leak"
    SURROGATES.add(name, Formula(lambda z, c: torch.where(z.abs() < 1, 1.0, c).to(z.dtype), {"c": 0.1}))
    yield name
    del SURROGATES._entries[name]


def test_a_formula_of_ones_own_is_an_entry_of_the_registry(leak: str) -> None:
    assert surrogate(leak, c=0).gradient(torch.tensor([0.5, 2.0])).tolist() == [1.0, 0.0]
    with pytest.raises(ConfigError, match="c must be a finite number, got nan"):
        surrogate(leak, c=math.nan)
