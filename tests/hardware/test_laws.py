"""Laws of conductance and time: each against its formula."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from neurosim.hardware.devices import LAWS, Law, OverTime, Table

LAW: TypeAdapter[Any] = TypeAdapter(Law)
ONE: dict[str, Any] = {"kind": "polynomial", "coefficients": [1.0]}
TWO: dict[str, Any] = {"kind": "polynomial", "coefficients": [2.0, 1.0]}
EXAMPLES: dict[str, dict[str, Any]] = {
    "polynomial": {"coefficients": [0.3, -1.2, 2.0], "low": -0.5},
    "logarithmic": {"slope": -0.02, "offset": 0.05, "low": 0.01, "high": 0.2},
    "power": {"factor": 0.3, "exponent": -0.65, "high": 5.0},
    "saturating": {"amplitude": 2.0, "scale": 0.4},
    "table": {"at": [0.1, 0.5, 2.0], "values": [1.0, -1.0, 0.0]},
    "split": {"at": 0.7, "below": ONE, "above": TWO},
    "log_time": {"slope": 0.1, "offset": 1.0, "from_s": 2.0},
    "over_time": {"times_s": [1.0, 100.0], "laws": [ONE, TWO], "interpolation": "logarithmic"},
}


def expected(kind: str, g: float, seconds: float) -> float:
    """The formula of each example."""
    values: dict[str, Callable[[], float]] = {
        "polynomial": lambda: max(0.3 - 1.2 * g + 2 * g * g, -0.5),
        "logarithmic": lambda: min(max(-0.02 * math.log(g) + 0.05, 0.01), 0.2),
        "power": lambda: min(0.3 * g**-0.65, 5.0),
        "saturating": lambda: 2 * (1 - math.exp(-g / 0.4)),
        "table": lambda: float(np.interp(g, [0.1, 0.5, 2.0], [1.0, -1.0, 0.0])),
        "split": lambda: 1.0 if g < 0.7 else 2 + g,
        "log_time": lambda: 0.1 * math.log(max(seconds, 2.0)) + 1,
        "over_time": lambda: 1 + (1 + g) * min(max(math.log10(max(seconds, 1e-9)) / 2, 0), 1),
    }
    return values[kind]()


def test_every_law_has_an_example() -> None:
    assert [*EXAMPLES] == [law.model_fields["kind"].default for law in LAWS]


@pytest.mark.parametrize("kind", EXAMPLES)
@settings(deadline=None, max_examples=50)
@given(st.floats(1e-6, 10.0), st.sampled_from([0.0, 1.0, 3.0, 10.0, 100.0, 1e8]))
def test_a_law_is_its_formula(kind: str, g: float, seconds: float) -> None:
    law = LAW.validate_python({"kind": kind, **EXAMPLES[kind]})
    value = law(torch.tensor([g], dtype=torch.float64), seconds)
    assert value.item() == pytest.approx(expected(kind, g, seconds), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_law_survives_json_and_refuses_other_keys(kind: str) -> None:
    law = LAW.validate_python({"kind": kind, **EXAMPLES[kind]})
    assert LAW.validate_python(json.loads(law.model_dump_json())) == law
    with pytest.raises(ValidationError, match="no_such_key"):
        LAW.validate_python({"kind": kind, **EXAMPLES[kind], "no_such_key": 1})


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_law_keeps_shape_and_type_and_is_finite_at_nothing(kind: str, dtype: torch.dtype) -> None:
    law = LAW.validate_python({"kind": kind, **EXAMPLES[kind]})
    ratio = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    value = law(ratio, 3.0)
    assert value.shape == (2, 3)
    assert value.dtype == dtype
    assert value.isfinite().all()
    if value.requires_grad:
        assert torch.autograd.grad(value.sum(), ratio)[0].isfinite().all()


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind != "log_time"])
def test_the_derivative_of_a_law_equals_finite_differences(kind: str) -> None:
    law = LAW.validate_python({"kind": kind, **EXAMPLES[kind]})
    ratio = torch.tensor([0.03, 0.31, 0.9, 3.0], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda ratio: law(ratio, 3.0), (ratio,))


def test_times_outside_hold_the_first_and_the_last_law_and_linear_is_by_time() -> None:
    law = OverTime.model_validate({"times_s": [0.0, 10.0], "laws": [ONE, {"kind": "polynomial", "coefficients": [3.0]}]})
    ratio = torch.ones(1)
    assert [law(ratio, seconds).item() for seconds in (-1.0, 0.0, 2.5, 10.0, 1e9)] == [1.0, 1.0, 1.5, 3.0, 3.0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "table", "at": [1.0, 0.5], "values": [1.0, 2.0]}, "at must ascend"),
        ({"kind": "table", "at": [1.0], "values": [1.0, 2.0]}, "at and values must be of one length, got 1 and 2"),
        ({"kind": "over_time", "times_s": [1.0, 1.0], "laws": [ONE, ONE]}, "times_s must ascend"),
        ({"kind": "over_time", "times_s": [0.0, 1.0], "laws": [ONE, ONE], "interpolation": "logarithmic"}, "needs times_s above 0"),
        ({"kind": "logarithmic", "slope": 1.0, "offset": 0.0, "low": 2.0, "high": 1.0}, "low must not be above high"),
        ({"kind": "polynomial", "coefficients": []}, "at least 1"),
        ({"kind": "polynomial", "coefficients": ["1"]}, "number"),
        ({"kind": "polynom", "coefficients": [1.0]}, "'polynomial'"),
    ],
)
def test_laws_that_do_not_hold_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LAW.validate_python(fields)


def test_a_table_passes_through_its_points() -> None:
    at, values = (0.0, 0.3, 0.35, 4.0), (5.0, -1.0, 2.0, 2.5)
    assert Table(at=at, values=values)(torch.tensor(at, dtype=torch.float64)).tolist() == pytest.approx(values)
